//! Heads and targets: who works on what, what was told of it, and what left Git.

use crate::harness::{Machine, application, fleet, head, target};
use regraft_model::config::Application;
use regraft_model::finding::{AppliedInputs, PendingDeletion, SyncState, TargetStatus};
use regraft_model::id::{Fence, MemberId};
use regraft_model::source::{Revision, TreeId};
use regraft_model::time::Timestamp;
use regraft_state::command::{Command, HeadRelation, RejectionReason, Response};
use regraft_state::record::{Confirmation, Subject};

#[test]
fn a_report_under_an_old_assignment_is_refused() {
    let mut machine = Machine::default();
    let old = machine.assign("shop", "eu", 1);
    machine.assign("shop", "eu", 2);
    let status = TargetStatus {
        key: target("shop", "eu"),
        member: MemberId(1),
        fence: old,
        ..TargetStatus::default()
    };
    let report = Command::Report {
        status: Box::new(status),
    };
    assert_eq!(machine.refused(report), RejectionReason::StaleFence);
}

#[test]
fn a_head_that_does_not_descend_freezes_healing_until_a_person_resumes_it() {
    let mut machine = Machine::default();
    machine.run(head("a", None, HeadRelation::First));
    assert_eq!(
        machine.refused(head("c", Some("b"), HeadRelation::Descends)),
        RejectionReason::HeadMoved
    );
    machine.run(head("b", Some("a"), HeadRelation::Rewritten));
    assert!(machine.view.heads[&"fleet".into()].frozen.is_some());
    machine.run(head("c", Some("b"), HeadRelation::Descends));
    assert!(
        machine.view.heads[&"fleet".into()].frozen.is_some(),
        "a new commit thaws nothing"
    );
    machine.run(Command::Resume {
        subject: Subject::Repository("fleet".into()),
    });
    assert!(machine.view.heads[&"fleet".into()].frozen.is_none());
}

#[test]
fn what_left_git_is_retiring_until_every_cluster_is_clear() {
    let mut machine = Machine::default();
    machine.run(head("a", None, HeadRelation::First));
    let configure = |machine: &mut Machine, applications: &[Application]| {
        machine.run(Command::RecordConfiguration {
            repository: "fleet".into(),
            branch: "main".into(),
            revision: Revision::from("a"),
            fleet: fleet(applications),
        })
    };
    configure(
        &mut machine,
        &[
            application("shop", &["eu", "us"]),
            application("cart", &["eu"]),
        ],
    );
    configure(&mut machine, &[application("shop", &["eu"])]);
    let shop = machine.view.retiring[&"shop".into()].clusters.clone();
    assert_eq!(shop, vec!["us".into()]);
    configure(&mut machine, &[application("shop", &["eu", "us"])]);
    assert!(
        !machine.view.retiring.contains_key(&"shop".into()),
        "it came back"
    );
    machine.run(Command::Retired {
        target: target("cart", "eu"),
    });
    assert!(machine.view.retiring.is_empty());
}

#[test]
fn a_confirmation_names_exactly_the_list_that_waits_and_ends_with_it() {
    let mut machine = Machine::default();
    let (key, token) = (target("shop", "eu"), "of this list".to_owned());
    let mut status = TargetStatus {
        member: MemberId(1),
        fence: machine.assign("shop", "eu", 1),
        pending_deletion: Some(PendingDeletion {
            token: token.clone(),
            objects: vec![],
        }),
        key: key.clone(),
        ..TargetStatus::default()
    };
    let report = |status: &TargetStatus| Command::Report {
        status: Box::new(status.clone()),
    };
    let confirm = |token: String| {
        Command::ConfirmDelete(Confirmation {
            target: key.clone(),
            token,
        })
    };
    machine.run(report(&status));
    let other = machine.refused(confirm("of another list".to_owned()));
    assert_eq!(other, RejectionReason::DiffChanged);
    machine.run(confirm(token.clone()));
    assert!(machine.view.confirmations.contains_key(&key));
    let asks = status.pending_deletion.clone();
    status.pending_deletion = Some(PendingDeletion {
        token: "of this list at other files".to_owned(),
        objects: vec![],
    });
    machine.run(report(&status));
    assert!(machine.view.confirmations.is_empty(), "another question");
    status.pending_deletion = asks;
    machine.run(report(&status));
    machine.run(confirm(token));
    status.pending_deletion = None;
    status.sync.state = SyncState::Synced;
    machine.run(report(&status));
    assert!(machine.view.confirmations.is_empty(), "it is done");
}

