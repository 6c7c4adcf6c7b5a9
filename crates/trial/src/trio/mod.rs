//! Three processes of one kind, and clients of them.

mod etcd;
mod regraft;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use hyper_util::rt::TokioIo;
use regraft_replica::certs::{Authority, ClientRole, Files, Overwrite};
use regraft_replica::{Tls, TlsPaths};
use regraft_testbed::{Port, Process, Program};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::clock;

/// Members of each trio.
const MEMBERS: usize = 3;
/// Programs that have certificates, at most one for each connection.
const PROGRAMS: usize = 32;
/// How long a trio may take to have a leader.
const START_BOUND: Duration = Duration::from_secs(30);
/// How often it is looked for.
const LEADER_POLL: Duration = Duration::from_millis(20);
const LOOPBACK: &str = "127.0.0.1";

/// Whose members they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours
    Regraft,
    /// Theirs
    Etcd,
    /// Theirs, without TLS
    PlainEtcd,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Regraft, Self::Etcd];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regraft => "regraft",
            Self::Etcd => "etcd",
            Self::PlainEtcd => "etcd without TLS",
        })
    }
}

/// Three members.
pub(crate) struct Trio {
    pub(crate) kind: Kind,
    pub(crate) members: Vec<Member>,
    /// One that may join them.
    newcomer: Option<Plan>,
    _ports: Vec<Port>,
    /// Of each program that may connect; none where clients have no certificate.
    pub(crate) tls: Vec<Arc<Tls>>,
    /// Connections that were opened.
    connections: AtomicUsize,
    /// Which of them leads.
    pub(crate) leader: usize,
}

/// How a member is started.
struct Plan {
    name: String,
    program: Program,
    log: PathBuf,
    /// Where it keeps its data.
    folder: PathBuf,
    /// Where clients reach it.
    address: SocketAddr,
}

/// One of them.
pub(crate) struct Member {
    plan: Plan,
    pub(crate) process: Process,
}

impl Member {
    fn start(plan: Plan) -> Result<Self> {
        let process = Process::start(&plan.name, &plan.program, &plan.log)?;
        Ok(Self { plan, process })
    }

    /// Starts it again after it was stopped.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.process = Process::start(&self.plan.name, &self.plan.program, &self.plan.log)?;
        Ok(())
    }

    /// Where it keeps its data.
    pub(crate) fn folder(&self) -> &Path {
        &self.plan.folder
    }

    /// Where clients reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.plan.address
    }
}

/// What a client does with either kind.
pub(crate) enum Client {
    Regraft(regraft::Client),
    Etcd(etcd::Client),
}

/// Certificates that both kinds take: members for 127.0.0.1, and programs.
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

    /// Of one of many clients; made anew each time.
    fn program(&self, number: usize) -> Result<TlsPaths> {
        let name = format!("program-{number}");
        let now_ms = clock::wall_ms();
        let files = self
            .authority
            .client(&name, ClientRole::Operator, now_ms, Overwrite::Force)?;
        Ok(self.paths(files))
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
        Self::launch(kind, folder, certificates, MEMBERS).await
    }

    /// Three members of ours that take a fourth in as soon as it is there: see [`Trio::join`].
    pub(crate) async fn start_hospitable(
        folder: &Path,
        certificates: &Certificates,
    ) -> Result<Self> {
        Self::launch(Kind::Regraft, folder, certificates, MEMBERS + 1).await
    }

    async fn launch(
        kind: Kind,
        folder: &Path,
        certificates: &Certificates,
        count: usize,
    ) -> Result<Self> {
        let mut ports = Vec::new();
        for _ in 0..2 * count {
            ports.push(Port::reserve()?);
        }
        let (clients, peers) = ports.split_at(count);
        let mut plans = match kind {
            Kind::Regraft => regraft::plans(folder, certificates, clients, peers)?,
            Kind::Etcd => etcd::plans(folder, Some(certificates), clients, peers)?,
            Kind::PlainEtcd => etcd::plans(folder, None, clients, peers)?,
        };
        let newcomer = plans.split_off(MEMBERS).pop();
        let tls: Result<Vec<Arc<Tls>>> = match kind {
            Kind::PlainEtcd => Ok(Vec::new()),
            Kind::Regraft | Kind::Etcd => (0..PROGRAMS)
                .map(|number| Ok(Arc::new(Tls::load(certificates.program(number)?)?)))
                .collect(),
        };
        let members: Result<Vec<Member>> = plans.into_iter().map(Member::start).collect();
        let mut trio = Self {
            kind,
            members: members?,
            newcomer,
            _ports: ports,
            tls: tls?,
            connections: AtomicUsize::new(0),
            leader: 0,
        };
        trio.wait_for_leader().await?;
        Ok(trio)
    }

    /// Starts the one that may join, and gives its place among the members.
    pub(crate) fn join(&mut self) -> Result<usize> {
        let plan = self.newcomer.take().context("nobody is to join")?;
        self.members.push(Member::start(plan)?);
        Ok(self.members.len() - 1)
    }

    /// Waits until one leads.
    pub(crate) async fn wait_for_leader(&mut self) -> Result<()> {
        let started = clock::now();
        loop {
            for member in &mut self.members {
                member.process.check()?;
            }
            match self.find_leader().await {
                Ok(leader) => {
                    self.leader = leader;
                    return Ok(());
                }
                Err(error) if started.elapsed() > START_BOUND => {
                    return Err(error.context(format!("no leader of {}", self.kind)));
                }
                Err(_) => clock::rest(LEADER_POLL).await,
            }
        }
    }

    async fn find_leader(&self) -> Result<usize> {
        for at in 0..self.members.len() {
            let channel = self.connect_to(at).await?;
            let leads = match self.kind {
                Kind::Regraft => regraft::leads(channel).await?,
                Kind::Etcd | Kind::PlainEtcd => etcd::leads(channel).await?,
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
        let address = self.members.get(at).context("no such member")?.address();
        // Each connection is of another program: how much one may ask is bounded.
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        match self.tls.get(number % PROGRAMS) {
            Some(tls) => connect(tls, address).await,
            None => Ok(Endpoint::from_shared(format!("http://{address}"))?
                .tcp_nodelay(true)
                .connect()
                .await?),
        }
    }

    /// A client over this connection.
    pub(crate) async fn client(&self, channel: Channel) -> Result<Client> {
        Ok(match self.kind {
            Kind::Regraft => Client::Regraft(regraft::Client::new(channel).await?),
            Kind::Etcd | Kind::PlainEtcd => Client::Etcd(etcd::Client::new(channel).await?),
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
