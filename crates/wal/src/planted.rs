//! Bugs that tests put in, to show that they would be found. Outside of tests there is none.

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A batch is answered before it is synced.
    NoSync,
    /// Records are believed without their checksums.
    NoChecksum,
    /// Damage at the end is a torn tail, whatever follows it.
    AllDamageIsTorn,
    /// Segments go before the purge that frees them is synced.
    EarlyRelease,
    /// The oldest segment that is needed goes too.
    ReleaseOneMore,
    /// What a crash left behind the last batch stays there.
    NoZeroing,
    /// What recovery reads is believed to be on the disk.
    NoRewriting,
    /// A new segment is written before the one before it is synced.
    NoSyncBetweenSegments,
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
