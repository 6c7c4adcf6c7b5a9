//! One engine beside the state it proposes to; whatever else it asks for is answered by the test.

use prost::Message as _;
use regraft_engine::{
    Effect, Engine, Event, Proof, ProposeOutcome, Role, Settings, TrackedRepository,
};
use regraft_model::apply::{
    ApplyOutcome, ApplyRequest, ClusterEvent, Inventory, KindScope, KindVersion, Written,
};
use regraft_model::config::Mode;
use regraft_model::finding::FailureClass;
use regraft_model::git::{Relation, Snapshot};
use regraft_model::id::{IncidentId, MemberId, TargetKey};
use regraft_model::object::{Object, ObjectKey};
use regraft_model::plan::{Action, Delivery, Edit, Plan};
use regraft_model::source::{FileMode, Revision, SourceFile, SourceTree, TreeId};
use regraft_model::time::{Seconds, Timestamp};
use regraft_state::command::{
    COMMAND_FORMAT, Command, Envelope, Fault, Response, Stamped, Transition,
};
use regraft_state::store::Memory;
use regraft_state::view::View;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

pub(crate) const REPOSITORY: &str = "fleet";
/// A second repository, for a desk that tracks both.
pub(crate) const OTHER: &str = "other";
pub(crate) const FIRST: &str = "1111111111111111111111111111111111111111";
/// What the application's folder is at [`FIRST`].
pub(crate) const TREE: &str = "t";
const INSTALLATION: &str = "i";
pub(crate) const UID: &str = "uid-of-eu";

/// Long: a remote that is asked sooner is asked for a reason.
const POLL: Seconds = Seconds(60);
pub(crate) const CONFIGURATION: &str = "
apiVersion: regraft.dev/v1alpha1
kind: Cluster
metadata: {name: eu}
---
apiVersion: regraft.dev/v1alpha1
kind: Application
metadata: {name: web}
spec: {path: apps/web, clusters: [eu], namespace: shop}
";
pub(crate) const MANIFEST: &str = "
{apiVersion: v1, kind: ConfigMap, metadata: {name: web}, data: {a: '1'}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: second}, data: {a: '1'}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: third}, data: {a: '1'}}
";

/// Member 1 of three, which leads.
pub(crate) struct Desk {
    engine: Engine,
    store: Memory,
    index: u64,
    sequence: u64,
    pub(crate) now: i64,
    /// How far this member's clock is ahead of the one that stamps entries.
    pub(crate) ahead: i64,
    /// Every proposal is answered with this, and none applied.
    pub(crate) refuse_with: Option<ProposeOutcome>,
    pub(crate) proposed: Vec<Command>,
    /// Whose inventory of the application the cluster has.
    pub(crate) inventory_of: &'static str,
    /// What Git configures at first.
    pub(crate) configuration: String,
    /// The newest apply that was asked for.
    applying: Option<ApplyRequest>,
}

impl Desk {
    pub(crate) fn new(branch: &str) -> Self {
        Self::tracking(&[(REPOSITORY, branch)])
    }

    pub(crate) fn tracking(repositories: &[(&str, &str)]) -> Self {
        let repositories = repositories.iter();
        let settings = Settings {
            member: MemberId(1),
            installation: INSTALLATION.to_owned(),
            repositories: repositories
                .map(|(name, branch)| TrackedRepository {
                    name: (*name).into(),
                    branch: (*branch).into(),
                    poll: POLL,
                })
                .collect(),
        };
        Self {
            engine: Engine::new(settings),
            store: Memory::default(),
            index: 0,
            sequence: 0,
            now: 1_700_000_000_000,
            ahead: 0,
            refuse_with: None,
            proposed: Vec::new(),
            inventory_of: INSTALLATION,
            configuration: CONFIGURATION.to_owned(),
            applying: None,
        }
    }

