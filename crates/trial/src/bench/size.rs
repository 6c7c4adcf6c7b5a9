//! A million records, then a large state: what they cost, and how fast members start and join with them.
//!
//! ```text
//! records of 256 B ──> memory, disk
//! + values of 16 KiB, until the state is large ──> a follower starts again, all start again, a fourth member joins
//! ```
//!
//! One kind after the other, so that neither has less of the machine. A member is ready when it answers a linearizable
//! read: it has the log, has applied it, and a majority says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use comfy_table::{CellAlignment, Table, presets};
use regraft_testbed::{Signal, TestDir, end_cleanly_on_signals};
use serde::Serialize;
use tokio::task::JoinSet;

use super::report::data_bytes;
use super::value::Values;
use super::{Only, Output};
use crate::clock;
use crate::trio::{Certificates, Kind, Trio};

/// What keys begin with.
const SMALL: &str = "small";
const LARGE: &str = "large";
const SMALL_BYTES: u64 = 256;
const LARGE_BYTES: u64 = 16 << 10;
const MIB: u64 = 1 << 20;
/// Clients that fill the state, and that go on while a member joins.
const FILLING: u64 = 64;
const BESIDE: u64 = 16;
/// Clients that share a connection.
const CLIENTS_PER_CONNECTION: u64 = 8;
/// How long writes are counted before a member joins.
const BEFORE: Duration = Duration::from_secs(3);
/// How long a start or joining may take.
const BOUND: Duration = Duration::from_secs(120);
/// How long one question to a member that starts may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two of them.
const POLL: Duration = Duration::from_millis(10);
/// Records of each size that are looked at in the member that joined.
const LOOKED_AT: u64 = 100;
/// Read to see whether a member is ready.
const PROBE: &[u8] = b"probe";

/// How much.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Records of 256 bytes
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Large values, MiB, that are written after them
    #[arg(long, default_value_t = 800)]
    mib: u64,
    /// Starts of each; medians are told
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only one of them
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// How figures are printed
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// All of one kind.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    kind: String,
    /// With the records.
    leader_resident_bytes: u64,
    most_resident_bytes: u64,
    data_bytes: u64,
    /// With the large values too.
    large_leader_resident_bytes: u64,
    large_data_bytes: u64,
    /// From its start until a follower answers a linearizable read, in order.
    follower_starts_ms: Vec<u64>,
    /// From the start of all until a write is answered, in order.
    starts_ms: Vec<u64>,
    join: Option<Join>,
}

/// How a fourth member came in.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Join {
    /// From its start until it answers a linearizable read.
    took_ms: u64,
    /// What others wrote before and meanwhile.
    puts_per_s_before: f64,
    puts_per_s_meanwhile: f64,
    longest_put_ms: u64,
}

/// Measures and prints.
pub(crate) async fn size(options: &Options) -> Result<()> {
    let mut dir = TestDir::new("size")?;
    end_cleanly_on_signals(dir.path().to_path_buf())?;
    match measure(options, &dir).await {
        Ok(all) => print(&all, options.output),
        Err(error) => {
            dir.keep();
            Err(error.context(format!("logs are kept in {}", dir.path().display())))
        }
    }
}

async fn measure(options: &Options, dir: &TestDir) -> Result<Vec<Figures>> {
    let certificates = Certificates::create(&dir.folder("certificates")?)?;
    let mut all = Vec::new();
    for kind in Only::of(options.only, Kind::Etcd) {
        let folder = dir.folder(&kind.to_string())?;
        let trio = match kind {
            Kind::Regraft => Trio::start_hospitable(&folder, &certificates).await?,
            Kind::Etcd | Kind::PlainEtcd => Trio::start(kind, &folder, &certificates).await?,
        };
        all.push(measure_one(options, trio).await?);
    }
    Ok(all)
}

