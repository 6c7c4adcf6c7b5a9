//! The bytes of a segment; the crate's page says what they mean.
//!
//! - Guarantees: what is read back is what was written at that place of that segment, or is named as damaged. Any bytes
//!   can be given; none makes it panic, or allocate more than they are long.
//! - Assumptions: damage is an accident. The checksums find it, and stop nobody who wants to deceive.

use crate::operation::{Bounds, Operation};
use std::collections::BTreeMap;

/// The format that is written, and the newest that is read.
pub(crate) const VERSION: u32 = 1;
/// Bytes that a disk writes whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;
/// Bytes of the head of a batch.
pub(crate) const BATCH_HEAD_BYTES: usize = 48;
/// Bytes of the head of a record.
pub(crate) const RECORD_HEAD_BYTES: usize = 17;
/// What stands behind the records of a batch. Without it, the end of a batch that was cut off could not be told from
/// zeros that belong to it.
const END_MARK: u8 = 0xe7;
/// Heads begin at multiples of this, so that a search finds them quickly.
pub(crate) const ALIGNMENT_BYTES: usize = 8;

const SEGMENT_MAGIC: [u8; 8] = *b"regraftW";
const BATCH_MAGIC: [u8; 4] = *b"RGWB";
/// Bytes at the start of a segment that are the same in every format.
pub(crate) const SEGMENT_START_BYTES: usize = 20;
/// Bytes of the head of a segment before its values.
const SEGMENT_HEAD_BYTES: usize = 80;
/// Bytes of a value besides its key and its content.
pub(crate) const VALUE_HEAD_BYTES: usize = 5;

/// The highest number of a first batch that is believed: nobody gets there, and there is always a next.
const BATCH_NUMBER_MAX: u64 = u64::MAX >> 1;

const APPEND: u8 = 1;
const TRUNCATE_FROM: u8 = 2;
const PURGE_TO: u8 = 3;
const SET: u8 = 4;

/// The named values.
pub(crate) type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a segment begins with: all that the segments before it came to, but for the entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    pub(crate) number: u64,
    /// How long the file was when the segment began.
    pub(crate) bytes: u64,
    /// The number of the first batch in it.
    pub(crate) first_batch: u64,
    /// The checksum of the head of the batch before that one.
    pub(crate) previous: u32,
    pub(crate) bounds: Bounds,
    pub(crate) values: Values,
}

/// What a batch begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHead {
    pub(crate) segment: u64,
    pub(crate) number: u64,
    /// The newest batch that was known to be synced when this one was written.
    pub(crate) synced: u64,
    /// Bytes of the records behind the head.
    pub(crate) length: u32,
    pub(crate) records: u32,
    /// The checksum of the head of the batch before: no other history fits between.
    pub(crate) previous: u32,
    /// The checksum over the checksums of the records.
    pub(crate) body: u32,
    /// Its own.
    pub(crate) checksum: u32,
}

/// A batch that was read whole.
pub(crate) struct Batch<'a> {
    pub(crate) head: BatchHead,
    /// The steps, and where the record of each begins.
    pub(crate) records: Vec<(Operation<'a>, u64)>,
    /// Where the next batch begins.
    pub(crate) end: usize,
}

/// Why bytes are not the head of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoHead {
    Newer { found: u32 },
    Damaged(&'static str),
}

/// Why bytes are not a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoBatch {
    /// There is nothing: zeros, or no room for a head.
    Blank,
    Damaged {
        what: &'static str,
        /// Where its end mark should be, or at least its head ends.
        end: usize,
    },
}

