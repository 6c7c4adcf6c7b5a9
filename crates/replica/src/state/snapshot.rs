//! Snapshots: checkpoints of the state on disk, and a stream of bytes on the way.
//!
//! ```text
//! state --checkpoint (hard links)--> snapshots/checkpoint-N/ --read while it is sent--> stream
//! stream --> N.tmp --verified--> a fresh generation of the state --> a checkpoint of it
//! ```
//!
//! - Expected flow: taking one costs hard links and what is in memory only, however large the state is; writing goes on
//!   meanwhile. A stream is received into a temporary file, verified, then installed.
//! - Guarantees: a damaged, reordered or cut stream is noticed before any of it is used; a newer
//!   snapshot is never replaced by an older one.
//! - Errors: say which file and what is wrong with it.

use super::frames::{self, CHUNK_BYTES, FrameError, FrameWriter};
use super::{View, database, read_position};
use crate::database::Open;
use crate::error::Error;
use crate::planted::{self, Bug};
use crate::room;
use crate::types::{
    SnapshotMeta, log_id_from_wire, log_id_to_wire, stored_membership_from_wire,
    stored_membership_to_wire,
};
use regraft_state::store::Walk;
use regraft_wire::raft::v1 as wire;
use rocksdb::DB;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names the checkpoint that is current.
const POINTER: &str = "CURRENT";
const POINTER_NEW: &str = "CURRENT.tmp";
const CHECKPOINT_PREFIX: &str = "checkpoint-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// What the engine hands around.
#[derive(Clone)]
pub(crate) enum SnapshotData {
    /// The current one of this member.
    Taken(Arc<Taken>),
    /// One that came from another member.
    Received(SnapshotFile),
}

/// A checkpoint of the state; its folder goes when nobody reads it and a newer one is there.
pub(crate) struct Taken {
    cluster_id: String,
    meta: SnapshotMeta,
    /// Milliseconds since the epoch; 0 when nobody wants to know.
    taken_ms: i64,
    path: PathBuf,
    retired: AtomicBool,
    /// Whoever waits for all databases to be closed waits for this one's readers, too.
    _open: Open,
}

/// A file with a stream; one that was received is removed with this.
#[derive(Clone)]
pub(crate) struct SnapshotFile {
    file: Arc<File>,
    path: PathBuf,
    _temporary: Option<Arc<Temporary>>,
}

/// The folder of snapshots: one is current.
pub(crate) struct Snapshots {
    dir: PathBuf,
    cluster_id: String,
    /// Held only to look or to exchange: the engine asks for it on its own thread.
    current: Mutex<Option<Arc<Taken>>>,
    /// Held by who makes another one current.
    changing: Mutex<()>,
    next: AtomicU64,
    /// Kept with every checkpoint that may be opened.
    open: Open,
}

/// Removes a file that did not become the current snapshot.
struct Temporary(PathBuf);

