//! Makes the checksums of a segment right, whatever it says: written from the format's page, apart from what reads it.

const SEGMENT_HEAD_BYTES: usize = 80;
const BATCH_HEAD_BYTES: usize = 48;
const RECORD_HEAD_BYTES: usize = 17;
const ALIGNMENT_BYTES: usize = 8;
const END_MARK: u8 = 0xe7;

/// Gives a file the head of this segment, as far as it is long enough, and its batches their numbers and checksums.
pub(super) fn seal(file: &mut [u8], number: u64) {
    if file.len() < SEGMENT_HEAD_BYTES {
        return;
    }
    let bytes = file.len() as u64;
    put(file, 0, b"regraftW");
    put(file, 8, &1_u32.to_le_bytes());
    let told = u32_at(file, 12) as usize;
    // With values in it, where it says so and there is room.
    let length = match (SEGMENT_HEAD_BYTES..=file.len()).contains(&told) {
        true => told.next_multiple_of(ALIGNMENT_BYTES).min(file.len()),
        false => SEGMENT_HEAD_BYTES,
    };
    put(file, 12, &u32::try_from(length).unwrap_or(0).to_le_bytes());
    put(file, 24, &number.to_le_bytes());
    put(file, 32, &bytes.to_le_bytes());
    let checksum = crc32c::crc32c(&file[..16]);
    put(file, 16, &checksum.to_le_bytes());
    let checksum = crc32c::crc32c(&file[24..length]);
    put(file, 20, &checksum.to_le_bytes());
    let mut at = length;
    let mut batch = u64_at(file, 40);
    let mut previous = u32_at(file, 72);
    while let Some((end, checksum)) = seal_batch(file, at, number, batch, previous) {
        at = end;
        batch = batch.wrapping_add(1);
        previous = checksum;
    }
}

/// Where the batch ends and the checksum of its head; none when there is no batch that could be.
fn seal_batch(
    file: &mut [u8],
    start: usize,
    segment: u64,
    number: u64,
    previous: u32,
) -> Option<(usize, u32)> {
    let head = file.get(start..start + BATCH_HEAD_BYTES)?;
    if head.iter().all(|byte| *byte == 0) {
        return None;
    }
    let first = start + BATCH_HEAD_BYTES;
    let told = first.checked_add(u32_at(file, start + 32) as usize)?;
    let mut end = first;
    let mut records = 0_u32;
    let mut body = 0;
    while let Some(record) = record_at(file, end, told) {
        let checksum = placed(segment, end, &file[end + 4..record]);
        put(file, end, &checksum.to_le_bytes());
        body = crc32c::crc32c_append(body, &checksum.to_le_bytes());
        records += 1;
        end = record;
    }
    if end >= file.len() {
        return None;
    }
    let length = u32::try_from(end - first).ok()?;
    put(file, start, b"RGWB");
    put(file, start + 8, &segment.to_le_bytes());
    put(file, start + 16, &number.to_le_bytes());
    put(file, start + 32, &length.to_le_bytes());
    put(file, start + 36, &records.to_le_bytes());
    put(file, start + 40, &previous.to_le_bytes());
    put(file, start + 44, &body.to_le_bytes());
    let checksum = placed(segment, start, &file[start + 8..first]);
    put(file, start + 4, &checksum.to_le_bytes());
    file[end] = END_MARK;
    Some(((end + 1).next_multiple_of(ALIGNMENT_BYTES), checksum))
}

/// Where the record ends that begins at `start`, if it does before `end`.
fn record_at(file: &[u8], start: usize, end: usize) -> Option<usize> {
    let end = end.min(file.len());
    (start + RECORD_HEAD_BYTES <= end).then_some(())?;
    let record = start + RECORD_HEAD_BYTES + u32_at(file, start + 4) as usize;
    (record <= end).then_some(record)
}

/// Whether an entry with its checksum is anywhere in a segment.
pub(super) fn has_entry(file: &[u8], segment: u64, index: u64, entry: &[u8]) -> bool {
    let mut head = u32::try_from(entry.len())
        .unwrap_or(0)
        .to_le_bytes()
        .to_vec();
    head.push(1);
    head.extend(index.to_le_bytes());
    let candidates = file.windows(head.len()).enumerate().skip(4);
    let mut starts = candidates.filter(|(_, bytes)| *bytes == head);
    starts.any(|(at, _)| {
        let (start, end) = (at - 4, at + head.len() + entry.len());
        file.get(at + head.len()..end) == Some(entry)
            && u32_at(file, start) == placed(segment, start, &file[at..end])
    })
}

fn placed(segment: u64, offset: usize, bytes: &[u8]) -> u32 {
    let mut place = segment.to_le_bytes().to_vec();
    place.extend((offset as u64).to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), bytes)
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn u32_at(file: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&file[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(file: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&file[at..at + 8]);
    u64::from_le_bytes(number)
}
