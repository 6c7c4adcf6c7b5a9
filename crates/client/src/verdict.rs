//! What a failed attempt says about the request.
//!
//! The codes are those of `store.proto`. Only what a member answered counts as its word: a connection that breaks makes codes
//! of its own here, and then nobody knows whether the request got through, unless there never was a connection.

use std::error::Error as _;
use tonic::{Code, ConnectError, Status, TimeoutExpired};

/// The metadata that names who leads.
const LEADER: &str = "leader";

/// What is known after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was not done by this attempt; another member may do it.
    Elsewhere,
    /// It may have been done.
    InDoubt,
    /// It was not done, and no member would do it.
    Refused(&'static str),
}

/// Judges what a change was answered.
pub(crate) fn of_change(status: &Status) -> Verdict {
    if status.source().is_some() {
        return match never_connected(status) {
            true => Verdict::Elsewhere,
            false => Verdict::InDoubt,
        };
    }
    match status.code() {
        Code::Unavailable => Verdict::Elsewhere,
        // A member that halts while a change is under way says so, though others may have done it.
        Code::FailedPrecondition => Verdict::InDoubt,
        Code::InvalidArgument => Verdict::Refused("InvalidArgument"),
        Code::NotFound => Verdict::Refused("NotFound"),
        Code::OutOfRange => Verdict::Refused("OutOfRange"),
        Code::PermissionDenied => Verdict::Refused("PermissionDenied"),
        Code::ResourceExhausted => Verdict::Refused("ResourceExhausted"),
        Code::Unauthenticated => Verdict::Refused("Unauthenticated"),
        Code::Unimplemented => Verdict::Refused("Unimplemented"),
        _ => Verdict::InDoubt,
    }
}

/// Judges what a read was answered: it changes nothing, so another member may always be asked.
pub(crate) fn of_read(status: &Status) -> Verdict {
    match of_change(status) {
        Verdict::Refused("ResourceExhausted") | Verdict::InDoubt => Verdict::Elsewhere,
        verdict => verdict,
    }
}

/// Who leads, as far as whoever answered knows.
pub(crate) fn leader(status: &Status) -> Option<u64> {
    status.metadata().get(LEADER)?.to_str().ok()?.parse().ok()
}

/// Whether the time that was given to an attempt ran out here.
pub(crate) fn ran_out(status: &Status) -> bool {
    comes_of::<TimeoutExpired>(status)
}

fn never_connected(status: &Status) -> bool {
    comes_of::<ConnectError>(status)
}

fn comes_of<E: std::error::Error + 'static>(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<E>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: &Status, change: Verdict, read: Verdict) {
        assert_eq!(
            (of_change(status), of_read(status)),
            (change, read),
            "{status:?}"
        );
    }

    #[test]
    fn what_a_member_says_is_believed_and_what_a_connection_makes_up_is_not() {
        use Verdict::{Elsewhere, InDoubt, Refused};
        check(&Status::unavailable(""), Elsewhere, Elsewhere);
        check(&Status::deadline_exceeded(""), InDoubt, Elsewhere);
        check(&Status::failed_precondition(""), InDoubt, Elsewhere);
        check(&Status::internal(""), InDoubt, Elsewhere);
        let denied = Refused("PermissionDenied");
        check(&Status::permission_denied(""), denied, denied);
        let full = Refused("ResourceExhausted");
        check(&Status::resource_exhausted(""), full, Elsewhere);
        let broken = Status::from_error(Box::new(std::io::Error::other("broken")));
        check(&broken, InDoubt, Elsewhere);
        let no_route = Status::from_error(Box::new(ConnectError("no route".into())));
        assert_eq!(no_route.code(), Code::Unavailable);
        check(&no_route, Elsewhere, Elsewhere);
    }
}
