//! What people do: commit, revert, reset, break files, edit by hand, suspend, approve, forbid.

use crate::content::{Application, Content, Flavour, Image, Workload};
use crate::git::Author;
use crate::world::{Occurrence, World};
use prost::Message;
use regraft_model::finding::{AppliedInputs, SyncState};
use regraft_model::health::Health;
use regraft_model::id::{ApplicationName, IncidentId};
use regraft_model::incident::Phase;
use regraft_model::object::{APPLICATION_LABEL, ObjectKey};
use regraft_model::source::BlobId;
use regraft_remedy::fingerprint;
use regraft_state::command::{Command, Envelope, FORMAT};
use regraft_state::record::{Confirmation, Subject};
use serde_json::json;
use std::collections::BTreeMap;

/// One thing a person does. What does not fit the moment is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    ReleaseGood { application: String },
    BreakImage { application: String },
    FixImage { application: String },
    TouchConfig { application: String },
    TouchOther { than: String },
    AddExtra { application: String },
    RemoveExtras { application: String, most: usize },
    MakeUnreadable { application: String },
    MakeReadable,
    BreakConfiguration,
    DeleteApplication { application: String },
    RestoreApplications,
    Reset { commits: usize },
    Rewrite,
    UndoOurs { incident: IncidentId },
    UndoLatest,
    EditByHand { cluster: usize },
    DeleteByHand { cluster: usize },
    SuspendAll,
    ResumeAll,
    SyncNow { application: String },
    Approve,
    Forbid,
    ForbidIncident { incident: IncidentId },
    ConfirmDeletions,
    ForgetChangedClusters,
    MakeAllGood,
}

impl Deed {
    /// Whether it belongs to the quiet phase.
    fn puts_in_order(&self) -> bool {
        matches!(
            self,
            Deed::MakeAllGood
                | Deed::ResumeAll
                | Deed::ForgetChangedClusters
                | Deed::ConfirmDeletions
        )
    }
}

impl World {
    /// The first commit: everything good.
    pub(crate) fn found_repository(&mut self) {
        let mut files = BTreeMap::new();
        let clusters = self.scenario.clusters.clone();
        for name in clusters {
            let blob = self
                .remote
                .store
                .blob(Content::Cluster { name: name.clone() });
            files.insert(format!(".regraft/cluster-{name}.yaml"), blob);
        }
        let policy = self
            .remote
            .store
            .blob(Content::Policy(self.scenario.policy.clone()));
        files.insert(".regraft/policy.yaml".to_owned(), policy);
        for planned in self.scenario.applications.clone() {
            let name = &planned.name;
            let blob = self.remote.store.blob(self.application_file(name));
            files.insert(format!(".regraft/{name}.yaml"), blob);
            let mut workloads = vec![name.clone()];
            if planned.has_worker {
                workloads.push(format!("{name}-worker"));
            }
            for workload in workloads {
                let replicas = self.rng.range(1, 2);
                let content = Content::Deployment(Workload {
                    namespace: name.clone(),
                    name: workload.clone(),
                    image: Image {
                        version: 1,
                        flavour: Flavour::Good,
                    },
                    replicas,
                    note: 0,
                });
                let blob = self.remote.store.blob(content);
                files.insert(format!("apps/{name}/{workload}.yaml"), blob);
            }
            for number in 0..planned.extras {
                let (path, blob) = self.extra(name, number, 0);
                files.insert(path, blob);
            }
        }
        let at = self.now;
        self.remote.commit_by_person(files, "Begin", at);
    }