async fn measure_one(options: &Options, trio: Trio) -> Result<Figures> {
    let mut figures = Figures {
        kind: trio.kind.to_string(),
        ..Figures::default()
    };
    let trio = fill(trio, SMALL, options.records, SMALL_BYTES).await?;
    progress(&figures.kind, "has its records");
    figures.leader_resident_bytes = resident_bytes(&trio, trio.leader)?;
    for at in 0..trio.members.len() {
        let resident = resident_bytes(&trio, at)?;
        figures.most_resident_bytes = figures.most_resident_bytes.max(resident);
    }
    figures.data_bytes = data_bytes(&trio);
    let mut trio = fill(trio, LARGE, large_count(options), LARGE_BYTES).await?;
    progress(&figures.kind, "has its large values");
    figures.large_leader_resident_bytes = resident_bytes(&trio, trio.leader)?;
    figures.large_data_bytes = data_bytes(&trio);
    for _ in 0..options.rounds {
        let took = restart_follower(&mut trio).await?;
        figures.follower_starts_ms.push(took);
        figures.starts_ms.push(restart_all(&mut trio).await?);
    }
    figures.follower_starts_ms.sort_unstable();
    figures.starts_ms.sort_unstable();
    if trio.kind == Kind::Regraft {
        figures.join = Some(join(trio, options).await?);
    }
    Ok(figures)
}

fn resident_bytes(trio: &Trio, at: usize) -> Result<u64> {
    let member = trio.members.get(at).context("no such member")?;
    let usage = member.process.usage().context("a member is gone")?;
    Ok(usage.resident_bytes)
}

/// Writes each key once.
async fn fill(trio: Trio, what: &'static str, count: u64, bytes: u64) -> Result<Trio> {
    let bytes = usize::try_from(bytes)?;
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    let mut channel = None;
    for number in 0..FILLING {
        if number.is_multiple_of(CLIENTS_PER_CONNECTION) {
            channel = Some(trio.connect().await?);
        }
        let mut client = trio
            .client(channel.clone().context("no connection")?)
            .await?;
        let mut values = Values::new(number, bytes);
        tasks.spawn(async move {
            for key in (number..count).step_by(FILLING as usize) {
                let key = key_of(what, key);
                client.put(key.as_bytes(), &values.next()).await?;
            }
            Ok(())
        });
    }
    while let Some(filled) = tasks.join_next().await {
        filled??;
    }
    Ok(trio)
}

/// Gives milliseconds until it answers a linearizable read.
async fn restart_follower(trio: &mut Trio) -> Result<u64> {
    let at = (trio.leader + 1) % trio.members.len();
    let member = trio.members.get_mut(at).context("no such member")?;
    member.process.stop();
    let began = clock::now();
    member.restart()?;
    wait_until_read(trio, at, began).await?;
    Ok(millis(began.elapsed()))
}

async fn wait_until_read(trio: &Trio, at: usize, began: Instant) -> Result<()> {
    loop {
        let reading = async {
            let mut client = trio.client(trio.connect_to(at).await?).await?;
            client.get(PROBE).await
        };
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(Ok(_)) => return Ok(()),
            outcome if began.elapsed() > BOUND => bail!("it is not ready: {outcome:?}"),
            _ => clock::rest(POLL).await,
        }
    }
}

/// Gives milliseconds until a write is answered.
async fn restart_all(trio: &mut Trio) -> Result<u64> {
    for member in &trio.members {
        member.process.signal(Signal::Terminate);
    }
    for member in &mut trio.members {
        member.process.stop();
    }
    let began = clock::now();
    for member in &mut trio.members {
        member.restart()?;
    }
    loop {
        trio.wait_for_leader().await?;
        let writing = async {
            let mut client = trio.client(trio.connect().await?).await?;
            client.put(PROBE, b"v").await
        };
        match tokio::time::timeout(PATIENCE, writing).await {
            Ok(Ok(())) => return Ok(millis(began.elapsed())),
            outcome if began.elapsed() > BOUND => bail!("nothing can be written: {outcome:?}"),
            _ => clock::rest(POLL).await,
        }
    }
}

/// What clients did that write all the time.
#[derive(Default)]
struct Written {
    count: AtomicU64,
    longest_ms: AtomicU64,
}