impl Snapshots {
    /// Opens the folder, drops what was left half-done or is of an earlier version.
    pub(crate) fn open(dir: &Path, cluster_id: &str, open: Open) -> Result<Self, Error> {
        let failed = |source| Error::WriteFile {
            path: dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let named = named(dir).map_err(|source| Error::ReadFile {
            path: dir.join(POINTER),
            source,
        })?;
        let mut next = 0;
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == POINTER {
                continue;
            }
            if Some(&name) == named.as_ref() {
                let number = name.strip_prefix(CHECKPOINT_PREFIX);
                next = number
                    .and_then(|it| it.parse().ok())
                    .map_or(0, |it: u64| it + 1);
                continue;
            }
            remove(&entry.path()).map_err(failed)?;
        }
        let snapshots = Self {
            dir: dir.to_owned(),
            cluster_id: cluster_id.to_owned(),
            current: Mutex::new(None),
            changing: Mutex::new(()),
            next: AtomicU64::new(next),
            open,
        };
        if let Some(name) = named {
            let path = dir.join(name);
            match snapshots.taken(path.clone(), 0) {
                Ok(taken) => *snapshots.lock() = Some(Arc::new(taken)),
                Err(error) => {
                    // The state itself is the truth; another snapshot is taken of it.
                    tracing::warn!(path = %path.display(), %error, "an unreadable snapshot is dropped");
                    remove(&path).map_err(failed)?;
                }
            }
        }
        Ok(snapshots)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn current(&self) -> Option<Arc<Taken>> {
        self.lock().clone()
    }

    /// Takes a snapshot of what is applied now, and makes it the current one unless that is newer; gives the current one.
    /// What it holds is durable.
    pub(crate) fn take(&self, db: &DB) -> io::Result<Arc<Taken>> {
        let path = self.checkpoint(db)?;
        let mut taken = self.taken_at(&path, 0)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current();
        if planted::has(Bug::OldSnapshot)
            && let Some(old) = &current
        {
            taken.path.clone_from(&old.path);
        }
        let taken = Arc::new(taken);
        if let Some(newer) = current
            && newer.meta.last_log_id >= taken.meta.last_log_id
        {
            taken.retired.store(true, Ordering::Release);
            return Ok(newer);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Err(error) = point_to(&self.dir, &name) {
            let unnamed = named(&self.dir).is_ok_and(|named| named.as_deref() != Some(&*name));
            taken.retired.store(unnamed, Ordering::Release);
            return Err(error);
        }
        let old = self.lock().replace(Arc::clone(&taken));
        if let Some(old) = old {
            let still_needed = planted::has(Bug::OldSnapshot);
            old.retired.store(!still_needed, Ordering::Release);
        }
        Ok(taken)
    }

    /// As [`Snapshots::take`], but it becomes nothing else: it goes when nobody reads it.
    pub(crate) fn take_apart(&self, db: &DB, taken_ms: i64) -> io::Result<Arc<Taken>> {
        let path = self.checkpoint(db)?;
        let taken = self.taken_at(&path, taken_ms)?;
        taken.retired.store(true, Ordering::Release);
        Ok(Arc::new(taken))
    }

    fn checkpoint(&self, db: &DB) -> io::Result<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("{CHECKPOINT_PREFIX}{number}");
        let beside = self.dir.join(format!("{name}{TEMPORARY_SUFFIX}"));
        let path = self.dir.join(&name);
        database::freeze(db, &beside)
            .and_then(|()| std::fs::rename(&beside, &path))
            // A full disk is not to be filled with halves.
            .inspect_err(|_| drop(remove(&beside)))?;
        Ok(path)
    }

    /// As [`Self::taken`], of a checkpoint that is removed when it cannot be used.
    fn taken_at(&self, path: &Path, taken_ms: i64) -> io::Result<Taken> {
        let taken = self.taken(path.to_owned(), taken_ms);
        taken.inspect_err(|_| drop(remove(path)))
    }

    fn taken(&self, path: PathBuf, taken_ms: i64) -> io::Result<Taken> {
        let db = database::open_to_read(&path)?;
        let position = read_position(&View::live(&db))?;
        Ok(Taken {
            cluster_id: self.cluster_id.clone(),
            meta: SnapshotMeta {
                last_log_id: position.applied,
                last_membership: position.membership,
            },
            taken_ms,
            path,
            retired: AtomicBool::new(false),
            _open: self.open.clone(),
        })
    }

    /// A new file to receive into.
    pub(crate) fn temporary(&self) -> io::Result<SnapshotFile> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{number}{TEMPORARY_SUFFIX}"));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(SnapshotFile {
            file: Arc::new(file),
            path: path.clone(),
            _temporary: Some(Arc::new(Temporary(path))),
        })
    }

    /// As if it came from another member.
    pub(crate) fn receive(&self, taken: &Taken) -> io::Result<SnapshotFile> {
        let file = self.temporary()?;
        taken.write_to(BufWriter::new(&*file.file))?;
        Ok(file)
    }

    /// Reads the whole file once and gives what it is a snapshot of.
    pub(crate) fn verify(&self, file: &SnapshotFile) -> io::Result<SnapshotMeta> {
        let meta = self.meta_of(file)?;
        file.read_pairs(|_| Ok(()))?;
        Ok(meta)
    }

    fn meta_of(&self, file: &SnapshotFile) -> io::Result<SnapshotMeta> {
        meta_in(&file.header()?, &self.cluster_id).map_err(|what| file.damaged(&what))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Taken>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    pub(crate) fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Writes everything as a stream.
    pub(crate) fn write_to(&self, out: impl Write) -> io::Result<()> {
        let db = database::open_to_read(&self.path)?;
        let header = wire::SnapshotHeader {
            cluster_id: self.cluster_id.clone(),
            last_log: self.meta.last_log_id.as_ref().map(log_id_to_wire),
            membership: Some(stored_membership_to_wire(&self.meta.last_membership)),
            taken_ms: self.taken_ms,
        };
        let mut writer = FrameWriter::new(out, &header)?;
        let mut chunk = wire::SnapshotChunk::default();
        let mut bytes = 0;
        let mut failed = None;
        View::live(&db)
            .scan_all(&mut |key, value| {
                bytes += key.len() + value.len();
                chunk.pairs.push(wire::Pair {
                    key: key.to_vec(),
                    value: value.to_vec(),
                });
                if bytes < CHUNK_BYTES {
                    return Walk::Continue;
                }
                bytes = 0;
                match writer.chunk(&mut chunk) {
                    Ok(()) => Walk::Continue,
                    Err(error) => {
                        failed = Some(error);
                        Walk::Stop
                    }
                }
            })
            .map_err(io::Error::other)?;
        if let Some(error) = failed {
            return Err(error);
        }
        writer.chunk(&mut chunk)?;
        writer.finish()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Acquire)
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            // The next start removes it.
            tracing::warn!(path = %self.path.display(), %error, "an old snapshot stays on disk");
        }
    }
}