    pub(crate) fn carry_out(&mut self, deed: Deed) {
        if self.is_calm && !deed.puts_in_order() {
            return;
        }
        match deed {
            Deed::ReleaseGood { application } | Deed::FixImage { application } => {
                self.set_image(&application, Flavour::Good);
            }
            Deed::BreakImage { application } => {
                let odd = [Flavour::Rough, Flavour::Picky, Flavour::Slow];
                let from = if self.rng.chance(25) {
                    &odd[..]
                } else {
                    Flavour::BAD
                };
                let flavour = self.rng.pick(from).copied().unwrap_or(Flavour::Crash);
                self.set_image(&application, flavour);
            }
            Deed::TouchConfig { application } => self.touch_config(&application),
            Deed::TouchOther { than } => {
                let others: Vec<_> = self
                    .application_names()
                    .into_iter()
                    .filter(|name| *name != than)
                    .collect();
                if let Some(other) = self.rng.pick(&others).cloned() {
                    self.touch_config(&other);
                }
            }
            Deed::AddExtra { application } => {
                let number = 10 + self.rng.below(20);
                let setting = self.rng.next() % 1000;
                let (path, blob) = self.extra(&application, number, setting);
                self.change(&format!("Add {path}"), [(path, Some(blob))]);
            }
            Deed::RemoveExtras { application, most } => self.remove_extras(&application, most),
            Deed::MakeUnreadable { application } => self.make_unreadable(&application),
            Deed::MakeReadable => self.make_readable(),
            Deed::BreakConfiguration => {
                let mark = self.rng.next();
                let blob = self.remote.store.blob(Content::Unreadable { mark });
                let path = ".regraft/typo.yaml".to_owned();
                self.change("Configure in haste", [(path, Some(blob))]);
            }
            Deed::DeleteApplication { application } => {
                let path = format!(".regraft/{application}.yaml");
                self.change(&format!("Retire {application}"), [(path, None)]);
            }
            Deed::RestoreApplications => self.restore_applications(),
            Deed::Reset { commits } => self.reset(commits),
            Deed::Rewrite => self.rewrite(),
            Deed::UndoOurs { incident } => self.undo(Some(&incident)),
            Deed::UndoLatest => self.undo(None),
            Deed::EditByHand { cluster } => self.edit_by_hand(cluster),
            Deed::DeleteByHand { cluster } => self.delete_by_hand(cluster),
            Deed::SuspendAll => {
                let reason = "maintenance".to_owned();
                self.say(Command::Suspend {
                    subject: Subject::All,
                    reason,
                });
            }
            Deed::ResumeAll => self.resume_all(),
            Deed::SyncNow { application } => {
                self.say(Command::SyncNow {
                    application: ApplicationName(application),
                });
            }
            Deed::Approve => self.approve_or_forbid(true),
            Deed::Forbid => self.approve_or_forbid(false),
            Deed::ForbidIncident { incident } => self.forbid(incident),
            Deed::ConfirmDeletions => self.confirm_deletions(),
            Deed::ForgetChangedClusters => self.forget_changed_clusters(),
            Deed::MakeAllGood => self.make_all_good(),
        }
    }

    pub(crate) fn application_names(&self) -> Vec<String> {
        self.scenario
            .applications
            .iter()
            .map(|planned| planned.name.clone())
            .collect()
    }

    fn application_file(&self, name: &str) -> Content {
        let planned = self
            .scenario
            .applications
            .iter()
            .find(|planned| planned.name == name);
        let planned = planned.unwrap_or(&self.scenario.applications[0]);
        Content::Application(Application {
            name: name.to_owned(),
            clusters: planned.clusters.clone(),
            mode: planned.mode,
            prune: planned.prune,
            delete: planned.delete,
        })
    }

    fn extra(&mut self, application: &str, number: usize, setting: u64) -> (String, BlobId) {
        let name = format!("extra-{number}");
        let content = Content::ConfigMap {
            namespace: application.to_owned(),
            name: name.clone(),
            setting,
        };
        (
            format!("apps/{application}/{name}.yaml"),
            self.remote.store.blob(content),
        )
    }

    /// Commits changes of files on the tip; nothing when they change nothing.
    fn change(&mut self, message: &str, edits: impl IntoIterator<Item = (String, Option<BlobId>)>) {
        let before = self.remote.tip_files();
        let mut files = before.clone();
        for (path, blob) in edits {
            match blob {
                Some(blob) => drop(files.insert(path, blob)),
                None => drop(files.remove(&path)),
            }
        }
        if files == before {
            return;
        }
        let parent = self.remote.tip().cloned();
        let at = self.now;
        let revision = self.remote.commit_by_person(files, message, at);
        self.note(format!("a person commits {}: {message}", revision.short()));
        self.person_committed(parent.as_ref(), &revision);
    }

