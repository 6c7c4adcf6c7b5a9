//! What people tell the trio: suspend, resume, approve, forbid, confirm, forget.

use crate::world::{Occurrence, World};
use prost::Message;
use regraft_model::id::IncidentId;
use regraft_model::incident::Phase;
use regraft_remedy::fingerprint;
use regraft_state::command::{COMMAND_FORMAT, Command, Envelope};
use regraft_state::record::{Confirmation, Subject};

impl World {
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
            format: COMMAND_FORMAT,
            command,
            operation: None,
        }
        .encode_to_vec();
        let delay = self.rng.range(1, 300);
        self.after(delay, Occurrence::Word { bytes, tries: 0 });
    }

    pub(super) fn suspend_all(&mut self) {
        let reason = "maintenance".to_owned();
        self.say(Command::Suspend {
            subject: Subject::All,
            reason,
        });
    }

    pub(super) fn resume_all(&mut self) {
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

    pub(super) fn approve_or_forbid(&mut self, approve: bool) {
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

    pub(super) fn forbid(&mut self, incident: IncidentId) {
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

    pub(super) fn confirm_deletions(&mut self) {
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

    pub(super) fn forget_changed_clusters(&mut self) {
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
}