impl SnapshotFile {
    pub(crate) fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Writes received bytes, unless what was accepted needs the room.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        room::check_fits(&self.path, bytes.len() as u64)?;
        self.file.write_all_at(bytes, offset)
    }

    /// Whether there is room for the state that it becomes, which takes about as much again.
    pub(crate) fn check_installable(&self) -> io::Result<()> {
        room::check_fits(&self.path, self.size_bytes()?)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Opens one that stays where it is.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: Arc::new(File::open(path)?),
            path: path.to_owned(),
            _temporary: None,
        })
    }

    /// Visits all pairs, chunk by chunk, and checks that the file is whole.
    pub(crate) fn read_pairs(
        &self,
        mut visit: impl FnMut(Vec<wire::Pair>) -> io::Result<()>,
    ) -> io::Result<()> {
        let read = frames::read_all(self.bytes(), &mut visit);
        read.map(drop).map_err(|error| self.refused(error))
    }

    fn header(&self) -> io::Result<wire::SnapshotHeader> {
        frames::read_header(self.bytes()).map_err(|error| self.refused(error))
    }

    /// From its beginning.
    fn bytes(&self) -> BufReader<Cursor<'_>> {
        BufReader::new(Cursor {
            file: &self.file,
            offset: 0,
        })
    }

    fn refused(&self, error: FrameError) -> io::Error {
        match error {
            FrameError::Io(error) => error,
            FrameError::Damaged(what) => self.damaged(&what),
            FrameError::Newer(found) => self.damaged(&format!(
                "it has format {found}, this version reads up to {}",
                frames::FORMAT
            )),
        }
    }

    fn damaged(&self, what: &str) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "the snapshot {} cannot be used: {what}",
                self.path.display()
            ),
        )
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already when it became the current snapshot.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The name in the pointer, where there is one.
fn named(dir: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(dir.join(POINTER)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a snapshot for this cluster is of, as it says itself. Errors: what is wrong with it.
pub(crate) fn meta_in(
    header: &wire::SnapshotHeader,
    cluster_id: &str,
) -> Result<SnapshotMeta, String> {
    if header.cluster_id != cluster_id {
        let found = &header.cluster_id;
        return Err(format!("it is of cluster {found}, not {cluster_id}"));
    }
    let membership = header.membership.as_ref();
    let membership = membership.ok_or_else(|| "it has no membership".to_owned())?;
    Ok(SnapshotMeta {
        last_log_id: header.last_log.as_ref().map(log_id_from_wire),
        last_membership: stored_membership_from_wire(membership)
            .map_err(|error| error.to_string())?,
    })
}

fn point_to(dir: &Path, name: &str) -> io::Result<()> {
    let beside = dir.join(POINTER_NEW);
    let mut file = File::create(&beside)?;
    writeln!(file, "{name}")?;
    file.sync_all()?;
    std::fs::rename(&beside, dir.join(POINTER))?;
    database::sync_dir(dir)
}

/// Also what is gone already, as somebody may have removed it by hand.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads at its own offset: the file is shared with other readers.
struct Cursor<'a> {
    file: &'a File,
    offset: u64,
}

impl io::Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