    /// Files of an application at the tip that match.
    fn tip_contents(&self, application: &str) -> Vec<(String, Content)> {
        let prefix = format!("apps/{application}/");
        self.remote
            .tip_files()
            .into_iter()
            .filter(|(path, _)| path.starts_with(&prefix))
            .filter_map(|(path, blob)| Some((path, self.remote.store.content(&blob)?.clone())))
            .collect()
    }

    fn set_image(&mut self, application: &str, flavour: Flavour) {
        let deployments: Vec<_> = self
            .tip_contents(application)
            .into_iter()
            .filter_map(|(path, content)| match content {
                Content::Deployment(workload) => Some((path, workload)),
                _ => None,
            })
            .collect();
        let Some((path, mut workload)) = self.rng.pick(&deployments).cloned() else {
            return;
        };
        workload.image.version += 1;
        workload.image.flavour = flavour;
        let message = format!(
            "Deploy {} v{} ({flavour:?})",
            workload.name, workload.image.version
        );
        let blob = self.remote.store.blob(Content::Deployment(workload));
        self.change(&message, [(path, Some(blob))]);
    }

    fn touch_config(&mut self, application: &str) {
        let configs: Vec<_> = self
            .tip_contents(application)
            .into_iter()
            .filter_map(|(path, content)| match content {
                Content::ConfigMap {
                    namespace, name, ..
                } => Some((path, namespace, name)),
                _ => None,
            })
            .collect();
        let Some((path, namespace, name)) = self.rng.pick(&configs).cloned() else {
            return;
        };
        let setting = self.rng.next() % 1000;
        let blob = self.remote.store.blob(Content::ConfigMap {
            namespace,
            name,
            setting,
        });
        self.change(&format!("Tune {path}"), [(path.clone(), Some(blob))]);
    }

    fn remove_extras(&mut self, application: &str, most: usize) {
        let edits: Vec<_> = self
            .tip_contents(application)
            .into_iter()
            .filter(|(_, content)| matches!(content, Content::ConfigMap { .. }))
            .take(most)
            .map(|(path, _)| (path, None))
            .collect();
        self.change(&format!("Tidy up {application}"), edits);
    }

    /// Spoils a file; sometimes one that holds an object, which then seems to have left Git.
    fn make_unreadable(&mut self, application: &str) {
        let mark = self.rng.next();
        let blob = self.remote.store.blob(Content::Unreadable { mark });
        let configs: Vec<_> = self
            .tip_contents(application)
            .into_iter()
            .filter(|(_, content)| matches!(content, Content::ConfigMap { .. }))
            .map(|(path, _)| path)
            .collect();
        let path = match self.rng.pick(&configs) {
            Some(path) if self.rng.clone().chance(70) => path.clone(),
            _ => format!("apps/{application}/draft.yaml"),
        };
        self.change(&format!("Draft {path}"), [(path.clone(), Some(blob))]);
    }

    fn make_readable(&mut self) {
        let broken: Vec<_> = self
            .remote
            .tip_files()
            .into_iter()
            .filter(|(_, blob)| {
                matches!(
                    self.remote.store.content(blob),
                    Some(Content::Unreadable { .. })
                )
            })
            .map(|(path, _)| (path, None))
            .collect();
        self.change("Correct what cannot be read", broken);
    }

    fn restore_applications(&mut self) {
        let edits: Vec<_> = self
            .application_names()
            .into_iter()
            .map(|name| {
                let content = self.application_file(&name);
                let blob = self.remote.store.blob(content);
                (format!(".regraft/{name}.yaml"), Some(blob))
            })
            .collect();
        self.change("Bring applications back", edits);
    }