#[test]
fn another_cluster_behind_the_same_name_is_refused() {
    let mut machine = Machine::default();
    let register = |uid: &str| Command::RegisterCluster {
        cluster: "eu".into(),
        uid: uid.to_owned(),
    };
    machine.run(register("one"));
    assert_eq!(
        machine.refused(register("two")),
        RejectionReason::ClusterChanged
    );
    machine.run(Command::ForgetCluster {
        cluster: "eu".into(),
    });
    assert_eq!(machine.run(register("two")), Response::Done);
}

#[test]
fn what_was_verified_in_a_cluster_that_is_forgotten_is_forgotten_with_it() {
    let mut machine = Machine::default();
    for cluster in ["eu", "us"] {
        let inputs = AppliedInputs {
            revision: Revision::from("a"),
            tree: TreeId("t".to_owned()),
            at: Timestamp(1),
        };
        let status = TargetStatus {
            key: target("shop", cluster),
            member: MemberId(1),
            fence: machine.assign("shop", cluster, 1),
            applied: Some(inputs.clone()),
            verified: Some(inputs),
            verified_inputs: [("Deployment shop/web".to_owned(), "digest".to_owned())].into(),
            ..TargetStatus::default()
        };
        machine.run(Command::RegisterCluster {
            cluster: cluster.into(),
            uid: cluster.to_owned(),
        });
        machine.run(Command::Report {
            status: Box::new(status),
        });
    }
    machine.run(Command::ForgetCluster {
        cluster: "eu".into(),
    });
    let forgotten = &machine.view.statuses[&target("shop", "eu")];
    assert_eq!((&forgotten.applied, &forgotten.verified), (&None, &None));
    assert!(forgotten.verified_inputs.is_empty());
    let other = &machine.view.statuses[&target("shop", "us")];
    assert!(other.verified.is_some() && !other.verified_inputs.is_empty());
}

#[test]
fn a_spreading_that_another_one_overtook_is_void() {
    let mut machine = Machine::default();
    machine.assign("web", "eu", 1);
    let late = Command::Assign {
        after: Fence(0),
        grants: vec![],
        revoked: vec![target("web", "eu")],
    };
    assert_eq!(machine.refused(late), RejectionReason::AlreadyDone);
    assert_eq!(machine.view.assignments.len(), 1);
}

#[test]
fn a_sync_of_what_is_suspended_is_refused_with_who_suspended_it_and_what_to_do() {
    let sync = |machine: &mut Machine| {
        machine.run(Command::SyncNow {
            application: "shop".into(),
        })
    };
    let refusal = |response: Response| match response {
        Response::Rejected(rejection) => (rejection.reason, rejection.message),
        other => panic!("{other:?}"),
    };
    let mut machine = Machine::default();
    machine.run(Command::Suspend {
        subject: Subject::Application("shop".into()),
        reason: "drill".to_owned(),
    });
    let (reason, message) = refusal(sync(&mut machine));
    assert_eq!(reason, RejectionReason::Suspended);
    for part in ["member/1", "drill", "`regraft resume shop`"] {
        assert!(message.contains(part), "{message}");
    }
    machine.run(Command::Suspend {
        subject: Subject::All,
        reason: "flood".to_owned(),
    });
    let (_, message) = refusal(sync(&mut machine));
    assert!(message.contains("`regraft resume --all`"), "{message}");

    let mut machine = Machine::default();
    machine.run(head("aaa", None, HeadRelation::First));
    let mut paused = application("shop", &["eu"]);
    paused.suspend = true;
    machine.run(Command::RecordConfiguration {
        repository: "fleet".into(),
        branch: "main".into(),
        revision: Revision::from("aaa"),
        fleet: fleet(&[paused]),
    });
    let (_, message) = refusal(sync(&mut machine));
    assert!(message.contains("spec.suspend"), "{message}");
    assert!(machine.view.syncs.is_empty());
}

#[test]
fn only_the_newest_request_for_a_sync_is_answered_by_the_remote() {
    let mut machine = Machine::default();
    let request = |machine: &mut Machine| match machine.run(Command::SyncNow {
        application: "shop".into(),
    }) {
        Response::Requested { fence } => fence,
        other => panic!("{other:?}"),
    };
    let asked = |fence: Fence| Command::RemoteAsked {
        application: "shop".into(),
        fence,
    };
    let (first, second) = (request(&mut machine), request(&mut machine));
    assert_eq!(machine.refused(asked(first)), RejectionReason::AlreadyDone);
    assert!(!machine.view.syncs[&"shop".into()].asked);
    machine.run(asked(second));
    assert!(machine.view.syncs[&"shop".into()].asked);
    assert_eq!(machine.refused(asked(second)), RejectionReason::AlreadyDone);
}
