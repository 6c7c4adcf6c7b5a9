//! What cannot have been.

use serde::Serialize;

/// One thing that an honest state cannot have answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// Which promise is broken.
    pub kind: Kind,
    /// The key, or the scope.
    pub subject: String,
    /// When whatever contradicts the rest began, microseconds of the history's clock.
    pub at_us: u64,
    /// How, for people.
    pub message: String,
}

/// Which promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A linearizable read did not see what was answered before it.
    StaleRead,
    /// A write that was answered, or read, is gone.
    LostWrite,
    /// One request had two effects.
    DoubledEffect,
    /// A value was read that nobody wrote, or whose write was refused.
    Invented,
    /// An answer contradicts the state at its place in the log.
    WrongAnswer,
    /// Places in the log do not rise with time, or one is two writes'.
    Disorder,
    /// Two held what overlaps at the same time.
    OverlappingLocks,
    /// A later holder has no greater fence.
    FenceNotRising,
}
