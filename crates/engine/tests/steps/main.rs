//! Single steps of one engine that seeded worlds meet too rarely to be relied on.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod clusters;
mod desk;
mod repairs;

use desk::{
    CONFIGURATION, Desk, FIRST, OTHER, REPOSITORY, TREE, config_map, configured_with, target,
};
use regraft_engine::{Effect, Event, Level, ProposeOutcome};
use regraft_model::InvariantId;
use regraft_model::apply::{ClusterEvent, KindVersion};
use regraft_model::finding::SyncState;
use regraft_model::git::{History, Relation};
use regraft_model::health::Health;
use regraft_model::id::{ClusterName, Fence, MemberId, TargetKey};
use regraft_model::incident::{OutcomeKind, Phase};
use regraft_model::plan::Guard;
use regraft_model::source::{Revision, SourceTree};
use regraft_model::time::Seconds;
use regraft_state::command::{Command, NewHead};
use regraft_state::record::{Confirmation, Subject};
use serde_json::json;

const SECOND: &str = "2222222222222222222222222222222222222222";
const THIRD: &str = "3333333333333333333333333333333333333333";

fn is_applying(asked: &[Effect]) -> bool {
    asked
        .iter()
        .any(|effect| matches!(effect, Effect::Apply(_)))
}

fn is_stopped(asked: &[Effect]) -> bool {
    asked
        .iter()
        .any(|effect| matches!(effect, Effect::Stop { target: it } if *it == target()))
}

#[test]
fn a_command_that_can_never_be_applied_is_told_and_not_proposed_again_at_once() {
    let mut desk = Desk::new("main");
    desk.refuse_with = Some(ProposeOutcome::Invalid("2 MiB, limit 1 MiB".to_owned()));
    let asked = desk.wait(1000);
    let told = asked.iter().any(|effect| {
        matches!(effect, Effect::Say { level: Level::Page, message, .. } if message.contains("2 MiB"))
    });
    assert!(told, "{asked:?}");
    for _ in 0..30 {
        desk.wait(1000);
    }
    assert_eq!(desk.proposed.len(), 1, "{:?}", desk.proposed);
    for _ in 0..40 {
        desk.wait(1000);
    }
    assert_eq!(desk.proposed.len(), 2, "it is tried again after a minute");
}

#[test]
fn writes_stop_when_the_target_goes_to_another_member() {
    let mut desk = Desk::new("main");
    let asked = desk.until_applying();
    assert!(is_applying(&asked), "{asked:?}");
    let asked = desk.assign(2);
    assert!(is_stopped(&asked));
    let counted = Effect::Prevented {
        invariant: InvariantId::I2,
    };
    assert!(asked.contains(&counted), "{asked:?}");
}

#[test]
fn writes_stop_when_there_is_no_proof_that_the_state_is_current() {
    let mut desk = Desk::new("main");
    assert!(is_applying(&desk.until_applying()));
    assert!(!is_stopped(&desk.wait_unconfirmed(1000)));
    assert!(is_stopped(&desk.wait_unconfirmed(3000)));
}

#[test]
fn writes_stop_when_a_person_suspends_the_application() {
    let mut desk = Desk::new("main");
    assert!(is_applying(&desk.until_applying()));
    let asked = desk.replicate(&Command::Suspend {
        subject: Subject::Application("web".into()),
        reason: "looking".to_owned(),
    });
    assert!(is_stopped(&asked), "{asked:?}");
}

#[test]
fn a_target_that_comes_back_from_another_member_is_looked_at_afresh() {
    let mut desk = Desk::new("main");
    assert!(is_applying(&desk.until_applying()));
    desk.assign(2);
    desk.wait(1000);
    desk.cluster_tells();
    let asked = desk.assign(1);
    let eu = ClusterName::from("eu");
    let watched = asked
        .iter()
        .any(|effect| matches!(effect, Effect::Watch { cluster, .. } if *cluster == eu));
    assert!(watched, "{asked:?}");
    assert!(
        !is_applying(&asked),
        "what another member wrote is not known"
    );
    desk.read(FIRST);
    let asked = desk.cluster_tells();
    assert!(is_applying(&asked), "{asked:?}");
}

