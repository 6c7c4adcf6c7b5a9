//! The state as a stream of bytes: what is sent to a member that lacks too much of the log, and what a backup is.
//!
//! ```text
//! "RGRFSNAP" | format u32 | frame...
//! frame = kind u8 | length u32 | sha256(sequence u64, kind, payload) | payload
//! header, chunk..., end        (numbers big-endian; payloads are messages of raft.proto)
//! ```
//!
//! - Guarantees: a damaged, reordered or cut stream is noticed.
//! - Errors: [`FrameError`] tells damage, which stays, from a file that cannot be read, and from a newer format.

use prost::Message;
use regraft_wire::raft::v1 as wire;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};

/// Newest format this version writes and reads.
pub(crate) const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"RGRFSNAP";
/// Pairs of one chunk, by bytes (at least one pair).
pub(super) const CHUNK_BYTES: usize = 256 << 10;
/// Longest frame a reader accepts: a chunk and its largest pair.
const FRAME_BYTES_MAX: usize = 64 << 20;
const DIGEST_BYTES: usize = 32;

const HEADER: u8 = 1;
const CHUNK: u8 = 2;
const END: u8 = 3;

/// A stream cannot be used.
#[derive(Debug)]
pub(crate) enum FrameError {
    /// It cannot be read, or what it is read for failed.
    Io(io::Error),
    /// It is not what was written.
    Damaged(String),
    /// A newer version wrote it.
    Newer(u32),
}

/// Reads a stream to its end: gives `visit` all pairs, chunk by chunk, and checks that it is whole.
pub(crate) fn read_all(
    input: impl Read,
    visit: &mut dyn FnMut(Vec<wire::Pair>) -> io::Result<()>,
) -> Result<wire::SnapshotHeader, FrameError> {
    let mut reader = FrameReader::new(input)?;
    let header = reader.header()?;
    let mut seen = wire::SnapshotEnd::default();
    loop {
        let (kind, payload) = reader.frame()?;
        match kind {
            CHUNK => {
                let chunk: wire::SnapshotChunk = decode(&payload)?;
                seen.chunks += 1;
                seen.pairs += chunk.pairs.len() as u64;
                visit(chunk.pairs).map_err(FrameError::Io)?;
            }
            END => {
                let end: wire::SnapshotEnd = decode(&payload)?;
                if end != seen {
                    return Err(damaged("its end counts other chunks or pairs"));
                }
                reader.expect_nothing()?;
                return Ok(header);
            }
            _ => return Err(damaged("it has a frame of unknown kind")),
        }
    }
}

/// Reads what a stream says of itself.
pub(crate) fn read_header(input: impl Read) -> Result<wire::SnapshotHeader, FrameError> {
    FrameReader::new(input)?.header()
}

pub(crate) struct FrameWriter<W: Write> {
    out: W,
    sequence: u64,
    end: wire::SnapshotEnd,
}

impl<W: Write> FrameWriter<W> {
    pub(crate) fn new(mut out: W, header: &wire::SnapshotHeader) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        out.write_all(&FORMAT.to_be_bytes())?;
        let mut writer = Self {
            out,
            sequence: 0,
            end: wire::SnapshotEnd::default(),
        };
        writer.frame(HEADER, header)?;
        Ok(writer)
    }

    /// Writes and empties `chunk`, and counts it.
    pub(crate) fn chunk(&mut self, chunk: &mut wire::SnapshotChunk) -> io::Result<()> {
        if chunk.pairs.is_empty() {
            return Ok(());
        }
        self.end.chunks += 1;
        self.end.pairs += chunk.pairs.len() as u64;
        self.frame(CHUNK, chunk)?;
        chunk.pairs.clear();
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        let end = self.end;
        self.frame(END, &end)?;
        self.out.flush()
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
}

struct FrameReader<R: Read> {
    input: R,
    sequence: u64,
}

impl<R: Read> FrameReader<R> {
    fn new(input: R) -> Result<Self, FrameError> {
        let mut reader = Self { input, sequence: 0 };
        let magic: [u8; 8] = reader.bytes()?;
        if &magic != MAGIC {
            return Err(damaged("it is not a snapshot of regraft"));
        }
        match u32::from_be_bytes(reader.bytes()?) {
            newer if newer > FORMAT => Err(FrameError::Newer(newer)),
            // No checksum is over it.
            0 => Err(damaged("its format is none")),
            _ => Ok(reader),
        }
    }

    fn header(&mut self) -> Result<wire::SnapshotHeader, FrameError> {
        match self.frame()? {
            (HEADER, payload) => decode(&payload),
            _ => Err(damaged("it does not start with a header")),
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), FrameError> {
        let [kind] = self.bytes()?;
        let length = u32::from_be_bytes(self.bytes()?) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(damaged("it has a frame that is too long"));
        }
        let expected: [u8; DIGEST_BYTES] = self.bytes()?;
        let mut payload = vec![0; length];
        self.input.read_exact(&mut payload).map_err(cut)?;
        if digest(self.sequence, kind, &payload) != expected {
            return Err(damaged("a checksum does not match"));
        }
        self.sequence += 1;
        Ok((kind, payload))
    }

    fn expect_nothing(&mut self) -> Result<(), FrameError> {
        let mut more = Vec::new();
        let read = self.input.by_ref().take(1).read_to_end(&mut more);
        match read.map_err(FrameError::Io)? {
            0 => Ok(()),
            _ => Err(damaged("it goes on after its end")),
        }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(cut)?;
        Ok(bytes)
    }
}

fn decode<M: Message + Default>(payload: &[u8]) -> Result<M, FrameError> {
    M::decode(payload).map_err(|error| damaged(&error.to_string()))
}

fn damaged(what: &str) -> FrameError {
    FrameError::Damaged(what.to_owned())
}

fn cut(error: io::Error) -> FrameError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it was cut short"),
        _ => FrameError::Io(error),
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
