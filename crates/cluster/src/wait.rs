//! Waits until CRDs are served and namespaces take objects, so that the next stage finds them.

use crate::classify::failure;
use crate::connection::Connection;
use crate::error::Error;
use crate::task::pause;
use crate::{failed, request};
use futures::future::join_all;
use regraft_model::Object;
use regraft_model::apply::{ApplyFailure, KindVersion, Retry, Written};
use serde_json::Value;
use std::time::Duration;

/// How long a stage is waited for; after that the request ends as waiting.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Until all CRDs of a stage are established and served, and all its namespaces active.
pub(crate) async fn established(
    connection: &Connection,
    stage: &[(Object, Written)],
) -> Result<(), Vec<ApplyFailure>> {
    let waits = stage
        .iter()
        .filter(|(object, _)| is_awaited(object))
        .map(|(object, _)| until_ready(connection, object));
    let failures: Vec<_> = join_all(waits).await.into_iter().flatten().collect();
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures)
    }
}

fn is_awaited(object: &Object) -> bool {
    matches!(
        (object.group(), object.kind()),
        ("apiextensions.k8s.io", "CustomResourceDefinition") | ("", "Namespace")
    )
}

async fn until_ready(connection: &Connection, object: &Object) -> Option<ApplyFailure> {
    let mut last = String::new();
    let looking = async {
        let mut now = object.0.clone();
        loop {
            match missing(connection, &now).await {
                Ok(None) => return Ok(()),
                Ok(Some(what)) => last = what,
                Err(error) => return Err(error),
            }
            pause(LOOK_EVERY).await;
            now = read(connection, object).await?;
        }
    };
    match tokio::time::timeout(ESTABLISHED_WITHIN, looking).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(failure(Some(object.key()), &error)),
        Err(_elapsed) => Some(failed(
            Some(object.key()),
            Retry::Waiting,
            "NotEstablished",
            format!("{last} after {} s", ESTABLISHED_WITHIN.as_secs()),
        )),
    }
}

async fn read(connection: &Connection, object: &Object) -> Result<Value, Error> {
    let kind = KindVersion::of(object);
    let resource = connection.discovery.find(connection, &kind).await?;
    let key = object.key();
    let path = request::object_path(&resource, &key)?;
    connection.get(&path, &key.to_string()).await
}

/// What is still missing, in words.
async fn missing(connection: &Connection, object: &Value) -> Result<Option<String>, Error> {
    if object["kind"] == "Namespace" {
        let phase = object["status"]["phase"].as_str().unwrap_or("unknown");
        return Ok((phase != "Active").then(|| format!("the namespace is {phase}")));
    }
    let established = object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True");
    if !established {
        return Ok(Some("the CRD is not Established".to_owned()));
    }
    let kinds = served_kinds(object);
    let unknown = |kind: &&KindVersion| connection.discovery.known(kind).is_none();
    if kinds.iter().any(|kind| unknown(&kind)) {
        connection.discovery.refresh(connection).await?;
    }
    Ok(kinds.iter().find(unknown).map(|kind| {
        format!(
            "the server does not serve {} in {} yet",
            kind.kind, kind.api_version
        )
    }))
}

/// The kinds that a CRD brings.
fn served_kinds(crd: &Value) -> Vec<KindVersion> {
    let group = crd["spec"]["group"].as_str().unwrap_or_default();
    let kind = crd["spec"]["names"]["kind"].as_str().unwrap_or_default();
    crd["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|version| version["served"] == true)
        .filter_map(|version| version["name"].as_str())
        .map(|version| KindVersion {
            api_version: format!("{group}/{version}"),
            kind: kind.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_crd_brings_the_versions_it_serves() {
        let crd = json!({"spec": {"group": "example.com", "names": {"kind": "Widget"}, "versions": [
            {"name": "v1", "served": true}, {"name": "v1alpha1", "served": false}]}});
        let kinds = served_kinds(&crd);
        assert_eq!(kinds.len(), 1);
        assert_eq!(
            (kinds[0].api_version.as_str(), kinds[0].kind.as_str()),
            ("example.com/v1", "Widget")
        );
    }
}
