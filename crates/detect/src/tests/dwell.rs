use super::world::{NOON, World, at, replica_set, waiting};
use crate::symptom::symptoms;
use crate::{CRASH_LOOP_GRACE, Confirmation, Dwell};
use proptest::prelude::*;
use regraft_model::finding::Template;
use regraft_model::{FailureClass, ObjectKey, Seconds, Symptom, Timestamp};

const CONFIRM: Seconds = Seconds(120);

fn symptom(class: FailureClass) -> Symptom {
    Symptom {
        workload: workload(),
        class,
        template: Template::Newest,
        newest_template: Some(workload()),
        evidence: vec![],
    }
}

fn workload() -> ObjectKey {
    ObjectKey {
        group: "apps".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
    }
}

/// Drives a dwell with (seconds after noon, whether it is seen) and tells what it said each time: `.` for nothing,
/// `p` for pending, `C` for confirmed.
#[track_caller]
fn check(class: FailureClass, sights: &[(i64, bool)], expected: &str) -> Dwell {
    let mut dwell = Dwell::default();
    let said: String = sights
        .iter()
        .map(|&(seconds, seen)| {
            let seen = if seen { vec![symptom(class)] } else { vec![] };
            let held = dwell.observe(&workload(), seen, at(seconds), CONFIRM);
            match held.first().map(|held| held.confirmation) {
                None => '.',
                Some(Confirmation::Pending(_)) => 'p',
                Some(Confirmation::Confirmed) => 'C',
            }
        })
        .collect();
    assert_eq!(said, expected);
    dwell
}

#[test]
fn a_symptom_counts_after_its_time_and_as_long_as_it_holds() {
    use FailureClass::ImagePull;
    check(
        ImagePull,
        &[
            (0, true),
            (119, true),
            (120, true),
            (500, true),
            (501, false),
        ],
        "ppCC.",
    );
    check(
        ImagePull,
        &[(0, true), (60, false), (61, true), (130, true), (181, true)],
        "p.ppC",
    );
}

#[test]
fn an_exceeded_progress_deadline_counts_at_once() {
    check(
        FailureClass::ProgressDeadlineExceeded,
        &[(0, true), (1, false)],
        "C.",
    );
}

#[test]
fn a_crash_loop_may_pause_for_the_grace() {
    use FailureClass::CrashLoopBackOff;
    check(
        CrashLoopBackOff,
        &[(0, true), (50, false), (59, true), (120, true)],
        "pppC",
    );
    check(
        CrashLoopBackOff,
        &[
            (0, true),
            (50, false),
            (60, false),
            (61, true),
            (120, true),
            (181, true),
        ],
        "pp.ppC",
    );
    // A pause that nobody looked at the end of.
    check(
        CrashLoopBackOff,
        &[(0, true), (50, false), (110, true), (120, true)],
        "pppp",
    );
    // It is not confirmed while it is not seen.
    check(
        CrashLoopBackOff,
        &[(0, true), (115, false), (121, false), (122, true)],
        "pppC",
    );
}

#[test]
fn a_clock_that_goes_back_never_confirms_earlier() {
    use FailureClass::ImagePull;
    check(
        ImagePull,
        &[(0, true), (-3600, true), (119, true), (120, true)],
        "pppC",
    );
    check(ImagePull, &[(0, true), (120, true), (-3600, true)], "pCC");
}

#[test]
fn a_lost_cluster_starts_everything_again() {
    let mut dwell = check(FailureClass::ImagePull, &[(0, true), (119, true)], "pp");
    dwell.interrupt();
    assert_eq!(dwell, Dwell::default());
    let held = dwell.observe(
        &workload(),
        vec![symptom(FailureClass::ImagePull)],
        at(120),
        CONFIRM,
    );
    assert_eq!(held[0].since, at(120));
}