#[test]
fn a_target_that_nobody_held_is_looked_at_afresh_where_it_is_not_new() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    desk.apply_succeeds();
    let assign = |desk: &Desk, grants: Vec<TargetKey>, revoked: Vec<TargetKey>| Command::Assign {
        after: desk.view().spread,
        grants: grants.into_iter().map(|it| (it, MemberId(1))).collect(),
        revoked,
    };
    let is_anew = |asked: &[Effect]| {
        let mut asked = asked.iter();
        asked.any(|effect| matches!(effect, Effect::Unwatch { .. }))
    };
    let new = TargetKey::new(&"api".into(), &"eu".into());
    let asked = desk.replicate(&assign(&desk, vec![new], vec![]));
    assert!(!is_anew(&asked), "{asked:?}");
    // Whoever held it in between may have written to its inventory.
    let took = assign(&desk, vec![], vec![target()]);
    let mut asked = desk.replicate(&took);
    asked.extend(desk.wait(1000));
    assert!(desk.view().assignments.contains_key(&target()));
    assert!(is_anew(&asked), "{asked:?}");
}

#[test]
fn who_leads_for_a_moment_takes_no_target_away() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    desk.apply_succeeds();
    let mut desk = desk.restarted("main");
    desk.replicate(&Command::Assign {
        after: desk.view().spread,
        grants: vec![(TargetKey::new(&"api".into(), &"eu".into()), MemberId(2))],
        revoked: vec![],
    });
    desk.wait(1000);
    desk.load(FIRST, CONFIGURATION);
    desk.wait(1000);
    assert_eq!(
        desk.view().assignments.len(),
        2,
        "it may be of a list that others have"
    );
    for _ in 0..6 {
        desk.wait(1000);
    }
    assert_eq!(desk.view().assignments.len(), 1);
}

#[test]
fn a_target_that_leaves_git_stays_with_its_member_until_it_is_retired() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    desk.apply_succeeds();
    let before = desk.view().assignments[&target()].clone();
    desk.proposed.clear();
    desk.leave();
    assert!(desk.view().retiring.contains_key(&"web".into()));
    assert_eq!(desk.view().assignments.get(&target()), Some(&before));
    let is_revoking = |command: &Command| matches!(command, Command::Assign { revoked, .. } if !revoked.is_empty());
    assert!(
        !desk.proposed.iter().any(is_revoking),
        "{:?}",
        desk.proposed
    );
}

#[test]
fn another_tracked_branch_begins_anew() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    let same = desk.restarted("main");
    let (mut same, asked) = waited(same);
    assert_eq!(asked, Some(Some(Revision::from(FIRST))));
    same.proposed.clear();

    let (mut other, asked) = waited(same.restarted("release"));
    assert_eq!(
        asked,
        Some(None),
        "the head of main says nothing of release"
    );
    let elsewhere = "2222222222222222222222222222222222222222";
    other.tell(Event::Fetched {
        repository: REPOSITORY.into(),
        outcome: Ok((elsewhere.into(), None)),
    });
    let recorded = other.proposed.iter().any(|command| {
        matches!(command, Command::RecordHead(NewHead { revision, .. }) if revision.0 == elsewhere)
    });
    assert!(recorded, "{:?}", other.proposed);
}

#[test]
fn an_application_that_another_installation_reconciles_is_let_go_without_a_write() {
    for (owner, is_ours) in [("i", true), ("other", false)] {
        let mut desk = Desk::new("main");
        desk.inventory_of = owner;
        assert_eq!(is_applying(&desk.until_applying()), is_ours);
        let mut asked = desk.leave();
        desk.wait(1000);
        asked.extend(desk.cluster_tells());
        assert_eq!(is_applying(&asked), is_ours, "{owner}: {asked:?}");
        let is_retired = desk
            .proposed
            .iter()
            .any(|command| matches!(command, Command::Retired { .. }));
        assert_eq!(is_retired, !is_ours);
    }
}

