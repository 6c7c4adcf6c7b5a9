//! Steps of an incident that has a plan.

use crate::desk::{Desk, MANIFEST, REPOSITORY, TREE, file};
use crate::{SECOND, THIRD};
use regraft_engine::{Effect, Event, Level};
use regraft_model::git::{CommitOutcome, History};
use regraft_model::id::IncidentId;
use regraft_model::incident::{OutcomeKind, Phase};
use regraft_model::plan::{Delivery, Edit};
use regraft_model::source::{BlobId, SourceTree};
use regraft_model::time::Seconds;
use regraft_state::command::{Command, Transition};
use std::collections::BTreeMap;

/// What the repair puts.
const REPAIRED: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: web}, data: {a: '0'}}";
const EIGHT_HOURS_MS: i64 = 8 * 3600 * 1000;
const PATH: &str = "apps/web/web.yaml";

/// An incident whose repair is committed as [`SECOND`].
fn committed() -> (Desk, IncidentId) {
    committed_at(Desk::new("main"))
}

fn committed_at(mut desk: Desk) -> (Desk, IncidentId) {
    let incident = desk.with_incident(TREE, Seconds(3600));
    let edit = Edit {
        path: PATH.to_owned(),
        before: Some(file(MANIFEST).blob),
        after: Some(BlobId("repaired".to_owned())),
        mode: Default::default(),
    };
    desk.planned(&incident, vec![edit]);
    desk.committed(&incident, SECOND);
    (desk, incident)
}

fn outcome(desk: &Desk, incident: &IncidentId) -> Option<OutcomeKind> {
    let outcome = desk.view().incidents[incident].outcome.as_ref();
    outcome.map(|outcome| outcome.kind)
}

fn tree(revision: &str, text: &str) -> SourceTree {
    SourceTree {
        revision: revision.into(),
        files: BTreeMap::from([(PATH.to_owned(), file(text))]),
    }
}

fn renewals(desk: &Desk) -> usize {
    let is_renewal = |command: &&Command| matches!(command, Command::Renew { .. });
    desk.proposed.iter().filter(is_renewal).count()
}

#[test]
fn a_clock_that_is_ahead_renews_no_lock_without_end_and_says_when_it_is_too_far_ahead() {
    for (ahead, told) in [(31_000, ""), (61_000, "set both by NTP")] {
        let mut desk = Desk::new("main");
        desk.ahead = ahead;
        let incident = desk.with_incident(TREE, Seconds(3600));
        desk.planned(&incident, vec![]);
        assert_eq!(desk.view().incidents[&incident].phase, Phase::Locked);
        for _ in 0..60 {
            desk.wait(1000);
        }
        // The lease of a minute is renewed every twenty seconds.
        assert!((3..=4).contains(&renewals(&desk)), "{}", renewals(&desk));
        let waits_for = &desk.view().incidents[&incident].waits_for;
        assert_eq!(told.is_empty(), waits_for.is_empty(), "{waits_for}");
        assert!(waits_for.contains(told), "{waits_for}");
    }
}

#[test]
fn a_proposal_pages_with_the_line_that_approves_it() {
    let mut desk = Desk::new("main");
    let incident = desk.with_incident(TREE, Seconds(3600));
    let mut plan = desk.plan(&incident, vec![]);
    plan.delivery = Delivery::Propose;
    let key = plan.id.0.clone();
    desk.advance(
        &incident,
        Transition::Wait {
            reason: "Proposing".to_owned(),
            message: "pushing it for review".to_owned(),
            plan: Some(Box::new(plan)),
            guards: vec![],
            rejected: vec![],
        },
    );
    let asked = desk.tell(Event::Committed {
        incident: incident.clone(),
        key,
        outcome: CommitOutcome::Committed(SECOND.into()),
    });
    let line = format!("`regraft approve {incident} --diff diff`");
    let is_paged = |effect: &Effect| matches!(effect, Effect::Say { level: Level::Page, message, .. } if message.contains(&line));
    assert!(asked.iter().any(is_paged), "{asked:?}");
    assert_eq!(desk.view().incidents[&incident].phase, Phase::Proposed);
}

#[test]
fn a_repair_is_verified_also_when_a_clock_far_ahead_stamped_it() {
    let mut desk = Desk::new("main");
    desk.ahead = -EIGHT_HOURS_MS;
    let (mut desk, incident) = committed_at(desk);
    desk.move_on(SECOND, &[("apps/web", "repaired")]);
    desk.read_tree(SECOND, "repaired", REPAIRED);
    desk.sees_what_is_applied();
    desk.apply_succeeds();
    assert_eq!(outcome(&desk, &incident), None);
    for _ in 0..10 {
        desk.wait(60_000);
    }
    assert_eq!(outcome(&desk, &incident), Some(OutcomeKind::Verified));
}

#[test]
fn a_commit_after_ours_is_not_judged_as_our_repair() {
    let (mut desk, incident) = committed();
    desk.move_on(SECOND, &[("apps/web", "repaired")]);
    desk.read_tree(SECOND, "repaired", REPAIRED);
    desk.wait(1000);
    assert_eq!(outcome(&desk, &incident), None);
    desk.move_on(THIRD, &[("apps/web", "theirs")]);
    assert_eq!(outcome(&desk, &incident), None, "it may be a veto");
    desk.read_tree(THIRD, "theirs", REPAIRED);
    desk.wait(1000);
    assert_eq!(outcome(&desk, &incident), Some(OutcomeKind::Superseded));
}

#[test]
fn a_commit_that_came_before_ours_was_seen_is_told_by_the_history() {
    for (text, expected) in [(REPAIRED, None), ("theirs", Some(OutcomeKind::Superseded))] {
        let (mut desk, incident) = committed();
        let mut asked = desk.move_on(THIRD, &[("apps/web", "unknown")]);
        asked.extend(desk.read_tree(THIRD, "unknown", REPAIRED));
        let is_asked = |effect: &Effect| matches!(effect, Effect::History { from, to, .. } if from.0 == SECOND && to.0 == THIRD);
        assert!(asked.iter().any(is_asked), "{asked:?}");
        desk.tell(Event::HistoryRead {
            incident: incident.clone(),
            from: SECOND.into(),
            to: THIRD.into(),
            outcome: Ok(History {
                from: SECOND.into(),
                to: THIRD.into(),
                base: tree(SECOND, REPAIRED),
                tip: tree(THIRD, text),
                commits: vec![],
            }),
        });
        assert_eq!(outcome(&desk, &incident), expected);
    }
}

#[test]
fn files_of_another_branch_put_nothing_back() {
    for (branch, vetoes) in [("main", 1), ("release", 0)] {
        let (mut desk, _) = committed();
        desk.move_on(SECOND, &[("apps/web", "repaired")]);
        desk.read_tree(SECOND, "repaired", REPAIRED);
        let mut desk = desk.restarted(branch);
        desk.wait(1000);
        let relation = (branch == "main").then_some(regraft_model::git::Relation::Descends);
        desk.tell(Event::Fetched {
            repository: REPOSITORY.into(),
            outcome: Ok((THIRD.into(), relation)),
        });
        desk.load(THIRD, crate::CONFIGURATION);
        desk.wait(1000);
        desk.read_tree(THIRD, TREE, MANIFEST);
        desk.wait(1000);
        assert_eq!(
            desk.view()
                .heads
                .values()
                .next()
                .map(|head| head.revision.0.as_str()),
            Some(THIRD)
        );
        assert_eq!(desk.view().vetoes.len(), vetoes, "{branch}");
    }
}
