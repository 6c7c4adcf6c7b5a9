//! Three members of regraft.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use regraft_testbed::{Port, Program};
use regraft_wire::store::v1 as store;
use regraft_wire::store::v1::change_response::Outcome;
use regraft_wire::store::v1::store_client::StoreClient;
use tonic::transport::Channel;

use super::{Certificates, LOOPBACK, MEMBERS, Plan};

/// Time to live of a client's session: longer than any round.
const SESSION_TTL_MS: u64 = 60_000;

/// One for each port; those from the fourth on are taken in by the first three when they are there.
pub(super) fn plans(
    folder: &Path,
    certificates: &Certificates,
    clients: &[Port],
    peers: &[Port],
) -> Result<Vec<Plan>> {
    let binary = std::env::current_exe()?;
    let address = |port: &Port| format!("{LOOPBACK}:{}", port.number());
    let all: Vec<String> = (1..)
        .zip(peers)
        .map(|(id, port)| format!("{id}={}", address(port)))
        .collect();
    let mut plans = Vec::new();
    for ((id, client), peer) in (1_u64..).zip(clients).zip(peers) {
        let name = format!("regraft-{id}");
        let data = folder.join(&name);
        let tls = certificates.member(id, LOOPBACK)?;
        let (known, later) = match plans.len() < MEMBERS {
            true => all.split_at(MEMBERS.min(all.len())),
            false => all.split_at(all.len()),
        };
        let program = Program::new(&binary)
            .args(["member"])
            .args(known.iter().map(|peer| format!("--peer={peer}")))
            .args(later.iter().map(|peer| format!("--admit={peer}")))
            .args([
                format!("--node-id={id}"),
                format!("--data-dir={}", data.display()),
                format!("--raft={}", address(peer)),
                format!("--store={}", address(client)),
                format!("--ca={}", tls.ca.display()),
                format!("--cert={}", tls.cert.display()),
                format!("--key={}", tls.key.display()),
            ]);
        plans.push(Plan {
            log: folder.join(format!("{name}.log")),
            name,
            program,
            folder: data,
            address: ([127, 0, 0, 1], client.number()).into(),
        });
    }
    Ok(plans)
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
