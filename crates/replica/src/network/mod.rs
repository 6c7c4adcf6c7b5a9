//! Between members: who they are, how they are reached, what the last trouble with each was.
//!
//! ```text
//! engine --> PeerClient --lane--> channel (mutual TLS, server must be the member meant) --> listener
//!                                                                                             |
//!            engine of the other <-- RaftService <-- Peers::admit (cluster, caller, target, disk)
//! ```
//!
//! - Guarantees: nothing reaches the engine that was not sent by the member it names, to this
//!   member, in this cluster, from the disk that member always had; and no answer is believed that
//!   comes from another disk.
//! - Errors: a refusal says what was expected and what was got.

pub(crate) mod client;
pub(crate) mod server;
pub(crate) mod stream;

use crate::certs::Identity;
use crate::config::Config;
use crate::error::{and_causes, with_causes};
use crate::line::OwnDisk;
use crate::log::KnownDisks;
use crate::tls::{Peer, Tls};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use regraft_state::command::COMMAND_FORMAT;
use regraft_wire::raft::v1 as wire;
use regraft_wire::raft::v1::raft_client::RaftClient;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};

/// Largest message: a read for replication (1 MiB) and one largest command, with room.
pub(crate) const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// How long connecting, with its handshake, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection without an answer to a ping within `PING_TIMEOUT` is given up.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(2);
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// HTTP/2 windows: enough for snapshots on a connection of some milliseconds.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 1 << 20;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
/// The metadata of a stream: who calls, as [`wire::Caller`].
const CALLER: &str = "caller-bin";
/// The metadata of its answer: the callee's disk.
const DISK: &str = "disk-bin";
/// ... and the newest format of commands that it reads.
const FORMAT: &str = "format";
/// Longest text kept of a trouble.
const TROUBLE_CHARS_MAX: usize = 400;

/// Connections that must not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Entries, votes, forwarded commands.
    Log,
    /// Heartbeats and read points.
    Heartbeat,
    /// Snapshots.
    Snapshot,
}

/// How members reach each other.
#[derive(Clone)]
pub(crate) enum Transport {
    /// Connections with certificates at both ends.
    Tls(Arc<Tls>),
    /// What a simulation has in their place.
    #[cfg(test)]
    Pipes(crate::simulation::Pipes),
}

/// This member among the others.
pub(crate) struct Peers {
    pub(crate) me: u64,
    pub(crate) cluster_id: String,
    own: OwnDisk,
    transport: Option<Transport>,
    runtime: Handle,
    /// As the own configuration says them.
    addresses: BTreeMap<u64, String>,
    /// As the membership says them.
    members: Mutex<BTreeMap<u64, String>>,
    clients: Mutex<BTreeMap<(u64, Lane), RaftClient<Channel>>>,
    disks: KnownDisks,
    /// Newest format of commands that this member reads.
    format: u32,
    /// ... and each other one that answers.
    formats: Mutex<BTreeMap<u64, u32>>,
    troubles: Mutex<BTreeMap<u64, String>>,
}

impl Peers {
    pub(crate) fn new(
        config: &Config,
        own: OwnDisk,
        transport: Option<Transport>,
        runtime: Handle,
        disks: KnownDisks,
    ) -> Self {
        let addresses = config.peers.iter();
        Self {
            me: config.node_id,
            cluster_id: config.cluster_id.clone(),
            own,
            transport,
            runtime,
            addresses: addresses
                .map(|(id, peer)| (*id, peer.address.clone()))
                .collect(),
            members: Mutex::default(),
            clients: Mutex::default(),
            disks,
            format: config.machine.format(),
            formats: Mutex::default(),
            troubles: Mutex::default(),
        }
    }

    /// This member's disk.
    pub(crate) fn disk_id(&self) -> Vec<u8> {
        self.own.id()
    }

    pub(crate) fn tls(&self) -> Option<&Arc<Tls>> {
        match self.transport.as_ref()? {
            Transport::Tls(tls) => Some(tls),
            #[cfg(test)]
            Transport::Pipes(_) => None,
        }
    }

    /// The last trouble with each member, until it answers again.
    pub(crate) fn troubles(&self) -> BTreeMap<u64, String> {
        lock(&self.troubles).clone()
    }

    /// The newest format of commands that each member reads, of those that answer this one.
    pub(crate) fn formats(&self) -> BTreeMap<u64, u32> {
        lock(&self.formats).clone()
    }

    /// A stream to a member broke: it may come back as another version.
    fn forget_format(&self, member: u64) {
        lock(&self.formats).remove(&member);
    }

    /// Takes over who the members are.
    pub(crate) fn learn(&self, members: BTreeMap<u64, String>) {
        let mut known = lock(&self.members);
        if *known == members {
            return;
        }
        // Who left, or moved, is not spoken to at the old address any more.
        let stays = |id: &u64| known.get(id).is_none_or(|had| members.get(id) == Some(had));
        lock(&self.clients).retain(|(id, _), _| stays(id));
        lock(&self.formats).retain(|id, _| members.contains_key(id));
        lock(&self.troubles).retain(|id, _| members.contains_key(id));
        *known = members;
    }

