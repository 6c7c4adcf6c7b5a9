//! `regraft restore`: the data folder of a new member from a backup, while no member runs on it.

use super::{Exit, Failure, Format, backup, output, print};
use crate::config::{self, MemberConfig};
use crate::document::RestoreDocument;
use crate::serve::replica_config;
use clap::Args;
use regraft_replica::Error;
use regraft_replica::backup::{ClusterName, Restored, restore};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// The backup; --config names the configuration of the new member
    file: PathBuf,
    /// Go on under the cluster's name in the configuration, though the backup is of another one
    #[arg(long)]
    new_cluster_id: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(config: Option<&Path>, args: &RestoreArgs) -> Result<(), Failure> {
    let path = config.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "NoConfiguration",
            "nothing says which member is made of the backup",
            "name its configuration with --config FILE, or in REGRAFT_CONFIG",
        )
    })?;
    let config = config::read(path).map_err(|problems| Failure::problems(&problems))?;
    let name = match args.new_cluster_id {
        true => ClusterName::New,
        false => ClusterName::Same,
    };
    let restored = restore(&args.file, &replica_config(&config), name);
    let restored = restored.map_err(|error| refused(&error, &config))?;
    print(&told(&args.file, &config, &restored, args.output)?)
}

fn refused(error: &Error, config: &MemberConfig) -> Failure {
    let (exit, reason, action) = match error {
        Error::FolderNotEmpty { .. } => (
            Exit::Refused,
            "NotEmpty",
            "only a new member gets its state from a backup: name an empty `dataDir`, or move what is there away; a member that lost its disk while the others run is replaced with `regraft members add`".to_owned(),
        ),
        Error::DatabaseInUse { .. } => (
            Exit::Failed,
            "DataInUse",
            "a member runs on this `dataDir`: stop it, or name another folder; a trio that runs needs no restore".to_owned(),
        ),
        Error::OtherClustersBackup { .. } => (
            Exit::Usage,
            "WrongCluster",
            format!("name the backup of {}, or let its state go on under this name with --new-cluster-id", config.cluster),
        ),
        Error::DamagedBackup { .. } | Error::NewerBackup { .. } | Error::ReadFile { .. } => {
            return backup::unusable(error);
        }
        Error::WriteFile { .. } | Error::DiskFull { .. } => (
            Exit::Failed,
            "CannotWrite",
            "make room on the disk of `dataDir`, and give the same command again".to_owned(),
        ),
        _ => (
            Exit::Failed,
            "CannotRestore",
            "correct what the message names, and give the same command again".to_owned(),
        ),
    };
    Failure::of(exit, reason, error, action)
}

fn told(
    file: &Path,
    config: &MemberConfig,
    restored: &Restored,
    format: Format,
) -> Result<String, Failure> {
    let document = RestoreDocument {
        member: config.member,
        cluster: config.cluster.clone(),
        data_dir: config.data_dir.clone(),
        line: restored.line.clone(),
        index: restored.index,
        backup: backup::document(file, &restored.backup),
    };
    if format != Format::Table {
        return output::written(&document, format);
    }
    Ok(format!(
        "{} is of member {} of cluster {}: {} records up to log index {}, taken at {}; the log begins at {}\n\
         line {}: the same for every member that belongs to it; restore them all, and stop those of before for good, before you start any\n",
        document.data_dir.display(),
        document.member,
        document.cluster,
        document.backup.records,
        document.backup.index,
        document.backup.taken_at.to_rfc3339(),
        document.index,
        document.line,
    ))
}
