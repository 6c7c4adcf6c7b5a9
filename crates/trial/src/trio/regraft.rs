//! Three members of regraft.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use regraft_replica::Tls;
use regraft_testbed::{Port, Process, Program};
use regraft_wire::store::v1 as store;
use regraft_wire::store::v1::change_response::Outcome;
use regraft_wire::store::v1::store_client::StoreClient;
use tonic::transport::Channel;

use super::{Certificates, Kind, LOOPBACK, MEMBERS, Trio};

/// Time to live of a client's session: longer than any round.
const SESSION_TTL_MS: u64 = 60_000;

pub(super) fn start(folder: &Path, certificates: &Certificates) -> Result<Trio> {
    let binary = std::env::current_exe()?;
    let mut ports = Vec::new();
    for _ in 0..2 * MEMBERS {
        ports.push(Port::reserve()?);
    }
    let (clients, peers) = ports.split_at(MEMBERS as usize);
    let address = |port: &Port| format!("{LOOPBACK}:{}", port.number());
    let all: Vec<String> = (1..=MEMBERS)
        .zip(peers)
        .map(|(id, port)| format!("--peer={id}={}", address(port)))
        .collect();
    let (mut processes, mut folders, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
    for ((id, client), peer) in (1..=MEMBERS).zip(clients).zip(peers) {
        let data = folder.join(format!("regraft-{id}"));
        let tls = certificates.member(id, LOOPBACK)?;
        let program = Program::new(&binary).args(["member"]).args(&all).args([
            format!("--node-id={id}"),
            format!("--data-dir={}", data.display()),
            format!("--raft={}", address(peer)),
            format!("--store={}", address(client)),
            format!("--ca={}", tls.ca.display()),
            format!("--cert={}", tls.cert.display()),
            format!("--key={}", tls.key.display()),
        ]);
        let log = folder.join(format!("regraft-{id}.log"));
        processes.push(Process::start(&format!("regraft-{id}"), &program, &log)?);
        folders.push(data);
        addresses.push(([127, 0, 0, 1], client.number()).into());
    }
    let tls = Tls::load(certificates.client())?;
    Ok(Trio {
        kind: Kind::Regraft,
        processes,
        folders,
        addresses,
        _ports: ports,
        tls: Arc::new(tls),
        leader: 0,
    })
}

/// Whether the member at the other end leads, and takes sessions: all must have said that they know them.
pub(super) async fn leads(channel: Channel) -> Result<bool> {
    let mut client = StoreClient::new(channel);
    let status = client.status(store::StatusRequest {}).await?.into_inner();
    if status.leader != status.node_id {
        return Ok(false);
    }
    let request = store::OpenSessionRequest {
        ttl_ms: SESSION_TTL_MS,
    };
    let opened = client.open_session(request).await?.into_inner();
    let session = opened.session;
    client
        .close_session(store::CloseSessionRequest { session })
        .await?;
    Ok(true)
}

pub(crate) struct Client {
    client: StoreClient<Channel>,
    session: u64,
    sequence: u64,
}

impl Client {
    pub(super) async fn new(channel: Channel) -> Result<Self> {
        let mut client = StoreClient::new(channel);
        let opened = client
            .open_session(store::OpenSessionRequest {
                ttl_ms: SESSION_TTL_MS,
            })
            .await?;
        Ok(Self {
            client,
            session: opened.into_inner().session,
            sequence: 0,
        })
    }

    pub(super) async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let request = store::PutRequest {
            id: self.next(),
            key: key.to_vec().into(),
            value: value.to_vec().into(),
            expected: None,
        };
        changed(self.client.put(request).await?.into_inner())
    }

    pub(super) async fn get(&mut self, key: &[u8]) -> Result<usize> {
        let request = store::GetRequest {
            key: key.to_vec(),
            consistency: store::Consistency::Linearizable.into(),
        };
        let found = self.client.get(request).await?.into_inner();
        Ok(found.record.map_or(0, |record| record.value.len()))
    }

    pub(super) async fn lock(&mut self, name: &str) -> Result<()> {
        let scope = format!("named/{name}");
        let request = store::AcquireRequest {
            id: self.next(),
            scope: scope.clone(),
            ..store::AcquireRequest::default()
        };
        changed(self.client.acquire(request).await?.into_inner())?;
        let request = store::ReleaseRequest {
            id: self.next(),
            scope,
        };
        changed(self.client.release(request).await?.into_inner())
    }

    fn next(&mut self) -> Option<store::RequestId> {
        self.sequence += 1;
        Some(store::RequestId {
            session: self.session,
            slot: 0,
            sequence: self.sequence,
        })
    }
}

fn changed(response: store::ChangeResponse) -> Result<()> {
    match response.outcome.context("an answer without an outcome")? {
        Outcome::Done(_) | Outcome::Granted(_) | Outcome::Written(_) => Ok(()),
        Outcome::Queued(_) => bail!("it was queued"),
        Outcome::Refused(refused) => bail!("{}: {}", refused.reason, refused.message),
    }
}
