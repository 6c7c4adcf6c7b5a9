//! One measurement: some clients that ask as fast as they are answered.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;

use super::value::Values;
use crate::clock;
use crate::trio::{Client, Trio};

/// Clients that share a connection, as those of one program do.
const CLIENTS_PER_CONNECTION: usize = 8;
/// Before anything is counted: connections are open, and the first files written.
const WARM_UP: Duration = Duration::from_millis(500);
const VALUE_BYTES: usize = 256;
/// Keys of each client that are read and written again.
const KEYS: u64 = 1_000;
/// One in this many is a write in the mixed load.
const MIXED_WRITES: u64 = 10;
/// Field of a line of `/proc/diskstats` (Linux, Documentation/admin-guide/iostats.rst), and what it counts.
const SECTORS_WRITTEN: usize = 9;
const SECTOR_BYTES: u64 = 512;
/// Longest latency that is told apart, microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Load {
    /// Write 256 bytes
    Put,
    /// Read them linearizably
    Get,
    /// Take a lock and give it back
    Lock,
    /// Nine reads to a write
    Mixed,
}

impl Load {
    pub(crate) const ALL: [Self; 4] = [Self::Put, Self::Get, Self::Lock, Self::Mixed];
}

/// What a measurement gave.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figures {
    pub(crate) per_s: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    /// Processor time of the three members for one operation.
    pub(crate) cpu_us: f64,
    /// What was written to the disk for one operation.
    pub(crate) disk_bytes: f64,
}

/// Drives a trio.
pub(crate) async fn run(
    trio: &Trio,
    load: Load,
    clients: usize,
    round: u32,
    time: Duration,
) -> Result<Figures> {
    let mut ready = Vec::new();
    let mut channel = None;
    for number in 0..clients {
        if number % CLIENTS_PER_CONNECTION == 0 {
            channel = Some(trio.connect().await?);
        }
        let channel = channel.clone().context("no connection")?;
        ready.push(trio.client(channel).await?);
    }
    let begin = clock::now() + WARM_UP;
    let end = begin + time;
    let mut tasks = JoinSet::new();
    for (number, client) in ready.into_iter().enumerate() {
        let worker = Worker {
            client,
            number,
            round,
            done: 0,
            values: Values::new(seed(number, round), VALUE_BYTES),
        };
        tasks.spawn(worker.work(load, begin, end));
    }
    clock::rest(begin.saturating_duration_since(clock::now())).await;
    let before = Cost::of(trio)?;
    clock::rest(end.saturating_duration_since(clock::now())).await;
    let after = Cost::of(trio)?;
    let mut all = histogram()?;
    while let Some(took) = tasks.join_next().await {
        all.add(took??)?;
    }
    let operations = all.len().max(1) as f64;
    Ok(Figures {
        per_s: all.len() as f64 / time.as_secs_f64(),
        p50_us: all.value_at_quantile(0.5),
        p99_us: all.value_at_quantile(0.99),
        cpu_us: (after.cpu_s - before.cpu_s) * 1e6 / operations,
        disk_bytes: after.written_bytes.saturating_sub(before.written_bytes) as f64 / operations,
    })
}

/// No two clients write the same, and no two rounds.
fn seed(number: usize, round: u32) -> u64 {
    u64::from(round) << 32 | number as u64
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?)
}

struct Worker {
    client: Client,
    number: usize,
    round: u32,
    done: u64,
    values: Values,
}

impl Worker {
    async fn work(
        mut self,
        load: Load,
        begin: std::time::Instant,
        end: std::time::Instant,
    ) -> Result<Histogram<u64>> {
        let mut took = histogram()?;
        if matches!(load, Load::Get | Load::Mixed) {
            let key = self.key();
            self.client.put(key.as_bytes(), &self.values.next()).await?;
        }
        loop {
            let sent = clock::now();
            if sent >= end {
                return Ok(took);
            }
            self.act(load).await?;
            let answered = clock::now();
            self.done += 1;
            // Counted where it ended, so that both ends of the measurement are alike.
            if answered >= begin && answered < end {
                let time = answered.saturating_duration_since(sent);
                took.saturating_record(u64::try_from(time.as_micros())?);
            }
        }
    }

    async fn act(&mut self, load: Load) -> Result<()> {
        let write = match load {
            Load::Put => true,
            Load::Get => false,
            Load::Mixed => self.done.is_multiple_of(MIXED_WRITES),
            Load::Lock => {
                let name = format!("lock-{}-{}", self.round, self.number);
                return self.client.lock(&name).await;
            }
        };
        if write {
            let key = self.key();
            return self.client.put(key.as_bytes(), &self.values.next()).await;
        }
        let key = format!("{:06}-{:06}", self.number, 0);
        let bytes = self.client.get(key.as_bytes()).await?;
        anyhow::ensure!(bytes == VALUE_BYTES, "{bytes} bytes were read at {key}");
        Ok(())
    }

    fn key(&self) -> String {
        format!("{:06}-{:06}", self.number, self.done % KEYS)
    }
}

/// What was used so far.
struct Cost {
    /// By the three members.
    cpu_s: f64,
    /// Of the disk that their data is on, by everybody: what a process is told to have written counts whole pages,
    /// however large, for a few bytes in them.
    written_bytes: u64,
}

impl Cost {
    fn of(trio: &Trio) -> Result<Self> {
        let mut cpu_s = 0.0;
        for member in &trio.members {
            cpu_s += member.process.usage().context("a member is gone")?.cpu_s;
        }
        let member = trio.members.first().context("there is no member")?;
        Ok(Self {
            cpu_s,
            written_bytes: written_bytes(member.folder())?,
        })
    }
}

/// Bytes written to the disk of this folder since the machine started; 0 when the kernel does not count them.
fn written_bytes(folder: &Path) -> Result<u64> {
    let device = std::fs::metadata(folder)?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let all = std::fs::read_to_string("/proc/diskstats")?;
    let sectors = all.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.first()?.parse() == Ok(major) && fields.get(1)?.parse() == Ok(minor);
        is_it.then(|| fields.get(SECTORS_WRITTEN)?.parse::<u64>().ok())?
    });
    Ok(sectors.unwrap_or_default() * SECTOR_BYTES)
}