async fn join(mut trio: Trio, options: &Options) -> Result<Join> {
    let written = Arc::new(Written::default());
    let mut tasks = JoinSet::new();
    for number in 0..BESIDE {
        let mut client = trio.client(trio.connect().await?).await?;
        let written = Arc::clone(&written);
        tasks.spawn(async move {
            let mut values = Values::new(number, SMALL_BYTES as usize);
            let key = format!("beside-{number}");
            loop {
                let sent = clock::now();
                if let Err(error) = client.put(key.as_bytes(), &values.next()).await {
                    return error;
                }
                written.count.fetch_add(1, Ordering::Relaxed);
                let took = millis(sent.elapsed());
                written.longest_ms.fetch_max(took, Ordering::Relaxed);
            }
        });
    }
    let per_s = |since: (u64, Instant)| {
        let count = written.count.load(Ordering::Relaxed) - since.0;
        count as f64 / since.1.elapsed().as_secs_f64()
    };
    let first = (0, clock::now());
    clock::rest(BEFORE).await;
    let puts_per_s_before = per_s(first);
    let before = (written.count.load(Ordering::Relaxed), clock::now());
    let began = before.1;
    let at = trio.join()?;
    wait_until_read(&trio, at, began).await?;
    let took_ms = millis(began.elapsed());
    let puts_per_s_meanwhile = per_s(before);
    if let Some(failed) = tasks.try_join_next() {
        return Err(failed?.context("a write failed meanwhile"));
    }
    check_joined(&trio, at, options).await?;
    Ok(Join {
        took_ms,
        puts_per_s_before,
        puts_per_s_meanwhile,
        longest_put_ms: written.longest_ms.load(Ordering::Relaxed),
    })
}

/// Looks at some of what the new member should have.
async fn check_joined(trio: &Trio, at: usize, options: &Options) -> Result<()> {
    let mut client = trio.client(trio.connect_to(at).await?).await?;
    for (what, count, bytes) in [
        (SMALL, options.records, SMALL_BYTES),
        (LARGE, large_count(options), LARGE_BYTES),
    ] {
        for key in (0..count).step_by((count / LOOKED_AT).max(1) as usize) {
            let key = key_of(what, key);
            let found = client.get(key.as_bytes()).await?;
            ensure!(
                found as u64 == bytes,
                "the new member has {found} bytes at {key}, not {bytes}"
            );
        }
    }
    Ok(())
}

fn large_count(options: &Options) -> u64 {
    options.mib * MIB / LARGE_BYTES
}

fn key_of(what: &str, number: u64) -> String {
    format!("{what}-{number:09}")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn print(all: &[Figures], output: Output) -> Result<()> {
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(all)?);
        return Ok(());
    }
    let mut table = Table::new();
    let kinds = all.iter().map(|figures| figures.kind.to_uppercase());
    table
        .load_style(presets::NOTHING)
        .set_header(std::iter::once("WHAT".to_owned()).chain(kinds));
    let mut row = |what: &str, of: &dyn Fn(&Figures) -> String| {
        table.add_row(std::iter::once(what.to_owned()).chain(all.iter().map(of)));
    };
    let median = |each: &[u64]| {
        each.get(each.len() / 2)
            .map_or(String::new(), u64::to_string)
    };
    row("memory of the leader, MiB", &|it| {
        (it.leader_resident_bytes / MIB).to_string()
    });
    row("most memory of a member, MiB", &|it| {
        (it.most_resident_bytes / MIB).to_string()
    });
    row("disk of the three, MiB", &|it| {
        (it.data_bytes / MIB).to_string()
    });
    row("memory of the leader, large, MiB", &|it| {
        (it.large_leader_resident_bytes / MIB).to_string()
    });
    row("disk of the three, large, MiB", &|it| {
        (it.large_data_bytes / MIB).to_string()
    });
    row("a follower starts, ms", &|it| {
        median(&it.follower_starts_ms)
    });
    row("all start, ms", &|it| median(&it.starts_ms));
    let joined =
        |of: fn(&Join) -> String| move |it: &Figures| it.join.as_ref().map_or(String::new(), of);
    row("a member joins, ms", &joined(|it| it.took_ms.to_string()));
    row(
        "puts/s before",
        &joined(|it| format!("{:.0}", it.puts_per_s_before)),
    );
    row(
        "puts/s while it joins",
        &joined(|it| format!("{:.0}", it.puts_per_s_meanwhile)),
    );
    row(
        "longest put, ms",
        &joined(|it| it.longest_put_ms.to_string()),
    );
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    Ok(())
}

/// Tells on standard error how far it is: the whole takes minutes.
#[expect(clippy::print_stderr, reason = "progress, beside the figures")]
fn progress(kind: &str, what: &str) {
    eprintln!("{kind} {what}");
}
