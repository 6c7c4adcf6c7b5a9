//! How a question is refused: a stable word, the reason, one next action.

use crate::serve::propose::{Undecided, UndecidedKind};
use prost::Message as _;
use regraft_model::id::IncidentId;
use regraft_replica::{BackupError, BarrierError, MembersError};
use regraft_state::command::{Rejection, RejectionReason};
use regraft_state::store::ReadError;
use regraft_wire::admin::v1 as wire;
use tonic::{Code, Status};

/// An election takes a second; what lasts is a lost quorum.
const NO_LEADER_ACTION: &str = "try again in a second; where it stays so, most members do not reach each other: look at each with `regraft get members --stale`, and start those that are missing";

/// A question that is not answered.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    code: Code,
    reason: String,
    message: String,
    action: String,
}

impl Refusal {
    pub(super) fn not_found(message: String, action: impl Into<String>) -> Self {
        Self::new(Code::NotFound, "NotFound", message, action)
    }

    pub(super) fn forbidden(message: String, action: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, "Forbidden", message, action)
    }

    pub(super) fn invalid(message: impl Into<String>, action: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, "Invalid", message.into(), action)
    }

    pub(super) fn suspended(message: String, action: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, "Suspended", message, action)
    }

    pub(super) fn ambiguous(message: String, action: impl Into<String>) -> Self {
        Self::new(
            Code::FailedPrecondition,
            "AmbiguousApplication",
            message,
            action,
        )
    }

    /// The same, with the incident that it is about in what comes next.
    pub(super) fn about(mut self, incident: &IncidentId) -> Self {
        if self.reason == "WrongPhase" {
            self.action = format!("see `regraft describe incident {incident}`");
        }
        self
    }

    pub(super) fn failed(message: String) -> Self {
        Self::new(
            Code::Internal,
            "Failed",
            message,
            "the member's log says more",
        )
    }

    fn new(code: Code, reason: &str, message: String, action: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message,
            action: action.into(),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let problem = wire::Problem {
            reason: refusal.reason,
            message: refusal.message.clone(),
            action: refusal.action,
        };
        Status::with_details(
            refusal.code,
            refusal.message,
            problem.encode_to_vec().into(),
        )
    }
}

impl From<BarrierError> for Refusal {
    fn from(error: BarrierError) -> Self {
        match &error {
            BarrierError::Unavailable { .. } => Self::new(
                Code::Unavailable,
                "NoLeader",
                error.to_string(),
                format!("{NO_LEADER_ACTION}; `--stale` shows what this member has"),
            ),
            BarrierError::Halted { .. } => Self::new(
                Code::Unavailable,
                "Halted",
                error.to_string(),
                "ask another member, and look at this one's log",
            ),
        }
    }
}

impl From<BackupError> for Refusal {
    fn from(error: BackupError) -> Self {
        let again =
            |reason, action| Self::new(Code::Unavailable, reason, error.to_string(), action);
        match &error {
            BackupError::NotFresh(BarrierError::Unavailable { .. }) => Self::new(
                Code::Unavailable,
                "NoLeader",
                error.to_string(),
                format!("nothing was taken: {NO_LEADER_ACTION}"),
            ),
            BackupError::NotFresh(BarrierError::Halted { .. }) => {
                again("Halted", "ask another member, and look at this one's log")
            }
            BackupError::Busy => again("Busy", "wait for its end, or ask another member"),
            BackupError::Empty => again("Empty", "try again when `regraft status` knows a leader"),
            BackupError::Freeze { .. } => Self::failed(crate::failure::chain(&error)),
        }
    }
}

impl From<MembersError> for Refusal {
    fn from(error: MembersError) -> Self {
        let message = error.to_string();
        match error {
            MembersError::NotLeader { .. } => Self::new(
                Code::Unavailable,
                "NoLeader",
                message,
                format!("nothing was changed: {NO_LEADER_ACTION}"),
            ),
            MembersError::Unavailable { .. } => Self::new(
                Code::Unavailable,
                "NotYet",
                message,
                "nothing was changed: try again",
            ),
            MembersError::Refused { action, .. } => {
                Self::new(Code::FailedPrecondition, "MembersRefused", message, action)
            }
            MembersError::Unknown => Self::new(
                Code::DeadlineExceeded,
                "OutcomeUnknown",
                message,
                "look at `regraft get members` before asking again",
            ),
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<Undecided> for Refusal {
    fn from(undecided: Undecided) -> Self {
        match undecided.kind {
            UndecidedKind::NotProposed => Self::new(
                Code::Unavailable,
                "NotProposed",
                undecided.reason,
                "nothing was changed: try again in a second",
            ),
            UndecidedKind::Invalid => Self::new(
                Code::InvalidArgument,
                "Invalid",
                undecided.reason,
                "nothing was changed: ask for less at once",
            ),
            UndecidedKind::Unknown => Self::new(
                Code::DeadlineExceeded,
                "OutcomeUnknown",
                undecided.reason,
                "look whether it was done (`regraft audit`) before asking again",
            ),
            UndecidedKind::Halted => Self::new(
                Code::Unavailable,
                "Halted",
                undecided.reason,
                "ask another member, and look at this one's log",
            ),
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection.reason {
            RejectionReason::NotFound => Code::NotFound,
            RejectionReason::AlreadyDone => Code::AlreadyExists,
            _ => Code::FailedPrecondition,
        };
        let action = match rejection.reason {
            RejectionReason::NotFound => {
                "see `regraft get incidents` or `regraft get applications`"
            }
            RejectionReason::DiffChanged => "read it again, and name what you read",
            RejectionReason::Suspended => "resume it first (`regraft resume`)",
            RejectionReason::WrongPhase
            | RejectionReason::OtherIncidentOpen
            | RejectionReason::Closed => "see `regraft get incidents`",
            RejectionReason::AlreadyDone => "nothing needs to be done",
            RejectionReason::OutOfBounds => "ask for less at once",
            RejectionReason::Busy | RejectionReason::LockExpired => {
                "see `regraft get locks`, and try again when the other repair has ended"
            }
            RejectionReason::ClusterChanged => {
                "see `regraft get clusters`; `regraft forget-cluster NAME` if it was made anew"
            }
            RejectionReason::StaleFence
            | RejectionReason::HeadMoved
            | RejectionReason::StaleSequence => {
                "nothing was changed, for the state moved on meanwhile: look again, and repeat what is still wanted"
            }
        };
        Self::new(code, rejection.reason.as_str(), rejection.message, action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_by_the_phase_names_the_incident_to_look_at() {
        let rejection = Rejection {
            reason: RejectionReason::WrongPhase,
            message: "shop-1 is Ended: only a proposal can be approved".to_owned(),
        };
        let refusal = Refusal::from(rejection).about(&"shop-1".into());
        assert_eq!(refusal.action, "see `regraft describe incident shop-1`");
    }
}