#[test]
fn deletions_are_confirmed_for_the_time_an_application_left_git() {
    let mut desk = Desk::new("main");
    // Once a person has confirmed it.
    desk.configuration = configured_with("deletionPolicy: Delete");
    desk.until_applying();
    desk.apply_succeeds();
    let asked = desk.leave();
    assert!(!is_applying(&asked), "{asked:?}");
    let since = desk.view().retiring[&"web".into()].since;
    let pending = desk.view().statuses[&target()].pending_deletion.clone();
    let token = pending.unwrap().token;
    assert!(token.ends_with(&format!("-{}", since.0)), "{token}");
    let asked = desk.replicate(&Command::ConfirmDelete(Confirmation {
        target: target(),
        token,
    }));
    assert!(is_applying(&asked), "{asked:?}");
}

#[test]
fn a_requested_sync_is_answered_only_at_a_head_that_the_remote_told_after_it() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    desk.wait(1000);
    let request = Command::SyncNow {
        application: "web".into(),
    };
    desk.proposed.clear();
    let asked = desk.replicate(&request);
    assert_eq!(fetches(&asked), 1, "{asked:?}");
    // Another request comes while the remote is being asked: what it tells is too old for that one.
    assert_eq!(fetches(&desk.replicate(&request)), 0);
    let same = || Event::Fetched {
        repository: REPOSITORY.into(),
        outcome: Ok((FIRST.into(), Some(Relation::Same))),
    };
    assert_eq!(fetches(&desk.tell(same())), 0, "at most once a second");
    assert_eq!(remote_asked(&desk), 0);
    assert_eq!(fetches(&desk.wait(1000)), 1);
    desk.tell(same());
    assert_eq!(remote_asked(&desk), 1);
    assert_eq!(fetches(&desk.wait(5000)), 0, "every request is answered");
}

#[test]
fn a_target_says_which_requested_sync_it_has_answered() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    desk.wait(1000);
    desk.apply_succeeds();
    let answered = |desk: &Desk| desk.view().statuses[&target()].answered_sync;
    assert_eq!(
        desk.view().statuses[&target()].sync.state,
        SyncState::Synced
    );
    desk.replicate(&Command::SyncNow {
        application: "web".into(),
    });
    let fence = desk.view().syncs.values().next().unwrap().fence;
    assert_eq!(answered(&desk), Fence(0), "the old head answers nothing");
    desk.tell(Event::Fetched {
        repository: REPOSITORY.into(),
        outcome: Ok((FIRST.into(), Some(Relation::Same))),
    });
    assert_eq!(answered(&desk), fence);
}

#[test]
fn a_suspended_application_still_shows_how_it_is() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    desk.apply_succeeds();
    desk.replicate(&Command::Suspend {
        subject: Subject::Application("web".into()),
        reason: "looking".to_owned(),
    });
    let status = desk.view().statuses[&target()].clone();
    assert_eq!(status.sync.state, SyncState::Suspended);
    assert_eq!(status.health, Health::Healthy);
    let asked = desk.tell(Event::Cluster {
        cluster: "eu".into(),
        event: ClusterEvent::Gone {
            kind: KindVersion::new("v1", "ConfigMap"),
            key: config_map(),
        },
    });
    assert!(!is_applying(&asked), "{asked:?}");
    assert_eq!(desk.view().statuses[&target()].health, Health::Missing);
}

#[test]
fn an_escalation_where_regraft_only_observes_wakes_nobody() {
    let mut desk = Desk::new("main");
    let incident = desk.with_incident(TREE, Seconds(60));
    let asked = desk.wait(61_000);
    let told: Vec<_> = asked
        .iter()
        .filter_map(|effect| match effect {
            Effect::Say { level, message, .. } => Some((*level, message.as_str())),
            _ => None,
        })
        .collect();
    let told_of = |(_, message): &&(Level, &str)| message.starts_with("Escalated");
    let told = told.iter().find(told_of);
    assert_eq!(told.map(|(level, _)| *level), Some(Level::Warning));
    assert_eq!(desk.view().incidents[&incident].phase, Phase::Ended);
}