impl SegmentHead {
    /// Appends the head to `buffer`.
    pub(crate) fn encode(&self, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.extend_from_slice(&SEGMENT_MAGIC);
        buffer.extend_from_slice(&VERSION.to_le_bytes());
        // The length and the checksums come when they are known.
        buffer.extend_from_slice(&[0; 12]);
        let bounds = &self.bounds;
        let purge_next = bounds.purged_to.map_or(0, |index| index + 1);
        for number in [
            self.number,
            self.bytes,
            self.first_batch,
            purge_next,
            bounds.first,
            bounds.next,
        ] {
            buffer.extend_from_slice(&number.to_le_bytes());
        }
        buffer.extend_from_slice(&self.previous.to_le_bytes());
        buffer.extend_from_slice(&length_u32(self.values.len()).to_le_bytes());
        for (key, value) in &self.values {
            buffer.push(key_length(key));
            buffer.extend_from_slice(&length_u32(value.len()).to_le_bytes());
            buffer.extend_from_slice(key);
            buffer.extend_from_slice(value);
        }
        pad(buffer, start);
        let head = &mut buffer[start..];
        let length = length_u32(head.len());
        head[12..16].copy_from_slice(&length.to_le_bytes());
        let checksum = crc32c::crc32c(&head[..16]);
        head[16..20].copy_from_slice(&checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&head[24..]);
        head[20..24].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads the head that `file` begins with, and how long it is.
    pub(crate) fn decode(file: &[u8]) -> Result<(Self, usize), NoHead> {
        const SHORT: NoHead = NoHead::Damaged("the head of the segment is cut off");
        let word = |at| u32_at(file, at).ok_or(SHORT);
        let long = |at| u64_at(file, at).ok_or(SHORT);
        let length = Self::length(file).map_err(NoHead::Damaged)?;
        let found = word(8)?;
        if found != VERSION {
            // There is none below the first.
            return Err(NoHead::Newer { found });
        }
        let head = file.get(..length).ok_or(SHORT)?;
        if length < SEGMENT_HEAD_BYTES || crc32c::crc32c(&head[24..]) != word(20)? {
            return Err(NoHead::Damaged(
                "the head of the segment does not match its checksum",
            ));
        }
        let purge_next = long(48)?;
        let bounds = Bounds {
            purged_to: purge_next.checked_sub(1),
            first: long(56)?,
            next: long(64)?,
        };
        let first_batch = long(40)?;
        let is_possible = bounds.first <= bounds.next
            && bounds.first >= purge_next
            && (1..=BATCH_NUMBER_MAX).contains(&first_batch);
        if !is_possible {
            return Err(NoHead::Damaged(
                "the head of the segment contradicts itself",
            ));
        }
        let values = decode_values(&head[SEGMENT_HEAD_BYTES..], word(76)?).ok_or(
            NoHead::Damaged("the values in the head of the segment are cut off"),
        )?;
        let decoded = Self {
            number: long(24)?,
            bytes: long(32)?,
            first_batch,
            previous: word(72)?,
            bounds,
            values,
        };
        Ok((decoded, length))
    }

    /// The length of the head that `file` begins with. What tells it is the same in every format.
    pub(crate) fn length(file: &[u8]) -> Result<usize, &'static str> {
        let start = file
            .get(..SEGMENT_START_BYTES)
            .ok_or("the file is cut off")?;
        if start[..8] != SEGMENT_MAGIC {
            return Err("it does not begin as a segment does");
        }
        if Some(crc32c::crc32c(&start[..16])) != u32_at(start, 16) {
            return Err("the format and the length of the head do not match their checksum");
        }
        Ok(u32_at(start, 12).unwrap_or_default() as usize)
    }
}

fn decode_values(mut bytes: &[u8], count: u32) -> Option<Values> {
    let mut values = Values::new();
    for _ in 0..count {
        let key_bytes = usize::from(*bytes.first()?);
        let value_bytes = u32_at(bytes, 1)? as usize;
        let key = bytes.get(VALUE_HEAD_BYTES..)?.get(..key_bytes)?;
        let rest = &bytes[VALUE_HEAD_BYTES + key_bytes..];
        let value = rest.get(..value_bytes)?;
        values.insert(key.to_vec(), value.to_vec());
        bytes = &rest[value_bytes..];
    }
    Some(values)
}