    /// The same state under an engine that was started anew.
    pub(crate) fn restarted(self, branch: &str) -> Self {
        self.restarted_tracking(&[(REPOSITORY, branch)])
    }

    pub(crate) fn restarted_tracking(self, repositories: &[(&str, &str)]) -> Self {
        let pairs = self.store.0.clone().into_iter().collect();
        let mut next = Self::tracking(repositories);
        (next.store, next.index, next.now) = (self.store, self.index, self.now + 1000);
        next.sequence = self.sequence;
        let index = next.index;
        next.tell(Event::Restored { index, pairs });
        next
    }

    pub(crate) fn view(&self) -> &View {
        self.engine.view()
    }

    /// What a sync would delete in a cluster, had the application no objects any more.
    pub(crate) fn deletions(&self) -> Vec<ObjectKey> {
        let application = self.view().application(&"web".into()).unwrap();
        self.engine.wanted(application, &"eu".into(), &[]).deletions
    }

    /// The apply under way has written everything.
    pub(crate) fn apply_succeeds(&mut self) -> Vec<Effect> {
        let request = self.applying.take().unwrap();
        let objects = request.stages.iter().flat_map(|stage| &stage.objects);
        let objects = objects
            .map(|staged| (staged.object.clone(), Written::Written))
            .collect();
        self.tell(Event::Applied(ApplyOutcome {
            number: request.number,
            target: request.target,
            revision: request.revision,
            objects,
            ..ApplyOutcome::default()
        }))
    }

    /// The leader gives the target to a member.
    pub(crate) fn assign(&mut self, member: u64) -> Vec<Effect> {
        self.assign_target(target(), member)
    }

    pub(crate) fn assign_target(&mut self, target: TargetKey, member: u64) -> Vec<Effect> {
        let command = Command::Assign {
            after: self.view().spread,
            grants: vec![(target, MemberId(member))],
            revoked: vec![],
        };
        self.replicate(&command)
    }

    /// The cluster's watch tells an object.
    pub(crate) fn cluster_sees(&mut self, object: Value) -> Vec<Effect> {
        self.tell(Event::Cluster {
            cluster: "eu".into(),
            event: ClusterEvent::Seen(Object(object)),
        })
    }

    /// The watch is faster than the answer to the apply under way.
    pub(crate) fn sees_what_is_applied(&mut self) -> Vec<Effect> {
        let stages = self.applying.iter().flat_map(|request| &request.stages);
        let objects: Vec<Object> = stages
            .flat_map(|stage| &stage.objects)
            .map(|staged| staged.object.clone())
            .collect();
        let mut asked = Vec::new();
        for object in objects {
            asked.extend(self.cluster_sees(object.0));
        }
        asked
    }

    /// An incident that this member executes, of inputs that may not be what runs, and how long it has.
    pub(crate) fn with_incident(&mut self, tree: &str, lasts: Seconds) -> IncidentId {
        self.until_applying();
        self.apply_succeeds();
        let command = Command::OpenIncident(Fault {
            application: "web".into(),
            repository: REPOSITORY.into(),
            branch: "main".into(),
            class: FailureClass::CrashLoopBackOff,
            seen_at: FIRST.into(),
            suspect_tree: TreeId(tree.to_owned()),
            cluster: "eu".into(),
            findings: vec![],
            member: MemberId(1),
            fence: self.view().assignments[&target()].fence,
            deadline: Timestamp(self.now).plus(lasts),
        });
        self.replicate(&command);
        self.view().incidents.keys().next().unwrap().clone()
    }

    /// A plan for an incident.
    pub(crate) fn plan(&self, incident: &IncidentId, edits: Vec<Edit>) -> Plan {
        Plan {
            id: format!("{incident}.1").as_str().into(),
            installation: INSTALLATION.to_owned(),
            incident: incident.clone(),
            application: "web".into(),
            repository: REPOSITORY.into(),
            branch: "main".into(),
            action: Action::Rollback,
            parent: FIRST.into(),
            restores: FIRST.into(),
            suspects: vec![FIRST.into()],
            suspect_inputs: Default::default(),
            edits,
            message: String::new(),
            diff_hash: "diff".to_owned(),
            mode: Mode::Auto,
            delivery: Delivery::Push,
            guards: vec![],
            rejected: vec![],
        }
    }

