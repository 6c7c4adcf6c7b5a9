//! Known bugs that can be put back, to prove that the checkers see them.

use regraft_engine::planted::Bug;
use std::fmt;
use std::str::FromStr;

/// A known bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlantedBug {
    /// The runner commits without asking whether its lock still holds.
    StaleFence,
    /// The repo reads no trailers: neither before it commits nor in a history.
    NoTrailerCheck,
    /// The repo leaves the tip check to the server's fast-forward rule.
    TipResetUnnoticed,
    /// A render with problems prunes as if it were complete.
    PruneAfterProblems,
    /// Plans are made from clusters that cannot be seen.
    ActOnUnknown,
    /// After a restart a commit under way is planned again under another key.
    DoubleRevertAfterCrash,
    /// A person's revert of ours is forgotten.
    VetoForgotten,
    /// The storm guard is skipped.
    StormIgnored,
    /// What is to be proposed is committed.
    ConsentIgnored,
}

impl PlantedBug {
    /// All of them.
    pub const ALL: &[PlantedBug] = &[
        PlantedBug::StaleFence,
        PlantedBug::NoTrailerCheck,
        PlantedBug::TipResetUnnoticed,
        PlantedBug::PruneAfterProblems,
        PlantedBug::ActOnUnknown,
        PlantedBug::DoubleRevertAfterCrash,
        PlantedBug::VetoForgotten,
        PlantedBug::StormIgnored,
        PlantedBug::ConsentIgnored,
    ];

    /// The bug of the engine's stages that stands for it; none when it is in the runner or the repo.
    pub(crate) fn in_engine(self) -> Option<Bug> {
        match self {
            PlantedBug::StaleFence | PlantedBug::NoTrailerCheck | PlantedBug::TipResetUnnoticed => {
                None
            }
            PlantedBug::PruneAfterProblems => Some(Bug::PruneAfterProblems),
            PlantedBug::ActOnUnknown => Some(Bug::ActOnUnknown),
            PlantedBug::DoubleRevertAfterCrash => Some(Bug::DoubleRevertAfterCrash),
            PlantedBug::VetoForgotten => Some(Bug::VetoForgotten),
            PlantedBug::StormIgnored => Some(Bug::StormIgnored),
            PlantedBug::ConsentIgnored => Some(Bug::ConsentIgnored),
        }
    }

    /// The word for the command line.
    pub fn word(self) -> &'static str {
        match self {
            PlantedBug::StaleFence => "stale-fence",
            PlantedBug::NoTrailerCheck => "no-trailer-check",
            PlantedBug::TipResetUnnoticed => "tip-reset-unnoticed",
            PlantedBug::PruneAfterProblems => "prune-after-problems",
            PlantedBug::ActOnUnknown => "act-on-unknown",
            PlantedBug::DoubleRevertAfterCrash => "double-revert-after-crash",
            PlantedBug::VetoForgotten => "veto-forgotten",
            PlantedBug::StormIgnored => "storm-ignored",
            PlantedBug::ConsentIgnored => "consent-ignored",
        }
    }
}

impl fmt::Display for PlantedBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for PlantedBug {
    type Err = UnknownBug;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        PlantedBug::ALL
            .iter()
            .copied()
            .find(|bug| bug.word() == word)
            .ok_or_else(|| UnknownBug(word.to_owned()))
    }
}

/// A word that names no planted bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBug(String);

impl fmt::Display for UnknownBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<_> = PlantedBug::ALL.iter().map(|bug| bug.word()).collect();
        write!(
            f,
            "no planted bug is called `{}`; known: {}",
            self.0,
            known.join(", ")
        )
    }
}

impl std::error::Error for UnknownBug {}