/// Bytes that a batch takes in a file.
pub(crate) fn batch_bytes(batch: &[Operation<'_>]) -> usize {
    let body: usize = batch
        .iter()
        .map(|operation| RECORD_HEAD_BYTES + payload_bytes(operation))
        .sum();
    (BATCH_HEAD_BYTES + body + 1).next_multiple_of(ALIGNMENT_BYTES)
}

/// Bytes that the record of a step takes behind its head.
pub(crate) fn payload_bytes(operation: &Operation<'_>) -> usize {
    match operation {
        Operation::Append { bytes, .. } => bytes.len(),
        Operation::Set { key, bytes } => 1 + key.len() + bytes.len(),
        Operation::TruncateFrom { .. } | Operation::PurgeTo { .. } => 0,
    }
}

/// Where a batch goes, and what its head says besides its length and checksums.
pub(crate) struct Place {
    pub(crate) segment: u64,
    /// The offset in the file of the buffer's first byte.
    pub(crate) origin: u64,
    pub(crate) number: u64,
    pub(crate) synced: u64,
    pub(crate) previous: u32,
}

/// Appends a batch to `buffer`, the offsets of its records to `offsets`, and returns the checksum of its head.
pub(crate) fn encode_batch(
    place: &Place,
    batch: &[Operation<'_>],
    buffer: &mut Vec<u8>,
    offsets: &mut Vec<u64>,
) -> u32 {
    let start = buffer.len();
    buffer.resize(start + BATCH_HEAD_BYTES, 0);
    let mut body = 0;
    for operation in batch {
        let offset = place.origin + buffer.len() as u64;
        offsets.push(offset);
        let checksum = encode_record(place.segment, offset, operation, buffer);
        body = crc32c::crc32c_append(body, &checksum.to_le_bytes());
    }
    let mut head = BatchHead {
        segment: place.segment,
        number: place.number,
        synced: place.synced,
        length: length_u32(buffer.len() - start - BATCH_HEAD_BYTES),
        records: length_u32(batch.len()),
        previous: place.previous,
        body,
        checksum: 0,
    };
    let mut bytes = head.to_bytes();
    head.checksum = placed_checksum(place.segment, place.origin + start as u64, &bytes[8..]);
    bytes[4..8].copy_from_slice(&head.checksum.to_le_bytes());
    buffer[start..start + BATCH_HEAD_BYTES].copy_from_slice(&bytes);
    buffer.push(END_MARK);
    pad(buffer, start);
    head.checksum
}

fn encode_record(
    segment: u64,
    offset: u64,
    operation: &Operation<'_>,
    buffer: &mut Vec<u8>,
) -> u32 {
    let start = buffer.len();
    let (kind, index) = match *operation {
        Operation::Append { index, .. } => (APPEND, index),
        Operation::TruncateFrom { index } => (TRUNCATE_FROM, index),
        Operation::PurgeTo { index } => (PURGE_TO, index),
        Operation::Set { .. } => (SET, 0),
    };
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&length_u32(payload_bytes(operation)).to_le_bytes());
    buffer.push(kind);
    buffer.extend_from_slice(&index.to_le_bytes());
    match *operation {
        Operation::Append { bytes, .. } => buffer.extend_from_slice(bytes),
        Operation::Set { key, bytes } => {
            buffer.push(key_length(key));
            buffer.extend_from_slice(key);
            buffer.extend_from_slice(bytes);
        }
        Operation::TruncateFrom { .. } | Operation::PurgeTo { .. } => {}
    }
    let checksum = placed_checksum(segment, offset, &buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

impl BatchHead {
    /// Reads the head of a batch of this segment at `offset`, if there is one.
    pub(crate) fn decode(file: &[u8], offset: usize, segment: u64) -> Result<Self, NoBatch> {
        let Some(bytes) = file.get(offset..offset + BATCH_HEAD_BYTES) else {
            return Err(NoBatch::Blank);
        };
        if is_zero(bytes) {
            return Err(NoBatch::Blank);
        }
        let word = |at| u32_at(bytes, at).unwrap_or_default();
        let long = |at| u64_at(bytes, at).unwrap_or_default();
        let head = Self {
            checksum: word(4),
            segment: long(8),
            number: long(16),
            synced: long(24),
            length: word(32),
            records: word(36),
            previous: word(40),
            body: word(44),
        };
        let known = bytes[..4] == BATCH_MAGIC
            && placed_checksum(segment, offset as u64, &bytes[8..]) == head.checksum
            && head.segment == segment;
        if known {
            return Ok(head);
        }
        Err(NoBatch::Damaged {
            what: "the head of a batch does not match its checksum",
            end: offset + BATCH_HEAD_BYTES,
        })
    }

    fn to_bytes(self) -> [u8; BATCH_HEAD_BYTES] {
        let mut bytes = [0; BATCH_HEAD_BYTES];
        bytes[..4].copy_from_slice(&BATCH_MAGIC);
        bytes[4..8].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.synced.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.length.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.records.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.previous.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.body.to_le_bytes());
        bytes
    }
}

/// Reads the batch of this segment at `offset`.
pub(crate) fn decode_batch(file: &[u8], offset: usize, segment: u64) -> Result<Batch<'_>, NoBatch> {
    let head = BatchHead::decode(file, offset, segment)?;
    let start = offset + BATCH_HEAD_BYTES;
    let end = start + head.length as usize;
    let damaged = |what| NoBatch::Damaged {
        what,
        end: end.min(file.len()),
    };
    // Its fill is written with it.
    let next = (end + 1).next_multiple_of(ALIGNMENT_BYTES);
    if next > file.len() {
        return Err(damaged("a batch goes on behind the end of the file"));
    }
    let mut records = Vec::new();
    let mut at = start;
    let mut body = 0;
    while at < end {
        let (operation, checksum, length) =
            decode_record(&file[..end], at, segment).map_err(damaged)?;
        body = crc32c::crc32c_append(body, &checksum.to_le_bytes());
        records.push((operation, at as u64));
        at += length;
    }
    if body != head.body || records.len() != head.records as usize {
        return Err(damaged(
            "the records of a batch are not those it was written with",
        ));
    }
    if file[end] != END_MARK {
        return Err(damaged("the end mark of a batch is not there"));
    }
    Ok(Batch {
        head,
        records,
        end: next,
    })
}

/// Reads the record at `at` of a file of this segment, or of the part of it that ends with `file`: what it says, its
/// checksum, and how long it is.
fn decode_record(
    file: &[u8],
    at: usize,
    segment: u64,
) -> Result<(Operation<'_>, u32, usize), &'static str> {
    let bytes = &file[at..];
    let (operation, length) = check_record(bytes, at as u64, segment)?;
    Ok((operation, u32_at(bytes, 0).unwrap_or_default(), length))
}

/// Reads the record that `bytes` begin with, which are at `offset` of the segment: what it says, and how long it is.
pub(crate) fn check_record(
    bytes: &[u8],
    offset: u64,
    segment: u64,
) -> Result<(Operation<'_>, usize), &'static str> {
    const CUT: &str = "a record goes on behind its end";
    let checksum = u32_at(bytes, 0).ok_or(CUT)?;
    let payload_bytes = u32_at(bytes, 4).ok_or(CUT)? as usize;
    let kind = *bytes.get(8).ok_or(CUT)?;
    let index = u64_at(bytes, 9).ok_or(CUT)?;
    let length = RECORD_HEAD_BYTES + payload_bytes;
    let record = bytes.get(..length).ok_or(CUT)?;
    if placed_checksum(segment, offset, &record[4..]) != checksum {
        return Err("a record does not match its checksum");
    }
    let payload = &record[RECORD_HEAD_BYTES..];
    let operation = match (kind, payload) {
        (APPEND, bytes) => Operation::Append { index, bytes },
        (TRUNCATE_FROM, []) => Operation::TruncateFrom { index },
        (PURGE_TO, []) => Operation::PurgeTo { index },
        (SET, [key_bytes, rest @ ..]) => {
            let (key, bytes) = rest
                .split_at_checked(usize::from(*key_bytes))
                .ok_or("a record's key goes on behind its end")?;
            Operation::Set { key, bytes }
        }
        _ => return Err("a record is of no known kind"),
    };
    Ok((operation, length))
}

/// Whether what was written from `start` on, with its last byte at `end`, may be cut off: nothing is there from some
/// point on, or one of its sectors is still as it was before, zero.
pub(crate) fn may_be_torn(file: &[u8], start: usize, end: usize) -> bool {
    let end = end.min(file.len());
    if is_zero(&file[end..]) {
        return true;
    }
    let mut at = start;
    while at <= end {
        let sector_end = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end + 1);
        if is_zero(&file[at..sector_end.min(file.len())]) {
            return true;
        }
        at = sector_end;
    }
    false
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // By parts of a fixed size the compiler compares many at once.
    let (parts, rest) = bytes.as_chunks::<64>();
    rest.iter().all(|byte| *byte == 0)
        && parts
            .iter()
            .all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

/// The checksum of bytes that belong at this offset of this segment, and nowhere else.
fn placed_checksum(segment: u64, offset: u64, bytes: &[u8]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&segment.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), bytes)
}

fn pad(buffer: &mut Vec<u8>, start: usize) {
    let length = (buffer.len() - start).next_multiple_of(ALIGNMENT_BYTES);
    buffer.resize(start + length, 0);
}

fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("lengths are bounded before anything is encoded")
}

