//! What can go wrong with a repository: a stable word, one next action, never a secret.

use regraft_model::git::HistoryError;
use regraft_model::{RepositoryName, Revision};
use std::fmt::Write as _;
use std::path::PathBuf;

/// An operation that failed, with its subject.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Error {
    #[error("`{field}` of repository {repository} cannot be used: {problem}")]
    Configuration {
        repository: RepositoryName,
        field: &'static str,
        problem: String,
    },
    #[error("cannot read the secret in {place}")]
    Credentials {
        place: String,
        source: std::io::Error,
    },
    #[error("cannot {operation} repository {repository}")]
    Remote {
        repository: RepositoryName,
        operation: Operation,
        source: Failure,
    },
    #[error("repository {repository} has no branch `{branch}`")]
    BranchMissing {
        repository: RepositoryName,
        branch: String,
    },
    #[error("revision {revision} is not in repository {repository}")]
    RevisionMissing {
        repository: RepositoryName,
        revision: Revision,
    },
    #[error("there is no folder `{path}` at {}", revision.short())]
    PathMissing { revision: Revision, path: String },
    #[error("{what} is beyond the bound of {limit}")]
    TooLarge { what: String, limit: String },
    #[error("`{path}` is no UTF-8 text")]
    NameNotText { path: String },
    #[error("the local clone {} cannot be used", folder.display())]
    Folder {
        folder: PathBuf,
        source: std::io::Error,
    },
    #[error("the local clone {} is damaged: {detail}", folder.display())]
    Corrupt { folder: PathBuf, detail: String },
    #[error("the edit of `{path}` does not fit its parent: {problem}")]
    Edit { path: String, problem: String },
    #[error("the request to commit is wrong: {problem}")]
    Request { problem: String },
    #[error("branch `{branch}` is there and holds none of this plan's commits")]
    BranchTaken { branch: String },
    #[error("the push of {revision} was sent, and no answer came back: outcome unknown")]
    OutcomeUnknown { revision: Revision, source: Failure },
}

/// What was being done with the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Asking for its branches.
    List,
    /// Fetching.
    Fetch,
    /// Pushing.
    Push,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::Fetch => "fetch",
            Self::Push => "push to",
        })
    }
}

/// How a remote failed us. The text is the remote's or libgit2's, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Failure {
    #[error("authentication failed: {0}")]
    Authentication(String),
    #[error("host key of {host} is not in known_hosts: it shows {offered}{known}")]
    HostKeyUnknown {
        host: String,
        offered: String,
        known: String,
    },
    #[error("host key of {host} does not match known_hosts: it shows {offered}")]
    HostKeyMismatch { host: String, offered: String },
    #[error("the server's certificate is refused: {0}")]
    Certificate(String),
    #[error("not found: {0}")]
    NotFound(String),
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("no sign of life for {0} s")]
    Timeout(u64),
    #[error("rejected by the server: {0}")]
    Rejected(String),
    #[error("too many operations on it hang already ({0})")]
    Busy(usize),
    #[error("the local clone failed: {0}")]
    Local(String),
}

impl Error {
    /// A stable word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Configuration { .. } => "ConfigurationInvalid",
            Self::Credentials { .. } => "CredentialsUnreadable",
            Self::Remote { source, .. } => source.reason(),
            Self::BranchMissing { .. } => "BranchMissing",
            Self::RevisionMissing { .. } => "RevisionMissing",
            Self::PathMissing { .. } => "PathMissing",
            Self::TooLarge { .. } => "TooLarge",
            Self::NameNotText { .. } => "NameNotText",
            Self::Folder { .. } => "FolderUnusable",
            Self::Corrupt { .. } => "Corrupt",
            Self::Edit { .. } => "EditConflict",
            Self::Request { .. } => "RequestInvalid",
            Self::BranchTaken { .. } => "BranchTaken",
            Self::OutcomeUnknown { .. } => "OutcomeUnknown",
        }
    }

    /// The one thing a person should do next.
    pub fn next_action(&self) -> &'static str {
        match self {
            Self::Configuration { .. } => "Correct the field in the member's configuration.",
            Self::Credentials { .. } => {
                "Write the secret there, as one line that the member may read."
            }
            Self::Remote { source, .. } | Self::OutcomeUnknown { source, .. } => {
                source.next_action()
            }
            Self::BranchMissing { .. } => {
                "Create the branch, or correct `branch` in the member's configuration."
            }
            Self::RevisionMissing { .. } => "Check whether the branch's history was rewritten.",
            Self::PathMissing { .. } => "Correct the Application's path, or add the folder.",
            Self::TooLarge { .. } => "Move large files out of the application's folder.",
            Self::NameNotText { .. } => "Rename the file.",
            Self::Folder { .. } => "Check space and permissions of the data folder.",
            Self::Corrupt { .. } => "Nothing: it is cloned again at the next fetch.",
            Self::Edit { .. } | Self::Request { .. } => "Nothing: the repair is planned again.",
            Self::BranchTaken { .. } => "Delete or rename the branch on the remote.",
        }
    }

    /// Reason word and the whole chain of causes, as logs and people see it.
    pub fn chain(&self) -> String {
        let mut text = format!("{}: {self}", self.reason());
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        text
    }

    /// As the reader of a history hears it.
    pub(crate) fn into_history(self) -> HistoryError {
        HistoryError::Unreadable(self.chain())
    }
}

impl Failure {
    fn reason(&self) -> &'static str {
        match self {
            Self::Authentication(_) => "AuthenticationFailed",
            Self::HostKeyUnknown { .. } => "HostKeyUnknown",
            Self::HostKeyMismatch { .. } => "HostKeyMismatch",
            Self::Certificate(_) => "CertificateRefused",
            Self::NotFound(_) => "RepositoryNotFound",
            Self::Unreachable(_) => "Unreachable",
            Self::Timeout(_) => "Timeout",
            Self::Rejected(_) => "Rejected",
            Self::Busy(_) => "Busy",
            Self::Local(_) => "LocalCloneFailed",
        }
    }

    fn next_action(&self) -> &'static str {
        match self {
            Self::Authentication(_) => {
                "Check the repository's credentials and that they may read and push."
            }
            Self::HostKeyUnknown { .. } => {
                "Compare the key with the server's, then add it to known_hosts (ssh-keyscan -t TYPE -p PORT HOST)."
            }
            Self::HostKeyMismatch { .. } => {
                "Find out why the host key changed before you replace it in known_hosts."
            }
            Self::Certificate(_) => {
                "Check the server's certificate, or name its authority in `credentials.caFile`."
            }
            Self::NotFound(_) => "Check the URL, and that the credentials may see the repository.",
            Self::Unreachable(_) | Self::Timeout(_) => {
                "Check that the server is up and can be reached from the member."
            }
            Self::Rejected(_) => {
                "Allow the member's user to push to the branch, or set the mode to propose."
            }
            Self::Busy(_) => "Check that the server answers; restart the member if it stays so.",
            Self::Local(_) => "Check space and permissions of the data folder.",
        }
    }
}
