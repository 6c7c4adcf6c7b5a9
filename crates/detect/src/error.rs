//! What can be wrong with what detection is given.

/// What can be wrong with what detection is given.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Settings that cannot be.
    #[error("settings: {0}")]
    Settings(&'static str),
    /// A service without metrics, or with too many.
    #[error("a service of {0} metrics; there may be 1 to {max}", max = crate::metrics::METRICS_MAX)]
    Metrics(usize),
    /// Bytes that are no summary of a peer, and why.
    #[error("this is no summary of a baseline: {0}")]
    Summary(&'static str),
    /// A summary of a version that this one does not know.
    #[error("a summary of format {0}, newer than {max}", max = crate::metrics::SUMMARY_FORMAT)]
    NewerSummary(u8),
    /// A name of a metric that is longer than [`crate::metrics::NAME_BYTES_MAX`].
    #[error("a metric's name of {0} bytes; it may have {max}", max = crate::metrics::NAME_BYTES_MAX)]
    Name(usize),
    /// Stored bytes that were never written like this: cut off, or changed since.
    #[error("read a stored watch: {problem}")]
    Stored {
        /// What is wrong with them.
        problem: &'static str,
    },
    /// Stored bytes of a program that is newer than this one.
    #[error("read a stored watch of format {found}; this program knows formats up to {known}")]
    NewerFormat {
        /// What they are.
        found: u8,
        /// What can be read.
        known: u8,
    },
}
