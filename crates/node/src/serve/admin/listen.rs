//! Where people connect: a socket only its owner may open, or mutual TLS.

use crate::config::AdminAddress;
use crate::failure::{Exit, Failure};
use futures::StreamExt as _;
use regraft_replica::Tls;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;

/// The socket's mode: its owner, and root.
const SOCKET_MODE: u32 = 0o600;
/// Mode of the folder it is made in, so that nobody can open it before its mode is set.
const NURSERY_MODE: u32 = 0o700;

/// Where people will connect, before it is known that this member may run: a port that is taken is told at once, and
/// the socket of another member on the same data folder stays as it is.
pub(in crate::serve) enum Place {
    Unix(PathBuf),
    Tcp(TcpListener),
}

/// A bound listener.
pub(in crate::serve) enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener, Arc<Tls>),
}

impl Place {
    /// Takes the port.
    pub(in crate::serve) async fn reserve(address: &AdminAddress) -> Result<Self, Failure> {
        match address {
            AdminAddress::Unix(path) => Ok(Self::Unix(path.clone())),
            AdminAddress::Tcp(address) => TcpListener::bind(address)
                .await
                .map(Self::Tcp)
                .map_err(|error| cannot_listen(&address.to_string(), &error)),
        }
    }

    /// Listens. Must be called inside the runtime, by the owner of the data folder.
    pub(in crate::serve) fn open(self, tls: Option<Arc<Tls>>) -> Result<Listener, Failure> {
        match (self, tls) {
            (Self::Unix(path), _) => {
                let listener = bind_unix(&path)
                    .map_err(|error| cannot_listen(&path.display().to_string(), &error))?;
                Ok(Listener::Unix(listener, path))
            }
            (Self::Tcp(listener), Some(tls)) => Ok(Listener::Tcp(listener, tls)),
            (Self::Tcp(_), None) => Err(Failure::new(
                Exit::Usage,
                "TlsMissing",
                "a port cannot be listened on for people without certificates",
                "set `tls`, or listen on `unix:`",
            )),
        }
    }
}

impl Listener {
    pub(super) async fn serve(
        self,
        server: tonic::transport::server::Router,
        stop: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        match self {
            Self::Unix(listener, path) => {
                let incoming = UnixListenerStream::new(listener);
                let served = server
                    .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
                    .await;
                // A socket without a member behind it would only puzzle people.
                let _ = std::fs::remove_file(path);
                served
            }
            Self::Tcp(listener, tls) => {
                let incoming =
                    Box::pin(regraft_replica::incoming(listener, tls, stop.clone())).fuse();
                server
                    .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
                    .await
            }
        }
    }
}

/// Binds in a folder nobody else may enter, sets the mode, and moves the socket to its place: at no moment can
/// another user open it. A socket of an earlier run is replaced.
fn bind_unix(path: &Path) -> std::io::Result<UnixListener> {
    let nursery = path.with_extension("new");
    match std::fs::remove_dir_all(&nursery) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::DirBuilder::new()
        .mode(NURSERY_MODE)
        .create(&nursery)?;
    let newborn = nursery.join("s");
    let listener = UnixListener::bind(&newborn)?;
    std::fs::set_permissions(&newborn, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    std::fs::rename(&newborn, path)?;
    std::fs::remove_dir(&nursery)?;
    Ok(listener)
}

fn cannot_listen(address: &str, error: &std::io::Error) -> Failure {
    Failure::of(
        Exit::Failed,
        "CannotListen",
        &std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")),
        "does another process listen there? change `listen.admin`",
    )
}
