//! The figures, for people and for programs.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::load::{Figures, Load};
use crate::trio::{Kind, Trio};

/// What a file's blocks are told in (stat(2)).
const BLOCK_BYTES: u64 = 512;

/// How figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// All rounds of one load and number of clients.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    load: Load,
    clients: usize,
    regraft: Vec<Figures>,
    etcd: Vec<Figures>,
}

/// Everything that was measured.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    rows: Vec<Row>,
    memory: Vec<Memory>,
}

/// Of one kind, after all loads.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    kind: String,
    /// Of the leader; the others have less.
    resident_bytes: u64,
    /// Of the three members.
    data_bytes: u64,
}

/// How we compare, over the rounds.
struct Ratio {
    median: f64,
    least: f64,
    most: f64,
}

impl Row {
    pub(crate) fn new(load: Load, clients: usize) -> Self {
        Self {
            load,
            clients,
            regraft: Vec::new(),
            etcd: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, kind: Kind, figures: Figures) {
        match kind {
            Kind::Regraft => self.regraft.push(figures),
            Kind::Etcd | Kind::PlainEtcd => self.etcd.push(figures),
        }
    }

    fn ratio(&self, of: impl Fn(&Figures) -> f64) -> Ratio {
        let mut each: Vec<f64> = self
            .regraft
            .iter()
            .zip(&self.etcd)
            .map(|(ours, theirs)| of(ours) / of(theirs).max(f64::MIN_POSITIVE))
            .collect();
        each.sort_by(f64::total_cmp);
        Ratio {
            median: median(&each),
            least: each.first().copied().unwrap_or(f64::NAN),
            most: each.last().copied().unwrap_or(f64::NAN),
        }
    }
}

impl Report {
    pub(crate) fn new(rows: Vec<Row>, trios: &[Trio]) -> Self {
        let memory = trios.iter().map(|trio| Memory {
            kind: trio.kind.to_string(),
            resident_bytes: trio
                .members
                .get(trio.leader)
                .and_then(|member| member.process.usage())
                .map_or(0, |usage| usage.resident_bytes),
            data_bytes: data_bytes(trio),
        });
        Self {
            memory: memory.collect(),
            rows,
        }
    }

    pub(crate) fn print(&self, output: Output) -> Result<()> {
        match output {
            Output::Json => println!("{}", serde_json::to_string_pretty(self)?),
            Output::Table => println!("{}", self.table()),
        }
        Ok(())
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "LOAD", "CLIENTS", "OURS/S", "ETCD/S", "RATIO", "(RANGE)", "P50 MS", "ETCD", "P99 MS",
            "ETCD", "CPU US", "ETCD", "DISK B", "ETCD",
        ]);
        for row in &self.rows {
            table.add_row(row.cells());
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut text = table.to_string();
        for memory in &self.memory {
            text.push_str(&format!(
                "\n{}: the leader has {} MiB in memory, the three {} MiB on disk",
                memory.kind,
                memory.resident_bytes >> 20,
                memory.data_bytes >> 20
            ));
        }
        text
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let ratio = self.ratio(|figures| figures.per_s);
        let mut cells = vec![
            format!("{:?}", self.load).to_lowercase(),
            self.clients.to_string(),
        ];
        let pair = |of: &dyn Fn(&Figures) -> f64, digits: usize| {
            [&self.regraft, &self.etcd].map(|rounds| {
                let mut each: Vec<f64> = rounds.iter().map(of).collect();
                each.sort_by(f64::total_cmp);
                format!("{:.digits$}", median(&each))
            })
        };
        cells.extend(pair(&|it| it.per_s, 0));
        cells.push(format!("{:.2}", ratio.median));
        cells.push(format!("{:.2}-{:.2}", ratio.least, ratio.most));
        cells.extend(pair(&|it| it.p50_us as f64 / 1e3, 2));
        cells.extend(pair(&|it| it.p99_us as f64 / 1e3, 2));
        cells.extend(pair(&|it| it.cpu_us, 0));
        cells.extend(pair(&|it| it.disk_bytes, 0));
        cells
    }
}

/// Tells on standard error that a row is done: the whole takes minutes.
#[expect(clippy::print_stderr, reason = "progress, beside the figures")]
pub(crate) fn progress(row: &Row) {
    eprintln!("{}", row.cells().join("  "));
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 if middle > 0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted.get(middle).copied().unwrap_or(f64::NAN),
    }
}

/// What the members keep on disk; a file that has two names once.
pub(super) fn data_bytes(trio: &Trio) -> u64 {
    let mut files = BTreeMap::new();
    for member in &trio.members {
        sizes_in(member.folder(), &mut files);
    }
    files.values().sum()
}

/// The bytes on disk of each file, by its inode.
fn sizes_in(folder: &Path, files: &mut BTreeMap<u64, u64>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => sizes_in(&entry.path(), files),
            Ok(metadata) => {
                files.insert(metadata.ino(), metadata.blocks() * BLOCK_BYTES);
            }
            // It was removed meanwhile.
            Err(_) => {}
        }
    }
}