#[test]
fn the_next_deadline_is_when_something_may_change() {
    use FailureClass::{CrashLoopBackOff, ImagePull};
    assert_eq!(Dwell::default().next_deadline(), None);
    let dwell = check(ImagePull, &[(0, true)], "p");
    assert_eq!(dwell.next_deadline(), Some(at(120)));
    assert_eq!(
        check(ImagePull, &[(0, true), (120, true)], "pC").next_deadline(),
        None
    );
    // A crash loop may look over without any news.
    let dwell = check(CrashLoopBackOff, &[(0, true)], "p");
    assert_eq!(dwell.next_deadline(), Some(NOON.plus(CRASH_LOOP_GRACE)));
    let dwell = check(CrashLoopBackOff, &[(0, true), (115, false)], "pp");
    assert_eq!(dwell.next_deadline(), Some(at(125)));
}

#[test]
fn other_workloads_are_left_alone() {
    let mut dwell = check(FailureClass::ImagePull, &[(0, true)], "p");
    let other = ObjectKey {
        name: "api".to_owned(),
        ..workload()
    };
    assert!(dwell.observe(&other, vec![], at(1), CONFIRM).is_empty());
    assert_eq!(dwell.held(&workload()).len(), 1);
    dwell.forget(&other);
    assert_eq!(dwell.held(&workload()).len(), 1);
    dwell.forget(&workload());
    assert_eq!(dwell, Dwell::default());
}

#[test]
fn another_template_is_another_failure() {
    let mut dwell = Dwell::default();
    let mut world = World::with_new_pod(waiting("CrashLoopBackOff", ""));
    dwell.observe_view(&world.view(), NOON, CONFIRM);
    assert_eq!(
        dwell.observe_view(&world.view(), at(130), CONFIRM)[0].confirmation,
        Confirmation::Confirmed
    );
    // A fix is pushed whose pods crash, too.
    world
        .replica_sets
        .push(replica_set("web-3", 3, "shop/web:3"));
    world.pods[1] = super::world::pod("web-3-a", "web-3", waiting("CrashLoopBackOff", ""), false);
    let held = dwell.observe_view(&world.view(), at(131), CONFIRM);
    assert_eq!(
        (held[0].since, held[0].confirmation),
        (at(131), Confirmation::Pending(at(251)))
    );
}

#[test]
fn while_a_template_is_being_replaced_nothing_counts_and_nothing_starts_again() {
    let confirmation = |dwell: &mut Dwell, world: &World, second: i64| {
        let held = dwell.observe_view(&world.view(), at(second), CONFIRM);
        held.first()
            .map(|held| held.confirmation == Confirmation::Confirmed)
    };
    let mut dwell = Dwell::default();
    let mut world = World::with_new_pod(waiting("CrashLoopBackOff", ""));
    assert_eq!(confirmation(&mut dwell, &world, 0), Some(false));
    assert_eq!(confirmation(&mut dwell, &world, 130), Some(true));
    // Somebody scales it: the controller has not seen that yet.
    world.workload.0["metadata"]["generation"] = serde_json::json!(3);
    assert_eq!(confirmation(&mut dwell, &world, 131), Some(false));
    world.workload.0["status"]["observedGeneration"] = serde_json::json!(3);
    assert_eq!(confirmation(&mut dwell, &world, 132), Some(true));
    // Somebody rolls it back: the Deployment tells before its ReplicaSets do.
    world.workload.0["metadata"]["annotations"] =
        serde_json::json!({"deployment.kubernetes.io/revision": "3"});
    assert_eq!(confirmation(&mut dwell, &world, 133), Some(false));
    world.replica_sets[0].0["metadata"]["annotations"]["deployment.kubernetes.io/revision"] =
        serde_json::json!("3");
    assert_eq!(confirmation(&mut dwell, &world, 134), None);
}

#[test]
fn a_crash_loop_whose_pods_are_gone_is_over_at_once() {
    let mut dwell = Dwell::default();
    let mut world = World::with_new_pod(waiting("CrashLoopBackOff", ""));
    assert_eq!(dwell.observe_view(&world.view(), NOON, CONFIRM).len(), 1);
    world.pods.pop();
    assert!(dwell.observe_view(&world.view(), at(1), CONFIRM).is_empty());
}

