//! Who the members are, and how that is changed while they run.
//!
//! ```text
//! add:     introduce (who is it, is it empty?) --> learner: gets the log, has no vote
//! promote: has it the log, does a majority of the new voters answer? --> voter, in the place of another or besides
//! remove:  does a majority of those that stay answer? --> gone
//! ```
//!
//! - Expected flow: a new member is added, gets the state, and is then given its vote; only the leader does any of it,
//!   any member can be asked.
//! - Guarantees: voters change by joint consensus, one change at a time; no change is begun that would leave the voters
//!   without a majority that answers. What is told to be done is committed, also where it was done already. A leader that
//!   died between the two entries of a change is succeeded by one that ends it.
//! - Errors: [`MembersError`] says what stands against a change, and what a person does next.

use crate::certs::check_node_id;
use crate::local::{Local, Raft, ReadIndexError};
use crate::network::Peers;
use crate::planted::{self, Bug};
use crate::types::Types;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant as _, RaftMetrics};
use prost::Message as _;
use regraft_state::command::{Envelope, FORMAT};
use regraft_state::operation::{NoteMembers, Operation, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A learner that lacks more entries than this would hold commits up once it votes.
const BEHIND_ENTRIES_MAX: u64 = 1_000;
/// Who has answered within this is counted on.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// How long a change may take until its outcome is called unknown.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what was changed already may take to be applied here.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the new leader may take to be known.
const LEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// Said of a change whose end was not seen.
const IN_DOUBT: &str = "asked for, and not seen to be done";
/// How often a leader looks whether a change was left half-done.
const CHORES_INTERVAL: Duration = Duration::from_secs(1);

type Change = ChangeMembers<u64, openraft::BasicNode>;

/// A change of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Sends the log to a new member, which does not vote yet. Done already when it is a member at this address.
    Add {
        /// Its id, never used before.
        id: u64,
        /// `host:port` of its Raft listener.
        address: String,
    },
    /// Gives a vote to a member that has the log. Done already when it votes.
    Promote {
        /// Which.
        id: u64,
        /// The voter whose place it takes.
        replaces: Option<u64>,
    },
    /// Removes a member. Done already when there is none of this id.
    Remove {
        /// Which.
        id: u64,
    },
    /// Hands leadership over. Done already when it leads.
    Lead {
        /// To whom.
        id: u64,
    },
}

/// The members were not changed, or perhaps not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// Nothing was changed: this member does not lead.
    #[error("only the leader changes members, and {}", leads(*leader))]
    NotLeader {
        /// Who does, when known.
        leader: Option<u64>,
    },
    /// Nothing was changed: may be tried again.
    #[error("{reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// Nothing was changed: it must not be.
    #[error("{reason}")]
    Refused {
        /// What stands against it.
        reason: String,
        /// What a person does next.
        action: String,
    },
    /// It may be done, now or later: look before asking again.
    #[error("it is not known whether the members were changed")]
    Unknown,
}

/// Carries a change out that `actor` asks for, if this member leads.
pub(crate) async fn change(
    local: &Local,
    peers: &Peers,
    actor: &str,
    change: MemberChange,
) -> Result<(), MembersError> {
    let metrics = local.raft.metrics().borrow_watched().clone();
    if metrics.current_leader != Some(peers.me) {
        return Err(MembersError::NotLeader {
            leader: metrics.current_leader,
        });
    }
    let known = Known::of(&metrics);
    let asked = match &change {
        MemberChange::Add { id, address } => known.add(peers, *id, address).await?,
        MemberChange::Promote { id, replaces } => known.promote(*id, *replaces)?,
        MemberChange::Remove { id } => known.remove(*id)?,
        MemberChange::Lead { id } => return lead(local, &known, *id).await,
    };
    let Some(asked) = asked else {
        return confirm(local, &metrics).await;
    };
    let applied = apply(&local.raft, asked).await;
    // It may be done later, and nobody would say so then.
    let is_in_doubt = matches!(applied, Err(MembersError::Unknown));
    if let Some(mut note) = note_of(change)
        && (applied.is_ok() || is_in_doubt)
    {
        if is_in_doubt {
            note.message = match note.message.is_empty() {
                true => IN_DOUBT.to_owned(),
                false => format!("{}; {IN_DOUBT}", note.message),
            };
        }
        enter(local, actor, note).await;
    }
    applied
}

