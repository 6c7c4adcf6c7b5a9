//! A slow network: what goes to a member and what it answers arrives later.
//!
//! ```text
//! client ──> LISTEN ── each piece waits for its time, in order ──> TO
//!        <──────────── and so does each piece of the answers ─────
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock;

/// Read at once, bytes.
const PIECE_BYTES: usize = 16 << 10;
/// Pieces under way in one direction of a connection; then its sender has to wait.
const PIECES_MAX: usize = 256;

/// Which ways are slow, and how.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where connections come in, and where they go on to
    #[arg(long = "way", value_name = "LISTEN=TO", value_parser = way, required = true)]
    ways: Vec<(SocketAddr, SocketAddr)>,
    /// Milliseconds until a piece goes on
    #[arg(long)]
    by_ms: u64,
}

fn way(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let (listen, to) = text.split_once('=').ok_or("LISTEN=TO is wanted")?;
    let address = |text: &str| text.parse().map_err(|error| format!("{text:?}: {error}"));
    Ok((address(listen)?, address(to)?))
}

/// Forwards until it is killed.
pub(crate) async fn run(options: Options) -> Result<()> {
    let by = Duration::from_millis(options.by_ms);
    let ways = options.ways.into_iter();
    let forwarding = ways.map(|(listen, to)| forward_all(listen, to, by));
    futures::future::try_join_all(forwarding).await.map(drop)
}

async fn forward_all(listen: SocketAddr, to: SocketAddr, by: Duration) -> Result<()> {
    let listener = TcpListener::bind(listen).await;
    let listener = listener.with_context(|| format!("listen on {listen}"))?;
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            // Both ends learn that a connection broke by its end.
            Some(_) = under_way.join_next() => {}
            accepted = listener.accept() => {
                let (near, _) = accepted?;
                under_way.spawn(forward(near, to, by));
            }
        }
    }
}

async fn forward(near: TcpStream, to: SocketAddr, by: Duration) -> io::Result<()> {
    let far = TcpStream::connect(to).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::try_join!(
        pass_on(near_read, far_write, by),
        pass_on(far_read, near_write, by)
    )?;
    Ok(())
}

/// Passes on all bytes and their end, each so long after it came.
async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    by: Duration,
) -> io::Result<()> {
    let (queue, mut waiting) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let reading = async move {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let read = from.read(&mut buffer).await?;
            let piece = buffer[..read].to_vec();
            if read == 0 || queue.send((clock::now() + by, piece)).await.is_err() {
                return Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = waiting.recv().await {
            clock::rest(due.saturating_duration_since(clock::now())).await;
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(reading, writing).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_bytes_arrive_in_order_and_no_sooner() {
        const BY: Duration = Duration::from_millis(40);
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (to, listen) = (target.local_addr().unwrap(), slow.local_addr().unwrap());
        let forwarding = async {
            let (near, _) = slow.accept().await.unwrap();
            forward(near, to, BY).await.unwrap();
        };
        // Says back what it hears.
        let echo = async {
            let (mut stream, _) = target.accept().await.unwrap();
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        };
        let said: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        let client = async {
            let mut stream = TcpStream::connect(listen).await.unwrap();
            let began = clock::now();
            let (mut read, mut write) = stream.split();
            let mut heard = Vec::new();
            let writing = async {
                write.write_all(&said).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let (_, heard_all) = tokio::join!(writing, read.read_to_end(&mut heard));
            heard_all.unwrap();
            assert!(began.elapsed() >= 2 * BY, "there and back");
            heard
        };
        let ((), (), heard) = tokio::join!(forwarding, echo, client);
        assert_eq!(heard, said);
    }
}