    /// The incident has this plan.
    pub(crate) fn planned(&mut self, incident: &IncidentId, edits: Vec<Edit>) -> Vec<Effect> {
        let plan = self.plan(incident, edits);
        let deadline = Timestamp(self.now).plus(Seconds(900));
        let plan = Box::new(plan);
        self.advance(incident, Transition::Plan { plan, deadline })
    }

    /// The incident's plan is committed as this revision, and the head is that commit.
    pub(crate) fn committed(&mut self, incident: &IncidentId, revision: &str) {
        let lock = self.view().incidents[incident].lock.unwrap();
        let transition = Transition::Commit {
            revision: revision.into(),
            lock,
            deadline: Timestamp(self.now).plus(Seconds(900)),
        };
        self.advance(incident, transition);
    }

    /// The incident's executor moves it on.
    pub(crate) fn advance(&mut self, incident: &IncidentId, transition: Transition) -> Vec<Effect> {
        self.replicate(&Command::Advance {
            incident: incident.clone(),
            fence: self.view().incidents[incident].executor_fence,
            transition: Box::new(transition),
        })
    }

    /// Leads with proof, and time goes on; what is asked for besides proposals.
    pub(crate) fn wait(&mut self, millis: i64) -> Vec<Effect> {
        self.now += millis;
        let mut asked = self.role(self.index);
        asked.extend(self.tell(Event::Tick));
        asked
    }

    /// Time goes on without proof that the state is the majority's.
    pub(crate) fn wait_unconfirmed(&mut self, millis: i64) -> Vec<Effect> {
        self.now += millis;
        self.tell(Event::Tick)
    }

    /// Time goes on, and the majority is ahead of what was told to the engine by this many entries.
    pub(crate) fn wait_behind(&mut self, millis: i64, entries: u64) -> Vec<Effect> {
        self.now += millis;
        let mut asked = self.role(self.index + entries);
        asked.extend(self.tell(Event::Tick));
        asked
    }

    /// Leads, with proof for what is applied up to an index.
    fn role(&mut self, index: u64) -> Vec<Effect> {
        let at = Timestamp(self.now);
        let members: Vec<MemberId> = (1..=3).map(MemberId).collect();
        self.tell(Event::Role(Role {
            leader: Some(MemberId(1)),
            silent_ms: members.iter().map(|id| (*id, 0)).collect(),
            members,
            confirmed: Some(Proof { at, index }),
        }))
    }

