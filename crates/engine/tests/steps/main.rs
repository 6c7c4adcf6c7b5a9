//! Single steps of one engine that seeded worlds meet too rarely to be relied on.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod desk;

use desk::{Desk, FIRST, REPOSITORY, assign, target};
use regraft_engine::{Effect, Event, Level, ProposeOutcome};
use regraft_model::id::ClusterName;
use regraft_model::source::Revision;
use regraft_state::command::Command;
use regraft_state::record::Subject;

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
    assert!(is_stopped(&desk.replicate(&assign(2))));
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
    desk.replicate(&assign(2));
    desk.wait(1000);
    desk.cluster_tells();
    let asked = desk.replicate(&assign(1));
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
        matches!(command, Command::RecordHead { revision, .. } if revision.0 == elsewhere)
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

/// The desk a second later, and the head it asked the remote about.
fn waited(mut desk: Desk) -> (Desk, Option<Option<Revision>>) {
    let asked = desk.wait(1000);
    let known = asked.into_iter().find_map(|effect| match effect {
        Effect::Fetch { known, .. } => Some(known),
        _ => None,
    });
    (desk, known)
}