/// It looks as if a change were done already. So it is only when this member still leads, so that it knows all changes,
/// and when what it knows is committed.
async fn confirm(local: &Local, looked: &RaftMetrics<Types>) -> Result<(), MembersError> {
    if planted::has(Bug::ChangeToldEarly) {
        return Ok(());
    }
    let read = local.read_index().await.map_err(|error| match error {
        ReadIndexError::NotLeader(leader) => MembersError::NotLeader { leader },
        ReadIndexError::Unavailable(reason) | ReadIndexError::Halted(reason) => {
            MembersError::Unavailable { reason }
        }
    })?;
    // A new leader's read point may be an entry that is not committed yet: what is applied is.
    let mut applied = local.state.applied();
    let waiting = applied.wait_for(|applied| *applied >= read);
    if !matches!(
        tokio::time::timeout(CONFIRM_TIMEOUT, waiting).await,
        Ok(Ok(_))
    ) {
        return Err(under_way());
    }
    let known = local.state.position().membership;
    let is_whole = known.membership().get_joint_config().len() == 1;
    match known.log_id() == looked.membership_config.log_id() && is_whole {
        true => Ok(()),
        false => Err(under_way()),
    }
}

/// What the audit says of a change.
fn note_of(change: MemberChange) -> Option<NoteMembers> {
    let (member, reason, message) = match change {
        MemberChange::Add { id, address } => {
            let message = format!("at {address}, without a vote yet");
            (id, "MemberAdded", message)
        }
        MemberChange::Promote { id, replaces } => {
            let message = replaces.map(|replaced| format!("in the place of member {replaced}"));
            (id, "MemberVotes", message.unwrap_or_default())
        }
        MemberChange::Remove { id } => (id, "MemberRemoved", String::new()),
        // No change of the members.
        MemberChange::Lead { .. } => return None,
    };
    Some(NoteMembers {
        member,
        reason: reason.to_owned(),
        message,
    })
}

/// Into the audit chain, in the name of who asked for it.
async fn enter(local: &Local, actor: &str, note: NoteMembers) {
    let (member, reason) = (note.member, note.reason.clone());
    tracing::info!(
        member,
        reason,
        note.message,
        actor,
        "a change of the members"
    );
    let raised = local.state.read(|read, _| regraft_state::format::of(read));
    if !matches!(raised, Ok(Ok(raised)) if raised >= FORMAT) {
        // A member of an older version would halt on it.
        return;
    }
    let operation = Operation {
        request: Some(Request::NoteMembers(note)),
        ..Operation::default()
    };
    let command = Envelope::of_operation(actor, operation).encode_to_vec();
    if let Err(error) = local.propose(command).await {
        tracing::warn!(member, reason, actor, %error, "a change of the members is not in the audit");
    }
}

/// What the leader knows of its members.
struct Known {
    me: u64,
    voters: BTreeSet<u64>,
    addresses: BTreeMap<u64, String>,
    /// Entries that each one lacks; only of those that have ever answered.
    behind: BTreeMap<u64, u64>,
    /// Who answered lately, this one among them.
    answering: BTreeSet<u64>,
}

impl Known {
    fn of(metrics: &RaftMetrics<Types>) -> Self {
        let membership = metrics.membership_config.membership();
        let mut answering: BTreeSet<u64> = metrics
            .heartbeat
            .iter()
            .flatten()
            .filter(|(_, at)| at.is_some_and(|at| at.elapsed() < ANSWERED_WITHIN))
            .map(|(id, _)| *id)
            .collect();
        answering.insert(metrics.id);
        Self {
            me: metrics.id,
            voters: membership.voter_ids().collect(),
            addresses: membership
                .nodes()
                .map(|(id, node)| (*id, node.addr.clone()))
                .collect(),
            behind: behind(metrics),
            answering,
        }
    }

