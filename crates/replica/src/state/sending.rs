//! A snapshot on its way out: parts of bytes, no faster than others can spare.

use super::snapshot::Taken;
use futures::stream::Stream;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// Bytes of one part.
const PART_BYTES: usize = 256 << 10;
/// Parts that are read before they are sent.
const PARTS_AHEAD: usize = 4;
/// How fast it is sent at most: the log has the same disk and the same network.
const BYTES_PER_S: u32 = 128 << 20;

/// The snapshot in parts. What cannot be read is told by an error, and nothing comes after it.
pub(crate) fn parts(
    taken: Arc<Taken>,
) -> impl Stream<Item = io::Result<Vec<u8>>> + Send + Unpin + 'static {
    let (parts, read) = mpsc::channel(PARTS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let out = BufWriter::with_capacity(PART_BYTES, Parts(parts.clone()));
        if let Err(error) = taken.write_to(out) {
            // Nobody is told where nobody receives it any more.
            let _ = parts.blocking_send(Err(error));
        }
    });
    let each = Duration::from_secs(1) * PART_BYTES as u32 / BYTES_PER_S;
    let mut pace = tokio::time::interval(each);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Box::pin(futures::stream::unfold(
        (read, pace),
        move |(mut read, mut pace)| async move {
            pace.tick().await;
            let part = read.recv().await?;
            Some((part, (read, pace)))
        },
    ))
}

/// Writes into a stream; waits while it is behind.
struct Parts(mpsc::Sender<io::Result<Vec<u8>>>);

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(bytes.to_vec()));
        sent.map_err(|_| io::Error::other("nobody receives it any more"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