    fn reset(&mut self, commits: usize) {
        let Some(tip) = self.remote.tip().cloned() else {
            return;
        };
        let target = self
            .remote
            .store
            .line(&tip)
            .nth(commits)
            .map(|commit| commit.revision.clone());
        if let Some(target) = target {
            self.note(format!("a person resets the branch to {}", target.short()));
            self.remote.set_tip(target);
        }
    }

    /// The last commit is replaced by another one.
    fn rewrite(&mut self) {
        let Some(tip) = self
            .remote
            .tip()
            .and_then(|tip| self.remote.store.get(tip))
            .cloned()
        else {
            return;
        };
        let Some(parent) = tip.parent.clone() else {
            return;
        };
        let message = format!(
            "{} (amended)",
            tip.message.lines().next().unwrap_or_default()
        );
        let files = (*tip.files).clone();
        let at = self.now;
        let revision = self
            .remote
            .store
            .commit(Some(parent), files, Author::Person, message, at);
        self.note(format!(
            "a person rewrites {} as {}",
            tip.revision.short(),
            revision.short()
        ));
        self.remote.set_tip(revision);
    }

    /// Reverts a commit of ours on the tip, of an incident or the latest.
    fn undo(&mut self, incident: Option<&IncidentId>) {
        let Some(landed) = self.checks.latest_landed(incident) else {
            return;
        };
        let edits: Vec<_> = landed
            .edits
            .iter()
            .map(|edit| (edit.path.clone(), edit.before.clone()))
            .collect();
        self.change("Revert the robot", edits);
    }

