//! Bounds of time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a call may take, unless the caller says so: ten times what it takes until writes go on behind a leader that was killed.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a member may be silent: several round trips around the world, with a slow disk at the end.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long making a connection may take: a few round trips around the world.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// First pause after all members were asked in vain: a fraction of an election.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest pause: about what an election takes.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// How long one request for a lock that was queued waits at one member before another is asked.
const WAIT_PIECE: Duration = Duration::from_secs(5);
/// How long a watch may tell nothing before its member is asked whether it still follows the leader.
const WATCH_CHECK: Duration = Duration::from_secs(5);

/// Clients of this process so far.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

/// What bounds a [`Client`](crate::Client), in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a call may take with all its attempts; 10 s. It ends earlier when the next pause would not. [`Client::within`](crate::Client::within) gives another one.
    pub deadline: Duration,
    /// How long one attempt may take before the same request is sent to another member; 2 s. It is sent with the request
    /// (`grpc-timeout`), shortened to what is left until the deadline.
    pub attempt_timeout: Duration,
    /// How long making a connection may take; 1 s.
    pub connect_timeout: Duration,
    /// Pause after all members were asked in vain; 20 ms. It doubles from time to time.
    pub backoff_min: Duration,
    /// Longest such pause; 500 ms.
    pub backoff_max: Duration,
    /// How long a queued request for a lock waits at one member before it asks another one; 5 s.
    pub wait_piece: Duration,
    /// How long a watch may tell nothing before its member is asked whether it still follows the leader; 5 s.
    pub watch_check: Duration,
    /// Spreads pauses and first choices, so that many clients do not act at once: another number for each client. The
    /// default is made of the id of this process and a count.
    pub spread: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let count = CLIENTS.fetch_add(1, Ordering::Relaxed);
        Self {
            deadline: DEADLINE,
            attempt_timeout: ATTEMPT_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            backoff_min: BACKOFF_MIN,
            backoff_max: BACKOFF_MAX,
            wait_piece: WAIT_PIECE,
            watch_check: WATCH_CHECK,
            spread: spread(u64::from(std::process::id()), count),
        }
    }
}

impl Settings {
    /// The pause before round `round` (from 0): it doubles up to its bound, and is spread over its upper half.
    pub(crate) fn backoff(&self, round: u32) -> Duration {
        let factor = 1_u32.checked_shl(round).unwrap_or(u32::MAX).max(1);
        let whole = self.backoff_min.saturating_mul(factor);
        let whole = whole.min(self.backoff_max);
        let parts = u32::from(spread(self.spread, u64::from(round)).to_le_bytes()[0]);
        whole / 2 + (whole / 2) * parts / 255
    }
}

/// Mixes two numbers (SplitMix64, G. Steele, D. Lea, C. Flood 2014).
pub(crate) fn spread(seed: u64, number: u64) -> u64 {
    let mut mixed = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_differ_between_clients() {
        let (one, other) = (Settings::default(), Settings::default());
        for round in 0..100 {
            let whole = BACKOFF_MAX.min(BACKOFF_MIN * 2_u32.pow(round.min(10)));
            let pause = one.backoff(round);
            assert!((whole / 2..=whole).contains(&pause), "{round}: {pause:?}");
        }
        let differ = (0..20).filter(|round| one.backoff(*round) != other.backoff(*round));
        assert!(differ.count() > 10);
    }
}
