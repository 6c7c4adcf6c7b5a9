//! Snapshots and backups: any bytes as a stream, and streams of any frames with the right checksums.

use crate::input::{Bytes, split};
use crate::wire::understood_membership;
use prost::Message;
use regraft_replica::{backup, fuzzing};
use regraft_state::table;
use regraft_wire::raft::v1 as raft;
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// As the stream's page says, kept apart from what reads it.
const START: &[u8] = b"RGRFSNAP\0\0\0\x01";
const HEADER: u8 = 1;
const CHUNK: u8 = 2;
const END: u8 = 3;
/// Whose snapshots are received.
const CLUSTER: &str = "shop";

/// Reads a stream, as a backup and as a snapshot that a member of the cluster `shop` gets: after an `R` the rest of the input,
/// else one that is made of the parts.
///
/// A part is a frame, by its first byte: `h`eader, `c`hunk, `e`nd (an empty one counts right), `n` and `m` for an end that
/// counts a chunk or a pair more for each byte behind, any other for a frame of that kind; or damage: `x` turns bits of a
/// byte over, `t` goes on after the end, `k` cuts the stream short.
///
/// Promises: a stream is read when it is whole, and refused when it is damaged, cut, goes on, or lacks something; a backup
/// and a snapshot are judged alike; all pairs are given, once; a stream that was read is the same when it was written again.
pub fn snapshots(input: &[u8]) {
    match input.split_first() {
        Some((b'R', stream)) => check(stream, None),
        _ => {
            let made = Made::of(input);
            check(&made.stream, Some(&made));
        }
    }
}

/// A stream that was made, and what must be read of it.
struct Made {
    stream: Vec<u8>,
    is_damaged: bool,
    /// Its frames in order: kind and payload.
    frames: Vec<(u8, Vec<u8>)>,
}

/// What is in a whole stream.
struct Content {
    header: raft::SnapshotHeader,
    chunks: Vec<raft::SnapshotChunk>,
}

impl Made {
    fn of(input: &[u8]) -> Self {
        let mut made = Self {
            stream: START.to_vec(),
            is_damaged: false,
            frames: Vec::new(),
        };
        let mut damage = Vec::new();
        for part in split(input) {
            let Some((kind, payload)) = part.split_first() else {
                continue;
            };
            match kind {
                b'h' => made.frame(HEADER, payload.to_vec()),
                b'c' => made.frame(CHUNK, payload.to_vec()),
                b'e' if payload.is_empty() => {
                    let end = made.count().encode_to_vec();
                    made.frame(END, end);
                }
                b'e' => made.frame(END, payload.to_vec()),
                b'n' => {
                    let mut end = made.count();
                    end.chunks += payload.len() as u64;
                    made.frame(END, end.encode_to_vec());
                }
                b'm' => {
                    let mut end = made.count();
                    end.pairs += payload.len() as u64;
                    made.frame(END, end.encode_to_vec());
                }
                b'x' | b't' | b'k' => damage.push((*kind, payload)),
                other => made.frame(*other, payload.to_vec()),
            }
        }
        let whole = made.stream.clone();
        for (kind, bytes) in damage {
            made.damage(kind, bytes);
        }
        made.is_damaged = made.stream != whole;
        made
    }

    fn frame(&mut self, kind: u8, payload: Vec<u8>) {
        let digest = Sha256::new()
            .chain_update((self.frames.len() as u64).to_be_bytes())
            .chain_update([kind])
            .chain_update(&payload)
            .finalize();
        self.stream.push(kind);
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.stream.extend(length.to_be_bytes());
        self.stream.extend(digest);
        self.stream.extend(&payload);
        self.frames.push((kind, payload));
    }

    fn count(&self) -> raft::SnapshotEnd {
        let chunks = self.frames.iter().filter(|(kind, _)| *kind == CHUNK);
        let mut end = raft::SnapshotEnd::default();
        for (_, payload) in chunks {
            let chunk = raft::SnapshotChunk::decode(payload.as_slice());
            end.chunks += 1;
            end.pairs += chunk.map_or(0, |chunk| chunk.pairs.len() as u64);
        }
        end
    }

