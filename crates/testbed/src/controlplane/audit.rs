//! Who asked the API server for what: read from its audit log.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use crate::error::Error;

/// A place in the audit log: requests after it are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditMark(u64);

/// Requests of one user or user agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApiRequests {
    /// Requests by verb, dry runs apart (`patch`, `patch (dry run)`).
    pub by_verb: BTreeMap<String, u64>,
    /// Requests that changed something: create, update, patch, delete, no dry run, answered 2xx.
    pub writes: u64,
    /// From the first change to the last.
    pub writes_span_s: f64,
    /// What was changed, as `verb resource namespace/name`, in order.
    pub written: Vec<String>,
}

impl ApiRequests {
    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_verb.values().sum()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<Status>,
    #[serde(default)]
    stage_timestamp: String,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

const SECONDS_A_DAY: f64 = 86_400.0;

/// The time within the day of `2026-11-21T04:56:02.123456Z`: spans here are shorter than a day.
fn second_of_day(timestamp: &str) -> Option<f64> {
    let time = timestamp.split_once('T')?.1.strip_suffix('Z')?;
    let mut parts = time.split(':').map(str::parse::<f64>);
    let (hours, minutes, seconds) = (
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    );
    Some(hours * 3600.0 + minutes * 60.0 + seconds)
}

/// Where the log ends now.
pub(super) fn mark(log: &Path) -> AuditMark {
    AuditMark(std::fs::metadata(log).map_or(0, |file| file.len()))
}

/// Counts requests after `from` whose user is `who` or whose user agent starts with it.
pub(super) fn requests(log: &Path, from: AuditMark, who: &str) -> Result<ApiRequests, Error> {
    let mut file = match std::fs::File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(ApiRequests::default());
        }
        Err(error) => return Err(Error::file("open", log)(error)),
    };
    file.seek(SeekFrom::Start(from.0))
        .map_err(Error::file("read", log))?;
    let mut requests = ApiRequests::default();
    let mut first_s = None;
    for line in BufReader::new(file).lines() {
        let line = line.map_err(Error::file("read", log))?;
        // The last line may still be in the writing.
        let Ok(entry) = serde_json::from_str::<Entry>(&line) else {
            continue;
        };
        if entry.user.username == who || entry.user_agent.starts_with(who) {
            let before = requests.writes;
            requests.add(&entry);
            if requests.writes > before
                && let Some(at_s) = second_of_day(&entry.stage_timestamp)
            {
                let first_s = *first_s.get_or_insert(at_s);
                requests.writes_span_s = (at_s - first_s).rem_euclid(SECONDS_A_DAY);
            }
        }
    }
    Ok(requests)
}

impl ApiRequests {
    fn add(&mut self, entry: &Entry) {
        let dry_run = entry.request_uri.contains("dryRun=All");
        let verb = if dry_run {
            format!("{} (dry run)", entry.verb)
        } else {
            entry.verb.clone()
        };
        *self.by_verb.entry(verb).or_default() += 1;
        let changes = matches!(
            entry.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        );
        let accepted = entry
            .response_status
            .as_ref()
            .is_some_and(|status| (200..300).contains(&status.code));
        if !changes || dry_run || !accepted {
            return;
        }
        let object = entry.object_ref.as_ref();
        // Reviews are questions that have to be posted.
        if object.is_some_and(|object| object.resource.ends_with("reviews")) {
            return;
        }
        self.writes += 1;
        if let Some(ObjectRef {
            resource,
            subresource,
            namespace,
            name,
        }) = object
        {
            let part = if subresource.is_empty() {
                String::new()
            } else {
                format!("/{subresource}")
            };
            self.written.push(format!(
                "{} {resource}{part} {namespace}/{name}",
                entry.verb
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::TestDir;

    #[test]
    fn a_dry_run_and_a_refused_patch_write_nothing() {
        let dir = TestDir::new("audit").unwrap();
        let log = dir.path().join("audit.log");
        let line = |uri: &str, code: u16| {
            format!(
                r#"{{"stageTimestamp":"2026-11-21T04:56:02.5Z","verb":"patch","requestURI":"{uri}","user":{{"username":"regraft"}},"objectRef":{{"resource":"deployments","namespace":"shop","name":"web"}},"responseStatus":{{"code":{code}}}}}"#
            )
        };
        let uri = "/apis/apps/v1/namespaces/shop/deployments/web?fieldManager=regraft";
        let text = [
            line(uri, 200),
            line(&format!("{uri}&dryRun=All"), 200),
            line(uri, 409),
        ]
        .join("\n");
        std::fs::write(&log, text).unwrap();
        let requests = requests(&log, AuditMark::default(), "regraft").unwrap();
        assert_eq!(requests.writes, 1);
        assert_eq!(requests.written, ["patch deployments shop/web"]);
        assert_eq!(
            requests.by_verb,
            BTreeMap::from([("patch".into(), 2), ("patch (dry run)".into(), 1)])
        );
        assert_eq!(second_of_day("2026-11-21T01:01:01.5Z"), Some(3661.5));
        assert_eq!(
            super::requests(&log, mark(&log), "regraft").unwrap(),
            ApiRequests::default()
        );
    }
}
