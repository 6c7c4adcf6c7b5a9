//! What watching metrics costs on one core: `cargo run --release -p regraft-detect --example samples`. One line of JSON for
//! each figure.
//!
//! - `observe`: samples (one value of one metric each) a second through `Watch::observe`, once everything is learned that
//!   is used: samples come every minute for some days before, with a daily season.
//! - `series`: 100,000 series in 12,500 services: bytes of each, stored and in memory; memory of the whole process; seconds
//!   to write them to one file and to be back from it.
//!
//! Processor time stands beside wall time: what else runs on the machine is not in it.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "it measures, and tells figures"
)]

use regraft_detect::Error;
use regraft_detect::metrics::{Learning, Settings, Watch};
use regraft_model::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::hint::black_box;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::Duration;

const MINUTE_MS: i64 = 60_000;
const MINUTES_A_DAY: usize = 1440;
/// Days that are learned before the clock starts: two rounds of a day, and one in which they are compared.
const LEARNED_DAYS: usize = 4;
/// Values that are measured for each number of metrics.
const SAMPLES: usize = 2_000_000;
const SERVICES: usize = 12_500;
const METRICS: usize = 8;
/// Rows that each of the many services has seen.
const ROWS: usize = 300;
/// Bytes of a page, as Linux counts memory.
const PAGE_BYTES: usize = 4096;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for metrics in [1, 8, 40] {
        observe(metrics)?;
    }
    series()
}

/// Numbers that look random (Steele et al. 2014, SplitMix64), with a daily wave.
struct Values(u64);

impl Values {
    fn row(&mut self, minute: usize, row: &mut [f64]) {
        let day = (minute % MINUTES_A_DAY) as f64 / MINUTES_A_DAY as f64;
        let wave = 50.0 * (day * std::f64::consts::TAU).sin();
        for value in row {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = self.0;
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *value = 100.0 + wave + ((bits ^ (bits >> 31)) >> 54) as f64 / 100.0;
        }
    }
}

fn watch(metrics: usize) -> Result<Watch, Error> {
    let names = (0..metrics).map(|index| format!("container_metric_number_{index}"));
    Watch::new(Settings::default(), names.collect())
}

fn at(minute: usize) -> Timestamp {
    Timestamp(minute as i64 * MINUTE_MS)
}

fn observe(metrics: usize) -> Result<(), Error> {
    let mut watch = watch(metrics)?;
    let mut values = Values(1);
    let mut row = vec![0.0; metrics];
    let learned = LEARNED_DAYS * MINUTES_A_DAY;
    for minute in 0..learned {
        values.row(minute, &mut row);
        watch.observe(at(minute), &row, Learning::On);
    }
    let rows = SAMPLES / metrics;
    // Made before, so that it is not measured: a few days, again and again.
    let made: Vec<Vec<f64>> = (0..MINUTES_A_DAY)
        .map(|minute| {
            values.row(minute, &mut row);
            row.clone()
        })
        .collect();
    let began = Clocks::now();
    for minute in 0..rows {
        let row = &made[minute % MINUTES_A_DAY];
        black_box(watch.observe(at(learned + minute), row, Learning::On));
    }
    let took = began.passed();
    let samples = (rows * metrics) as f64;
    println!(
        r#"{{"name":"observe","metrics":{metrics},"samples_per_processor_s":{:.0},"samples_per_wall_s":{:.0}}}"#,
        samples / took.processor_s,
        samples / took.wall_s,
    );
    Ok(())
}

fn series() -> Result<(), Box<dyn std::error::Error>> {
    let before = resident_bytes()?;
    let mut watches = Vec::with_capacity(SERVICES);
    let mut row = [0.0; METRICS];
    for service in 0..SERVICES {
        let mut watch = watch(METRICS)?;
        let mut values = Values(service as u64);
        for minute in 0..ROWS {
            values.row(minute, &mut row);
            watch.observe(at(minute), &row, Learning::On);
        }
        watches.push(watch);
    }
    let resident = resident_bytes()?.saturating_sub(before);
    let counted: usize = watches.iter().map(Watch::size_bytes).sum();
    let path = std::env::temp_dir().join(format!("regraft-samples-{}", std::process::id()));
    let told = restart(&path, watches, (resident, counted));
    std::fs::remove_file(&path)?;
    told
}

/// Stores watches in one file and reads them back.
fn restart(
    path: &Path,
    watches: Vec<Watch>,
    (resident, counted): (usize, usize),
) -> Result<(), Box<dyn std::error::Error>> {
    let began = Clocks::now();
    let mut file = BufWriter::new(File::create(path)?);
    for watch in &watches {
        let bytes = watch.to_bytes();
        file.write_all(&u32::try_from(bytes.len())?.to_le_bytes())?;
        file.write_all(&bytes)?;
    }
    file.into_inner()?.sync_all()?;
    let wrote = began.passed();
    let stored = std::fs::metadata(path)?.len() as usize;
    let first = watches.first().map(Watch::to_bytes);
    drop(watches);
    let began = Clocks::now();
    let mut file = BufReader::new(File::open(path)?);
    let mut watches = Vec::with_capacity(SERVICES);
    let mut bytes = Vec::new();
    for _ in 0..SERVICES {
        let mut length = [0; 4];
        file.read_exact(&mut length)?;
        bytes.resize(u32::from_le_bytes(length) as usize, 0);
        file.read_exact(&mut bytes)?;
        watches.push(Watch::from_bytes(&bytes)?);
    }
    let read = began.passed();
    if watches.first().map(Watch::to_bytes) != first {
        return Err("what was read back is not what was stored".into());
    }
    let each = SERVICES * METRICS;
    println!(
        r#"{{"name":"series","series":{each},"stored_bytes_each":{},"memory_bytes_each":{},"resident_mb":{},"resident_again_mb":{},"store_processor_s":{:.2},"store_wall_s":{:.2},"restart_processor_s":{:.2},"restart_wall_s":{:.2}}}"#,
        stored / each,
        counted / each,
        resident / 1_000_000,
        resident_bytes()? / 1_000_000,
        wrote.processor_s,
        wrote.wall_s,
        read.processor_s,
        read.wall_s,
    );
    Ok(())
}

/// Memory of this process that is in use.
fn resident_bytes() -> Result<usize, Box<dyn std::error::Error>> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let resident = pages.split(' ').nth(1).ok_or("statm has two numbers")?;
    Ok(resident.parse::<usize>()? * PAGE_BYTES)
}

/// Seconds of the processor and of the wall.
struct Clocks {
    processor_s: f64,
    wall_s: f64,
}

impl Clocks {
    fn now() -> Self {
        let seconds = |clock| {
            let time = Duration::try_from(clock_gettime(clock));
            time.unwrap_or_default().as_secs_f64()
        };
        Self {
            processor_s: seconds(ClockId::ProcessCPUTime),
            wall_s: seconds(ClockId::Monotonic),
        }
    }

    fn passed(&self) -> Self {
        let now = Self::now();
        Self {
            processor_s: now.processor_s - self.processor_s,
            wall_s: now.wall_s - self.wall_s,
        }
    }
}
