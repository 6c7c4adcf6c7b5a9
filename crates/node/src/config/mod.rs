//! A member's configuration: one YAML file.
//!
//! ```text
//! file ─ parse (types, unknown fields) ─> schema ─ check (meaning, the machine it runs on) ─> MemberConfig
//!                     └──────────────── Vec<Problem> with file:line:col ───────────┘
//! ```
//!
//! Secrets are never in it: it names files and environment variables that hold them.

mod check;
mod parse;
mod schema;
mod sources;
#[cfg(test)]
mod tests;

use regraft_cluster::KubeconfigSource;
use regraft_model::id::{BranchName, ClusterName, MemberId, RepositoryName};
use regraft_model::problem::{Location, Problem, Severity};
use regraft_model::time::Seconds;
use regraft_repo::CredentialsSource;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub(crate) use schema::LogFormat;

/// A valid configuration.
#[derive(Clone, Debug)]
pub(crate) struct MemberConfig {
    pub(crate) member: MemberId,
    /// For people; `member-<id>` when absent.
    pub(crate) name: String,
    /// Id of the replicated cluster.
    pub(crate) cluster: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) raft: SocketAddr,
    pub(crate) admin: AdminAddress,
    /// Where programs reach the replicated state; nowhere when absent.
    pub(crate) store: Option<SocketAddr>,
    pub(crate) http: SocketAddr,
    /// Every member, this one included, ordered by id.
    pub(crate) members: Vec<Peer>,
    pub(crate) tls: Option<Tls>,
    pub(crate) repositories: Vec<Repository>,
    pub(crate) clusters: Vec<Kubeconfig>,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: String,
    /// What works, and should be put right all the same.
    pub(crate) warnings: Vec<Problem>,
}

/// How one member is reached by the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) id: MemberId,
    pub(crate) raft: String,
    /// Where it answers people; absent when it listens on a Unix socket.
    pub(crate) admin: Option<String>,
}

/// Where a member answers people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdminAddress {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Files of mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// A tracked branch.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    pub(crate) name: RepositoryName,
    pub(crate) url: String,
    pub(crate) branch: BranchName,
    pub(crate) poll: Seconds,
    /// Where its secrets are found. Never the secrets themselves.
    pub(crate) credentials: CredentialsSource,
    /// Authorities that alone may sign the server's certificate.
    pub(crate) ca: Option<PathBuf>,
    /// Name and mail of our commits' author.
    pub(crate) author: Option<(String, String)>,
}

/// Credentials of a cluster, by the name that `Cluster` objects give.
#[derive(Clone, Debug)]
pub(crate) struct Kubeconfig {
    pub(crate) name: ClusterName,
    pub(crate) file: PathBuf,
    pub(crate) context: Option<String>,
}

impl Kubeconfig {
    /// Where the client finds it.
    pub(crate) fn source(&self) -> KubeconfigSource {
        KubeconfigSource {
            path: self.file.clone(),
            context: self.context.clone(),
        }
    }
}

/// How often a remote is asked for its tip when nothing else is said.
pub(crate) const POLL_DEFAULT_S: u64 = 30;
/// Fewer seconds than this between two polls is an attack on the Git server.
pub(crate) const POLL_MIN_S: u64 = 1;
/// Larger files than this are no configuration.
pub(crate) const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Reads and checks the file; every problem that can be found at once is told at once.
pub(crate) fn read(path: &Path) -> Result<MemberConfig, Vec<Problem>> {
    let file = path.display().to_string();
    let unreadable = |message: String, action: &str| {
        vec![Problem {
            location: Location {
                file: file.clone(),
                line: 0,
                column: 0,
            },
            severity: Severity::Error,
            reason: "Unreadable".to_owned(),
            message,
            action: action.to_owned(),
        }]
    };
    let size = std::fs::metadata(path)
        .map_err(|error| {
            unreadable(
                format!("the member's configuration cannot be read: {error}"),
                &format!("name it with --config, or {}", parse::MINIMUM),
            )
        })?
        .len();
    if size > CONFIG_BYTES_MAX {
        return Err(unreadable(
            format!("{size} bytes are no configuration, at most {CONFIG_BYTES_MAX} are read"),
            "name the right file with --config",
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        unreadable(
            format!("the member's configuration cannot be read: {error}"),
            "it must be a text file in UTF-8 that this user may read",
        )
    })?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let schema = parse::parse(&file, &text).map_err(|problem| vec![*problem])?;
    check::check(&file, &folder, schema)
}
