//! What an incident waits for, wherever people look: who or what, and until when.

use crate::document::HASH_CHARS_SHOWN;
use regraft_model::config::Application;
use regraft_model::finding::SyncState;
use regraft_model::health::Health;
use regraft_model::id::{ClusterName, TargetKey};
use regraft_model::incident::{Incident, Phase};
use regraft_state::view::View;

/// The incident with what it waits for. What its executor told last goes before what its phase says.
pub(super) fn told(view: &View, incident: &Incident) -> Incident {
    let mut told = incident.clone();
    match told.phase {
        // What ended waits for nothing.
        Phase::Ended => told.waits_for.clear(),
        _ if told.waits_for.is_empty() => told.waits_for = of_phase(view, incident),
        _ => {}
    }
    told
}

/// An application that nobody is to touch.
pub(super) struct Suspended {
    /// Who suspended it and why.
    pub(super) why: String,
    /// What a person does to end that.
    pub(super) lifted_by: String,
}

/// Who suspended an application; `None` while nobody did.
pub(super) fn suspended(view: &View, application: &Application) -> Option<Suspended> {
    if let Some(suspension) = view.suspension_of(&application.name) {
        return Some(Suspended {
            why: suspension.to_string(),
            lifted_by: suspension.lifted_by(),
        });
    }
    let name = &application.name;
    application.suspend.then(|| Suspended {
        why: "suspended in Git".to_owned(),
        lifted_by: format!("a commit without `suspend: true` in the Application {name}"),
    })
}

fn of_phase(view: &View, incident: &Incident) -> String {
    let application = view.application(&incident.application);
    if let Some(suspended) = application.and_then(|it| suspended(view, it)) {
        return format!("{}: {}", suspended.lifted_by, suspended.why);
    }
    let (executor, deadline) = (incident.executor, incident.deadline);
    let what = match (incident.phase, application) {
        (Phase::Open, _) => format!("member {executor} to make a plan"),
        (Phase::Planned, _) => lock(view, incident),
        (Phase::Locked, _) => format!("member {executor} to commit the plan"),
        (Phase::Proposed, _) => decision(incident),
        (Phase::Committed, Some(application)) => effect(view, incident, application),
        (Phase::Committed, None) => {
            format!(
                "{} to come back into the configuration",
                incident.application
            )
        }
        (Phase::Ended, _) => return String::new(),
    };
    format!("{what}, until {deadline}")
}

/// What holds the lock, as far as it is another repair.
fn lock(view: &View, incident: &Incident) -> String {
    let mut others = view.locks.keys().filter(|id| **id != incident.id);
    match others.next() {
        Some(other) => format!("its lock, while {other} holds one"),
        None => "its lock".to_owned(),
    }
}

/// What a person has to say about a proposal.
fn decision(incident: &Incident) -> String {
    let id = &incident.id;
    let approval = incident
        .approval
        .as_ref()
        .filter(|_| incident.is_approved());
    if let Some(approval) = approval {
        return format!(
            "member {} to commit what {} approved",
            incident.executor, approval.actor
        );
    }
    let hash = incident.plan.as_ref().map(|plan| {
        let hash = plan.diff_hash.as_str();
        hash.get(..HASH_CHARS_SHOWN).unwrap_or(hash)
    });
    format!(
        "a person: `regraft approve {id} --diff {}` or `regraft veto {id} --reason ...`",
        hash.unwrap_or("HASH")
    )
}

