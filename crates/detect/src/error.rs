//! What can be wrong with what detection is given.

/// What can be wrong with what detection is given.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Settings that cannot be.
    #[error("settings: {0}")]
    Settings(&'static str),
    /// A service without metrics, or with too many.
    #[error("a service of {0} metrics; there may be 1 to {max}", max = crate::metrics::METRICS_MAX)]
    Metrics(usize),
}
