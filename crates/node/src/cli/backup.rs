//! `regraft backup`: the whole state in one file, checked while it arrives.
//!
//! ```text
//! member --parts--> FILE.partial --every checksum and the end--> synced --> FILE
//! ```

use super::{Exit, Failure, Format, complain, connection, output, print};
use crate::client::Client;
use crate::clock;
use crate::document::{BackupDocument, BackupMemberDocument};
use clap::Args;
use regraft_model::id::MemberId;
use regraft_model::time::Timestamp;
use regraft_replica::Error;
use regraft_replica::backup::{self, BackupInfo};
use regraft_wire::admin::v1 as wire;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{IsTerminal as _, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// The whole state is in it, so only its owner reads it.
const FILE_MODE: u32 = 0o600;
const PARTIAL_SUFFIX: &str = ".partial";
/// Parts that wait for the disk.
const PARTS_MAX: usize = 4;
/// A member that sends nothing for this long is not waited for.
const PART_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes between two looks at how far it is.
const PROGRESS_BYTES: u64 = 4 << 20;

#[derive(Args)]
pub(crate) struct BackupArgs {
    /// Where the backup goes, or is
    file: PathBuf,
    /// Take none, but check that the file is whole and say what it is of; asks no member
    #[arg(long, conflicts_with = "force")]
    verify: bool,
    /// Replace a file that exists
    #[arg(long)]
    force: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(connection: &super::Connection, args: &BackupArgs) -> Result<(), Failure> {
    if args.verify {
        let info = backup::verify(&args.file).map_err(|error| unusable(&error))?;
        return print(&told(&args.file, &info, args.output)?);
    }
    refuse_existing(args)?;
    connection::ask(connection, async |client| take(client, args).await)
}

/// A failure to read a backup.
pub(super) fn unusable(error: &Error) -> Failure {
    let (reason, action) = match error {
        Error::DamagedBackup { .. } => (
            "BackupDamaged",
            "use another copy, or an older backup; `regraft backup --verify FILE` checks each",
        ),
        Error::NewerBackup { .. } => (
            "NewerBackup",
            "use the version that made it, or a newer one",
        ),
        _ => ("BackupUnreadable", "name a backup that this user may read"),
    };
    Failure::of(Exit::Usage, reason, error, action)
}

/// What a backup is, for eyes or programs.
pub(super) fn told(file: &Path, info: &BackupInfo, format: Format) -> Result<String, Failure> {
    let document = document(file, info);
    if format != Format::Table {
        return output::written(&document, format);
    }
    let members: Vec<String> = document
        .members
        .iter()
        .map(|it| it.id.to_string())
        .collect();
    Ok(format!(
        "{} is whole: cluster {} with member {}, up to log index {}, taken at {}; {} records, {} bytes, sha256 {}\n",
        file.display(),
        document.cluster,
        members.join(", "),
        document.index,
        document.taken_at.to_rfc3339(),
        document.records,
        document.bytes,
        document.sha256,
    ))
}

/// What a backup is, for programs.
pub(super) fn document(file: &Path, info: &BackupInfo) -> BackupDocument {
    let member = |(id, address): (&u64, &String)| BackupMemberDocument {
        id: MemberId(*id),
        address: address.clone(),
        votes: info.voters.contains(id),
    };
    BackupDocument {
        file: file.to_owned(),
        cluster: info.cluster_id.clone(),
        index: info.index,
        taken_at: Timestamp(info.taken_ms),
        records: info.pairs,
        bytes: info.bytes,
        sha256: info.sha256.clone(),
        format: info.format,
        members: info.members.iter().map(member).collect(),
    }
}

async fn take(mut client: Client, args: &BackupArgs) -> Result<(), Failure> {
    let started = clock::instant();
    let answer = client.backup(wire::BackupRequest {}).await;
    let mut parts = answer
        .map_err(|status| Failure::of_status(&status))?
        .into_inner();
    let partial = Partial::open(&args.file)?;
    let (arriving, receiver) = mpsc::channel(PARTS_MAX);
    let checking = {
        let (file, out) = (args.file.clone(), partial.file.try_clone());
        let file_failed = |error| cannot_write(&args.file, &error);
        let input = Arriving {
            parts: receiver,
            part: Vec::new(),
            read: 0,
            out: out.map_err(file_failed)?,
        };
        tokio::task::spawn_blocking(move || backup::read(&file, input, &mut |_, _| Ok(())))
    };
    let mut progress = Progress::new();
    let received = receive(&mut parts, arriving, &mut progress).await;
    progress.end();
    let checked = checking
        .await
        .map_err(|error| Failure::of(Exit::Failed, "BackupFailed", &error, "please report this"))?;
    // A stream that broke is cut short, too; why it broke says more.
    received?;
    let info = checked.map_err(|error| not_whole(&args.file, &error))?;
    refuse_existing(args)?;
    partial.finish(&args.file)?;
    let text = told(&args.file, &info, args.output)?;
    match args.output {
        Format::Table => print(&text.replace(
            " is whole: ",
            &format!(" was made in {:.1} s: ", started.elapsed().as_secs_f64()),
        )),
        Format::Json | Format::Yaml => print(&text),
    }
}

/// Hands the parts to who checks and writes them, until the last or until that one wants no more.
async fn receive(
    parts: &mut tonic::Streaming<wire::BackupPart>,
    arriving: mpsc::Sender<Vec<u8>>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    loop {
        let Ok(part) = tokio::time::timeout(PART_TIMEOUT, parts.message()).await else {
            return Err(Failure::new(
                Exit::Unreachable,
                "BackupStalled",
                format!("the member sent nothing for {} s", PART_TIMEOUT.as_secs()),
                "ask again, or ask another member",
            ));
        };
        let Some(part) = part.map_err(|status| Failure::of_status(&status))? else {
            return Ok(());
        };
        progress.add(part.data.len());
        if arriving.send(part.data).await.is_err() {
            return Ok(());
        }
    }
}

fn refuse_existing(args: &BackupArgs) -> Result<(), Failure> {
    let name = args.file.display();
    match std::fs::metadata(&args.file) {
        // Replacing a device or a pipe would break whoever else uses it.
        Ok(found) if !found.is_file() => Err(Failure::new(
            Exit::Refused,
            "NotAFile",
            format!("{name} is no regular file"),
            "name a file",
        )),
        Ok(_) if !args.force => Err(Failure::new(
            Exit::Refused,
            "FileExists",
            format!("{name} exists already"),
            "name another file, or replace it with --force",
        )),
        _ => Ok(()),
    }
}

fn not_whole(file: &Path, error: &Error) -> Failure {
    match error {
        Error::ReadFile { source, .. } => cannot_write(file, source),
        _ => Failure::of(
            Exit::Failed,
            "BackupDamaged",
            error,
            "nothing was kept: ask again; where it stays so, another member, and look at this one's disk and network",
        ),
    }
}

fn cannot_write(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        "CannotWrite",
        format!("cannot write {}: {error}", file.display()),
        "name a file in a folder that you may write and that has room",
    )
}

/// The file until it is whole; gone when it does not become so.
struct Partial {
    path: PathBuf,
    file: File,
    finished: bool,
}

impl Partial {
    /// One that an earlier command left is written over, unless that still runs.
    fn open(file: &Path) -> Result<Self, Failure> {
        let mut name = file.as_os_str().to_owned();
        name.push(PARTIAL_SUFFIX);
        let path = PathBuf::from(name);
        let failed = |error: std::io::Error| cannot_write(&path, &error);
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE);
        let opened = options.open(&path).map_err(failed)?;
        match opened.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(
                    Exit::Refused,
                    "BackupRuns",
                    format!("another command writes {}", path.display()),
                    "wait for its end, or name another file",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        opened
            .set_permissions(Permissions::from_mode(FILE_MODE))
            .and_then(|()| opened.set_len(0))
            .map_err(failed)?;
        Ok(Self {
            path,
            file: opened,
            finished: false,
        })
    }

    /// Durable under its name, or not there.
    fn finish(mut self, file: &Path) -> Result<(), Failure> {
        let folder = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.file
            .sync_all()
            .and_then(|()| std::fs::rename(&self.path, file))
            .map_err(|error| cannot_write(file, &error))?;
        self.finished = true;
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| cannot_write(file, &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            // The next command writes over what cannot be removed.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Reads what arrives, and writes it down on the way.
struct Arriving {
    parts: mpsc::Receiver<Vec<u8>>,
    part: Vec<u8>,
    /// Bytes of the part that were read.
    read: usize,
    out: File,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.read == self.part.len() {
            let Some(part) = self.parts.blocking_recv() else {
                return Ok(0);
            };
            self.out.write_all(&part)?;
            (self.part, self.read) = (part, 0);
        }
        let rest = self.part.get(self.read..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.read += length;
        Ok(length)
    }
}

/// How far it is, for eyes.
struct Progress {
    shown: bool,
    bytes: u64,
    next: u64,
}

impl Progress {
    fn new() -> Self {
        Self {
            shown: std::io::stderr().is_terminal(),
            bytes: 0,
            next: PROGRESS_BYTES,
        }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.shown && self.bytes >= self.next {
            self.next = self.bytes + PROGRESS_BYTES;
            complain(&format!("\r{} MiB", self.bytes >> 20));
        }
    }

    fn end(&self) {
        if self.shown && self.next > PROGRESS_BYTES {
            complain("\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arriving(parts: &[&[u8]], out: &File) -> Arriving {
        let (send, receive) = mpsc::channel(parts.len().max(1));
        for part in parts {
            send.try_send(part.to_vec()).unwrap();
        }
        Arriving {
            parts: receive,
            part: Vec::new(),
            read: 0,
            out: out.try_clone().unwrap(),
        }
    }

    #[test]
    fn what_arrives_is_read_in_one_piece_and_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let out = File::create(&path).unwrap();
        let mut read = Vec::new();
        let mut input = arriving(&[b"re", b"", b"graft"], &out);
        input.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"regraft");
        assert_eq!(std::fs::read(&path).unwrap(), b"regraft");
    }

    #[test]
    fn a_partial_file_is_the_owners_alone_and_goes_unless_it_becomes_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state");
        let partial = dir.path().join("state.partial");
        // What an earlier command left, and left readable.
        std::fs::write(&partial, "something longer").unwrap();
        std::fs::set_permissions(&partial, Permissions::from_mode(0o644)).unwrap();
        let mut first = Partial::open(&file).unwrap();
        let mode = std::fs::metadata(&partial).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        let second = Partial::open(&file).map(drop).unwrap_err();
        assert!(second.to_string().contains("BackupRuns"), "{second}");
        first.file.write_all(b"new").unwrap();
        drop(first);
        assert!(!partial.exists() && !file.exists());

        let mut whole = Partial::open(&file).unwrap();
        whole.file.write_all(b"new").unwrap();
        whole.finish(&file).unwrap();
        assert!(!partial.exists());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
    }
}