fn key_length(key: &[u8]) -> u8 {
    u8::try_from(key.len()).expect("keys are bounded before anything is encoded")
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..max)
    }

    fn steps() -> impl Strategy<Value = Vec<(u8, u64, Vec<u8>)>> {
        vec((0..4u8, any::<u64>(), bytes(80)), 0..6)
    }

    fn operation(step: &(u8, u64, Vec<u8>)) -> Operation<'_> {
        let (kind, index, bytes) = step;
        match kind {
            0 => Operation::Append {
                index: *index,
                bytes,
            },
            1 => Operation::TruncateFrom { index: *index },
            2 => Operation::PurgeTo { index: *index },
            _ => {
                let (key, bytes) = bytes.split_at(bytes.len() / 2);
                Operation::Set { key, bytes }
            }
        }
    }

    const PLACE: Place = Place {
        segment: 7,
        origin: 64,
        number: 12,
        synced: 11,
        previous: 99,
    };

    /// A file in which a batch begins at `PLACE.origin`.
    fn file_with(batch: &[Operation<'_>]) -> Vec<u8> {
        let mut batch_bytes = Vec::new();
        encode_batch(&PLACE, batch, &mut batch_bytes, &mut Vec::new());
        let mut file = vec![0; 64];
        file.extend_from_slice(&batch_bytes);
        file.extend_from_slice(&[0; 64]);
        file
    }

    fn head() -> impl Strategy<Value = SegmentHead> {
        let values = btree_map(bytes(20), bytes(50), 0..5);
        let batches = 1..=BATCH_NUMBER_MAX;
        (any::<[u64; 2]>(), batches, any::<[u32; 4]>(), values).prop_map(
            |([number, bytes], first_batch, [previous, purged, above, more], values)| {
                let purge_next = u64::from(purged);
                let first = purge_next + u64::from(above);
                SegmentHead {
                    number,
                    bytes,
                    first_batch,
                    previous,
                    bounds: Bounds {
                        purged_to: purge_next.checked_sub(1),
                        first,
                        next: first + u64::from(more),
                    },
                    values,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_batch_is_read_as_it_was_written_and_only_where_it_was_written(steps in steps()) {
            let batch: Vec<Operation<'_>> = steps.iter().map(operation).collect();
            let file = file_with(&batch);
            prop_assert_eq!(file.len(), 64 + batch_bytes(&batch) + 64);
            let Ok(read) = decode_batch(&file, 64, PLACE.segment) else {
                return Err(TestCaseError::fail("it is not read"));
            };
            let operations: Vec<Operation<'_>> =
                read.records.iter().map(|(operation, _)| *operation).collect();
            prop_assert_eq!(&operations, &batch);
            prop_assert_eq!(read.end, file.len() - 64);
            prop_assert_eq!((read.head.number, read.head.synced), (12, 11));
            prop_assert!(decode_batch(&file, 64, PLACE.segment + 1).is_err());
            prop_assert!(decode_batch(&file[8..], 56, PLACE.segment).is_err());
            for cut in 1..ALIGNMENT_BYTES {
                prop_assert!(decode_batch(&file[..read.end - cut], 64, PLACE.segment).is_err());
            }
        }

        #[test]
        fn a_batch_with_a_bit_turned_over_is_not_read(steps in steps(), bit in any::<prop::sample::Index>()) {
            let batch: Vec<Operation<'_>> = steps.iter().map(operation).collect();
            let mut file = file_with(&batch);
            let used = file.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            let bit = bit.index((used - 64) * 8);
            file[64 + bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode_batch(&file, 64, PLACE.segment).is_err());
        }

        #[test]
        fn a_head_is_read_as_it_was_written_and_not_with_a_bit_turned_over(
            head in head(),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut file = Vec::new();
            head.encode(&mut file);
            prop_assert_eq!(SegmentHead::decode(&file), Ok((head, file.len())));
            let bit = bit.index(file.len() * 8);
            file[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(matches!(SegmentHead::decode(&file), Err(NoHead::Damaged(_))));
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut file in bytes(300), offset in 0..40usize, right in any::<[bool; 3]>()) {
            let start = offset * 8;
            let [magic, checksum, head] = right;
            if magic && file.len() >= start + BATCH_HEAD_BYTES {
                file[start..start + 4].copy_from_slice(&BATCH_MAGIC);
                file[start + 8..start + 16].copy_from_slice(&3u64.to_le_bytes());
            }
            if checksum && file.len() >= start + BATCH_HEAD_BYTES {
                let sum = placed_checksum(3, start as u64, &file[start + 8..start + BATCH_HEAD_BYTES]);
                file[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
            }
            prop_assert!(decode_batch(&file, start, 3).is_err());
            if head && file.len() >= SEGMENT_HEAD_BYTES {
                let length = length_u32(file.len());
                file[..8].copy_from_slice(&SEGMENT_MAGIC);
                file[8..12].copy_from_slice(&VERSION.to_le_bytes());
                file[12..16].copy_from_slice(&length.to_le_bytes());
                let sum = crc32c::crc32c(&file[..16]);
                file[16..20].copy_from_slice(&sum.to_le_bytes());
                let sum = crc32c::crc32c(&file[24..]);
                file[20..24].copy_from_slice(&sum.to_le_bytes());
            }
            // With right checksums the rest is still any bytes: what matters is that it ends.
            let _ = SegmentHead::decode(&file);
            let _ = may_be_torn(&file, start.min(file.len()), start + BATCH_HEAD_BYTES);
        }
    }
}
