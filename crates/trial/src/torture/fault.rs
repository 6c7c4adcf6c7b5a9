//! Which faults there are, and when they come.

use std::time::Duration;

use regraft_wal::testing::Dice;
use serde::Serialize;

use super::lab::Confinement;

/// What happens to members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    /// A member is killed, and started again after a while
    Kill,
    /// All three are killed at once, and started again
    KillAll,
    /// A member is stopped by a signal, and goes on later
    Freeze,
    /// A member and the two others do not hear each other
    Isolate,
    /// Two members do not hear each other
    Part,
    /// A member hears nobody of the others, but they hear it
    Deafen,
    /// A member is heard by nobody of the others, but it hears them
    Mute,
    /// A member does not hear its clients
    CutRequests,
    /// Clients do not hear a member
    CutAnswers,
    /// Some of the packets of a member are lost: what they carry comes late, in bursts
    Loss,
    /// All that is sent to a member, and its answers, arrive later
    Delay,
    /// A member's disk is full
    FullDisk,
    /// Every sync of a member's log takes long
    SlowSync,
    /// Every sync of a member's log fails: it ends, and is started again and again
    FailSync,
    /// A member's clock jumps, and later back
    ClockJump,
}

impl Kind {
    pub(super) const ALL: [Self; 15] = [
        Self::Kill,
        Self::KillAll,
        Self::Freeze,
        Self::Isolate,
        Self::Part,
        Self::Deafen,
        Self::Mute,
        Self::CutRequests,
        Self::CutAnswers,
        Self::Loss,
        Self::Delay,
        Self::FullDisk,
        Self::SlowSync,
        Self::FailSync,
        Self::ClockJump,
    ];

    /// Whether it can be done there.
    pub(super) fn fits(self, confinement: Confinement) -> bool {
        let needs_own = matches!(
            self,
            Self::Isolate
                | Self::Part
                | Self::Deafen
                | Self::Mute
                | Self::CutRequests
                | Self::CutAnswers
                | Self::Loss
                | Self::Delay
                | Self::FullDisk
        );
        confinement == Confinement::Own || !needs_own
    }

    /// The longest it lasts: a stopped process for as long as a machine may hang, all others for some elections.
    fn longest(self) -> Duration {
        match self {
            Self::Freeze => Duration::from_secs(10),
            Self::Kill | Self::KillAll => Duration::from_secs(3),
            Self::FullDisk => Duration::from_secs(12),
            _ => Duration::from_secs(7),
        }
    }
}

/// Who suffers: told by what it does then, for a leader suffers otherwise than who follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Victim {
    Leader,
    Follower,
}

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) kind: Kind,
    pub(super) victim: Victim,
    pub(super) lasts: Duration,
    /// A number for what else there is to choose.
    pub(super) dice: u64,
}

/// Faults that begin together, and the rest after all of them have ended and the members recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blow {
    pub(super) faults: Vec<Planned>,
    pub(super) rest: Duration,
}

/// The blows of a seed, without end: every kind comes once before any comes again.
pub(super) struct Schedule {
    dice: Dice,
    kinds: Vec<Kind>,
    left: Vec<Kind>,
}

/// One in so many blows is two faults at once.
const DOUBLE_IN: u64 = 4;
const LASTS_MIN_MS: u64 = 100;
const REST_MIN_MS: u64 = 500;
const REST_MAX_MS: u64 = 3_000;

impl Schedule {
    pub(super) fn new(seed: u64, kinds: Vec<Kind>) -> Self {
        Self {
            dice: Dice::new(seed),
            kinds,
            left: Vec::new(),
        }
    }

    /// How many kinds of faults there are to come.
    pub(super) fn kinds(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn next(&mut self) -> Blow {
        let mut faults = vec![self.fault()];
        if self.dice.below(DOUBLE_IN) == 0 {
            faults.push(self.fault());
        }
        let rest = REST_MIN_MS + self.dice.below(REST_MAX_MS - REST_MIN_MS);
        Blow {
            faults,
            rest: Duration::from_millis(rest),
        }
    }

    fn fault(&mut self) -> Planned {
        if self.left.is_empty() {
            self.left = self.kinds.clone();
        }
        let at = self.dice.below(self.left.len() as u64);
        let kind = self
            .left
            .swap_remove(usize::try_from(at).unwrap_or_default());
        let victim = match self.dice.percent(60) {
            true => Victim::Leader,
            false => Victim::Follower,
        };
        let longest = u64::try_from(kind.longest().as_millis()).unwrap_or(u64::MAX);
        let lasts = LASTS_MIN_MS + self.dice.below(longest - LASTS_MIN_MS);
        Planned {
            kind,
            victim,
            lasts: Duration::from_millis(lasts),
            dice: self.dice.any(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_gives_the_same_blows_and_every_kind_comes_before_any_comes_again() {
        let blows = |seed| {
            let mut schedule = Schedule::new(seed, Kind::ALL.to_vec());
            (0..40).map(|_| schedule.next()).collect::<Vec<_>>()
        };
        assert_eq!(blows(7), blows(7));
        assert_ne!(blows(7), blows(8));
        let kinds: Vec<Kind> = blows(7)
            .iter()
            .flat_map(|blow| blow.faults.iter().map(|fault| fault.kind))
            .collect();
        for round in kinds.chunks_exact(Kind::ALL.len()) {
            let different: BTreeSet<Kind> = round.iter().copied().collect();
            assert_eq!(different.len(), Kind::ALL.len());
        }
    }
}
