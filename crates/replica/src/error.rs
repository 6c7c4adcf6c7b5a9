//! What can go wrong, in the words of who runs a member.

use crate::room;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// An error from outside this crate, kept as a source.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An error with its causes, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    and_causes(error.to_string(), error.source())
}

/// A text and the causes behind it that it does not tell itself.
pub(crate) fn and_causes(
    mut text: String,
    mut cause: Option<&(dyn std::error::Error + 'static)>,
) -> String {
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Starting a member, or making and reading its certificates, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A cluster id becomes part of certificate names, so it must be a DNS label.
    #[error(
        "cluster id {id:?} is not usable: 1 to 40 of a-z, 0-9 and '-', starting and ending with a letter or digit"
    )]
    InvalidClusterId {
        /// What was given.
        id: String,
    },
    /// A client name becomes part of a certificate name.
    #[error(
        "client name {name:?} is not usable: 1 to 40 of a-z, 0-9 and '-', starting and ending with a letter or digit"
    )]
    InvalidClientName {
        /// What was given.
        name: String,
    },
    /// Member ids start at 1: 0 means "no member" on the wire.
    #[error("member id {id} is not usable: member ids start at 1 and are never used twice")]
    InvalidNodeId {
        /// What was given.
        id: u64,
    },
    /// The member's own configuration contradicts itself.
    #[error("the member's configuration cannot be used: {reason}")]
    InvalidConfig {
        /// What contradicts what.
        reason: String,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    ReadFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    WriteFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificates and keys are not overwritten unless asked to.
    #[error("{} exists already: move it away, or say that it may be overwritten", path.display())]
    FileExists {
        /// Which.
        path: PathBuf,
    },
    /// A certificate could not be made.
    #[error("cannot make the certificate of {subject}")]
    MakeCertificate {
        /// Whose.
        subject: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate or key file does not hold what it should.
    #[error("{} cannot be used: {reason}", path.display())]
    ReadCertificate {
        /// Which file.
        path: PathBuf,
        /// What is missing or wrong in it.
        reason: String,
    },
    /// rustls refuses the combination of certificate and key.
    #[error("the certificate {} and its key cannot be used for TLS", path.display())]
    Tls {
        /// The certificate file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The certificate names somebody else than this member.
    #[error("the certificate {} is of {found}, but this member is {expected}", path.display())]
    WrongCertificate {
        /// The certificate file.
        path: PathBuf,
        /// This member's name.
        expected: String,
        /// Whom it names.
        found: String,
    },
    /// The data folder belongs to another member or cluster.
    #[error(
        "the data folder {} belongs to {found}, but this member is {expected}: give every member its own folder, or use the configuration the folder was made with",
        path.display()
    )]
    ForeignDisk {
        /// The data folder.
        path: PathBuf,
        /// This member.
        expected: String,
        /// Whom it belongs to.
        found: String,
    },
    /// The data was written by a newer version.
    #[error(
        "{} has disk format {found}, this version reads up to {known}: start the newer version again",
        path.display()
    )]
    NewerDisk {
        /// Which database or file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this version reads.
        known: u32,
    },
    /// A database is open already, in another process or in this one.
    #[error("the database {} is in use", path.display())]
    DatabaseInUse {
        /// Which.
        path: PathBuf,
        /// What the lock says.
        #[source]
        source: Cause,
    },
    /// There is no room for what a start has to write.
    #[error("the disk of {} is full{free}: make room on it, then try again", path.display())]
    DiskFull {
        /// The data folder.
        path: PathBuf,
        /// How much is free there, in brackets; empty when that is not known.
        free: String,
        /// What was to be done.
        #[source]
        source: Box<Error>,
    },
    /// A database could not be opened.
    #[error("cannot open the database {}", path.display())]
    OpenDatabase {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A database holds something unreadable.
    #[error("the database {} is damaged: {reason}", path.display())]
    DamagedDatabase {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A backup is not whole, or none.
    #[error("the backup {} cannot be used: {reason}", path.display())]
    DamagedBackup {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A newer version made the backup.
    #[error(
        "the backup {} has {what} {found}, this version reads up to {known}",
        path.display()
    )]
    NewerBackup {
        /// Which file.
        path: PathBuf,
        /// Which of its formats.
        what: &'static str,
        /// Its number.
        found: u32,
        /// The newest that this version reads.
        known: u32,
    },
    /// A backup is of another cluster than its state should go on in.
    #[error("the backup {} is of cluster {found}, but this member is of cluster {expected}", path.display())]
    OtherClustersBackup {
        /// Which file.
        path: PathBuf,
        /// The cluster it is of.
        found: String,
        /// This member's.
        expected: String,
    },
    /// Only a new member gets its state from a backup.
    #[error("the data folder {} is not empty: it holds {found}", path.display())]
    FolderNotEmpty {
        /// The data folder.
        path: PathBuf,
        /// Something in it.
        found: String,
    },
    /// A restore was cut off before its end.
    #[error("the data folder {} was not restored to its end", path.display())]
    HalfRestored {
        /// The data folder.
        path: PathBuf,
    },
    /// The Raft listener could not be opened.
    #[error("cannot listen on {address} for other members")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start the thread {name}")]
    Thread {
        /// Which.
        name: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The consensus engine refused to start or to go on.
    #[error("{operation} failed: {reason}")]
    Raft {
        /// What was tried.
        operation: &'static str,
        /// Why.
        reason: String,
    },
    /// The replicated machine met something it must not skip.
    #[error("the replicated state is halted: {reason}")]
    Halted {
        /// Why.
        reason: String,
    },
}

impl Error {
    /// What keeps a member from starting in the data folder `dir`: where that is a full disk, it is told as one, whatever
    /// was to be written.
    pub(crate) fn at_start(self, dir: &Path) -> Self {
        match self.is_full_disk() {
            true => Self::DiskFull {
                path: dir.to_owned(),
                free: room::free_in_brackets(dir),
                source: Box::new(self),
            },
            false => self,
        }
    }

    /// For whoever may try again when there is room.
    pub(crate) fn into_io(self) -> io::Error {
        let kind = match self.is_full_disk() {
            true => io::ErrorKind::StorageFull,
            false => io::ErrorKind::Other,
        };
        io::Error::new(kind, with_causes(&self))
    }

    fn is_full_disk(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if error.downcast_ref().is_some_and(room::is_full) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// A command was not, or perhaps not, applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not proposed: this member does not lead and knows this about who does.
    #[error("{}", not_leader(*leader))]
    NotLeader {
        /// The leader, when known.
        leader: Option<u64>,
    },
    /// The outcome is unknown: it may be applied, now or later. Ask again with the same
    /// (client, sequence).
    #[error("the outcome is unknown: the command may or may not be applied")]
    Unknown,
    /// Not proposed; may be tried again.
    #[error("not proposed: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// Not proposed: the member stopped applying. A person has to look.
    #[error("the replicated state is halted: {reason}")]
    Halted {
        /// Why.
        reason: String,
    },
    /// Not proposed: larger than a command may be.
    #[error("a command of {size_bytes} bytes is too large: the limit is {limit_bytes} bytes")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
}

/// No linearizable read is possible at the moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarrierError {
    /// No leader, no quorum, or not applied in time; may be tried again.
    #[error("no linearizable read is possible: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// The member stopped applying. A person has to look.
    #[error("the replicated state is halted: {reason}")]
    Halted {
        /// Why.
        reason: String,
    },
}

/// No backup is taken.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// What is applied here cannot be known to be the newest.
    #[error(transparent)]
    NotFresh(#[from] BarrierError),
    /// As many as may be are being taken.
    #[error("another backup is being taken from this member")]
    Busy,
    /// There is nothing to take a backup of.
    #[error("nothing is applied yet")]
    Empty,
    /// The state could not be frozen.
    #[error("the state cannot be frozen for a backup")]
    Freeze {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn not_leader(leader: Option<u64>) -> String {
    match leader {
        Some(leader) => format!("not proposed: member {leader} leads"),
        None => "not proposed: no member is known to lead".to_owned(),
    }
}
