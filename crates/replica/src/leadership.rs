//! Another member leads in the place of this one: when this one stops, and while its disk is full.

use crate::local::Local;
use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver as _;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long another member may take to lead.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a leader looks whether its disk is full; it hands over when it is so twice in a row.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long a member whose disk is full keeps what was given back to it: the disks of the others may be full, too.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// What it takes to give the lead away.
pub(crate) struct Leadership {
    pub(crate) local: Arc<Local>,
    pub(crate) me: u64,
    /// Who has answered within this may be asked to lead.
    pub(crate) lately: Duration,
}

/// Gives the lead away while this member can accept nothing for want of room.
pub(crate) async fn follow(leadership: Leadership, stop: CancellationToken) {
    let mut every = tokio::time::interval(LOOK_INTERVAL);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut was_full = false;
    // Nobody knows whose disk is full, too: each is asked before one is asked again.
    let mut asked = BTreeMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let local = &leadership.local;
        let is_full = local.leads().is_some() && local.room.lacking().is_some();
        if is_full && was_full {
            leadership.hand_over_but(&mut asked).await;
            every.reset_after(KEPT_FOR);
        }
        was_full = is_full;
    }
}

impl Leadership {
    /// Makes the best follower lead, so that writes stop for milliseconds only.
    pub(crate) async fn hand_over(&self) {
        self.hand_over_but(&mut BTreeMap::new()).await;
    }

    /// As [`Self::hand_over`], rather to one that was asked less often.
    async fn hand_over_but(&self, asked: &mut BTreeMap<u64, u32>) {
        let raft = &self.local.raft;
        if !raft.is_leader() {
            return;
        }
        let Some(next) = self.best_follower(asked) else {
            return;
        };
        *asked.entry(next).or_default() += 1;
        if raft.trigger().transfer_leader(next).await.is_err() {
            return;
        }
        let me = self.me;
        let handed_over = raft
            .wait(Some(TRANSFER_TIMEOUT))
            .metrics(
                |metrics| metrics.current_leader.is_some_and(|leader| leader != me),
                "another member leads",
            )
            .await;
        match handed_over {
            Ok(_) => tracing::info!(next, "leadership was handed over"),
            Err(error) => tracing::warn!(next, %error, "leadership was not handed over in time"),
        }
    }

    /// The voter with the longest log among those that answered lately and were asked least often.
    fn best_follower(&self, asked: &BTreeMap<u64, u32>) -> Option<u64> {
        let metrics = self.local.raft.metrics().borrow_watched().clone();
        let answered = |member: &u64| {
            let heartbeat = metrics.heartbeat.as_ref().and_then(|all| all.get(member));
            heartbeat.is_some_and(|at| at.is_some_and(|at| at.elapsed() < self.lately))
        };
        let matched = |member: &u64| {
            let all = metrics.replication.as_ref()?;
            all.get(member).copied().flatten()
        };
        metrics
            .membership_config
            .voter_ids()
            .filter(|member| *member != self.me && answered(member))
            .max_by_key(|member| (Reverse(asked.get(member)), matched(member)))
    }
}