    /// What to change to add a member; nothing when it is one.
    async fn add(
        &self,
        peers: &Peers,
        id: u64,
        address: &str,
    ) -> Result<Option<Change>, MembersError> {
        match self.addresses.get(&id) {
            Some(had) if had == address => return Ok(None),
            Some(had) => {
                return refuse(
                    format!("member {id} is a member already, at {had}"),
                    "a new member takes an id that was never used; to move one, remove it first and come back under a new id",
                );
            }
            None => {}
        }
        if check_node_id(id).is_err() {
            return refuse("member ids start at 1", "take an id that was never used");
        }
        if let Some((other, _)) = self.addresses.iter().find(|(_, had)| *had == address) {
            return refuse(
                format!("{address} is the address of member {other}"),
                "give the new member an address of its own",
            );
        }
        let introduced = peers.introduce(id, address).await.map_err(|reason| {
            let action = format!(
                "start member {id} with its own certificate, an empty data folder, and all members under `peers`; then ask again"
            );
            MembersError::Refused { reason, action }
        })?;
        if introduced.known_otherwise {
            return refuse(
                format!("a member {id} was here before, with another disk"),
                "start it with an empty data folder under an id that was never used, with a certificate of that id",
            );
        }
        if !introduced.voters.is_empty() {
            let voters: Vec<String> = introduced.voters.iter().map(u64::to_string).collect();
            return refuse(
                format!(
                    "member {id} brings a log of its own, in which member {} votes",
                    voters.join(", ")
                ),
                "stop it, empty its data folder, name all members under its `peers`, and start it again; if the members had begun to take it in, they know its disk: then under an id that was never used",
            );
        }
        let nodes = BTreeMap::from([(id, openraft::BasicNode::new(address))]);
        Ok(Some(Change::AddNodes(nodes)))
    }

    /// What to change to give a vote; nothing when it votes.
    fn promote(&self, id: u64, replaces: Option<u64>) -> Result<Option<Change>, MembersError> {
        self.check_promotion(id, replaces)?;
        let mut voters = self.voters.clone();
        voters.insert(id);
        if let Some(replaced) = replaces {
            voters.remove(&replaced);
        }
        if voters == self.voters {
            return Ok(None);
        }
        self.check_majority(&voters)?;
        Ok(Some(Change::ReplaceAllVoters(voters)))
    }

    /// What to change to remove a member; nothing when it is none.
    fn remove(&self, id: u64) -> Result<Option<Change>, MembersError> {
        if !self.addresses.contains_key(&id) {
            return Ok(None);
        }
        if !self.voters.contains(&id) {
            return Ok(Some(Change::RemoveNodes(BTreeSet::from([id]))));
        }
        if id == self.me {
            return Err(leads_itself(id));
        }
        let mut voters = self.voters.clone();
        voters.remove(&id);
        self.check_majority(&voters)?;
        Ok(Some(Change::ReplaceAllVoters(voters)))
    }

    fn check_promotion(&self, id: u64, replaces: Option<u64>) -> Result<(), MembersError> {
        if !self.addresses.contains_key(&id) {
            return Err(no_member(id));
        }
        match replaces {
            Some(replaced) if replaced == self.me => return Err(leads_itself(replaced)),
            Some(replaced) if !self.voters.contains(&replaced) && !self.voters.contains(&id) => {
                return refuse(
                    format!("member {replaced}, which it should replace, has no vote"),
                    "see who votes with `regraft get members`",
                );
            }
            _ => {}
        }
        match self.behind.get(&id) {
            _ if self.voters.contains(&id) => Ok(()),
            None => Err(MembersError::Unavailable {
                reason: format!("nothing was heard of member {id} yet"),
            }),
            Some(behind) if *behind > BEHIND_ENTRIES_MAX => Err(MembersError::Unavailable {
                reason: format!("member {id} still lacks {behind} entries of the log"),
            }),
            Some(_) => Ok(()),
        }
    }

    /// Whether those that would vote could decide anything.
    fn check_majority(&self, voters: &BTreeSet<u64>) -> Result<(), MembersError> {
        let answering = voters.intersection(&self.answering).count();
        if answering > voters.len() / 2 {
            return Ok(());
        }
        let silent: Vec<String> = voters
            .difference(&self.answering)
            .map(u64::to_string)
            .collect();
        refuse(
            format!(
                "only {answering} of the {} members that would vote answer, which is no majority; nothing is heard of member {}",
                voters.len(),
                silent.join(", ")
            ),
            "bring the silent members back first",
        )
    }
}

/// Entries that each member lacks, as far as it has ever answered this leader.
pub(crate) fn behind(metrics: &RaftMetrics<Types>) -> BTreeMap<u64, u64> {
    let last = metrics.last_log_index.unwrap_or_default();
    let replication = metrics.replication.iter().flatten();
    replication
        .filter_map(|(id, matched)| {
            let matched = matched.as_ref()?.index;
            Some((*id, last.saturating_sub(matched)))
        })
        .collect()
}

