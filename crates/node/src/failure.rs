//! How a command fails: a code for programs, a stable word, the whole chain, one next action.

use regraft_model::problem::Problem;
use regraft_wire::admin::v1 as wire;
use std::fmt;

/// What every exit code means. `--help` prints this table; README and docs/operations.md have the same words.
pub(crate) const EXIT_CODES: [(u8, &str); 9] = [
    (0, "done"),
    (
        1,
        "failed; `diff`: something differs; `health --exit-code`: not everything is healthy",
    ),
    (2, "the command line, a file or the configuration is wrong"),
    (
        3,
        "no such application, cluster, incident, repository or member",
    ),
    (
        4,
        "no member answers, no leader is known, or a cluster cannot be reached: try again",
    ),
    (
        5,
        "refused: a guard, a conflict, a suspension, a block, a certificate, or a missing permission",
    ),
    (
        6,
        "the outcome is unknown, also after `sync --wait` gave up: look before asking again",
    ),
    (
        7,
        "the member stopped because going on could do damage (`serve`)",
    ),
    (130, "ended by Ctrl-C"),
];

/// The table for `--help`.
pub(crate) fn exit_codes() -> String {
    let lines = EXIT_CODES.map(|(code, meaning)| format!("  {code:<3}  {meaning}"));
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// Exit codes, as [`EXIT_CODES`] explains them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Unreachable = 4,
    Refused = 5,
    Unknown = 6,
    Halted = 7,
}

/// A command that did not do what was asked.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    reason: String,
    message: String,
    action: String,
}

impl Failure {
    pub(crate) fn new(
        exit: Exit,
        reason: impl Into<String>,
        message: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        let line = Line {
            reason: reason.into(),
            message: message.into(),
            action: action.into(),
        };
        Self {
            exit,
            lines: vec![line],
        }
    }

    /// A code that says all there is to say.
    pub(crate) fn quiet(exit: Exit) -> Self {
        Self {
            exit,
            lines: Vec::new(),
        }
    }

    /// Both, with the code of the first.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.lines.extend(other.lines);
        self
    }

    /// Something that went wrong with its chain of causes.
    pub(crate) fn of(
        exit: Exit,
        reason: &str,
        error: &dyn std::error::Error,
        action: impl Into<String>,
    ) -> Self {
        Self::new(exit, reason, chain(error), action)
    }

    /// Problems of a file.
    pub(crate) fn problems(problems: &[Problem]) -> Self {
        let lines = problems
            .iter()
            .map(|problem| Line {
                reason: problem.reason.clone(),
                message: format!("{}: {}", problem.location, problem.message),
                action: problem.action.clone(),
            })
            .collect();
        Self {
            exit: Exit::Usage,
            lines,
        }
    }

    /// What a member answered.
    pub(crate) fn of_status(status: &tonic::Status) -> Self {
        use prost::Message as _;
        let problem = match wire::Problem::decode(status.details()) {
            Ok(problem) if !problem.reason.is_empty() => problem,
            _ => undescribed(status),
        };
        Self::new(
            exit_of(status.code()),
            problem.reason,
            problem.message,
            problem.action,
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "error: {}: {}", line.reason, line.message)?;
            if !line.action.is_empty() {
                writeln!(f, "  next: {}", line.action)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// An error with all its causes on one line; causes that the text already says are not repeated.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// An answer that does not come from our member's code.
fn undescribed(status: &tonic::Status) -> wire::Problem {
    let (reason, message, action) = match (status.code(), broken_connection(status)) {
        (_, Some(cause)) => (
            "Unreachable".to_owned(),
            format!("the member does not answer any more: {cause}"),
            "is it running (`regraft serve`)? name another with --address or REGRAFT_ADDRESS",
        ),
        (tonic::Code::Unavailable, None) => (
            "Unreachable".to_owned(),
            chain(status),
            "is the member running, and is the address right?",
        ),
        (tonic::Code::Unimplemented, None) => (
            "NotAdmin".to_owned(),
            "a member of another version answers there, or its raft listener".to_owned(),
            "name the member's `listen.admin`, and use the same version",
        ),
        (code, None) => (
            format!("{code:?}"),
            chain(status),
            "the member's log says more",
        ),
    };
    wire::Problem {
        reason,
        message,
        action: action.to_owned(),
    }
}

/// Why a connection ended, when that is what a status stands for: the words of the transport say nothing to people.
fn broken_connection(status: &tonic::Status) -> Option<String> {
    let source = std::error::Error::source(status)?;
    (status.code() == tonic::Code::Unavailable).then(|| root_cause(source))
}

/// The last cause of an error; those above it only say that something went wrong.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn exit_of(code: tonic::Code) -> Exit {
    match code {
        tonic::Code::InvalidArgument => Exit::Usage,
        tonic::Code::NotFound => Exit::NotFound,
        tonic::Code::Unavailable => Exit::Unreachable,
        tonic::Code::FailedPrecondition
        | tonic::Code::Aborted
        | tonic::Code::AlreadyExists
        | tonic::Code::PermissionDenied
        | tonic::Code::Unauthenticated => Exit::Refused,
        tonic::Code::DeadlineExceeded | tonic::Code::Unknown => Exit::Unknown,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_broke_is_told_without_the_words_of_the_transport() {
        let cause = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let mut status = tonic::Status::unavailable("The service is currently unavailable");
        status.set_source(std::sync::Arc::new(cause));
        let failure = Failure::of_status(&status);
        assert_eq!(failure.exit, Exit::Unreachable);
        insta::assert_snapshot!(failure.to_string(), @r"
        error: Unreachable: the member does not answer any more: connection refused
          next: is it running (`regraft serve`)? name another with --address or REGRAFT_ADDRESS
        ");
    }
}
