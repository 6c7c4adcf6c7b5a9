//! A member's replicated state, without the rest of the product: it is measured and tried as a process of its own.

pub(crate) mod faults;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use regraft_replica::{
    Clock, Config, LogDisk, MemberChange, PeerAddress, Replica, Role, StateMachine, StoreLimits,
    Timings, TlsPaths, serve_store,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock;
use faults::Faults;

/// How often it is tried to take another one in.
const ADMIT_EVERY: Duration = Duration::from_millis(200);

/// Which member, and where.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// This member
    #[arg(long)]
    node_id: u64,
    /// Where it keeps its data
    #[arg(long)]
    data_dir: PathBuf,
    /// Where other members reach it
    #[arg(long)]
    raft: SocketAddr,
    /// Where programs reach it
    #[arg(long)]
    store: SocketAddr,
    /// All members
    #[arg(long = "peer", value_name = "ID=ADDRESS", value_parser = peer)]
    peers: Vec<(u64, String)>,
    /// Taken in as a voter as soon as it is there, while this member leads
    #[arg(long, value_name = "ID=ADDRESS", value_parser = peer)]
    admit: Option<(u64, String)>,
    /// The authority's certificate
    #[arg(long)]
    ca: PathBuf,
    /// The own certificate
    #[arg(long)]
    cert: PathBuf,
    /// Its key
    #[arg(long)]
    key: PathBuf,
    /// Entries between two snapshots, a tenth of which stay in the log
    #[arg(long)]
    snapshot_every: Option<u64>,
    /// Where somebody says what faults its clock and its disk have; what is not synced is kept in memory then
    #[arg(long)]
    faults: Option<PathBuf>,
}

fn peer(text: &str) -> Result<(u64, String), String> {
    let (id, address) = text.split_once('=').ok_or("ID=ADDRESS is wanted")?;
    let id = id.parse().map_err(|error| format!("{id:?}: {error}"))?;
    Ok((id, address.to_owned()))
}

/// Runs until SIGTERM, or until the state is halted: as in the product, somebody else starts it again.
pub(crate) async fn run(options: Options) -> Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .init();
    let listener = TcpListener::bind(options.store).await?;
    let peers: BTreeMap<u64, PeerAddress> = options
        .peers
        .into_iter()
        .map(|(id, address)| {
            let name = format!("member-{id}");
            (id, PeerAddress { address, name })
        })
        .collect();
    let tls = TlsPaths {
        ca: options.ca,
        cert: options.cert,
        key: options.key,
    };
    let faults = options.faults.map(Faults::new);
    let clock: Clock = match faults.clone() {
        Some(faults) => Arc::new(move || faults.wall_ms()),
        None => Arc::new(clock::wall_ms),
    };
    let log_disk = faults.map(|faults| -> LogDisk { Arc::new(move |disk| faults.above(disk)) });
    let mut timings = Timings::default();
    if let Some(entries) = options.snapshot_every {
        timings.snapshot_every_entries = entries;
        timings.keep_entries = entries / 10;
    }
    let replica = Replica::start(Config {
        node_id: options.node_id,
        cluster_id: "trial".to_owned(),
        data_dir: options.data_dir,
        raft_listen: options.raft,
        peers,
        tls: Some(tls),
        timings,
        clock,
        machine: Arc::new(StateMachine),
        log_disk,
    })
    .await?;
    let stop = CancellationToken::new();
    let tls = replica.tls().context("a member without certificates")?;
    let serving = serve_store(
        replica.clone(),
        tls,
        listener,
        StoreLimits::default(),
        stop.clone(),
    );
    let admitting = async {
        if let Some((id, address)) = options.admit {
            admit(&replica, id, address).await;
        }
    };
    let admitting = stop.run_until_cancelled(admitting);
    let mut terminate = signal(SignalKind::terminate())?;
    let told = async {
        let reason = tokio::select! {
            _ = terminate.recv() => None,
            reason = halted(&replica) => Some(reason),
        };
        stop.cancel();
        reason
    };
    let (served, reason, _) = tokio::join!(serving, told, admitting);
    served?;
    replica.shutdown().await;
    match reason {
        None => Ok(()),
        Some(reason) => bail!("the replicated state is halted: {reason}"),
    }
}

/// Takes the other one in, once it is there and while this member leads.
async fn admit(replica: &Replica, id: u64, address: String) {
    let change = async |change| {
        let leads = replica.status().role == Role::Leader;
        leads && replica.change_members("trial", change).await.is_ok()
    };
    loop {
        clock::rest(ADMIT_EVERY).await;
        let (address, replaces) = (address.clone(), None);
        if change(MemberChange::Add { id, address }).await
            && change(MemberChange::Promote { id, replaces }).await
        {
            return tracing::info!(id, "it votes now");
        }
    }
}

/// Resolves when the member applies no more, with the reason.
async fn halted(replica: &Replica) -> String {
    let mut status = replica.watch_status();
    loop {
        if let Some(reason) = status.borrow_and_update().fatal.clone() {
            return reason;
        }
        if status.changed().await.is_err() {
            return "its engine ended".to_owned();
        }
    }
}
