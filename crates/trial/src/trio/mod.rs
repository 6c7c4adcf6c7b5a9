//! Three processes of one kind, and clients of them.

mod etcd;
mod regraft;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hyper_util::rt::TokioIo;
use regraft_replica::certs::{Authority, ClientRole, Files, Overwrite};
use regraft_replica::{Tls, TlsPaths};
use regraft_testbed::{Port, Process};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::clock;

/// Members of each trio.
const MEMBERS: u64 = 3;
/// How long a trio may take to have a leader.
const START_BOUND: Duration = Duration::from_secs(30);
const LOOPBACK: &str = "127.0.0.1";

/// Whose members they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Ours
    Regraft,
    /// Theirs
    Etcd,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Regraft, Self::Etcd];
}

/// Three members.
pub(crate) struct Trio {
    pub(crate) kind: Kind,
    pub(crate) processes: Vec<Process>,
    pub(crate) folders: Vec<std::path::PathBuf>,
    pub(crate) addresses: Vec<SocketAddr>,
    _ports: Vec<Port>,
    pub(crate) tls: Arc<Tls>,
    /// Which of them leads.
    pub(crate) leader: usize,
}

/// What a client does with either kind.
pub(crate) enum Client {
    Regraft(regraft::Client),
    Etcd(etcd::Client),
}

/// Certificates that both kinds take: members for 127.0.0.1, and one client.
pub(crate) struct Certificates {
    authority: Authority,
    client: Files,
}

impl Certificates {
    /// Makes them in `folder`.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let authority = Authority::create(folder, "trial", clock::wall_ms(), Overwrite::Refuse)?;
        let client = authority.client(
            "driver",
            ClientRole::Operator,
            clock::wall_ms(),
            Overwrite::Refuse,
        )?;
        Ok(Self { authority, client })
    }

    /// Of a member at this address; made anew each time.
    pub(crate) fn member(&self, id: u64, host: &str) -> Result<TlsPaths> {
        let names = [host.to_owned()];
        let files = self
            .authority
            .member(id, &names, clock::wall_ms(), Overwrite::Force)?;
        Ok(self.paths(files))
    }

    /// Of the client.
    pub(crate) fn client(&self) -> TlsPaths {
        self.paths(self.client.clone())
    }

    fn paths(&self, files: Files) -> TlsPaths {
        TlsPaths {
            ca: self.authority.certificate_file(),
            cert: files.cert,
            key: files.key,
        }
    }
}

impl Trio {
    /// Starts three members in `folder` and waits until one leads.
    pub(crate) async fn start(
        kind: Kind,
        folder: &Path,
        certificates: &Certificates,
    ) -> Result<Self> {
        let mut trio = match kind {
            Kind::Regraft => regraft::start(folder, certificates)?,
            Kind::Etcd => etcd::start(folder, certificates)?,
        };
        let started = clock::now();
        loop {
            for process in &mut trio.processes {
                process.check()?;
            }
            match trio.find_leader().await {
                Ok(leader) => {
                    trio.leader = leader;
                    return Ok(trio);
                }
                Err(error) if started.elapsed() > START_BOUND => {
                    return Err(error.context(format!("no leader of {kind:?}")));
                }
                Err(_) => clock::rest(Duration::from_millis(50)).await,
            }
        }
    }

    async fn find_leader(&self) -> Result<usize> {
        for at in 0..self.addresses.len() {
            let channel = self.connect_to(at).await?;
            let leads = match self.kind {
                Kind::Regraft => regraft::leads(channel).await?,
                Kind::Etcd => etcd::leads(channel).await?,
            };
            if leads {
                return Ok(at);
            }
        }
        anyhow::bail!("none of the three leads")
    }

    /// A connection to the leader.
    pub(crate) async fn connect(&self) -> Result<Channel> {
        self.connect_to(self.leader).await
    }

    /// A connection to this one.
    pub(crate) async fn connect_to(&self, at: usize) -> Result<Channel> {
        connect(&self.tls, self.addresses[at]).await
    }

    /// A client over this connection.
    pub(crate) async fn client(&self, channel: Channel) -> Result<Client> {
        Ok(match self.kind {
            Kind::Regraft => Client::Regraft(regraft::Client::new(channel).await?),
            Kind::Etcd => Client::Etcd(etcd::Client::new(channel).await?),
        })
    }
}

/// Connects to a member whose certificate names this address.
pub(crate) async fn connect(tls: &Arc<Tls>, address: SocketAddr) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let tls = Arc::clone(tls);
    let connector = tower::service_fn(move |_| {
        let tls = Arc::clone(&tls);
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::IpAddress(address.ip().into());
            let connector = tokio_rustls::TlsConnector::from(tls.client_config());
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    let connected = endpoint.connect_with_connector(connector).await;
    connected.with_context(|| format!("connect to {address}"))
}

impl Client {
    /// Writes a value.
    pub(crate) async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match self {
            Self::Regraft(client) => client.put(key, value).await,
            Self::Etcd(client) => client.put(key, value).await,
        }
    }

    /// Reads linearizably; gives the value's length.
    pub(crate) async fn get(&mut self, key: &[u8]) -> Result<usize> {
        match self {
            Self::Regraft(client) => client.get(key).await,
            Self::Etcd(client) => client.get(key).await,
        }
    }

    /// Takes a lock nobody else wants, and gives it back.
    pub(crate) async fn lock(&mut self, name: &str) -> Result<()> {
        match self {
            Self::Regraft(client) => client.lock(name).await,
            Self::Etcd(client) => client.lock(name).await,
        }
    }
}
