//! `regraft certs`: the authority of a cluster, and the certificates of members and clients.

use super::{Exit, Failure, print};
use crate::clock;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};
use regraft_replica::certs::{Authority, ClientRole, Files, Overwrite};
use std::path::PathBuf;

/// The words of [`ClientRole`], the least first.
const ROLES: [&str; 3] = ["viewer", "operator", "admin"];

#[derive(Subcommand)]
pub(crate) enum Certs {
    /// Make the cluster's authority: ca.pem and ca-key.pem
    Init {
        /// Id of the replicated cluster, as `cluster:` of the members' configuration says it
        #[arg(long)]
        cluster: String,
        #[command(flatten)]
        folder: Folder,
    },
    /// Make a member's certificate: member-ID.pem and member-ID-key.pem
    Member {
        /// The member's id
        id: u64,
        /// Further names or addresses under which it is reached; loopback is always among them
        #[arg(long = "host", value_name = "HOST")]
        hosts: Vec<String>,
        #[command(flatten)]
        folder: Folder,
    },
    /// Make the certificate of a person or program: client-NAME.pem and client-NAME-key.pem
    Client {
        /// Its name, as the audit will show it
        name: String,
        /// What it may do: a viewer looks, an operator also acts, an admin also changes the trio
        #[arg(long, default_value_t, value_name = "ROLE", value_parser = PossibleValuesParser::new(ROLES).try_map(|role| role.parse::<ClientRole>()))]
        role: ClientRole,
        #[command(flatten)]
        folder: Folder,
    },
}

#[derive(Args)]
pub(crate) struct Folder {
    /// Where the authority is, and where files are written
    #[arg(long, default_value = "certs", value_name = "FOLDER")]
    dir: PathBuf,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

pub(super) fn run(command: Certs) -> Result<(), Failure> {
    let now_ms = clock::now().0;
    match command {
        Certs::Init { cluster, folder } => {
            let authority = Authority::create(&folder.dir, &cluster, now_ms, folder.overwrite())
                .map_err(failed)?;
            print(&format!(
                "{} is the authority of cluster {}. Keep ca-key.pem away from the members.\n",
                authority.certificate_file().display(),
                authority.cluster_id(),
            ))
        }
        Certs::Member { id, hosts, folder } => {
            let authority = Authority::load(&folder.dir).map_err(failed)?;
            let files = authority
                .member(id, &hosts, now_ms, folder.overwrite())
                .map_err(failed)?;
            told(&files, &format!("member {id}"))
        }
        Certs::Client { name, role, folder } => {
            let authority = Authority::load(&folder.dir).map_err(failed)?;
            let files = authority
                .client(&name, role, now_ms, folder.overwrite())
                .map_err(failed)?;
            told(&files, &format!("client {name} ({role})"))
        }
    }
}

impl Folder {
    fn overwrite(&self) -> Overwrite {
        match self.force {
            true => Overwrite::Force,
            false => Overwrite::Refuse,
        }
    }
}

fn told(files: &Files, whose: &str) -> Result<(), Failure> {
    print(&format!(
        "{} and {} are of {whose}.\n",
        files.cert.display(),
        files.key.display()
    ))
}

fn failed(error: regraft_replica::Error) -> Failure {
    use regraft_replica::Error;
    let action = match &error {
        Error::ReadFile { .. } => {
            "make the authority first with `regraft certs init`, or name its folder with --dir"
        }
        Error::FileExists { .. } => "keep what is there, or replace it with --force",
        Error::WriteFile { .. } => "name a folder you may write with --dir",
        _ => "correct the name or the file",
    };
    let exit = match &error {
        Error::InvalidClusterId { .. }
        | Error::InvalidClientName { .. }
        | Error::InvalidNodeId { .. } => Exit::Usage,
        Error::FileExists { .. } => Exit::Refused,
        _ => Exit::Failed,
    };
    Failure::of(exit, "CertificateFailed", &error, action)
}