#[test]
fn a_pod_that_runs_between_crashes_is_one_crash_loop() {
    let mut dwell = Dwell::default();
    let mut confirmed_at = None;
    for second in 0..=150 {
        // Ten seconds of back-off, then two seconds of running, ready, over and over.
        let phase = second % 12;
        let mut world = World::with_new_pod(waiting("CrashLoopBackOff", "back-off"));
        world.container()["restartCount"] = serde_json::json!(1 + second / 12);
        if phase >= 10 {
            world.container()["state"] = serde_json::json!({"running": {"startedAt": at(second - (phase - 10)).to_rfc3339()}});
        }
        let held = dwell.observe_view(&world.view(), at(second), CONFIRM);
        if confirmed_at.is_none()
            && held.first().map(|one| one.confirmation) == Some(Confirmation::Confirmed)
        {
            confirmed_at = Some(second);
        }
        assert_eq!(symptoms(&world.view(), at(second)).is_empty(), phase >= 10);
    }
    assert_eq!(confirmed_at, Some(120));
}

fn class() -> impl Strategy<Value = FailureClass> {
    prop_oneof![
        Just(FailureClass::CrashLoopBackOff),
        Just(FailureClass::ImagePull),
        Just(FailureClass::ContainerConfig)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Against a reading of the promise by brute force over the whole record of sights.
    #[test]
    fn nothing_is_confirmed_without_an_unbroken_record(
        class in class(), confirm in 0u64..40,
        record in proptest::collection::vec((-3i64..15, any::<bool>(), prop::bool::weighted(0.05)), 1..60),
    ) {
        let mut dwell = Dwell::default();
        let (mut now, mut sights): (i64, Vec<(i64, bool)>) = (0, vec![]);
        for (step, seen, interrupted) in record {
            now += step;
            if interrupted {
                dwell.interrupt();
                sights.clear();
            }
            sights.push((now, seen));
            let seen = if seen { vec![symptom(class)] } else { vec![] };
            let held = dwell.observe(&workload(), seen, at(now), Seconds(confirm));
            if let Some(held) = held.first().filter(|one| one.confirmation == Confirmation::Confirmed) {
                let since = held.since;
                // There are two sights that far apart...
                let confirm_ms = i64::try_from(confirm * 1000).expect("small");
                prop_assert!(sights.iter().any(|(second, seen)| *seen && at(*second).0 - since.0 >= confirm_ms));
                prop_assert!(sights.iter().any(|(second, seen)| *seen && at(*second) == since));
                prop_assert!(!broken(class, &sights, since), "{:?} since {since}", sights);
            }
        }
    }

    #[test]
    fn observing_twice_at_one_moment_changes_nothing(
        class in class(), record in proptest::collection::vec((0i64..15, any::<bool>()), 1..40),
    ) {
        let (mut dwell, mut now) = (Dwell::default(), 0);
        for (step, seen) in record {
            now += step;
            let seen = if seen { vec![symptom(class)] } else { vec![] };
            let once = dwell.observe(&workload(), seen.clone(), at(now), CONFIRM);
            let stored = dwell.clone();
            prop_assert_eq!(dwell.observe(&workload(), seen, at(now), CONFIRM), once);
            prop_assert_eq!(&dwell, &stored);
        }
    }
}

#[test]
fn a_workload_that_is_not_wanted_any_more_is_waited_for_no_longer() {
    let mut dwell = check(FailureClass::ImagePull, &[(0, true)], "p");
    dwell.keep_only(|key| *key == workload());
    assert!(dwell.next_deadline().is_some());
    dwell.keep_only(|_| false);
    assert_eq!(dwell.next_deadline(), None);
}

/// Whether the record since a moment has a break: one blind look, or for a crash loop blind looks and nothing else
/// for the grace.
fn broken(class: FailureClass, sights: &[(i64, bool)], since: Timestamp) -> bool {
    let start = sights
        .iter()
        .rposition(|(second, seen)| *seen && at(*second) == since)
        .expect("it began with a sight");
    let grace_s = i64::try_from(CRASH_LOOP_GRACE.0).expect("small");
    let mut blind_since = None;
    sights[start..].iter().any(|(second, seen)| {
        let blind_for = blind_since.map_or(0, |blind| *second - blind);
        if *seen {
            blind_since = None;
            return blind_for >= grace_s;
        }
        blind_since.get_or_insert(*second);
        class != FailureClass::CrashLoopBackOff
            || *second - blind_since.unwrap_or(*second) >= grace_s
    })
}