#[test]
fn what_works_again_ends_its_incident_by_what_made_it_work() {
    let by = [
        (TREE, OutcomeKind::Recovered),
        ("another", OutcomeKind::Superseded),
    ];
    for (suspect, expected) in by {
        let mut desk = Desk::new("main");
        let incident = desk.with_incident(suspect, Seconds(600));
        let outcome = |desk: &Desk| desk.view().incidents[&incident].outcome.clone();
        desk.wait(60_000);
        assert_eq!(outcome(&desk), None, "a minute is too short to be sure");
        desk.wait(61_000);
        assert_eq!(outcome(&desk).map(|it| it.kind), Some(expected));
    }
}

#[test]
fn an_incident_tells_what_it_was_escalated_on() {
    let mut desk = Desk::new("main");
    let incident = desk.with_incident(TREE, Seconds(60));
    let base = SourceTree {
        revision: FIRST.into(),
        files: Default::default(),
    };
    desk.tell(Event::HistoryRead {
        incident: incident.clone(),
        from: FIRST.into(),
        to: FIRST.into(),
        outcome: Ok(History {
            from: FIRST.into(),
            to: FIRST.into(),
            tip: base.clone(),
            base,
            commits: vec![],
        }),
    });
    let incident = &desk.view().incidents[&incident];
    assert_eq!(
        incident.outcome.as_ref().unwrap().kind,
        OutcomeKind::Escalated
    );
    let guards: Vec<_> = incident.guards.iter().map(|said| said.guard).collect();
    assert_eq!(guards, [Guard::Suspended, Guard::Frozen]);
    assert_eq!(incident.rejected.len(), 1, "{:?}", incident.rejected);
}

#[test]
fn a_directory_that_comes_back_as_it_was_is_reconciled_again() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    desk.apply_succeeds();
    let state = |desk: &Desk| desk.view().statuses[&target()].sync.state;
    desk.move_on(SECOND, &[]);
    let outcome = Err("there is no apps/web".to_owned());
    desk.tell(Event::SourceRead {
        application: "web".into(),
        revision: SECOND.into(),
        outcome,
    });
    assert_eq!(state(&desk), SyncState::Blocked);
    desk.move_on(THIRD, &[("apps/web", TREE)]);
    desk.wait(1000);
    assert_eq!(state(&desk), SyncState::Synced);
}

#[test]
fn what_is_deleted_while_it_is_applied_is_applied_again() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    let gone = Event::Cluster {
        cluster: "eu".into(),
        event: ClusterEvent::Gone {
            kind: KindVersion::new("v1", "ConfigMap"),
            key: config_map(),
        },
    };
    desk.sees_what_is_applied();
    desk.tell(gone);
    let asked = desk.apply_succeeds();
    assert!(is_applying(&asked), "{asked:?}");
}

#[test]
fn an_apply_is_not_reported_object_by_object() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    let reports = |desk: &Desk| {
        let is_report = |command: &&Command| matches!(command, Command::Report { .. });
        desk.proposed.iter().filter(is_report).count()
    };
    let before = reports(&desk);
    desk.sees_what_is_applied();
    desk.apply_succeeds();
    // Healthy, then synced.
    assert_eq!(reports(&desk) - before, 2);
    assert_eq!(
        desk.view().statuses[&target()].sync.state,
        SyncState::Synced
    );
}

#[test]
fn an_application_that_two_repositories_configure_is_left_alone() {
    let mut desk = Desk::tracking(&[(REPOSITORY, "main"), (OTHER, "main")]);
    desk.until_applying();
    desk.apply_succeeds();
    let asked = desk.other_repository_has(CONFIGURATION, &[("apps/web", "other")]);
    let sync = &desk.view().statuses[&target()].sync;
    assert_eq!(sync.state, SyncState::Blocked);
    assert_eq!(sync.reason, "AmbiguousApplication");
    assert!(!is_applying(&asked), "{asked:?}");
}

#[test]
fn a_clock_that_is_set_back_neither_stops_work_nor_lets_an_old_proof_hold() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    desk.apply_succeeds();
    desk.now -= 3_600_000;
    let asked = desk.tell(Event::ClockSet);
    assert_eq!(fetches(&asked), 1, "{asked:?}");
    let asked = desk.tell(Event::Cluster {
        cluster: "eu".into(),
        event: ClusterEvent::Gone {
            kind: KindVersion::new("v1", "ConfigMap"),
            key: config_map(),
        },
    });
    assert!(!is_applying(&asked), "the proof is older than the clock");
    let asked = desk.wait(1000);
    assert!(is_applying(&asked), "{asked:?}");
}

