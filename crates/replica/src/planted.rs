//! Bugs that the simulation puts in, to show that it would find them. Outside of tests there is none.

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A leader takes entries for replicated whose answers were lost: they are committed without a quorum.
    LostAnswerIsYes,
    /// Entries and votes are answered as durable before they are synced.
    UnsyncedAppend,
    /// A snapshot says how far the state is, and holds what the snapshot before it held.
    OldSnapshot,
    /// Who believes to lead gives read points without asking a quorum.
    ReadWithoutQuorum,
    /// Who votes changes at once: what is written, and sent, of a joint step is where it leads to.
    NoJointStep,
    /// Nobody ends a change of voters that its leader left half-done.
    HalfDoneStays,
    /// Who believes to lead tells that a change is done as soon as it looks so there, committed or not.
    ChangeToldEarly,
    /// A leader gives sessions up after half of their time.
    EarlyExpiry,
    /// The state forgets which requests it has answered.
    #[cfg(test)]
    NoDedupe,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether this bug is in, on this thread.
#[cfg(test)]
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// There is none.
#[cfg(not(test))]
pub(crate) const fn has(_: Bug) -> bool {
    false
}

/// Puts a bug in for what `run` does on this thread.
#[cfg(test)]
pub(crate) fn with<T>(bug: Option<Bug>, run: impl FnOnce() -> T) -> T {
    let before = PLANTED.replace(bug);
    let result = run();
    PLANTED.set(before);
    result
}