async fn lead(local: &Local, known: &Known, id: u64) -> Result<(), MembersError> {
    if id == known.me {
        return Ok(());
    }
    if !known.voters.contains(&id) {
        return Err(no_member(id));
    }
    if !known.answering.contains(&id) {
        return Err(MembersError::Unavailable {
            reason: format!("nothing is heard of member {id}"),
        });
    }
    let transferred = local.raft.trigger().transfer_leader(id).await;
    transferred.map_err(|fatal| MembersError::Unavailable {
        reason: fatal.to_string(),
    })?;
    let leads = local
        .raft
        .wait(Some(LEAD_TIMEOUT))
        .metrics(
            |metrics| metrics.current_leader == Some(id),
            "the other leads",
        )
        .await;
    leads.map(drop).map_err(|_| MembersError::Unknown)
}

/// Voters that lose their vote leave altogether.
async fn apply(raft: &Raft, change: Change) -> Result<(), MembersError> {
    let changing = raft.change_membership(change, false);
    match tokio::time::timeout(CHANGE_TIMEOUT, changing).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(RaftError::APIError(error))) => Err(not_changed(error)),
        Ok(Err(RaftError::Fatal(fatal))) => Err(MembersError::Unavailable {
            reason: fatal.to_string(),
        }),
        Err(_) => Err(MembersError::Unknown),
    }
}

fn not_changed(error: ClientWriteError<Types>) -> MembersError {
    match error {
        ClientWriteError::ForwardToLeader(other) => MembersError::NotLeader {
            leader: other.leader_id,
        },
        ClientWriteError::LogEntryDiscarded(_) => MembersError::Unknown,
        ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => {
            under_way()
        }
        other => MembersError::Refused {
            reason: other.to_string(),
            action: "see who the members are with `regraft get members`".to_owned(),
        },
    }
}

fn refuse<T>(reason: impl Into<String>, action: &str) -> Result<T, MembersError> {
    Err(MembersError::Refused {
        reason: reason.into(),
        action: action.to_owned(),
    })
}

fn under_way() -> MembersError {
    MembersError::Unavailable {
        reason: "another change of the members is under way".to_owned(),
    }
}

fn no_member(id: u64) -> MembersError {
    MembersError::Refused {
        reason: format!("there is no member {id}"),
        action: "see who the members are with `regraft get members`".to_owned(),
    }
}

fn leads_itself(id: u64) -> MembersError {
    MembersError::Refused {
        reason: format!("member {id} leads"),
        action: "have another member lead first, with `regraft members lead ID`".to_owned(),
    }
}

fn leads(leader: Option<u64>) -> String {
    match leader {
        Some(leader) => format!("member {leader} leads"),
        None => "no member is known to lead".to_owned(),
    }
}

/// While this member leads: ends a change of voters that an earlier leader left half-done.
pub(crate) async fn follow(local: Arc<Local>, stop: CancellationToken) {
    let mut every = tokio::time::interval(CHORES_INTERVAL);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let metrics = local.raft.metrics().borrow_watched().clone();
        let membership = &metrics.membership_config;
        let joint = membership.membership().get_joint_config();
        let half_done = match joint.as_slice() {
            _ if planted::has(Bug::HalfDoneStays) => None,
            [_, target] if local.leads().is_some() => Some((*membership.log_id(), target.clone())),
            _ => None,
        };
        // Seen twice: whoever began it is not about to end it.
        if let Some((_, target)) = half_done.as_ref().filter(|_| seen == half_done) {
            let ended = apply(&local.raft, Change::ReplaceAllVoters(target.clone()));
            match ended.await {
                Ok(()) => {
                    let voters: Vec<String> = target.iter().map(u64::to_string).collect();
                    let note = NoteMembers {
                        member: metrics.id,
                        reason: "MembersChangeEnded".to_owned(),
                        message: format!(
                            "what an earlier leader began: {} vote now",
                            voters.join(", ")
                        ),
                    };
                    enter(&local, &format!("member-{}", metrics.id), note).await;
                }
                Err(error) => tracing::debug!(%error, "a change of the members is not ended yet"),
            }
        }
        seen = half_done;
    }
}
