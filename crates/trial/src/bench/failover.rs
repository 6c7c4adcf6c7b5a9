//! How long no write is answered after the leader is killed.
//!
//! ```text
//! writers at each of the two others: put, put, put, (SIGKILL of the leader) ... put answered
//!                                                     |<--------- measured -------->|
//! ```
//!
//! Each time three new members of one kind, in turn. Writers ask one member each and wait for an answer only for a
//! moment, so that what is measured is the members' time and not that of a client which has to find another one; how long
//! our own client takes, which asks whomever it believes to lead, is measured beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use regraft_client::{Client, Settings};
use regraft_testbed::{Signal, TestDir, end_cleanly_on_signals};
use serde::Serialize;
use tokio::task::JoinSet;

use super::Output;
use crate::clock;
use crate::trio::{self, Certificates, Kind, Trio};

/// How long a writer waits for an answer: many times what a write takes, and little of an election.
const PATIENCE: Duration = Duration::from_millis(100);
/// Between two writes: the members are not to be busy with them.
const BETWEEN: Duration = Duration::from_millis(2);
/// How long members write before their leader is killed.
const BEFORE: Duration = Duration::from_millis(1_500);
/// When measuring is given up.
const BOUND: Duration = Duration::from_secs(30);
/// Time to live of the session of our own client.
const TTL: Duration = Duration::from_secs(30);

/// How often.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leaders of each kind that are killed; medians are told
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How figures are printed
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// All of one kind.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    kind: String,
    /// In order, milliseconds.
    silences_ms: Vec<u64>,
}

/// Kills leaders and prints.
pub(crate) async fn failover(options: &Options) -> Result<()> {
    let mut dir = TestDir::new("failover")?;
    end_cleanly_on_signals(dir.path().to_path_buf())?;
    match measure(options, &dir).await {
        Ok(rows) => print(&rows, options.output),
        Err(error) => {
            dir.keep();
            Err(error.context(format!("logs are kept in {}", dir.path().display())))
        }
    }
}

async fn measure(options: &Options, dir: &TestDir) -> Result<Vec<Row>> {
    let certificates = Certificates::create(&dir.folder("certificates")?)?;
    let mut rows: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for round in 0..options.rounds {
        for kind in Kind::BOTH {
            let folder = dir.folder(&format!("{kind}-{round}"))?;
            let trio = Trio::start(kind, &folder, &certificates).await?;
            let (silence, of_client) = kill_leader(trio).await?;
            let name = kind.to_string();
            if let Some(of_client) = of_client {
                let of_clients = rows.entry(format!("{name}, its client")).or_default();
                of_clients.push(u64::try_from(of_client.as_millis())?);
            }
            rows.entry(name)
                .or_default()
                .push(u64::try_from(silence.as_millis())?);
        }
    }
    let rows = rows.into_iter().map(|(kind, mut silences_ms)| {
        silences_ms.sort_unstable();
        Row { kind, silences_ms }
    });
    Ok(rows.collect())
}

/// Gives how long no write was answered, and how long our own client waited, where there is one.
async fn kill_leader(trio: Trio) -> Result<(Duration, Option<Duration>)> {
    let trio = Arc::new(trio);
    let (killed, mut kill) = (tokio::sync::watch::channel(None), JoinSet::new());
    for at in (0..trio.members.len()).filter(|at| *at != trio.leader) {
        let (trio, killed) = (Arc::clone(&trio), killed.1.clone());
        kill.spawn(async move {
            write_until_answered(&trio, at, &killed)
                .await
                .map(Who::Plain)
        });
    }
    if trio.kind == Kind::Regraft {
        let (trio, killed) = (Arc::clone(&trio), killed.1.clone());
        kill.spawn(async move { ask_until_answered(&trio, &killed).await.map(Who::Client) });
    }
    clock::rest(BEFORE).await;
    let leader = trio.members.get(trio.leader).context("nobody leads")?;
    leader.process.signal(Signal::Kill);
    let at = clock::now();
    killed.0.send_replace(Some(at));
    let (mut plain, mut of_client): (Option<Duration>, _) = (None, None);
    while let Some(answered) = kill.join_next().await {
        match answered?? {
            Who::Plain(when) => {
                let took = when.saturating_duration_since(at);
                plain = Some(plain.map_or(took, |other| other.min(took)));
            }
            Who::Client(when) => of_client = Some(when.saturating_duration_since(at)),
        }
    }
    Ok((plain.context("nobody wrote")?, of_client))
}

/// Whose write was answered, and when.
enum Who {
    Plain(Instant),
    Client(Instant),
}

type Killed = tokio::sync::watch::Receiver<Option<Instant>>;

/// Writes at one member; gives when the first write was answered that began after the leader was killed.
async fn write_until_answered(trio: &Trio, at: usize, killed: &Killed) -> Result<Instant> {
    let mut client = None;
    for number in 0_u64.. {
        let began = clock::now();
        let was_killed = *killed.borrow();
        if was_killed.is_some_and(|killed| began.saturating_duration_since(killed) > BOUND) {
            break;
        }
        let writing = async {
            let mut ready = match client.take() {
                Some(ready) => ready,
                None => trio.client(trio.connect_to(at).await?).await?,
            };
            let key = format!("{at}-{number}");
            ready.put(key.as_bytes(), b"v").await?;
            anyhow::Ok(ready)
        };
        if let Ok(Ok(ready)) = tokio::time::timeout(PATIENCE, writing).await {
            client = Some(ready);
            if was_killed.is_some() {
                return Ok(clock::now());
            }
        }
        clock::rest(BETWEEN).await;
    }
    bail!("no write was answered within {} s", BOUND.as_secs())
}

/// Writes by our own client; gives when the first write was answered after the leader was killed.
async fn ask_until_answered(trio: &Trio, killed: &Killed) -> Result<Instant> {
    let tls = Arc::clone(trio.tls.first().context("no certificate")?);
    let connect = move |_: u64, address: String| {
        let tls = Arc::clone(&tls);
        async move { Ok(trio::connect(&tls, address.parse()?).await?) }
    };
    let addresses = (1..).zip(
        trio.members
            .iter()
            .map(|member| member.address().to_string()),
    );
    let client = Client::new(addresses.collect(), connect, Settings::default());
    let session = client.open_session(TTL).await?;
    loop {
        let was_killed = killed.borrow().is_some();
        session.put("client", "v").await?;
        if was_killed {
            return Ok(clock::now());
        }
        clock::rest(BETWEEN).await;
    }
}

fn print(rows: &[Row], output: Output) -> Result<()> {
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(rows)?);
        return Ok(());
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["KIND", "KILLED", "MEDIAN MS", "LEAST", "MOST"]);
    for row in rows {
        let at = |place: usize| row.silences_ms.get(place).map_or(0, |silence| *silence);
        let count = row.silences_ms.len();
        table.add_row([
            row.kind.clone(),
            count.to_string(),
            at(count / 2).to_string(),
            at(0).to_string(),
            at(count.saturating_sub(1)).to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    Ok(())
}
