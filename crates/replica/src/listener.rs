//! Accepts connections of mutual TLS for a gRPC server.
//!
//! Handshakes run beside each other, bounded in number and time; where there is no room for another, the oldest gives
//! way, so that slow or idle clients delay nobody. A connection reaches the server only after its certificate was
//! verified; the server finds its [`Peer`] in the extensions of every request. It ends when its certificate is not trusted
//! any more.

use crate::tls::{Accepted, Peer, Tls};
use futures::future::{AbortHandle, Abortable, Aborted, BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, Stream, StreamExt as _};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

/// Handshakes at the same time; honest ones take milliseconds.
const HANDSHAKES_MAX: usize = 32;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long accepting rests after it failed (out of file descriptors), instead of spinning.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// Connections at the same time on one listener; more are closed at once. Each costs some tens of KiB.
const CONNECTIONS_MAX: usize = 1_024;

/// A verified connection.
#[derive(Debug)]
pub struct Connection {
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    peer: Peer,
    tls: Arc<Tls>,
    accepted: Accepted,
    _slot: OwnedSemaphorePermit,
}

/// The verified connections that arrive at `listener` until `stop`.
pub fn incoming(
    listener: TcpListener,
    tls: Arc<Tls>,
    stop: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> {
    let accepting = Accepting {
        listener,
        tls,
        stop,
        handshakes: FuturesUnordered::new(),
        under_way: BTreeMap::new(),
        next: 0,
        slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    };
    futures::stream::unfold(accepting, |mut accepting| async move {
        accepting
            .next()
            .await
            .map(|connection| (Ok(connection), accepting))
    })
}

type Handshake = BoxFuture<'static, Done>;

/// A handshake that came to its end, or gave way.
struct Done {
    number: u64,
    from: SocketAddr,
    outcome: Result<io::Result<Shaken>, Aborted>,
}

struct Accepting {
    listener: TcpListener,
    tls: Arc<Tls>,
    stop: CancellationToken,
    handshakes: FuturesUnordered<Handshake>,
    /// By number: the oldest first.
    under_way: BTreeMap<u64, AbortHandle>,
    next: u64,
    /// Of open connections.
    slots: Arc<Semaphore>,
}

impl Accepting {
    async fn next(&mut self) -> Option<Connection> {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return None,
                Some(done) = self.handshakes.next(), if !self.handshakes.is_empty() => {
                    if let Some(connection) = self.end(done) {
                        return Some(connection);
                    }
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, from)) => self.begin(stream, from),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept connections");
                        let _ = tokio::time::timeout(ACCEPT_REST, self.stop.cancelled()).await;
                    }
                }
            }
        }
    }

    fn begin(&mut self, stream: TcpStream, from: SocketAddr) {
        if self.under_way.len() >= HANDSHAKES_MAX
            && let Some((_, oldest)) = self.under_way.pop_first()
        {
            oldest.abort();
        }
        let number = self.next;
        self.next += 1;
        let (abort, registration) = AbortHandle::new_pair();
        self.under_way.insert(number, abort);
        let shaking = Abortable::new(handshake(Arc::clone(&self.tls), stream), registration);
        let done = shaking.map(move |outcome| Done {
            number,
            from,
            outcome,
        });
        self.handshakes.push(done.boxed());
    }

    fn end(&mut self, done: Done) -> Option<Connection> {
        let Done {
            number,
            from,
            outcome,
        } = done;
        self.under_way.remove(&number);
        match outcome {
            Ok(Ok(shaken)) => match Arc::clone(&self.slots).try_acquire_owned() {
                Ok(slot) => Some(Connection::new(shaken, Arc::clone(&self.tls), slot)),
                Err(_) => {
                    tracing::warn!(%from, open = CONNECTIONS_MAX, "a connection was refused: too many are open");
                    None
                }
            },
            Ok(Err(error)) => {
                tracing::info!(%from, %error, "a connection was refused");
                None
            }
            Err(Aborted) => {
                tracing::debug!(%from, "a handshake gave way to a newer one");
                None
            }
        }
    }
}

type Shaken = tokio_rustls::server::TlsStream<TcpStream>;

async fn handshake(tls: Arc<Tls>, stream: TcpStream) -> io::Result<Shaken> {
    stream.set_nodelay(true)?;
    let acceptor = tokio_rustls::TlsAcceptor::from(tls.server_config());
    tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await?
}

impl Connection {
    fn new(stream: Shaken, tls: Arc<Tls>, slot: OwnedSemaphorePermit) -> Self {
        let ours = stream.get_ref().1;
        Self {
            peer: Peer::of(ours),
            accepted: tls.accepted(ours),
            stream,
            tls,
            _slot: slot,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            stream,
            tls,
            accepted,
            ..
        } = &mut *self;
        if let Err(error) = tls.check(accepted) {
            return Poll::Ready(Err(error));
        }
        Pin::new(stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
