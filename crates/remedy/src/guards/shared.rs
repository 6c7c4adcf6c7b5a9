//! Does another application read the same files?

use super::{passed, propose};
use crate::case::Case;
use crate::draft::Draft;
use regraft_model::{Guard, GuardResult};
use std::collections::BTreeSet;

/// An edit below another application's path would change that application, too.
pub(super) fn shared_files(case: &Case<'_>, draft: &Draft<'_>) -> GuardResult {
    let readers: BTreeSet<&str> = case
        .fleet
        .applications
        .values()
        .filter(|other| {
            other.name != case.application.name && other.repository == case.application.repository
        })
        .filter(|other| {
            draft
                .edits
                .iter()
                .any(|edit| is_below(&edit.path, &other.path))
        })
        .map(|other| other.name.as_str())
        .collect();
    if readers.is_empty() {
        return passed(
            Guard::SharedFiles,
            "no other application reads the files it changes",
        );
    }
    let readers: Vec<_> = readers.into_iter().collect();
    propose(
        Guard::SharedFiles,
        format!(
            "the files it changes are also read by {}",
            readers.join(", ")
        ),
    )
}

/// Whether a file lies in a directory; the empty path is the repository's root.
pub(crate) fn is_below(path: &str, directory: &str) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.starts_with('/'))
}
