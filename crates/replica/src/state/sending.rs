//! A snapshot on its way out: parts of bytes, no faster than others can spare.

use super::snapshot::Taken;
use crate::home;
use futures::stream::Stream;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::MissedTickBehavior;

/// Bytes of one part.
const PART_BYTES: usize = 256 << 10;
/// Parts that are read before they are sent.
const PARTS_AHEAD: usize = 4;
/// How fast it is sent at most: the log has the same disk and the same network.
const BYTES_PER_S: u32 = 128 << 20;

/// Who takes no part for this long is gone; what it would get is kept on disk meanwhile.
const TAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// The snapshot in parts. What cannot be read is told by an error, and nothing comes after it. `until` is dropped when all
/// of it was read, or nobody takes it.
pub(crate) fn parts(
    taken: Arc<Taken>,
    until: impl Send + 'static,
) -> impl Stream<Item = io::Result<Vec<u8>>> + Send + Unpin + 'static {
    let (parts, read) = mpsc::channel(PARTS_AHEAD);
    let parts = Parts {
        parts,
        runtime: Handle::current(),
    };
    let reading = home::blocking(move || {
        let out = BufWriter::with_capacity(PART_BYTES, parts.clone());
        if let Err(error) = taken.write_to(out) {
            // Nobody is told where nobody takes it.
            let _ = parts.send(Err(error));
        }
        drop((taken, until));
    });
    // It goes on by itself.
    drop(reading);
    let each = Duration::from_secs(1) * PART_BYTES as u32 / BYTES_PER_S;
    Box::pin(paced(read, each))
}

/// What is read, one part after the other, each no sooner than so long after the one before.
fn paced<T>(read: mpsc::Receiver<T>, each: Duration) -> impl Stream<Item = T> {
    let mut pace = tokio::time::interval(each);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    futures::stream::unfold((read, pace), |(mut read, mut pace)| async move {
        pace.tick().await;
        let part = read.recv().await?;
        Some((part, (read, pace)))
    })
}

/// Writes into a stream; waits while it is behind.
#[derive(Clone)]
struct Parts {
    parts: mpsc::Sender<io::Result<Vec<u8>>>,
    runtime: Handle,
}

impl Parts {
    fn send(&self, part: io::Result<Vec<u8>>) -> io::Result<()> {
        let gone = || io::Error::other("nobody takes it any more");
        match self.parts.try_send(part) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(gone()),
            Err(TrySendError::Full(part)) => {
                let sending = self.parts.send_timeout(part, TAKE_TIMEOUT);
                self.runtime.block_on(sending).map_err(|_| gone())
            }
        }
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(Ok(bytes.to_vec()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream::StreamExt as _;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn parts_that_are_there_already_are_sent_no_faster_than_their_pace() {
        let (parts, read) = mpsc::channel(PARTS_AHEAD);
        for part in 0..PARTS_AHEAD {
            parts.send(part).await.unwrap();
        }
        drop(parts);
        let each = Duration::from_millis(2);
        let began = Instant::now();
        let sent = paced(read, each).count().await;
        assert_eq!(sent, PARTS_AHEAD);
        assert!(began.elapsed() >= each * (PARTS_AHEAD as u32 - 1));
    }
}
