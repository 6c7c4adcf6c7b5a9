//! Snapshots: checkpoints of the state on disk, and a stream of bytes on the way.
//!
//! ```text
//! state --checkpoint (hard links)--> snapshots/checkpoint-N/ --read while it is sent--> stream
//! stream --> N.tmp --verified--> a fresh generation of the state --> a checkpoint of it
//!
//! "RGRFSNAP" | format u32 | frame...
//! frame = kind u8 | length u32 | sha256(sequence u64, kind, payload) | payload
//! header, chunk..., end        (numbers big-endian; payloads are messages of raft.proto)
//! ```
//!
//! - Expected flow: taking one costs hard links and what is in memory only, however large the state is; writing goes on
//!   meanwhile. A stream is received into a temporary file, verified, then installed.
//! - Guarantees: a damaged, reordered or cut stream is noticed before any of it is used; a newer
//!   snapshot is never replaced by an older one.
//! - Errors: say which file and what is wrong with it.

use super::{View, database, read_position};
use crate::database::Open;
use crate::error::Error;
use crate::planted::{self, Bug};
use crate::types::{
    SnapshotMeta, log_id_from_wire, log_id_to_wire, stored_membership_from_wire,
    stored_membership_to_wire,
};
use prost::Message;
use regraft_state::store::Walk;
use regraft_wire::raft::v1 as wire;
use rocksdb::DB;
use rocksdb::checkpoint::Checkpoint;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Newest snapshot format this version writes and reads.
const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"RGRFSNAP";
/// Pairs of one chunk, by bytes (at least one pair).
const CHUNK_BYTES: usize = 256 << 10;
/// Longest frame a reader accepts: a chunk and its largest pair.
const FRAME_BYTES_MAX: usize = 64 << 20;
const DIGEST_BYTES: usize = 32;

/// Names the checkpoint that is current.
const POINTER: &str = "CURRENT";
const POINTER_NEW: &str = "CURRENT.tmp";
const CHECKPOINT_PREFIX: &str = "checkpoint-";
const TEMPORARY_SUFFIX: &str = ".tmp";

const HEADER: u8 = 1;
const CHUNK: u8 = 2;
const END: u8 = 3;

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
    path: PathBuf,
    retired: AtomicBool,
    /// Whoever waits for all databases to be closed waits for this one's readers, too.
    _open: Open,
}

/// A file with a received stream; removed with this.
#[derive(Clone)]
pub(crate) struct SnapshotFile {
    file: Arc<File>,
    path: PathBuf,
    _temporary: Arc<Temporary>,
}