    /// What every request to `target` carries.
    fn caller(&self, target: u64) -> wire::Caller {
        wire::Caller {
            cluster_id: self.cluster_id.clone(),
            node_id: self.me,
            target_node_id: target,
            disk_id: self.disk_id(),
        }
    }

    /// Names the caller of a stream to `target`.
    fn name_caller(&self, target: u64, metadata: &mut MetadataMap) {
        let caller = self.caller(target).encode_to_vec();
        metadata.insert_bin(CALLER, MetadataValue::from_bytes(&caller));
    }

    /// Checks that a stream was opened by the disk that `target` always had, and notes what it reads.
    async fn settle_stream<T>(
        &self,
        target: u64,
        opened: Result<tonic::Response<T>, Status>,
    ) -> Result<T, Status> {
        let checked = match opened {
            Ok(response) => match bytes_of(response.metadata(), DISK) {
                Ok(disk) => {
                    let checked = self.check_disk(target, &disk).await;
                    checked.map(|()| (format_of(response.metadata()), response.into_inner()))
                }
                Err(status) => Err(status),
            },
            Err(status) => Err(status),
        };
        let checked = match checked {
            Ok((format, answers)) => {
                lock(&self.formats).insert(target, format);
                Ok(answers)
            }
            Err(status) => {
                self.forget_format(target);
                Err(status)
            }
        };
        self.note(target, checked.as_ref().err());
        checked
    }

    /// Refuses a stream that is not of the member it names, or not for this one.
    async fn admit_stream(
        &self,
        peer: Option<&Peer>,
        metadata: &MetadataMap,
    ) -> Result<(), Status> {
        let caller = bytes_of(metadata, CALLER)?;
        let caller = wire::Caller::decode(caller.as_slice())
            .map_err(|error| Status::invalid_argument(format!("its caller: {error}")))?;
        self.admit(peer, Some(&caller)).await
    }

    /// The client for `target`; it connects when it is used. The own configuration knows the
    /// address better than the membership, which may be older.
    fn client(
        &self,
        target: u64,
        member_address: Option<&str>,
        lane: Lane,
    ) -> Result<RaftClient<Channel>, Status> {
        let learned = lock(&self.members).get(&target).cloned();
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(&(target, lane)) {
            return Ok(client.clone());
        }
        let address = self
            .addresses
            .get(&target)
            .map(String::as_str)
            .or(member_address)
            .or(learned.as_deref())
            .ok_or_else(|| {
                Status::unavailable(format!("no address of member {target} is known"))
            })?;
        let transport = self.transport.as_ref().ok_or_else(|| {
            Status::unavailable("this member has no certificates to speak to others")
        })?;
        let channel = self.channel(target, address, transport)?;
        let client = RaftClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        clients.insert((target, lane), client.clone());
        Ok(client)
    }

