use super::scenario::{NOON, at, finding};
use crate::{Storm, storm};
use regraft_model::finding::{AppliedInputs, Change, TargetStatus};
use regraft_model::{Finding, Policy, Revision, TargetKey, TreeId};
use std::collections::BTreeMap;

/// (application, cluster, workloads, failing ones with their change and since when)
type Row<'a> = (&'a str, &'a str, u32, &'a [(&'a str, Change, i64)]);

fn storm_in(rows: &[Row<'_>]) -> Option<Storm> {
    let mut statuses: BTreeMap<TargetKey, TargetStatus> = BTreeMap::new();
    for (application, cluster, workloads, failing) in rows {
        let key = TargetKey {
            application: (*application).into(),
            cluster: (*cluster).into(),
        };
        let findings = failing.iter().map(|(name, change, since)| {
            let mut one: Finding = finding(cluster);
            one.symptom.workload.name = (*name).to_owned();
            (one.change, one.since) = (*change, at(*since));
            one
        });
        let status = TargetStatus {
            key: key.clone(),
            applied: Some(AppliedInputs {
                revision: Revision::from("a"),
                tree: TreeId(format!("{application}-tree")),
                at: NOON,
            }),
            workloads: *workloads,
            findings: findings.collect(),
            ..TargetStatus::default()
        };
        statuses.insert(key, status);
    }
    storm(&statuses, &Policy::default(), at(130))
}

const CHANGED: Change = Change::Changed;
const UNCHANGED: Change = Change::Unchanged;

#[test]
fn one_bad_release_is_no_storm_however_many_clusters_it_breaks() {
    let failing: &[_] = &[("web", CHANGED, 0), ("api", CHANGED, 5)];
    assert_eq!(
        storm_in(&[
            ("shop", "eu", 2, failing),
            ("shop", "us", 2, failing),
            ("shop", "ap", 2, failing)
        ]),
        None
    );
}

#[test]
fn one_failure_that_nobody_changed_in_one_cluster_is_no_storm() {
    assert_eq!(
        storm_in(&[("shop", "eu", 1, &[("web", UNCHANGED, 0)])]),
        None
    );
    assert_eq!(
        storm_in(&[
            ("shop", "eu", 2, &[("web", CHANGED, 0)]),
            ("shop", "us", 2, &[("web", CHANGED, 0)]),
            ("cart", "eu", 2, &[("cart", UNCHANGED, 0)])
        ]),
        None
    );
}

#[test]
fn failures_nobody_changed_in_two_clusters_are_a_storm() {
    let found = storm_in(&[
        ("shop", "eu", 10, &[("web", UNCHANGED, 0)]),
        ("cart", "us", 10, &[("cart", Change::Unknown, 60)]),
    ]);
    let found = found.expect("a storm");
    insta::assert_snapshot!(found.reason, @"2 workloads in 2 clusters began to fail within 5m and no single commit explains them");
    assert_eq!(
        (found.clusters.len(), found.failing, found.total),
        (2, 2, 20)
    );
}

#[test]
fn two_bad_releases_of_different_applications_are_not_one_cause() {
    let rows: &[Row<'_>] = &[
        ("shop", "eu", 10, &[("web", CHANGED, 0)]),
        ("shop", "us", 10, &[("web", CHANGED, 0)]),
        ("cart", "eu", 10, &[("cart", CHANGED, 0)]),
        ("cart", "us", 10, &[("cart", CHANGED, 0)]),
    ];
    assert!(storm_in(rows).is_some());
    assert_eq!(storm_in(&rows[..3]), None);
}

#[test]
fn a_share_of_all_workloads_is_a_storm_from_the_fewest_on() {
    let names = ["a", "b", "c", "d", "e"];
    let failing: Vec<_> = names.iter().map(|name| (*name, UNCHANGED, 0)).collect();
    let found = storm_in(&[("shop", "eu", 24, &failing)]).expect("a storm");
    insta::assert_snapshot!(found.reason, @"5 of 24 workloads (more than 20 %) began to fail within 5m and no single commit explains them");
    assert_eq!(storm_in(&[("shop", "eu", 25, &failing)]), None);
    assert_eq!(storm_in(&[("shop", "eu", 5, &failing[..4])]), None);
}

#[test]
fn what_fails_for_long_is_no_storm() {
    let old = [("web", UNCHANGED, -171)];
    assert_eq!(
        storm_in(&[("shop", "eu", 1, &old), ("shop", "us", 1, &old)]),
        None
    );
    let fresh = [("web", UNCHANGED, -170)];
    assert!(storm_in(&[("shop", "eu", 1, &fresh), ("shop", "us", 1, &fresh)]).is_some());
}
