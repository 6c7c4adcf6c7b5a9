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
