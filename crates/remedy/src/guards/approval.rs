//! A person's word on a proposal.

use crate::case::Case;

/// Whether a person approved exactly these edits. It settles what a guard left to a person, and nothing else.
pub(crate) fn is_approved(case: &Case<'_>, diff_hash: &str) -> bool {
    case.incident
        .approval
        .as_ref()
        .is_some_and(|approval| approval.diff_hash == diff_hash)
}
