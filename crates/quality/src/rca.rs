//! Root causes: two windows of a case to a ranking.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use regraft_remedy::rank::{Call, Input, Metric, Service, Symptom, rank};
use serde::Deserialize;

use crate::{parallel, suite};

/// Between the service and the metric in the name of a column.
const SEPARATOR: &str = "__";
/// Folder of a set with what its cases share.
const SHARED: &str = "_shared";

/// What `case.json` says; what it says besides is not looked at.
#[derive(Deserialize)]
struct About {
    /// File of the normal window, from the folder of the case.
    normal: PathBuf,
    services: Vec<String>,
    target: Option<Target>,
}

/// Where the failure was noticed.
#[derive(Deserialize)]
struct Target {
    node: String,
    metric: String,
    agg: String,
}

/// Writes `rca/<set>/<case>.csv` for each case of each set.
pub(crate) fn run(suite: &Path, out: &Path) -> Result<()> {
    let mut cases = Vec::new();
    for set in suite::folders(&suite.join("rca"))? {
        for case in suite::folders(&set)? {
            if case.join("case.json").is_file() {
                cases.push((set.clone(), case));
            }
        }
    }
    let cases = crate::some(cases, suite, "rca/SET/CASE with a case.json")?;
    parallel::each("causes", &cases, |(set, case)| {
        let name = format!("{}.csv", suite::name(case));
        write(
            &read(set, case)?,
            &out.join("rca").join(suite::name(set)).join(name),
        )
    })
}

fn read(set: &Path, case: &Path) -> Result<Input> {
    let about: About = suite::about(&case.join("case.json"))?;
    let normal = suite::table(&case.join(&about.normal))?;
    let anomalous = suite::table(&case.join("anomalous.csv"))?;
    let mut services: Vec<Service> = about
        .services
        .into_iter()
        .map(|name| Service {
            workload: workload(&name).map(str::to_owned),
            name,
            metrics: Vec::new(),
        })
        .collect();
    for (column, samples) in normal.names.iter().zip(normal.columns) {
        let Some((service, metric)) = column.split_once(SEPARATOR) else {
            continue;
        };
        let Some(service) = services.iter_mut().find(|one| one.name == service) else {
            continue;
        };
        let later = anomalous.names.iter().position(|name| name == column);
        service.metrics.push(Metric {
            name: metric.to_owned(),
            normal: samples,
            anomalous: later
                .and_then(|place| anomalous.columns.get(place).cloned())
                .unwrap_or_default(),
        });
    }
    Ok(Input {
        normal_times_s: normal.times,
        anomalous_times_s: anomalous.times,
        services,
        calls: calls(set, &case.join(&about.normal))?,
        changes: Vec::new(),
        symptom: about.target.map(|target| Symptom {
            service: target.node,
            metric: format!("{}{SEPARATOR}{}", target.metric, target.agg),
        }),
    })
}

/// Letters of a ReplicaSet's hash in its Pods' names, as Kubernetes makes them.
const HASH_LETTERS: std::ops::RangeInclusive<usize> = 8..=10;
/// Letters that tell the Pods of a ReplicaSet apart.
const POD_LETTERS: usize = 5;

/// What a Pod is a replica of, if its name ends like those that a Deployment makes: `-<hash>-<five letters>`.
fn workload(pod: &str) -> Option<&str> {
    let (rest, own) = pod.rsplit_once('-')?;
    let (workload, template) = rest.rsplit_once('-')?;
    let made = |part: &str| {
        part.chars()
            .all(|letter| letter.is_ascii_digit() || letter.is_ascii_lowercase())
    };
    let is_pod = own.len() == POD_LETTERS
        && HASH_LETTERS.contains(&template.len())
        && made(own)
        && made(template);
    is_pod.then_some(workload)
}

/// Who calls whom: a list of pairs for the whole set, or a matrix beside the normal window.
fn calls(set: &Path, normal: &Path) -> Result<Vec<Call>> {
    let list = set.join(SHARED).join("dependency.csv");
    let beside = suite::name(normal).replace("_normal", "_graph");
    let matrix = set.join(SHARED).join(&beside);
    if list.is_file() {
        pairs(&list)
    } else if beside != suite::name(normal) && matrix.is_file() {
        cells(&matrix)
    } else {
        Ok(Vec::new())
    }
}

/// `Source,Target,Weight`.
fn pairs(path: &Path) -> Result<Vec<Call>> {
    let place = || format!("read {}", path.display());
    let mut calls = Vec::new();
    for record in csv::Reader::from_path(path).with_context(place)?.records() {
        let record = record.with_context(place)?;
        if let (Some(caller), Some(callee)) = (record.get(0), record.get(1)) {
            calls.push(Call {
                caller: caller.to_owned(),
                callee: callee.to_owned(),
            });
        }
    }
    Ok(calls)
}

/// A row for each caller, a column for each callee, 0 where there is no call.
fn cells(path: &Path) -> Result<Vec<Call>> {
    let place = || format!("read {}", path.display());
    let mut reader = csv::Reader::from_path(path).with_context(place)?;
    let callees = reader.headers().with_context(place)?.clone();
    let mut calls = Vec::new();
    for record in reader.records() {
        let record = record.with_context(place)?;
        let caller = record.get(0).unwrap_or_default();
        for (callee, cell) in callees.iter().zip(record.iter()).skip(1) {
            if cell.parse().is_ok_and(|weight: f64| weight != 0.0) {
                calls.push(Call {
                    caller: caller.to_owned(),
                    callee: callee.to_owned(),
                });
            }
        }
    }
    Ok(calls)
}

/// A row for each metric that speaks for a service; one without a metric where none does.
fn write(input: &Input, path: &Path) -> Result<()> {
    let place = || format!("write {}", path.display());
    let mut writer = suite::predictions(path)?;
    writer
        .write_record(["service", "metric"])
        .with_context(place)?;
    for suspect in rank(input).suspects {
        if suspect.evidence.is_empty() {
            writer
                .write_record([suspect.service.as_str(), ""])
                .with_context(place)?;
        }
        for evidence in &suspect.evidence {
            writer
                .write_record([&suspect.service, &evidence.metric])
                .with_context(place)?;
        }
    }
    writer.flush().with_context(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pod: &str, expected: Option<&str>) {
        assert_eq!(workload(pod), expected, "{pod}");
    }

    #[test]
    fn a_pod_of_a_deployment_names_its_workload_and_nothing_else_does() {
        check("cart-db-6f9d7c5b8-x2x9q", Some("cart-db"));
        check("cart-6f9d7c5b84-x2x9q", Some("cart"));
        check("cart-0", None);
        check("cart-6f9d7c5b8-x2x9", None);
        check("cart-6f9d7c5-x2x9q", None);
        check("front-end", None);
        check("a-Redirects-x2x9q", None);
    }
}
