//! What a synced batch costs on a disk, and what zeros written ahead save:
//! `cargo run --release -p regraft-wal --example batches -- FOLDER`, the folder on the disk in question.
//!
//! Three ways take turns: the log; the log with segments that are only as long as they should be, not filled; and a
//! plain file that grows. Each writes batches of 1, 8 and 64 entries and waits for the disk after each.

use regraft_wal::{Disk, DiskFile, Durability, Folder, Operation, Options, open};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const GROUPS: [u64; 3] = [1, 8, 64];
const ENTRY_BYTES: usize = 300;
/// How long one way writes until the next has its turn.
const TURN: Duration = Duration::from_secs(4);
const TURNS: usize = 3;
/// Entries that are kept; the log is purged when it has twice as many.
const KEPT_ENTRIES: u64 = 100_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Log,
    NotFilled,
    Growing,
}

impl Way {
    const ALL: [Self; 3] = [Self::Log, Self::NotFilled, Self::Growing];

    fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::NotFilled => "log, not filled",
            Self::Growing => "growing file",
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("a folder, please")?;
    let folder = PathBuf::from(folder);
    let mut out = io::stdout();
    writeln!(
        out,
        "{:16} {:>6} {:>11} {:>9} {:>8} {:>8} {:>8}",
        "way", "group", "entries/s", "syncs/s", "p50 ms", "p99 ms", "max ms"
    )?;
    for group in GROUPS {
        let mut taken = [const { Vec::new() }; Way::ALL.len()];
        for turn in 0..TURNS {
            for (way, taken) in Way::ALL.iter().zip(&mut taken) {
                let path = folder.join(format!("speed-{group}-{turn}"));
                taken.extend(run(*way, &path, group)?);
            }
        }
        for (way, taken) in Way::ALL.iter().zip(taken) {
            report(&mut out, *way, group, taken)?;
        }
    }
    Ok(())
}

fn report(
    out: &mut impl io::Write,
    way: Way,
    group: u64,
    mut taken: Vec<Duration>,
) -> io::Result<()> {
    taken.sort_unstable();
    let all: Duration = taken.iter().sum();
    let syncs_per_s = taken.len() as f64 / all.as_secs_f64();
    let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    writeln!(
        out,
        "{:16} {group:6} {:11.0} {syncs_per_s:9.0} {:8.3} {:8.3} {:8.3}",
        way.name(),
        syncs_per_s * group as f64,
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

/// One turn: how long each batch took.
fn run(way: Way, path: &Path, group: u64) -> Result<Vec<Duration>, Box<dyn Error>> {
    let taken = match way {
        Way::Growing => grow(path, group)?,
        Way::Log => log(Arc::new(Folder::open(path)?), group)?,
        Way::NotFilled => log(
            Arc::new(NotFilled {
                path: path.to_owned(),
                folder: Folder::open(path)?,
            }),
            group,
        )?,
    };
    std::fs::remove_dir_all(path)?;
    Ok(taken)
}

fn log(disk: Arc<dyn Disk>, group: u64) -> Result<Vec<Duration>, Box<dyn Error>> {
    let (mut writer, reader, _) = open(disk, Options::default())?;
    let bytes = [b'x'; ENTRY_BYTES];
    let mut next = 1;
    let mut batch = Vec::new();
    // A new log waits for its first segment.
    writer.write(&[], Durability::Synced)?;
    timed(|| {
        batch.clear();
        for index in next..next + group {
            batch.push(Operation::Append {
                index,
                bytes: &bytes,
            });
        }
        next += group;
        if next - reader.bounds().first > 2 * KEPT_ENTRIES {
            batch.push(Operation::PurgeTo {
                index: next - KEPT_ENTRIES,
            });
        }
        Ok(writer.write(&batch, Durability::Synced)?)
    })
}

fn grow(path: &Path, group: u64) -> Result<Vec<Duration>, Box<dyn Error>> {
    std::fs::create_dir(path)?;
    let mut file = File::create(path.join("grows"))?;
    let bytes = [b'x'; ENTRY_BYTES];
    let mut buffer = Vec::new();
    timed(|| {
        buffer.clear();
        for _ in 0..group {
            buffer.extend_from_slice(&bytes);
        }
        file.write_all(&buffer)?;
        Ok(file.sync_data()?)
    })
}

fn timed(
    mut batch: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut taken = Vec::new();
    let start = now();
    let mut before = start;
    while before - start < TURN {
        batch()?;
        let after = now();
        taken.push(after - before);
        before = after;
    }
    Ok(taken)
}

#[expect(
    clippy::disallowed_methods,
    reason = "an example that measures time has to read it"
)]
fn now() -> Instant {
    Instant::now()
}

/// A folder whose files get their length and no zeros.
struct NotFilled {
    path: PathBuf,
    folder: Folder,
}

struct LengthOnly {
    handle: File,
    file: Arc<dyn DiskFile>,
}

impl NotFilled {
    fn wrap(&self, name: &str, file: Arc<dyn DiskFile>) -> io::Result<Arc<dyn DiskFile>> {
        let handle = OpenOptions::new().write(true).open(self.path.join(name))?;
        Ok(Arc::new(LengthOnly { handle, file }))
    }
}

impl Disk for NotFilled {
    fn list(&self) -> io::Result<Vec<String>> {
        self.folder.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.wrap(name, self.folder.create(name)?)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.wrap(name, self.folder.open(name)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.folder.delete(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.folder.sync_folder()
    }
}

impl DiskFile for LengthOnly {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.handle.set_len(bytes)?;
        self.handle.sync_all()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.handle.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_data()
    }
}