#[test]
fn a_proof_holds_only_for_what_was_told_up_to_its_index() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    desk.apply_succeeds();
    let gone = || Event::Cluster {
        cluster: "eu".into(),
        event: ClusterEvent::Gone {
            kind: KindVersion::new("v1", "ConfigMap"),
            key: config_map(),
        },
    };
    const BEHIND: u64 = 50;
    desk.wait_behind(5000, BEHIND);
    let asked = desk.tell(gone());
    assert!(!is_applying(&asked), "what the majority has was not told");
    for _ in 0..BEHIND {
        desk.replicate(&Command::Resume {
            subject: Subject::All,
        });
    }
    let asked = desk.wait_unconfirmed(100);
    assert!(is_applying(&asked), "it was told by now: {asked:?}");
    // An apply goes on while the next proof is ahead for a moment.
    assert!(!is_stopped(&desk.wait_behind(1000, BEHIND)));
    assert!(is_stopped(&desk.wait_behind(5000, BEHIND)));
}

#[test]
fn a_clock_that_is_set_stops_the_apply_under_way() {
    let mut desk = Desk::new("main");
    assert!(is_applying(&desk.until_applying()));
    let asked = desk.tell(Event::ClockSet);
    assert!(is_stopped(&asked), "{asked:?}");
}

#[test]
fn a_clock_that_is_set_forward_verifies_nothing() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    desk.apply_succeeds();
    desk.now += 3_600_000;
    desk.tell(Event::ClockSet);
    desk.wait(1000);
    assert_eq!(desk.view().statuses[&target()].verified, None);
}

#[test]
fn a_repository_that_is_not_configured_any_more_is_let_go_and_what_it_has_stays() {
    let mut desk = Desk::new("main");
    desk.until_applying();
    desk.apply_succeeds();
    let mut desk = desk.restarted_tracking(&[("renamed", "main")]);
    let mut asked = Vec::new();
    for _ in 0..8 {
        asked.extend(desk.wait(1000));
    }
    assert!(!is_applying(&asked), "{asked:?}");
    assert_eq!(desk.view().heads.len(), 0, "{:?}", desk.view().heads);
    assert_eq!(desk.view().configurations.len(), 0);
}

#[test]
fn an_object_of_an_application_that_was_let_go_is_nobodys() {
    for (repositories, reason) in [
        (&[(REPOSITORY, "main")][..], "Synced"),
        // What the other repository says is not known yet: the application may be its own.
        (
            &[(REPOSITORY, "main"), ("late", "main")],
            "OtherApplication",
        ),
    ] {
        let mut desk = Desk::tracking(repositories);
        desk.until_applying();
        desk.apply_succeeds();
        let asked = desk.cluster_sees(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7",
                "labels": {"regraft.dev/application": "gone"},
                "annotations": {"regraft.dev/installation": "i"},
            },
        }));
        assert!(is_applying(&asked), "{asked:?}");
        desk.apply_succeeds();
        desk.wait(1000);
        assert_eq!(desk.view().statuses[&target()].sync.reason, reason);
    }
}

fn fetches(asked: &[Effect]) -> usize {
    let is_fetch = |effect: &&Effect| matches!(effect, Effect::Fetch { .. });
    asked.iter().filter(is_fetch).count()
}

fn remote_asked(desk: &Desk) -> usize {
    let is_answer = |command: &&Command| matches!(command, Command::RemoteAsked { .. });
    desk.proposed.iter().filter(is_answer).count()
}

/// The desk a second later, and the head it asked the remote about.
fn waited(mut desk: Desk) -> (Desk, Option<Option<Revision>>) {
    let asked = desk.wait(1000);
    let known = asked.into_iter().find_map(|effect| match effect {
        Effect::Fetch { known, .. } => Some(known),
        _ => None,
    });
    (desk, known)
}
