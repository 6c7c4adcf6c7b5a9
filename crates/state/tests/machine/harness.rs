//! A machine that follows its own writes, and the commands that tests send it.

use prost::Message;
use regraft_model::config::{Application, Fleet, Mode, Policy};
use regraft_model::finding::{Change, FailureClass, Finding, Symptom, Template};
use regraft_model::id::{Fence, IncidentId, LockScope, MemberId, TargetKey};
use regraft_model::incident::OutcomeKind;
use regraft_model::object::ObjectKey;
use regraft_model::plan::{Action, Delivery, Plan};
use regraft_model::source::{Revision, TreeId};
use regraft_model::time::{Seconds, Timestamp};
use regraft_state::apply;
use regraft_state::command::{
    COMMAND_FORMAT, Command, Envelope, Fault, HeadRelation, LockRequest, NewHead, RejectionReason,
    Response, Stamped, Transition,
};
use regraft_state::store::Memory;
use regraft_state::view::View;

pub(crate) const SECOND: i64 = 1000;

#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) store: Memory,
    pub(crate) view: View,
    pub(crate) index: u64,
    pub(crate) sequence: u64,
    pub(crate) now: i64,
}

impl Machine {
    pub(crate) fn entry(&mut self, command: &Command) -> Vec<u8> {
        self.sequence += 1;
        let envelope = Envelope {
            client: "test".to_owned(),
            sequence: self.sequence,
            actor: "member/1".to_owned(),
            format: COMMAND_FORMAT,
            command: serde_json::to_vec(command).unwrap(),
            operation: None,
        };
        Stamped {
            stamped_ms: self.now,
            command: envelope.encode_to_vec(),
        }
        .encode_to_vec()
    }

    pub(crate) fn apply(&mut self, entry: &[u8]) -> Response {
        serde_json::from_slice(&self.apply_bytes(entry)).unwrap()
    }

    pub(crate) fn apply_bytes(&mut self, entry: &[u8]) -> Vec<u8> {
        self.index += 1;
        let applied = apply(&self.store, self.index, entry).unwrap();
        self.view.apply(&applied.batch.writes).unwrap();
        self.store.write(applied.batch);
        applied.response
    }

    pub(crate) fn run(&mut self, command: Command) -> Response {
        let entry = self.entry(&command);
        self.apply(&entry)
    }

    pub(crate) fn refused(&mut self, command: Command) -> RejectionReason {
        match self.run(command) {
            Response::Rejected(rejection) => rejection.reason,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    pub(crate) fn assign(&mut self, application: &str, cluster: &str, member: u64) -> Fence {
        let grants = vec![(target(application, cluster), MemberId(member))];
        self.run(Command::Assign {
            after: self.view.spread,
            grants,
            revoked: vec![],
        });
        self.view.assignments[&target(application, cluster)].fence
    }

    pub(crate) fn open(&mut self, application: &str) -> IncidentId {
        let fence = self.assign(application, "eu", 1);
        match self.run(fault(application, "eu", "bad", fence)) {
            Response::Opened { incident } => incident,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn plan(&mut self, id: &IncidentId) -> Response {
        let incident = self.view.incidents[id].clone();
        let plan = Box::new(plan_for(id, incident.application.as_str()));
        let deadline = Timestamp(self.now + 600 * SECOND);
        self.advance(id, Transition::Plan { plan, deadline })
    }

    pub(crate) fn advance(&mut self, id: &IncidentId, transition: Transition) -> Response {
        let fence = self.view.incidents[id].executor_fence;
        let transition = Box::new(transition);
        self.run(Command::Advance {
            incident: id.clone(),
            fence,
            transition,
        })
    }

    pub(crate) fn acquire(&mut self, id: &IncidentId, budget: u32) -> Response {
        let incident = &self.view.incidents[id];
        let command = Command::Acquire(LockRequest {
            incident: id.clone(),
            fence: incident.executor_fence,
            plan: incident.plan.as_ref().unwrap().id.clone(),
            scope: LockScope::Application(incident.application.clone()),
            lease: Seconds(60),
            budget,
        });
        self.run(command)
    }

    pub(crate) fn commit(&mut self, id: &IncidentId) -> Response {
        let lock = self.view.locks[id].fence;
        let revision = Revision::from("c0ffee");
        let deadline = Timestamp(self.now + 600 * SECOND);
        self.advance(
            id,
            Transition::Commit {
                revision,
                lock,
                deadline,
            },
        )
    }
}

pub(crate) fn end(outcome: OutcomeKind, message: &str, closed: &[&str]) -> Transition {
    let closed = closed.iter().map(|&tree| TreeId(tree.to_owned()));
    Transition::End {
        outcome,
        message: message.to_owned(),
        closed: closed.collect(),
        guards: vec![],
        rejected: vec![],
    }
}

pub(crate) fn target(application: &str, cluster: &str) -> TargetKey {
    TargetKey {
        application: application.into(),
        cluster: cluster.into(),
    }
}

pub(crate) fn fault(application: &str, cluster: &str, tree: &str, fence: Fence) -> Command {
    let workload = ObjectKey {
        group: "apps".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: "shop".to_owned(),
        name: application.to_owned(),
    };
    Command::OpenIncident(Fault {
        application: application.into(),
        repository: "fleet".into(),
        branch: "main".into(),
        class: FailureClass::CrashLoopBackOff,
        seen_at: Revision::from("bad0"),
        suspect_tree: TreeId(tree.to_owned()),
        cluster: cluster.into(),
        findings: vec![Finding {
            symptom: Symptom {
                workload,
                class: FailureClass::CrashLoopBackOff,
                template: Template::Newest,
                newest_template: None,
                evidence: vec![],
            },
            since: Timestamp(1),
            change: Change::Changed,
        }],
        member: MemberId(1),
        fence,
        deadline: Timestamp(3600 * SECOND),
    })
}

pub(crate) fn plan_for(id: &IncidentId, application: &str) -> Plan {
    Plan {
        id: format!("{id}.1").into(),
        installation: "i".to_owned(),
        incident: id.clone(),
        application: application.into(),
        repository: "fleet".into(),
        branch: "main".into(),
        action: Action::Rollback,
        parent: Revision::from("bad0"),
        restores: Revision::from("good"),
        suspects: vec![Revision::from("bad0")],
        suspect_inputs: Default::default(),
        edits: vec![],
        message: String::new(),
        diff_hash: "diff".to_owned(),
        mode: Mode::Auto,
        delivery: Delivery::Push,
        guards: vec![],
        rejected: vec![],
    }
}

pub(crate) fn application(name: &str, clusters: &[&str]) -> Application {
    Application {
        name: name.into(),
        repository: "fleet".into(),
        location: Default::default(),
        path: format!("apps/{name}"),
        clusters: clusters.iter().map(|name| (*name).into()).collect(),
        namespace: "default".to_owned(),
        mode: Default::default(),
        prune: Default::default(),
        conflicts: Default::default(),
        suspend: false,
        deletion: Default::default(),
        policy: Policy::default(),
    }
}

pub(crate) fn fleet(applications: &[Application]) -> Fleet {
    let by_name = applications.iter().map(|it| (it.name.clone(), it.clone()));
    Fleet {
        clusters: Default::default(),
        applications: by_name.collect(),
    }
}

pub(crate) fn head(revision: &str, previous: Option<&str>, relation: HeadRelation) -> Command {
    Command::RecordHead(NewHead {
        repository: "fleet".into(),
        branch: "main".into(),
        revision: Revision::from(revision),
        previous: previous.map(Revision::from),
        relation,
    })
}
