//! Which formats of commands may be proposed.
//!
//! ```text
//! every member --(answers of heartbeats: what it reads)--> leader --RaiseFormat, once--> state --> who proposes
//! ```
//!
//! A member that meets a command it does not read halts. So nothing newer than what the state says is proposed, and the
//! leader says so only when it has heard from every member, voters and others.

use crate::error::ProposeError;
use crate::local::Local;
use crate::machine::Machine;
use crate::network::Peers;
use openraft::async_runtime::watch::WatchReceiver as _;
use prost::Message as _;
use regraft_state::command::{COMMAND_FORMAT, Envelope};
use regraft_state::operation::{Operation, RaiseFormat, Request};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a leader looks whether all have been upgraded.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What may be proposed, as this member knows it.
pub(crate) struct Formats {
    raised: AtomicU32,
}

impl Default for Formats {
    fn default() -> Self {
        Self {
            raised: AtomicU32::new(COMMAND_FORMAT),
        }
    }
}

impl Formats {
    /// Refuses a format that some member may not read yet.
    pub(crate) fn check(
        &self,
        needed: u32,
        local: &Local,
        peers: &Peers,
    ) -> Result<(), ProposeError> {
        // It never falls.
        if self.raised.load(Ordering::Acquire) >= needed {
            return Ok(());
        }
        let unavailable = |reason: String| ProposeError::Unavailable { reason };
        let read = local.state.read(|read, _| regraft_state::format::of(read));
        let raised = read
            .flatten()
            .map_err(|error| unavailable(error.to_string()))?;
        self.raised.fetch_max(raised, Ordering::AcqRel);
        if raised >= needed {
            return Ok(());
        }
        let lacking = lacking(needed, local, peers).join(", ");
        Err(unavailable(match lacking.is_empty() {
            true => "the members were upgraded just now: ask again".to_owned(),
            false => format!(
                "it needs every member to know format {needed}: {lacking}; upgrade those that run an older version, and start or remove the silent ones"
            ),
        }))
    }
}

/// The members that may not read `needed`, as this one has heard of them.
fn lacking(needed: u32, local: &Local, peers: &Peers) -> Vec<String> {
    let metrics = local.raft.metrics().borrow_watched().clone();
    let known = peers.formats();
    let others = metrics.membership_config.membership().nodes();
    let others = others.map(|(id, _)| *id).filter(|id| *id != peers.me);
    let told = others.filter_map(|id| match known.get(&id) {
        Some(format) if *format >= needed => None,
        Some(format) => Some(format!("member {id} knows {format}")),
        None if metrics.current_leader == Some(peers.me) => {
            Some(format!("nothing was heard of member {id}"))
        }
        // Followers hear of nobody: the leader decides.
        None => None,
    });
    told.collect()
}

/// Raises the format, while this member leads, as soon as every member reads it; ends when that is done.
pub(crate) async fn follow(
    local: Arc<Local>,
    peers: Arc<Peers>,
    machine: Arc<dyn Machine>,
    stop: CancellationToken,
) {
    let mut every = tokio::time::interval(LOOK_INTERVAL);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let format = machine.format();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        match local.state.read(|read, _| regraft_state::format::of(read)) {
            // For good.
            Ok(Ok(raised)) if raised >= format => return,
            Ok(Ok(_)) => {}
            Ok(Err(error)) | Err(error) => {
                tracing::error!(%error, "the format of the state cannot be read");
                continue;
            }
        }
        let Some(leader) = local.leads() else {
            continue;
        };
        if !lacking(format, &local, &peers).is_empty() {
            continue;
        }
        let operation = Operation {
            request: Some(Request::RaiseFormat(RaiseFormat { format })),
            ..Operation::default()
        };
        let actor = format!("member/{}", peers.me);
        let command = Envelope::of_operation(actor, operation).encode_to_vec();
        match local.propose_as(leader, command).await {
            Ok(_) => tracing::info!(
                format,
                "every member knows a newer format: it is used from now on"
            ),
            Err(error) => tracing::debug!(%error, "the format is not raised yet"),
        }
    }
}
