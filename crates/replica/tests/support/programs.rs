//! Programs at members that serve them.

use super::support::now_ms;
use hyper_util::rt::TokioIo;
use regraft_client::{Connect, Connecting};
use regraft_replica::certs::{Authority, ClientRole, Identity, Overwrite};
use regraft_replica::{Replica, StoreLimits, Tls, TlsPaths, serve_store};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// A member's door for programs; closed when this is dropped.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    serving: JoinSet<Result<(), tonic::transport::Error>>,
}

impl Door {
    /// Opens it, at an address where it was before or at any.
    pub(crate) async fn open(
        member: &Replica,
        address: Option<SocketAddr>,
        limits: StoreLimits,
    ) -> Self {
        let address = address.unwrap_or(([127, 0, 0, 1], 0).into());
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, tls) = (CancellationToken::new(), member.tls().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(serve_store(
            member.clone(),
            tls,
            listener,
            limits,
            stop.clone(),
        ));
        Self {
            address,
            stop,
            serving,
        }
    }

    /// Closes it without a farewell.
    pub(crate) fn close(&mut self) {
        self.stop.cancel();
        self.serving.abort_all();
    }
}

/// A program's certificate, made anew.
pub(crate) fn client_paths(authority: &Authority, name: &str, role: ClientRole) -> TlsPaths {
    let files = authority.client(name, role, now_ms(), Overwrite::Force);
    let files = files.unwrap();
    TlsPaths {
        ca: authority.certificate_file(),
        cert: files.cert,
        key: files.key,
    }
}

/// Connects and checks that the member that answers is the one that was meant.
pub(crate) async fn connect(
    tls: Arc<Tls>,
    member: u64,
    address: String,
) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let (tls, address) = (Arc::clone(&tls), address.clone());
        async move {
            let expected = Identity::Member {
                node_id: member,
                cluster_id: "shop".to_owned(),
            };
            tls.connect(&address, &expected).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_static("http://member");
    endpoint.connect_with_connector(connector).await
}

/// Connects so for the client.
pub(crate) struct Secure(pub(crate) Arc<Tls>);

impl Connect for Secure {
    fn connect<'a>(&'a self, member: u64, address: &'a str) -> Connecting<'a> {
        let connecting = connect(Arc::clone(&self.0), member, address.to_owned());
        Box::pin(async move { Ok(connecting.await?) })
    }
}
