use super::scenario::{API, Scenario, WEB, deployment, put, web};
use crate::{diff_hash, fingerprint, inputs_are_back, line, undone};
use regraft_model::source::FileMode;
use regraft_model::{BlobId, Edit, SourceTree};
use std::collections::{BTreeMap, BTreeSet};

fn edit(path: &str, before: Option<&str>, after: Option<&str>) -> Edit {
    let blob = |text: &str| BlobId(text.to_owned());
    Edit {
        path: path.to_owned(),
        before: before.map(blob),
        after: after.map(blob),
        mode: FileMode::Regular,
    }
}

#[test]
fn a_repair_is_known_by_path_before_and_after() {
    let known = fingerprint(&[edit("a", Some("1"), Some("2"))]);
    for other in [
        edit("b", Some("1"), Some("2")),
        edit("a", Some("2"), Some("1")),
        edit("a", None, Some("2")),
        edit("a", Some("1"), None),
        edit("a1", Some(""), Some("2")),
    ] {
        assert_ne!(fingerprint(&[other]), known);
    }
    let (first, second) = (edit("a", None, Some("1")), edit("b", Some("2"), None));
    assert_eq!(
        fingerprint(&[first.clone(), second.clone()]),
        fingerprint(&[second, first.clone()])
    );
    // A person who sees a diff sees its file modes; a veto is about the content.
    let executable = Edit {
        mode: FileMode::Executable,
        ..first.clone()
    };
    assert_eq!(
        fingerprint(std::slice::from_ref(&first)),
        fingerprint(std::slice::from_ref(&executable))
    );
    assert_ne!(
        diff_hash(std::slice::from_ref(&first)),
        diff_hash(std::slice::from_ref(&executable))
    );
    assert_ne!(
        diff_hash(std::slice::from_ref(&first)),
        fingerprint(&[first])
    );
    assert_eq!(known.len(), 64);
}

#[test]
fn putting_back_what_we_replaced_is_a_veto() {
    let scenario = Scenario::bad_release();
    let plan = scenario.plan();
    assert!(undone(&plan, &scenario.history.tip));
    let mut tip = scenario.history.base.clone();
    assert!(!undone(&plan, &tip));
    put(&mut tip, API, Some(&deployment("api", "9")));
    put(&mut tip, WEB, Some(&deployment("web", "3")));
    assert!(!undone(&plan, &tip));
    // Files that did not exist count as well.
    let mut added = plan.clone();
    added.edits = vec![edit(WEB, None, Some("x"))];
    assert!(!undone(&added, &tip));
    put(&mut tip, WEB, None);
    assert!(undone(&added, &tip));
}

#[test]
fn giving_a_workload_back_what_it_failed_with_is_a_veto_whatever_else_changed() {
    let scenario = Scenario::bad_release();
    let plan = scenario.plan();
    let inputs_of = |tree: &SourceTree| {
        scenario.with(|case| {
            let rendered = line::render(case.application, tree).expect("no problems");
            let inputs = line::inputs(&rendered, &BTreeSet::from([web()]));
            let there = inputs.into_iter();
            there
                .filter_map(|(key, digest)| Some((key, digest?)))
                .collect::<BTreeMap<_, _>>()
        })
    };
    let mut tip = scenario.history.base.clone();
    assert!(!inputs_are_back(&plan, &inputs_of(&tip)));
    let commented = format!("# on purpose\n{}", deployment("web", "2"));
    put(&mut tip, WEB, Some(&commented));
    assert!(!undone(&plan, &tip), "the bytes are others");
    assert!(inputs_are_back(&plan, &inputs_of(&tip)));
    put(&mut tip, WEB, None);
    assert!(!inputs_are_back(&plan, &inputs_of(&tip)), "it is gone");
}