    /// What is asked for besides proposals, which are applied at once.
    pub(crate) fn tell(&mut self, event: Event) -> Vec<Effect> {
        let mut asked = Vec::new();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.engine.on([event], Timestamp(self.now)) {
                let Effect::Propose { id, command } = effect else {
                    if let Effect::Apply(request) = &effect {
                        self.applying = Some((**request).clone());
                    }
                    asked.push(effect);
                    continue;
                };
                self.proposed.push((*command).clone());
                assert!(
                    self.proposed.len() < 5000,
                    "it proposes without end: {command:?}"
                );
                let outcome = match &self.refuse_with {
                    Some(outcome) => outcome.clone(),
                    None => {
                        let (response, replicated) = self.apply(&command);
                        events.push_back(replicated);
                        ProposeOutcome::Answered {
                            index: self.index,
                            response,
                        }
                    }
                };
                events.push_back(Event::Proposed { id, outcome });
            }
        }
        asked
    }

    /// Another member or a person had a command applied.
    pub(crate) fn replicate(&mut self, command: &Command) -> Vec<Effect> {
        let (_, replicated) = self.apply(command);
        self.tell(replicated)
    }

    fn apply(&mut self, command: &Command) -> (Response, Event) {
        self.index += 1;
        self.sequence += 1;
        let envelope = Envelope {
            client: "test".to_owned(),
            sequence: self.sequence,
            actor: "test".to_owned(),
            format: COMMAND_FORMAT,
            command: serde_json::to_vec(command).unwrap(),
            operation: None,
        };
        let stamped = Stamped {
            stamped_ms: self.now - self.ahead,
            command: envelope.encode_to_vec(),
        };
        let applied =
            regraft_state::apply(&self.store, self.index, &stamped.encode_to_vec()).unwrap();
        let writes = applied.batch.writes.clone();
        self.store.write(applied.batch);
        let response = serde_json::from_slice(&applied.response).unwrap();
        let index = self.index;
        (response, Event::Replicated { index, writes })
    }

    /// Git answers, and the cluster tells that it is empty: ends with the first apply under way.
    pub(crate) fn until_applying(&mut self) -> Vec<Effect> {
        self.wait(1000);
        self.tell(Event::Fetched {
            repository: REPOSITORY.into(),
            outcome: Ok((FIRST.into(), None)),
        });
        let configuration = self.configuration.clone();
        self.load(FIRST, &configuration);
        self.wait(1000);
        // The leader spreads targets over all members: this test's one comes here.
        self.assign(1);
        self.read(FIRST);
        self.wait(1000);
        self.cluster_tells()
    }

    pub(crate) fn load(&mut self, revision: &str, configuration: &str) -> Vec<Effect> {
        let trees = listing(&[("apps/web", TREE)]);
        self.load_trees(REPOSITORY, revision, configuration, trees)
    }

    pub(crate) fn load_trees(
        &mut self,
        repository: &str,
        revision: &str,
        configuration: &str,
        trees: BTreeMap<String, TreeId>,
    ) -> Vec<Effect> {
        let tree = |files: &[(&str, &str)]| SourceTree {
            revision: revision.into(),
            files: files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), file(text)))
                .collect(),
        };
        self.tell(Event::Loaded {
            repository: repository.into(),
            revision: revision.into(),
            outcome: Ok(Snapshot {
                revision: revision.into(),
                config: tree(&[(".regraft/fleet.yaml", configuration)]),
                trees,
            }),
        })
    }

    /// A second repository, [`OTHER`], is read, and what it configures; what is asked for within a second.
    pub(crate) fn other_repository_has(
        &mut self,
        configuration: &str,
        trees: &[(&str, &str)],
    ) -> Vec<Effect> {
        self.tell(Event::Fetched {
            repository: OTHER.into(),
            outcome: Ok((crate::SECOND.into(), None)),
        });
        let mut asked = self.load_trees(OTHER, crate::SECOND, configuration, listing(trees));
        asked.extend(self.wait(1000));
        asked
    }

    /// The application leaves Git.
    pub(crate) fn leave(&mut self) -> Vec<Effect> {
        let cluster_only = CONFIGURATION.split("---").next().unwrap_or_default();
        self.reconfigure(cluster_only)
    }

    /// A commit changes the configuration.
    pub(crate) fn reconfigure(&mut self, configuration: &str) -> Vec<Effect> {
        let mut asked = self.wait(POLL.as_millis());
        asked.extend(self.tell(Event::Fetched {
            repository: REPOSITORY.into(),
            outcome: Ok((crate::SECOND.into(), Some(Relation::Descends))),
        }));
        asked.extend(self.load(crate::SECOND, configuration));
        asked
    }

    /// The head moves on to a commit with the same configuration and these trees.
    pub(crate) fn move_on(&mut self, revision: &str, trees: &[(&str, &str)]) -> Vec<Effect> {
        let mut asked = self.wait(POLL.as_millis());
        asked.extend(self.tell(Event::Fetched {
            repository: REPOSITORY.into(),
            outcome: Ok((revision.into(), Some(Relation::Descends))),
        }));
        asked.extend(self.load_trees(REPOSITORY, revision, CONFIGURATION, listing(trees)));
        asked
    }

    pub(crate) fn read(&mut self, revision: &str) -> Vec<Effect> {
        self.read_tree(revision, TREE, MANIFEST)
    }

    pub(crate) fn read_tree(&mut self, revision: &str, tree: &str, text: &str) -> Vec<Effect> {
        let id = TreeId(tree.to_owned());
        let files = BTreeMap::from([("apps/web/web.yaml".to_owned(), file(text))]);
        let revision = Revision::from(revision);
        let tree = SourceTree {
            revision: revision.clone(),
            files,
        };
        self.tell(Event::SourceRead {
            application: "web".into(),
            revision,
            outcome: Ok((id, tree)),
        })
    }

    /// A new connection to a cluster that has an older object of the application, and what is asked for within a
    /// second.
    pub(crate) fn cluster_tells(&mut self) -> Vec<Effect> {
        self.cluster_tells_as("eu")
    }

    /// As [`Self::cluster_tells`], of the same cluster under a name of its own.
    pub(crate) fn cluster_tells_as(&mut self, name: &str) -> Vec<Effect> {
        let inventory = Inventory {
            installation: self.inventory_of.to_owned(),
            entries: BTreeMap::from([(
                ObjectKey {
                    group: String::new(),
                    kind: "ConfigMap".to_owned(),
                    namespace: "shop".to_owned(),
                    name: "older".to_owned(),
                },
                "v1".to_owned(),
            )]),
        };
        let kinds = [
            KindVersion::new("v1", "ConfigMap"),
            KindVersion::new("v1", "Namespace"),
        ];
        let always = KindVersion::ALWAYS_WATCHED
            .into_iter()
            .map(|(version, kind)| KindVersion::new(version, kind));
        let mut told = vec![ClusterEvent::Ready {
            uid: UID.to_owned(),
            version: "v1.34.2".to_owned(),
        }];
        told.extend(kinds.into_iter().chain(always).map(listed));
        let namespace = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}"#;
        let namespace = Object(serde_json::from_str(namespace).unwrap());
        told.push(ClusterEvent::Seen(namespace));
        told.push(ClusterEvent::Inventories(BTreeMap::from([(
            "web".to_owned(),
            inventory,
        )])));
        let mut asked = Vec::new();
        for event in told {
            asked.extend(self.tell(Event::Cluster {
                cluster: name.into(),
                event,
            }));
        }
        asked.extend(self.wait(1000));
        asked
    }
}

