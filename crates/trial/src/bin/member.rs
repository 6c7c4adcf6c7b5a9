//! A member's replicated state, without the rest of the product: it is measured and tried as a process of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Parser;
use regraft_replica::{Config, PeerAddress, Replica, StateMachine, Timings, TlsPaths, serve_store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
#[command(name = "trial-member", about = "A member's replicated state")]
struct Options {
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
    /// The authority's certificate; without it nothing is encrypted
    #[arg(long, requires_all = ["cert", "key"])]
    ca: Option<PathBuf>,
    /// The own certificate
    #[arg(long)]
    cert: Option<PathBuf>,
    /// Its key
    #[arg(long)]
    key: Option<PathBuf>,
}

fn peer(text: &str) -> Result<(u64, String), String> {
    let (id, address) = text.split_once('=').ok_or("ID=ADDRESS is wanted")?;
    let id = id.parse().map_err(|error| format!("{id:?}: {error}"))?;
    Ok((id, address.to_owned()))
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .init();
    let ran = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(run(Options::parse())));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<()> {
    let listener = TcpListener::bind(options.store).await?;
    let peers: BTreeMap<u64, PeerAddress> = options
        .peers
        .into_iter()
        .map(|(id, address)| {
            let name = format!("member-{id}");
            (id, PeerAddress { address, name })
        })
        .collect();
    let tls = match (options.ca, options.cert, options.key) {
        (Some(ca), Some(cert), Some(key)) => Some(TlsPaths { ca, cert, key }),
        _ => None,
    };
    let replica = Replica::start(Config {
        node_id: options.node_id,
        cluster_id: "trial".to_owned(),
        data_dir: options.data_dir,
        raft_listen: options.raft,
        peers,
        tls,
        timings: Timings::default(),
        clock: Arc::new(wall_ms),
        machine: Arc::new(StateMachine),
    })
    .await?;
    let stop = CancellationToken::new();
    let serving = serve_store(replica.clone(), listener, stop.clone());
    let mut terminate = signal(SignalKind::terminate())?;
    let told = async {
        terminate.recv().await;
        stop.cancel();
    };
    let (served, ()) = tokio::join!(serving, told);
    served?;
    replica.shutdown().await;
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one clock of this process: it stamps commands"
)]
fn wall_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
