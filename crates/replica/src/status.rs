//! How a member is doing.

use crate::local::Local;
use crate::members;
use crate::network::Peers;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{Instant as _, ServerState};
use std::collections::{BTreeMap, BTreeSet};

/// What a member does in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Leads: stamps and orders commands.
    Leader,
    /// Follows a leader, or waits for one.
    Follower,
    /// Stands for election.
    Candidate,
    /// Receives the log but has no vote (also: not part of a cluster yet).
    Learner,
    /// Stopped, or failed for good.
    Stopped,
}

/// How a member is doing, as it sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub node_id: u64,
    /// What it does.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// Who votes.
    pub voters: BTreeSet<u64>,
    /// Where each member listens for the others, those without a vote among them.
    pub members: BTreeMap<u64, String>,
    /// Only on the leader: entries of its log that each other member lacks, of those that have ever answered it.
    pub behind: BTreeMap<u64, u64>,
    /// Log index up to which commands are applied here.
    pub applied: u64,
    /// Last log index here.
    pub last_log: u64,
    /// Log index of the last snapshot, 0 when there is none.
    pub snapshot: u64,
    /// Log index up to which entries are only in the snapshot any more, 0 when all are in the log.
    pub purged: u64,
    /// Whether it has applied again what its log says was committed before its last start: all but, after a crash, the last
    /// entries, of which a leader tells.
    pub recovered: bool,
    /// Only on the leader: milliseconds since each other member last answered; `None` when it never did.
    pub contact_ms: BTreeMap<u64, Option<u64>>,
    /// The last trouble in reaching each member, until it answers again.
    pub troubles: BTreeMap<u64, String>,
    /// What the member's disk has no room for, while there is none: it accepts no more, and goes on by itself when there is.
    pub full_disk: Option<String>,
    /// Why this member applies no more; a person has to look.
    pub fatal: Option<String>,
}

/// The status of the moment.
pub(crate) fn status_of(local: &Local, peers: &Peers, recovered: bool) -> Status {
    let metrics = local.raft.metrics().borrow_watched().clone();
    let engine_failed = metrics
        .running_state
        .as_ref()
        .err()
        .map(ToString::to_string);
    let fatal = local.halted().map(str::to_owned).or(engine_failed);
    let role = match metrics.state {
        _ if fatal.is_some() => Role::Stopped,
        ServerState::Leader => Role::Leader,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Stopped,
    };
    let contact_ms = metrics
        .heartbeat
        .iter()
        .flatten()
        .filter(|(member, _)| **member != peers.me)
        .map(|(member, at)| {
            let ago = at.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
            (*member, ago)
        })
        .collect();
    Status {
        node_id: peers.me,
        role,
        term: metrics.current_term,
        // What it knew when it stopped would lead clients astray, most of all to itself.
        leader: metrics.current_leader.filter(|_| fatal.is_none()),
        voters: metrics.membership_config.voter_ids().collect(),
        members: metrics
            .membership_config
            .membership()
            .nodes()
            .map(|(id, node)| (*id, node.addr.clone()))
            .collect(),
        behind: members::behind(&metrics),
        applied: *local.state.applied().borrow(),
        last_log: metrics.last_log_index.unwrap_or(0),
        snapshot: metrics.snapshot.map_or(0, |id| id.index),
        purged: metrics.purged.map_or(0, |id| id.index),
        recovered,
        contact_ms,
        troubles: peers.troubles(),
        full_disk: local.room.lacking(),
        fatal,
    }
}