/// Where the repair still has to be applied, and where to be healthy.
fn effect(view: &View, incident: &Incident, application: &Application) -> String {
    let fleet = view.configurations.get(&incident.repository);
    let clusters = fleet.map(|it| it.fleet.active_clusters(application).collect());
    let clusters: Vec<&ClusterName> = clusters.unwrap_or_default();
    let (mut unapplied, mut unhealthy): (Vec<&str>, Vec<&str>) = (vec![], vec![]);
    for cluster in &clusters {
        let status = view
            .statuses
            .get(&TargetKey::new(&application.name, cluster));
        let applied = status.and_then(|it| Some((it, it.applied.as_ref()?)));
        match applied.filter(|(_, applied)| applied.tree != incident.suspect_tree) {
            None => unapplied.push(cluster.as_str()),
            Some((status, _)) => {
                if status.sync.state != SyncState::Synced || status.health != Health::Healthy {
                    unhealthy.push(cluster.as_str());
                }
            }
        }
    }
    let commit = incident.committed.as_ref().map_or("-", |it| it.short());
    match (unapplied.is_empty(), unhealthy.is_empty()) {
        _ if clusters.is_empty() => {
            format!("a cluster of {} that is not suspended", application.name)
        }
        (false, false) => format!(
            "{commit} to be applied in {} and healthy in {}",
            unapplied.join(", "),
            unhealthy.join(", ")
        ),
        (false, true) => format!("{commit} to be applied in {}", unapplied.join(", ")),
        (true, false) => format!("{commit} to be healthy in {}", unhealthy.join(", ")),
        (true, true) => {
            let all: Vec<&str> = clusters.iter().map(|it| it.as_str()).collect();
            let window = application.policy.verify_for;
            format!(
                "{commit} to stay healthy for {window} in {}",
                all.join(", ")
            )
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::serve::documents;
    use regraft_model::config::{
        ClusterSpec, Conflicts, DeletionPolicy, Fleet, Mode, Policy, Prune,
    };
    use regraft_model::finding::{AppliedInputs, FailureClass, SyncStatus, TargetStatus};
    use regraft_model::id::{Fence, LockScope, MemberId, PlanId};
    use regraft_model::plan::{Action, Delivery, Plan};
    use regraft_model::problem::Location;
    use regraft_model::source::{Revision, TreeId};
    use regraft_model::time::Timestamp;
    use regraft_state::record::{Configuration, Lock, Subject, Suspension};
    use std::collections::BTreeMap;

    fn storefront() -> Application {
        Application {
            name: "storefront".into(),
            repository: "shop".into(),
            location: Location {
                file: ".regraft/fleet.yaml".to_owned(),
                line: 1,
                column: 1,
            },
            path: "apps/storefront".to_owned(),
            clusters: vec!["eu".into(), "us".into()],
            namespace: "shop".to_owned(),
            mode: Mode::Auto,
            prune: Prune::default(),
            conflicts: Conflicts::default(),
            suspend: false,
            deletion: DeletionPolicy::default(),
            policy: Policy::default(),
        }
    }

    fn world() -> View {
        let storefront = storefront();
        let fleet = Fleet {
            clusters: BTreeMap::from([("eu".into(), ClusterSpec::default())]),
            applications: BTreeMap::from([(storefront.name.clone(), storefront)]),
        };
        let configuration = Configuration {
            repository: "shop".into(),
            branch: "main".into(),
            revision: Revision("a".repeat(40)),
            fleet,
        };
        View {
            configurations: BTreeMap::from([("shop".into(), configuration)]),
            ..View::default()
        }
    }

    fn standing(view: &mut View, cluster: &str, tree: &str, sync: SyncState, health: Health) {
        let key = TargetKey {
            application: "storefront".into(),
            cluster: cluster.into(),
        };
        let status = TargetStatus {
            key: key.clone(),
            applied: Some(AppliedInputs {
                revision: Revision("c".repeat(40)),
                tree: TreeId(tree.to_owned()),
                at: Timestamp(1),
            }),
            sync: SyncStatus {
                state: sync,
                ..SyncStatus::default()
            },
            health,
            ..TargetStatus::default()
        };
        view.statuses.insert(key, status);
    }

    pub(in crate::serve) fn incident(phase: Phase) -> Incident {
        Incident {
            id: "storefront-41".into(),
            application: "storefront".into(),
            repository: "shop".into(),
            branch: "main".into(),
            class: FailureClass::ImagePull,
            seen_at: Revision("b".repeat(40)),
            suspect_tree: TreeId("broken".to_owned()),
            targets: BTreeMap::new(),
            opened_at: Timestamp(1_800_000_000_000),
            executor: MemberId(2),
            executor_fence: Fence(40),
            phase,
            phase_since: Timestamp(1_800_000_000_000),
            deadline: Timestamp(1_800_000_060_000),
            waits_for: String::new(),
            plan: None,
            guards: vec![],
            rejected: vec![],
            lock: None,
            committed: Some(Revision("c".repeat(40))),
            committed_at: None,
            approval: None,
            steps: vec![],
            outcome: None,
            ended_at: None,
        }
    }

    #[track_caller]
    fn check(view: &View, incident: &Incident, expected: &str) {
        assert_eq!(told(view, incident).waits_for, expected);
    }

    #[test]
    fn every_phase_but_the_last_waits_for_somebody_until_its_deadline() {
        let mut view = world();
        let until = "until 2027-01-15T08:01:00.000Z";
        for (phase, expected) in [
            (Phase::Open, "member 2 to make a plan"),
            (Phase::Planned, "its lock"),
            (Phase::Locked, "member 2 to commit the plan"),
            (
                Phase::Proposed,
                "a person: `regraft approve storefront-41 --diff HASH` or `regraft veto storefront-41 --reason ...`",
            ),
            (Phase::Committed, "cccccccc to be applied in eu, us"),
        ] {
            check(&view, &incident(phase), &format!("{expected}, {until}"));
        }
        let lock = Lock {
            scope: LockScope::Application("cart".into()),
            incident: "cart-12".into(),
            plan: PlanId::from("cart-12.1"),
            budget: 1,
            fence: Fence(12),
            granted_at: Timestamp(1),
            expires_at: Timestamp(2),
        };
        view.locks.insert("cart-12".into(), lock);
        let expected = format!("its lock, while cart-12 holds one, {until}");
        check(&view, &incident(Phase::Planned), &expected);

        let mut ended = incident(Phase::Ended);
        ended.waits_for = "more evidence".to_owned();
        check(&view, &ended, "");
        let mut open = incident(Phase::Open);
        open.waits_for = "more evidence".to_owned();
        check(&view, &open, "more evidence");
    }

    #[test]
    fn a_committed_repair_names_the_clusters_it_still_waits_for() {
        let mut view = world();
        let committed = incident(Phase::Committed);
        let until = "until 2027-01-15T08:01:00.000Z";
        standing(
            &mut view,
            "eu",
            "broken",
            SyncState::Synced,
            Health::Healthy,
        );
        standing(
            &mut view,
            "us",
            "good",
            SyncState::Synced,
            Health::Progressing,
        );
        let expected = format!("cccccccc to be applied in eu and healthy in us, {until}");
        check(&view, &committed, &expected);
        standing(
            &mut view,
            "eu",
            "good",
            SyncState::OutOfSync,
            Health::Healthy,
        );
        let expected = format!("cccccccc to be healthy in eu, us, {until}");
        check(&view, &committed, &expected);
        standing(&mut view, "eu", "good", SyncState::Synced, Health::Healthy);
        standing(&mut view, "us", "good", SyncState::Synced, Health::Healthy);
        let expected = format!("cccccccc to stay healthy for 5m in eu, us, {until}");
        check(&view, &committed, &expected);
    }

    #[test]
    fn what_is_suspended_waits_for_being_resumed() {
        let mut view = world();
        let subject = Subject::Application("storefront".into());
        let suspension = Suspension {
            subject: subject.clone(),
            reason: "maintenance".to_owned(),
            actor: "user/alice".to_owned(),
            at: Timestamp(1),
        };
        view.suspensions.insert(subject, suspension);
        check(
            &view,
            &incident(Phase::Committed),
            "`regraft resume storefront`: user/alice suspended application/storefront at 1970-01-01T00:00:00.001Z: maintenance",
        );
    }

    #[test]
    fn incidents_are_listed_newest_first() {
        let mut view = world();
        for (id, opened) in [("a-1", 10), ("b-2", 30), ("c-3", 20), ("d-4", 30)] {
            let mut incident = incident(Phase::Ended);
            incident.id = id.into();
            incident.opened_at = Timestamp(opened);
            view.incidents.insert(incident.id.clone(), incident);
        }
        let rows = documents::incidents(&view);
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["b-2", "d-4", "c-3", "a-1"]);
    }

    fn plan(mode: Mode) -> Plan {
        Plan {
            id: "cart-12.1".into(),
            installation: "i".to_owned(),
            incident: "cart-12".into(),
            application: "storefront".into(),
            repository: "shop".into(),
            branch: "main".into(),
            action: Action::Rollback,
            parent: Revision("b".repeat(40)),
            restores: Revision("a".repeat(40)),
            suspects: vec![],
            suspect_inputs: BTreeMap::new(),
            edits: vec![],
            message: String::new(),
            diff_hash: "d".repeat(64),
            mode,
            delivery: Delivery::Propose,
            guards: vec![],
            rejected: vec![],
        }
    }

    #[test]
    fn an_ended_incident_has_the_mode_it_was_decided_in() {
        let view = world();
        let mode = |incident: &Incident| documents::incident(&view, incident, String::new()).mode;
        assert_eq!(mode(&incident(Phase::Open)), Some(Mode::Auto));
        let mut ended = incident(Phase::Ended);
        assert_eq!(mode(&ended), None, "the mode of today decided nothing then");
        ended.plan = Some(plan(Mode::Propose));
        assert_eq!(mode(&ended), Some(Mode::Propose));
    }
}
