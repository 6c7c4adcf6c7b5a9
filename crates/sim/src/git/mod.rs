//! A fake remote: commits as trees of files, one tracked branch, compare-and-swap on its tip.

mod remote;
mod store;

pub(crate) use remote::{Landing, Push, Remote};
pub(crate) use store::Author;

/// Name of the one repository.
pub(crate) const REPOSITORY: &str = "fleet";
/// Its tracked branch.
pub(crate) const BRANCH: &str = "main";
