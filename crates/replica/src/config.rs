//! What a member is told at its start.

use crate::certs::{check_cluster_id, check_node_id};
use crate::error::Error;
use crate::machine::Machine;
use crate::tls::TlsPaths;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Wall clock of the leader, milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What stands between the log and the disk that it is on, so that tests can make the disk slow, failing or forgetful.
pub type LogDisk =
    Arc<dyn Fn(Arc<dyn regraft_wal::Disk>) -> Arc<dyn regraft_wal::Disk> + Send + Sync>;

/// A member's configuration.
#[derive(Clone)]
pub struct Config {
    /// This member; from 1, never used twice in a cluster.
    pub node_id: u64,
    /// The cluster; a DNS label.
    pub cluster_id: String,
    /// Where log, state and snapshots are kept.
    pub data_dir: PathBuf,
    /// Where other members reach this one. Not opened by a member without TLS, which is alone.
    pub raft_listen: SocketAddr,
    /// All members, this one among them.
    pub peers: BTreeMap<u64, PeerAddress>,
    /// Certificates; only a single member on loopback does without.
    pub tls: Option<TlsPaths>,
    /// How often and how long.
    pub timings: Timings,
    /// Stamps commands while this member leads.
    pub clock: Clock,
    /// What applies commands.
    pub machine: Arc<dyn Machine>,
    /// For tests only: nothing, where the log is to be on the disk itself.
    pub log_disk: Option<LogDisk>,
}

/// How other members reach a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// `host:port` of its Raft listener.
    pub address: String,
    /// What people call it.
    pub name: String,
}

/// How often and how long. The defaults suit members in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Between two heartbeats of the leader.
    pub heartbeat_ms: u64,
    /// A follower stands for election at the earliest after this.
    pub election_min_ms: u64,
    /// ... and at the latest after this, and a random time.
    pub election_max_ms: u64,
    /// How long a proposal or a read may take before its outcome is called unknown.
    pub request_timeout_ms: u64,
    /// Entries between two snapshots.
    pub snapshot_every_entries: u64,
    /// Entries of a snapshot that stay in the log, for followers that are a little behind.
    pub keep_entries: u64,
    /// Bytes of the log on disk beyond which a snapshot is taken and half of the log purged, earlier than these say; at
    /// least 64 MiB, and not counting what is written within a second.
    pub log_bytes_max: u64,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            // No heartbeat waits for a disk, so two that are late are no reason for an election; with 400..600 ms here it took
            // 1.1 s until writes went on behind a killed leader, with these .7 s (docs/torture.md).
            heartbeat_ms: 100,
            election_min_ms: 250,
            election_max_ms: 400,
            request_timeout_ms: 3_000,
            snapshot_every_entries: 100_000,
            // What is written while a state of 1 GiB is sent and installed on a busy machine, half a minute, and since the
            // snapshot that is sent: with 20,000 a member that joined under load was sent one state after the other
            // without end (docs/performance.md). Where entries are large, the log's bytes are the bound.
            keep_entries: 1_000_000,
            log_bytes_max: 512 << 20,
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_cluster_id(&self.cluster_id)?;
        for id in self.peers.keys() {
            check_node_id(*id)?;
        }
        let refuse = |reason: String| Err(Error::InvalidConfig { reason });
        if !self.peers.contains_key(&self.node_id) {
            return refuse(format!(
                "member {} is not among its own peers",
                self.node_id
            ));
        }
        if self.tls.is_none() && self.peers.len() > 1 {
            return refuse(format!(
                "{} members need certificates to know each other: make them with `regraft certs` and set tls",
                self.peers.len()
            ));
        }
        if self.tls.is_none() && !self.raft_listen.ip().is_loopback() {
            return refuse(format!(
                "without certificates the Raft listener must be on loopback, not on {}",
                self.raft_listen
            ));
        }
        Ok(())
    }

    /// Whether this member forms the cluster of all `peers`, unless there is one already: the one with the lowest id.
    pub(crate) fn forms_cluster(&self) -> bool {
        self.peers.keys().next() == Some(&self.node_id)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("node_id", &self.node_id)
            .field("cluster_id", &self.cluster_id)
            .field("data_dir", &self.data_dir)
            .field("raft_listen", &self.raft_listen)
            .field("peers", &self.peers)
            .field("tls", &self.tls)
            .field("timings", &self.timings)
            .finish_non_exhaustive()
    }
}
