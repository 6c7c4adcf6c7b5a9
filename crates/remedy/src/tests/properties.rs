use super::scenario::{API, SETTINGS, Scenario, WEB, deployment, revision, settings, web};
use crate::{Decision, check, restored, undone};
use proptest::prelude::*;
use regraft_model::plan::Delivery;
use regraft_model::{Application, ObjectKey, SourceTree};
use regraft_render::{inputs_of, manifests};

/// One change of one file.
#[derive(Clone, Debug)]
enum Change {
    /// A new image of web, with a companion in the same file.
    Web {
        image: u8,
        companion: u8,
    },
    Api(u8),
    Settings(u8),
    Notes(u8),
    Remove(&'static str),
}

impl Change {
    fn apply(&self) -> (&'static str, Option<String>) {
        match self {
            Change::Web { image, companion } => {
                let extra =
                    settings(&companion.to_string()).replace("name: settings", "name: companion");
                (
                    WEB,
                    Some(format!(
                        "{}---\n{extra}",
                        deployment("web", &image.to_string())
                    )),
                )
            }
            Change::Api(image) => (API, Some(deployment("api", &image.to_string()))),
            Change::Settings(value) => (SETTINGS, Some(settings(&value.to_string()))),
            Change::Notes(value) => ("apps/storefront/notes.txt", Some(format!("note {value}"))),
            Change::Remove(path) => (path, None),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (1u8..4, 1u8..3).prop_map(|(image, companion)| Change::Web { image, companion }),
        2 => (1u8..4).prop_map(Change::Api),
        2 => (1u8..3).prop_map(Change::Settings),
        1 => (1u8..3).prop_map(Change::Notes),
        1 => prop_oneof![Just(API), Just(SETTINGS), Just("apps/storefront/notes.txt")].prop_map(Change::Remove),
    ]
}

/// A history of up to five commits, and which of them the failure was seen at.
fn scenario() -> impl Strategy<Value = Scenario> {
    (
        proptest::collection::vec(proptest::collection::vec(change(), 1..3), 1..6),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(commits, seen)| {
            let mut scenario = Scenario::quiet();
            let (path, text) = Change::Web {
                image: 1,
                companion: 1,
            }
            .apply();
            super::scenario::put(&mut scenario.history.base, path, text.as_deref());
            scenario.history.tip = scenario.history.base.clone();
            for (name, changes) in ('a'..).zip(&commits) {
                let changes: Vec<_> = changes.iter().map(Change::apply).collect();
                let changes: Vec<_> = changes
                    .iter()
                    .map(|(path, text)| (*path, text.as_deref()))
                    .collect();
                scenario.commit(name, "Change", &changes);
            }
            let seen = seen.index(commits.len());
            let name = scenario.history.commits[seen].revision.0.chars().next();
            scenario.seen_at(name.expect("a revision"));
            scenario
        })
}

fn inputs(application: &Application, files: &SourceTree, workload: &ObjectKey) -> Option<String> {
    let rendered = manifests(application, files);
    let objects: Vec<_> = rendered.objects.iter().map(|one| &one.object).collect();
    let found = objects.iter().find(|object| object.key() == *workload)?;
    Some(inputs_of(found, &objects))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_plan_restores_the_inputs_and_nothing_else(scenario in scenario()) {
        let Decision::Act(plan) = scenario.decide() else {
            return Ok(());
        };
        prop_assert_eq!(scenario.with(|case| check(&plan, case)), vec![]);
        let (tip, base) = (&scenario.history.tip, &scenario.history.base);
        let after = restored(tip, base, &plan.edits);
        let application = &scenario.application;
        prop_assert_eq!(inputs(application, &after, &web()), inputs(application, base, &web()));
        prop_assert_ne!(inputs(application, tip, &web()), inputs(application, base, &web()));
        for path in tip.files.keys().chain(base.files.keys()) {
            let edited = plan.edits.iter().any(|edit| edit.path == *path);
            let expected = if edited { base } else { tip };
            prop_assert_eq!(after.files.get(path), expected.files.get(path), "{}", path);
        }
        prop_assert!(undone(&plan, tip) && !undone(&plan, &after));
    }

    #[test]
    fn planning_what_is_done_changes_nothing(mut scenario in scenario()) {
        let Decision::Act(plan) = scenario.decide() else {
            return Ok(());
        };
        let after = restored(&scenario.history.tip, &scenario.history.base, &plan.edits);
        let texts: Vec<_> = plan.edits.iter().map(|edit| {
            let file = after.files.get(&edit.path);
            (edit.path.as_str(), file.map(|file| String::from_utf8_lossy(&file.bytes).into_owned()))
        }).collect();
        let changes: Vec<_> = texts.iter().map(|(path, text)| (*path, text.as_deref())).collect();
        scenario.commit('f', "revert", &changes);
        prop_assert_eq!(&scenario.history.tip.files, &after.files);
        let Decision::Superseded { by, .. } = scenario.decide() else {
            return Err(TestCaseError::fail("not superseded"));
        };
        prop_assert_eq!(by, revision('f'));
        scenario.history.commits.last_mut().expect("ours").trailers = vec![
            ("Regraft-Plan".to_owned(), plan.id.to_string()),
            ("Regraft-Incident".to_owned(), plan.incident.to_string()),
            ("Regraft-Installation".to_owned(), plan.installation.clone()),
        ];
        prop_assert_eq!(scenario.decide(), Decision::AlreadyCommitted { revision: revision('f') });
    }

    #[test]
    fn no_commit_by_somebody_else_is_lost(scenario in scenario()) {
        let Decision::Act(plan) = scenario.decide() else {
            return Ok(());
        };
        let after = restored(&scenario.history.tip, &scenario.history.base, &plan.edits);
        // The last word of a commit that is no suspect about a file holds, unless a suspect spoke later.
        for edit in &plan.edits {
            let mut before = &scenario.history.base;
            let mut last = None;
            for commit in &scenario.history.commits {
                if before.files.get(&edit.path) != commit.tree.files.get(&edit.path) {
                    last = Some(commit);
                }
                before = &commit.tree;
            }
            let last = last.expect("somebody changed it");
            if !plan.suspects.contains(&last.revision) {
                prop_assert_eq!(after.files.get(&edit.path), last.tree.files.get(&edit.path));
            }
        }
        let deletes = plan.edits.iter().any(|edit| edit.after.is_none() && edit.path.ends_with(".yaml"));
        prop_assert!(!deletes || plan.delivery == Delivery::Propose);
    }
}

#[test]
fn random_histories_do_lead_to_plans() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let acted = (0..300).filter(|_| {
        let tree = Strategy::new_tree(&scenario(), &mut runner).expect("a scenario");
        matches!(
            proptest::strategy::ValueTree::current(&tree).decide(),
            Decision::Act(_)
        )
    });
    let acted = acted.count();
    assert!(acted > 60, "{acted} of 300");
}