/// [`CONFIGURATION`] with one more field of the application.
pub(crate) fn configured_with(field: &str) -> String {
    CONFIGURATION.replace("namespace: shop", &format!("namespace: shop, {field}"))
}

fn listing(trees: &[(&str, &str)]) -> BTreeMap<String, TreeId> {
    let trees = trees.iter();
    trees
        .map(|(path, tree)| ((*path).to_owned(), TreeId((*tree).to_owned())))
        .collect()
}

/// The first list of a kind is complete.
pub(crate) fn listed(kind: KindVersion) -> ClusterEvent {
    let scope = match kind.kind.as_str() {
        "Namespace" => KindScope::Cluster,
        _ => KindScope::Namespaced,
    };
    ClusterEvent::Listed { kind, scope }
}

pub(crate) fn target() -> TargetKey {
    TargetKey {
        application: "web".into(),
        cluster: "eu".into(),
    }
}

pub(crate) fn config_map() -> ObjectKey {
    ObjectKey {
        group: String::new(),
        kind: "ConfigMap".to_owned(),
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
    }
}

pub(crate) fn file(text: &str) -> SourceFile {
    SourceFile {
        blob: regraft_model::source::BlobId(text.len().to_string()),
        mode: FileMode::Regular,
        bytes: text.as_bytes().to_vec(),
    }
}