/// The folder of snapshots: one is current.
pub(crate) struct Snapshots {
    dir: PathBuf,
    cluster_id: String,
    current: Mutex<Option<Arc<Taken>>>,
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
        let named = match std::fs::read_to_string(dir.join(POINTER)) {
            Ok(text) => Some(text.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => {
                let path = dir.join(POINTER);
                return Err(Error::ReadFile { path, source });
            }
        };
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
            next: AtomicU64::new(next),
            open,
        };
        if let Some(name) = named {
            let path = dir.join(name);
            match snapshots.taken(path.clone()) {
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

    pub(crate) fn current(&self) -> Option<Arc<Taken>> {
        self.lock().clone()
    }

    /// Takes a snapshot of what is applied now, and makes it the current one unless that is newer; gives the current one.
    /// What it holds is durable.
    pub(crate) fn take(&self, db: &DB) -> io::Result<Arc<Taken>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("{CHECKPOINT_PREFIX}{number}");
        let beside = self.dir.join(format!("{name}{TEMPORARY_SUFFIX}"));
        Checkpoint::new(db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(&beside))
            .map_err(io::Error::other)?;
        let path = self.dir.join(&name);
        std::fs::rename(&beside, &path)?;
        let mut taken = self.taken(path)?;
        let mut current = self.lock();
        if planted::has(Bug::OldSnapshot)
            && let Some(old) = &*current
        {
            taken.path.clone_from(&old.path);
        }
        let taken = Arc::new(taken);
        if let Some(newer) = &*current
            && newer.meta.last_log_id >= taken.meta.last_log_id
        {
            taken.retired.store(true, Ordering::Release);
            return Ok(Arc::clone(newer));
        }
        point_to(&self.dir, &name)?;
        if let Some(old) = current.replace(Arc::clone(&taken)) {
            let still_needed = planted::has(Bug::OldSnapshot);
            old.retired.store(!still_needed, Ordering::Release);
        }
        Ok(taken)
    }

    fn taken(&self, path: PathBuf) -> io::Result<Taken> {
        let db = database::open_to_read(&path)?;
        let position = read_position(&View::live(&db))?;
        Ok(Taken {
            cluster_id: self.cluster_id.clone(),
            meta: SnapshotMeta {
                last_log_id: position.applied,
                last_membership: position.membership,
            },
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
            _temporary: Arc::new(Temporary(path)),
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
        let header = file.header()?;
        if header.cluster_id != self.cluster_id {
            return Err(file.damaged(&format!(
                "it is of cluster {}, not {}",
                header.cluster_id, self.cluster_id
            )));
        }
        let membership = header
            .membership
            .as_ref()
            .ok_or_else(|| file.damaged("it has no membership"))?;
        Ok(SnapshotMeta {
            last_log_id: header.last_log.as_ref().map(log_id_from_wire),
            last_membership: stored_membership_from_wire(membership)
                .map_err(|error| file.damaged(&error.to_string()))?,
        })
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
        let mut writer = FrameWriter::new(out)?;
        writer.frame(
            HEADER,
            &wire::SnapshotHeader {
                cluster_id: self.cluster_id.clone(),
                last_log: self.meta.last_log_id.as_ref().map(log_id_to_wire),
                membership: Some(stored_membership_to_wire(&self.meta.last_membership)),
            },
        )?;
        let mut chunk = wire::SnapshotChunk::default();
        let mut end = wire::SnapshotEnd::default();
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
                match writer.chunk(&mut chunk, &mut end) {
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
        writer.chunk(&mut chunk, &mut end)?;
        writer.frame(END, &end)?;
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

    /// Writes received bytes.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Visits all pairs, chunk by chunk, and checks that the file is whole.
    pub(crate) fn read_pairs(
        &self,
        mut visit: impl FnMut(Vec<wire::Pair>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut reader = FrameReader::new(self)?;
        reader.expect::<wire::SnapshotHeader>(HEADER)?;
        let mut seen = wire::SnapshotEnd::default();
        loop {
            let (kind, payload) = reader.frame()?;
            match kind {
                CHUNK => {
                    let chunk: wire::SnapshotChunk = self.decode(&payload)?;
                    seen.chunks += 1;
                    seen.pairs += chunk.pairs.len() as u64;
                    visit(chunk.pairs)?;
                }
                END => {
                    let end: wire::SnapshotEnd = self.decode(&payload)?;
                    if end != seen {
                        return Err(self.damaged("its end counts other chunks or pairs"));
                    }
                    return Ok(());
                }
                _ => return Err(self.damaged("it has a frame of unknown kind")),
            }
        }
    }

    fn header(&self) -> io::Result<wire::SnapshotHeader> {
        FrameReader::new(self)?.expect(HEADER)
    }

    fn decode<M: Message + Default>(&self, payload: &[u8]) -> io::Result<M> {
        M::decode(payload).map_err(|error| self.damaged(&error.to_string()))
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

struct FrameWriter<W: Write> {
    out: W,
    sequence: u64,
}

impl<W: Write> FrameWriter<W> {
    fn new(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        out.write_all(&FORMAT.to_be_bytes())?;
        Ok(Self { out, sequence: 0 })
    }

    fn frame(&mut self, kind: u8, message: &impl Message) -> io::Result<()> {
        let payload = message.encode_to_vec();
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        self.out.write_all(&[kind])?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&digest(self.sequence, kind, &payload))?;
        self.out.write_all(&payload)?;
        self.sequence += 1;
        Ok(())
    }

    /// Writes and empties `chunk`, and counts it.
    fn chunk(
        &mut self,
        chunk: &mut wire::SnapshotChunk,
        end: &mut wire::SnapshotEnd,
    ) -> io::Result<()> {
        if chunk.pairs.is_empty() {
            return Ok(());
        }
        end.chunks += 1;
        end.pairs += chunk.pairs.len() as u64;
        self.frame(CHUNK, chunk)?;
        chunk.pairs.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn point_to(dir: &Path, name: &str) -> io::Result<()> {
    let beside = dir.join(POINTER_NEW);
    let mut file = File::create(&beside)?;
    writeln!(file, "{name}")?;
    file.sync_all()?;
    std::fs::rename(&beside, dir.join(POINTER))?;
    database::sync_dir(dir)
}

fn remove(path: &Path) -> io::Result<()> {
    match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    }
}

struct FrameReader<'a> {
    source: &'a SnapshotFile,
    input: BufReader<Cursor<'a>>,
    sequence: u64,
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

impl<'a> FrameReader<'a> {
    fn new(source: &'a SnapshotFile) -> io::Result<Self> {
        let mut reader = Self {
            source,
            input: BufReader::new(Cursor {
                file: &source.file,
                offset: 0,
            }),
            sequence: 0,
        };
        let magic: [u8; 8] = reader.bytes()?;
        if &magic != MAGIC {
            return Err(source.damaged("it is not a snapshot of regraft"));
        }
        let format = u32::from_be_bytes(reader.bytes()?);
        if format > FORMAT {
            return Err(source.damaged(&format!(
                "it has format {format}, this version reads up to {FORMAT}"
            )));
        }
        Ok(reader)
    }

    fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let [kind] = self.bytes()?;
        let length = u32::from_be_bytes(self.bytes()?) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(self.source.damaged("it has a frame that is too long"));
        }
        let expected: [u8; DIGEST_BYTES] = self.bytes()?;
        let mut payload = vec![0; length];
        self.input
            .read_exact(&mut payload)
            .map_err(|error| self.cut(error))?;
        if digest(self.sequence, kind, &payload) != expected {
            return Err(self.source.damaged("a checksum does not match"));
        }
        self.sequence += 1;
        Ok((kind, payload))
    }

    fn expect<M: Message + Default>(&mut self, expected: u8) -> io::Result<M> {
        let (kind, payload) = self.frame()?;
        if kind != expected {
            return Err(self.source.damaged("it does not start with a header"));
        }
        self.source.decode(&payload)
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input
            .read_exact(&mut bytes)
            .map_err(|error| self.cut(error))?;
        Ok(bytes)
    }

    fn cut(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return self.source.damaged("it was cut short");
        }
        error
    }
}

fn digest(sequence: u64, kind: u8, payload: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::new()
        .chain_update(sequence.to_be_bytes())
        .chain_update([kind])
        .chain_update(payload)
        .finalize()
        .into()
}