    fn channel(
        &self,
        target: u64,
        address: &str,
        transport: &Transport,
    ) -> Result<Channel, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| {
                Status::unavailable(format!(
                    "the address {address:?} of member {target} cannot be used: {error}"
                ))
            })?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        // Its tasks must not end with whoever asks first.
        let _home = self.runtime.enter();
        Ok(match transport {
            Transport::Tls(tls) => {
                let expected = Identity::Member {
                    node_id: target,
                    cluster_id: self.cluster_id.clone(),
                };
                let (tls, address) = (Arc::clone(tls), address.to_owned());
                endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
                    let (tls, address, expected) =
                        (Arc::clone(&tls), address.clone(), expected.clone());
                    async move { tls.connect(&address, &expected).await.map(TokioIo::new) }
                }))
            }
            #[cfg(test)]
            Transport::Pipes(pipes) => {
                let pipes = pipes.clone();
                endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
                    let pipes = pipes.clone();
                    async move { pipes.connect(target).await.map(TokioIo::new) }
                }))
            }
        })
    }

    /// Checks an answer of `target` and notes how it went with it.
    async fn settle<T: Answer>(
        &self,
        target: u64,
        answer: Result<tonic::Response<T>, Status>,
    ) -> Result<T, Status> {
        let checked = match answer {
            Ok(response) => {
                let message = response.into_inner();
                let checked = self.check_disk(target, message.disk_id()).await;
                checked.map(|()| message)
            }
            Err(status) => Err(status),
        };
        self.note(target, checked.as_ref().err());
        checked
    }

    /// Refuses a request that is not of the member it names, or not for this one.
    async fn admit(
        &self,
        peer: Option<&Peer>,
        caller: Option<&wire::Caller>,
    ) -> Result<(), Status> {
        let caller =
            caller.ok_or_else(|| Status::invalid_argument("the request names no caller"))?;
        let refused = match self.refusal(peer, caller) {
            Some(reason) => Err(Status::permission_denied(reason)),
            None => self.check_disk(caller.node_id, &caller.disk_id).await,
        };
        if let Err(status) = &refused {
            tracing::warn!(
                member = caller.node_id,
                reason = status.message(),
                "a request was refused"
            );
        }
        refused
    }

    /// As [`Peers::admit`], for what only a leader answers, who knows who the members are: one that was removed without
    /// being told is told now.
    async fn admit_member(
        &self,
        peer: Option<&Peer>,
        caller: Option<&wire::Caller>,
    ) -> Result<(), Status> {
        self.admit(peer, caller).await?;
        let id = caller.map_or(0, |caller| caller.node_id);
        let members = lock(&self.members);
        match members.is_empty() || members.contains_key(&id) {
            true => Ok(()),
            false => Err(Status::permission_denied(format!(
                "member {id} is not a member: it was removed, or not added yet"
            ))),
        }
    }

    fn refusal(&self, peer: Option<&Peer>, caller: &wire::Caller) -> Option<String> {
        let claimed = Identity::Member {
            node_id: caller.node_id,
            cluster_id: caller.cluster_id.clone(),
        };
        if caller.cluster_id != self.cluster_id {
            return Some(format!(
                "this is cluster {}, the caller says it is {claimed}",
                self.cluster_id
            ));
        }
        match peer.map(|peer| &peer.0) {
            None => return Some("the connection has no certificate".to_owned()),
            Some(Err(reason)) => {
                return Some(format!(
                    "the caller says it is {claimed}, but its certificate cannot tell: {reason}"
                ));
            }
            Some(Ok(proven)) if *proven != claimed => {
                return Some(format!(
                    "the caller says it is {claimed}, but its certificate is of {proven}"
                ));
            }
            Some(Ok(_)) => {}
        }
        (caller.target_node_id != self.me).then(|| {
            format!(
                "this is member {}, the caller wants member {}",
                self.me, caller.target_node_id
            )
        })
    }

    async fn check_disk(&self, member: u64, disk: &[u8]) -> Result<(), Status> {
        match self.own.belongs_with(disk) {
            Ok(true) => {}
            Ok(false) => {
                return Err(Status::permission_denied(format!(
                    "member {member} and this one do not come from the same restore of a backup, so one of them is of a trio that is over: stop that one for good, or restore all members from one file with the same `peers`"
                )));
            }
            Err(error) => {
                return Err(Status::unavailable(format!(
                    "this member cannot write down where it belongs: {}",
                    with_causes(&error)
                )));
            }
        }
        match self.disks.is_of(member, disk).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Status::permission_denied(format!(
                "member {member} came back with another disk, so what it had promised is lost and it is not let in: stop it, and put its own data folder back"
            ))),
            Err(error) => Err(Status::unavailable(format!(
                "the disk of member {member} cannot be checked: {error}"
            ))),
        }
    }

    /// Notes how it went with a member.
    fn note(&self, member: u64, failure: Option<&Status>) {
        match failure {
            Some(status) => self.note_trouble(member, text_of(status)),
            None => {
                lock(&self.troubles).remove(&member);
            }
        }
    }

    fn note_trouble(&self, member: u64, text: String) {
        let text: String = text.chars().take(TROUBLE_CHARS_MAX).collect();
        let mut troubles = lock(&self.troubles);
        if troubles.get(&member) != Some(&text) {
            tracing::warn!(member, reason = text, "a member cannot be reached");
            troubles.insert(member, text);
        }
    }
}

/// An answer of another member.
trait Answer {
    fn disk_id(&self) -> &[u8];
}

macro_rules! answers {
    ($($message:ty),*) => {
        $(impl Answer for $message {
            fn disk_id(&self) -> &[u8] {
                &self.disk_id
            }
        })*
    };
}

answers!(
    wire::AppendResponse,
    wire::VoteResponse,
    wire::SnapshotResponse,
    wire::TransferLeaderResponse,
    wire::ForwardResponse,
    wire::ReadIndexResponse,
    wire::ChangeMembersResponse
);

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The format that the answer to a stream tells; versions that know the first only do not tell it.
fn format_of(metadata: &MetadataMap) -> u32 {
    let told = metadata.get(FORMAT).and_then(|value| value.to_str().ok());
    told.and_then(|told| told.parse().ok())
        .unwrap_or(COMMAND_FORMAT)
}

fn bytes_of(metadata: &MetadataMap, name: &'static str) -> Result<Vec<u8>, Status> {
    let value = metadata
        .get_bin(name)
        .and_then(|value| value.to_bytes().ok());
    value
        .map(|bytes| bytes.to_vec())
        .ok_or_else(|| Status::invalid_argument(format!("the stream lacks {name}")))
}

/// A status with its causes, for people.
fn text_of(status: &Status) -> String {
    and_causes(status.message().to_owned(), status.source())
}