    fn edit_by_hand(&mut self, cluster: usize) {
        let ours: Vec<_> = self.ours(cluster, "Deployment");
        let Some(key) = self.rng.pick(&ours).cloned() else {
            return;
        };
        let Some(mut object) = self.clusters[cluster].objects.get(&key).cloned() else {
            return;
        };
        let value = self.rng.next() % 100;
        object.0["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] =
            json!(format!("by hand {value}"));
        self.note(format!(
            "a person edits {key} in {}",
            self.clusters[cluster].name
        ));
        self.clusters[cluster].put(object, self.now);
        self.spread_changes(cluster);
        self.wake_controllers(cluster, self.now + 20);
    }

    fn delete_by_hand(&mut self, cluster: usize) {
        let ours = self.ours(cluster, "ConfigMap");
        let Some(key) = self.rng.pick(&ours).cloned() else {
            return;
        };
        self.note(format!(
            "a person deletes {key} in {}",
            self.clusters[cluster].name
        ));
        self.clusters[cluster].remove(&key);
        self.spread_changes(cluster);
    }

    fn ours(&self, cluster: usize, kind: &str) -> Vec<ObjectKey> {
        if !self.clusters[cluster].up {
            return Vec::new();
        }
        self.clusters[cluster]
            .objects
            .values()
            .filter(|object| object.kind() == kind && object.label(APPLICATION_LABEL).is_some())
            .map(|object| object.key())
            .collect()
    }

    /// A command by a person, through any member.
    pub(crate) fn say(&mut self, command: Command) {
        let Ok(command) = serde_json::to_vec(&command) else {
            return;
        };
        let client = format!("ada-{}", self.rng.next());
        let bytes = Envelope {
            client,
            sequence: 1,
            actor: "user/ada".to_owned(),
            format: FORMAT,
            command,
        }
        .encode_to_vec();
        let delay = self.rng.range(1, 300);
        self.after(delay, Occurrence::Word { bytes, tries: 0 });
    }

    fn resume_all(&mut self) {
        let subjects: Vec<_> = self.raft.view.suspensions.keys().cloned().collect();
        for subject in subjects {
            self.say(Command::Resume { subject });
        }
        let frozen: Vec<_> = self
            .raft
            .view
            .heads
            .values()
            .filter(|head| head.frozen.is_some())
            .map(|head| head.repository.clone())
            .collect();
        for repository in frozen {
            self.say(Command::Resume {
                subject: Subject::Repository(repository),
            });
        }
    }

    fn approve_or_forbid(&mut self, approve: bool) {
        let proposed: Vec<_> = self
            .raft
            .view
            .incidents
            .values()
            .filter(|incident| {
                incident.phase == Phase::Proposed || (!approve && incident.is_open())
            })
            .filter_map(|incident| {
                Some((
                    incident.id.clone(),
                    incident.plan.as_ref()?.diff_hash.clone(),
                ))
            })
            .collect();
        let Some((incident, diff_hash)) = self.rng.pick(&proposed).cloned() else {
            return;
        };
        match approve {
            true => self.say(Command::Approve {
                incident,
                diff_hash,
            }),
            false => self.forbid(incident),
        }
    }

    fn forbid(&mut self, incident: IncidentId) {
        let plan = self
            .raft
            .view
            .incidents
            .get(&incident)
            .and_then(|known| known.plan.as_ref());
        self.say(Command::Veto {
            fingerprint: plan.map(|plan| fingerprint(&plan.edits)),
            incident,
            reason: "hands off".to_owned(),
        });
    }

    fn confirm_deletions(&mut self) {
        let waiting: Vec<_> = self
            .raft
            .view
            .statuses
            .values()
            .filter_map(|status| {
                let token = status.pending_deletion.as_ref()?.token.clone();
                Some(Confirmation {
                    target: status.key.clone(),
                    token,
                })
            })
            .collect();
        for confirmation in waiting {
            self.say(Command::ConfirmDelete(confirmation));
        }
    }

    fn forget_changed_clusters(&mut self) {
        let changed: Vec<_> = self
            .raft
            .view
            .clusters
            .values()
            .filter(|known| {
                self.clusters
                    .iter()
                    .any(|cluster| cluster.name == known.cluster.0 && cluster.uid != known.uid)
            })
            .map(|known| known.cluster.clone())
            .collect();
        for cluster in changed {
            self.say(Command::ForgetCluster { cluster });
        }
    }

    /// Before the quiet: every file can be read, every image is good, every application is there.
    fn make_all_good(&mut self) {
        self.make_readable();
        self.restore_applications();
        let mut edits = Vec::new();
        for name in self.application_names() {
            let mut has_workload = false;
            for (path, content) in self.tip_contents(&name) {
                let Content::Deployment(mut workload) = content else {
                    continue;
                };
                has_workload = true;
                if workload.image.flavour != Flavour::Good {
                    workload.image.version += 100;
                    workload.image.flavour = Flavour::Good;
                    let blob = self.remote.store.blob(Content::Deployment(workload));
                    edits.push((path, Some(blob)));
                }
            }
            if !has_workload {
                let workload = Workload {
                    namespace: name.clone(),
                    name: name.clone(),
                    image: Image {
                        version: 500,
                        flavour: Flavour::Good,
                    },
                    replicas: 1,
                    note: 0,
                };
                let blob = self.remote.store.blob(Content::Deployment(workload));
                edits.push((format!("apps/{name}/{name}.yaml"), Some(blob)));
            }
        }
        self.change("Make all good", edits);
    }

    /// Whether every target is at the head, by the trio's own account.
    pub(crate) fn unsettled_targets(&self) -> Vec<String> {
        let mut unsettled = Vec::new();
        for planned in &self.scenario.applications {
            for cluster in &planned.clusters {
                let status = self.raft.view.statuses.values().find(|status| {
                    status.key.application.0 == planned.name && status.key.cluster.0 == *cluster
                });
                let settled = status.is_some_and(|status| {
                    let tree = |inputs: &Option<AppliedInputs>| {
                        inputs.as_ref().map(|inputs| inputs.tree.clone())
                    };
                    status.sync.state == SyncState::Synced
                        && status.health == Health::Healthy
                        && status.findings.is_empty()
                        && tree(&status.applied) == tree(&status.verified)
                });
                if !settled {
                    let told = status.map_or_else(
                        || "no report".to_owned(),
                        |status| {
                            format!(
                                "{} {} {}: {} {}",
                                status.sync.state,
                                status.sync.reason,
                                status.health,
                                status.sync.message,
                                status.health_message
                            )
                        },
                    );
                    unsettled.push(format!("{}@{cluster}: {told}", planned.name));
                }
            }
        }
        unsettled
    }
}