    fn damage(&mut self, kind: u8, bytes: &[u8]) {
        let mut bytes = Bytes(bytes);
        let at = usize::from(bytes.u16()) % self.stream.len().max(1);
        match kind {
            b'x' => {
                if let Some(byte) = self.stream.get_mut(at) {
                    *byte ^= bytes.u8();
                }
            }
            b'k' => self.stream.truncate(at),
            _ => self.stream.extend(bytes.0),
        }
    }

    /// What must be read, unless it is to be refused.
    fn content(&self) -> Option<Content> {
        let ((HEADER, header), rest) = self.frames.split_first()? else {
            return None;
        };
        let ((END, end), chunks) = rest.split_last()? else {
            return None;
        };
        let all_chunks = chunks.iter().all(|(kind, _)| *kind == CHUNK);
        let end = raft::SnapshotEnd::decode(end.as_slice()).ok()?;
        let content = Content {
            header: raft::SnapshotHeader::decode(header.as_slice()).ok()?,
            chunks: chunks
                .iter()
                .map(|(_, payload)| raft::SnapshotChunk::decode(payload.as_slice()))
                .collect::<Result<_, _>>()
                .ok()?,
        };
        let is_whole = all_chunks && !self.is_damaged && end == self.count();
        is_whole.then_some(content)
    }

    /// Whether the frames are such as a member writes.
    fn is_canonical(&self, content: &Content) -> bool {
        let chunks = content.chunks.iter();
        let mut written = vec![content.header.encode_to_vec()];
        written.extend(chunks.map(Message::encode_to_vec));
        written.push(self.count().encode_to_vec());
        written
            .iter()
            .eq(self.frames.iter().map(|(_, payload)| payload))
            && content.chunks.iter().all(|chunk| !chunk.pairs.is_empty())
    }
}

fn check(stream: &[u8], made: Option<&Made>) {
    let mut pairs = Vec::new();
    let backup = backup::read(Path::new("FILE"), stream, &mut |key, value| {
        let (key, value) = (key.to_vec(), value.to_vec());
        pairs.push(raft::Pair { key, value });
        Ok(())
    });
    let received = fuzzing::receive_snapshot(stream, CLUSTER);
    if let (Ok(info), Ok((header, got))) = (&backup, &received) {
        assert_eq!(
            (&info.cluster_id[..], info.taken_ms),
            (CLUSTER, header.taken_ms)
        );
        assert!(*got == pairs, "a backup has the pairs of the snapshot");
    }
    if let Ok(info) = &backup {
        assert_eq!(info.pairs, pairs.len() as u64);
        assert_eq!(info.bytes, stream.len() as u64);
    }
    let Some(made) = made else { return };
    let Some(content) = made.content() else {
        assert!(backup.is_err(), "a damaged backup is read");
        assert!(received.is_err(), "a damaged snapshot is read");
        return;
    };
    let all: Vec<&raft::Pair> = content.chunks.iter().flat_map(|it| &it.pairs).collect();
    let header = &content.header;
    let membership = header.membership.as_ref();
    let membership = membership.and_then(|stored| stored.membership.as_ref());
    let membership = membership.and_then(understood_membership);
    let is_ours = membership.is_some() && header.cluster_id == CLUSTER;
    assert_eq!(received.is_ok(), is_ours, "{:?}", received.err());
    if let Ok((read, got)) = received {
        assert_eq!(read.last_log, header.last_log);
        assert_eq!(read.membership.and_then(|it| it.membership), membership);
        assert!(got.iter().eq(all.iter().copied()));
    }
    let mut formats = all
        .iter()
        .filter(|pair| pair.key == table::FORMAT.as_bytes());
    let has_format = formats
        .next_back()
        .is_none_or(|pair| serde_json::from_slice::<u32>(&pair.value).is_ok());
    let is_backup = membership.is_some() && header.last_log.is_some() && has_format;
    assert_eq!(backup.is_ok(), is_backup, "{:?}", backup.err());
    if is_backup {
        assert!(pairs.iter().eq(all));
    }
    if made.is_canonical(&content) {
        let written = fuzzing::write_snapshot(&content.header, content.chunks);
        let written = written.expect("memory takes everything");
        assert!(written == made.stream, "what was read is written the same");
    }
}
