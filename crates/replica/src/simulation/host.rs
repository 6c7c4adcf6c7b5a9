//! One simulated machine with its member: the disk outlives the process, the rest does not.

use super::observer::{Ledger, Recorder};
use super::pipe::Network;
use super::requests::{Answers, Ask, Told, serve};
use crate::config::{Config, PeerAddress, Timings};
use crate::database::open_and_closed;
use crate::error::Error;
use crate::home::Home;
use crate::log::{self, LogReader, Under};
use crate::network::Transport;
use crate::opening::open_storage_with;
use crate::replica::{Replica, Surroundings};
use crate::state::{Position, StateStore};
use crate::types::Entry;
use openraft::RaftLogReader as _;
use openraft::storage::RaftLogStorage as _;
use regraft_wal::testing::{Dice, MemoryDisk};
use regraft_wal::{Options, Upkeep};
use rocksdb::WaitForCompactOptions;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(super) const CLUSTER: &str = "simulated";
/// Segments of the log, so small that a run fills several.
const SEGMENT_BYTES: u64 = 32 << 10;
/// When the first of them starts, milliseconds since the epoch.
pub(super) const EPOCH_MS: i64 = 1_700_000_000_000;
const PPM: u64 = 1_000_000;

/// How long the disk takes. Clones are of the same disk.
#[derive(Clone)]
pub(crate) struct DiskPace(Arc<Pace>);

struct Pace {
    most_ms: AtomicU64,
    dice: Mutex<Dice>,
}

impl DiskPace {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Pace {
            most_ms: AtomicU64::new(1),
            dice: Mutex::new(Dice::new(seed)),
        }))
    }

    pub(super) fn set(&self, most_ms: u64) {
        self.0.most_ms.store(most_ms, Ordering::Relaxed);
    }

    /// Waits for the disk once.
    pub(crate) async fn wait(&self) {
        let most = self.0.most_ms.load(Ordering::Relaxed);
        let wait = {
            let mut dice = self.0.dice.lock().unwrap_or_else(PoisonError::into_inner);
            dice.below(most + 1)
        };
        if wait > 0 {
            self.rest(Duration::from_millis(wait)).await;
        }
    }

    pub(crate) async fn rest(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// What all machines have in common.
pub(super) struct Setting {
    /// Where their files are.
    pub(super) root: PathBuf,
    pub(super) timings: Timings,
    pub(super) network: Network,
    pub(super) ledger: Ledger,
    /// The true time, milliseconds since the epoch.
    pub(super) wall_ms: Arc<AtomicI64>,
}

pub(super) struct Host {
    pub(super) id: u64,
    pub(super) disk: MemoryDisk,
    pub(super) pace: DiskPace,
    /// What its wall clock is off by, milliseconds.
    pub(super) clock_offset_ms: Arc<AtomicI64>,
    /// Parts in a million that its steady clock is off by.
    rate_ppm: i64,
    /// Time that is owed to it, in millionths of a millisecond.
    owed: u64,
    /// Time that passed it by, milliseconds.
    missed_ms: u64,
    wall_ms: Arc<AtomicI64>,
    root: PathBuf,
    boots: u64,
    peers: Vec<u64>,
    timings: Timings,
    network: Network,
    ledger: Ledger,
    /// It is given no processor.
    pub(super) is_paused: bool,
    pub(super) life: Life,
    running: Option<Running>,
}

/// What becomes of a machine whose member stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It is started again.
    Kept,
    /// Never: its disk is lost, or it was switched off once it was no member any more.
    Over,
}

struct Running {
    // Dropped before the runtime.
    stage: Arc<Mutex<Stage>>,
    asks: mpsc::UnboundedSender<(u64, Ask)>,
    answers: Answers,
    log: Option<LogReader>,
    state: Option<Arc<StateStore>>,
    runtime: tokio::runtime::Runtime,
}

/// How far a start has come.
enum Stage {
    Starting,
    Up(Replica),
    Failed(Error),
}

/// How a member is, from outside.
pub(super) enum Health {
    Off,
    Starting,
    Up(Replica),
    /// It did not start.
    Failed(String),
}

/// What a crash takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// The process: what was written stays.
    Process,
    /// The machine: what was not synced may be gone.
    Machine(u64),
}

impl Host {
    /// A machine with an empty disk, whose configuration names `peers`, itself among them.
    pub(super) fn new(id: u64, peers: &[u64], setting: &Setting, dice: &mut Dice) -> Self {
        // Up to a fiftieth fast or slow: far worse than quartz.
        let rate_ppm = i64::try_from(dice.below(40_001)).unwrap_or(0) - 20_000;
        let offset_ms = i64::try_from(dice.below(20_001)).unwrap_or(0) - 10_000;
        let host = Self {
            id,
            disk: MemoryDisk::new(),
            pace: DiskPace::new(dice.any()),
            clock_offset_ms: Arc::new(AtomicI64::new(offset_ms)),
            rate_ppm,
            owed: 0,
            missed_ms: 0,
            wall_ms: Arc::clone(&setting.wall_ms),
            root: setting.root.join(format!("member-{id}")),
            boots: 0,
            peers: peers.to_vec(),
            timings: setting.timings.clone(),
            network: setting.network.clone(),
            ledger: setting.ledger.clone(),
            is_paused: false,
            life: Life::Kept,
            running: None,
        };
        host.mark_disk();
        host
    }

    /// The marker that a first start makes, with a disk id that is no chance.
    fn mark_disk(&self) {
        let dir = self.data_dir();
        std::fs::create_dir_all(&dir).unwrap();
        let marker = serde_json::json!({
            "format": 1, "clusterId": CLUSTER, "nodeId": self.id, "diskId": format!("{:032x}", self.id),
        });
        std::fs::write(dir.join("member.json"), marker.to_string()).unwrap();
    }

    fn data_dir(&self) -> PathBuf {
        self.root.join(format!("boot-{}", self.boots))
    }

    /// Starts the member; it is up some time later.
    pub(super) fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let stage = Arc::new(Mutex::new(Stage::Starting));
        let answers = Answers::default();
        let (asks, asked) = mpsc::unbounded_channel();
        let (door, incoming) = mpsc::unbounded_channel();
        let guard = runtime.enter();
        let stop = CancellationToken::new();
        let opened = self.open(stop.clone());
        let (log, state) = match opened {
            Ok((storage, config, log)) => {
                let state = Arc::clone(&storage.state);
                self.network.open_door(self.id, door);
                let surroundings = Surroundings {
                    home: Home::here(),
                    transport: Some(Transport::Pipes(self.network.pipes_of(self.id))),
                    incoming: Some(tokio_stream::wrappers::UnboundedReceiverStream::new(
                        incoming,
                    )),
                    stop,
                };
                let (stage, answers) = (Arc::clone(&stage), Arc::clone(&answers));
                tokio::spawn(async move {
                    let started = Replica::start_on(surroundings, config, storage).await;
                    let next = match &started {
                        Ok(replica) => Stage::Up(replica.clone()),
                        Err(error) => Stage::Failed(Error::Halted {
                            reason: error.to_string(),
                        }),
                    };
                    *stage.lock().unwrap() = next;
                    if let Ok(replica) = started {
                        serve(replica, asked, answers).await;
                    }
                });
                (Some(log), Some(state))
            }
            Err(error) => {
                *stage.lock().unwrap() = Stage::Failed(error);
                (None, None)
            }
        };
        drop(guard);
        self.running = Some(Running {
            stage,
            asks,
            answers,
            log,
            state,
            runtime,
        });
    }

    fn open(
        &self,
        stop: CancellationToken,
    ) -> Result<(crate::opening::Storage, Config, LogReader), Error> {
        let config = self.config();
        let mut reader = None;
        let storage = open_storage_with(&config, |make_durable| {
            let under = Under {
                disk: Arc::new(self.disk.clone()),
                closed: open_and_closed().1,
                options: Options {
                    segment_bytes: SEGMENT_BYTES,
                    upkeep: Upkeep::Within,
                },
                stop,
            };
            let pace = self.pace.clone();
            let mut opened = log::open_on(under, Path::new("memory"), make_durable, |writing| {
                tokio::spawn(writing.run_simulated(pace));
                Ok(())
            })?;
            reader = Some(futures::executor::block_on(opened.store.get_log_reader()));
            Ok(opened)
        })?;
        let reader = reader.expect("the log was opened");
        Ok((storage, config, reader))
    }

    fn config(&self) -> Config {
        let (wall, offset) = (Arc::clone(&self.wall_ms), Arc::clone(&self.clock_offset_ms));
        let peer = |id: &u64| {
            let address = PeerAddress {
                address: address_of(*id),
                name: format!("member-{id}"),
            };
            (*id, address)
        };
        Config {
            node_id: self.id,
            cluster_id: CLUSTER.to_owned(),
            data_dir: self.data_dir(),
            raft_listen: ([127, 0, 0, 1], 1).into(),
            peers: self.peers.iter().map(peer).collect::<BTreeMap<_, _>>(),
            tls: None,
            timings: self.timings.clone(),
            clock: Arc::new(move || wall.load(Ordering::Relaxed) + offset.load(Ordering::Relaxed)),
            machine: Arc::new(Recorder::new(self.id, self.ledger.clone())),
            log_disk: None,
        }
    }

    /// Lets it run for so long, as its own clock has it.
    pub(super) fn run(&mut self, time_ms: u64) {
        self.owed += time_ms * PPM.saturating_add_signed(self.rate_ppm);
        let whole_ms = self.owed / PPM;
        if whole_ms == 0 {
            return;
        }
        self.owed %= PPM;
        let missed = Duration::from_millis(std::mem::take(&mut self.missed_ms));
        if let Some(running) = &self.running {
            let time = Duration::from_millis(whole_ms);
            running.runtime.block_on(async {
                if !missed.is_zero() {
                    tokio::time::advance(missed).await;
                }
                tokio::time::sleep(time).await;
            });
        }
    }

    /// Lets time pass it by: it was not given the processor.
    pub(super) fn stand_still(&mut self, time_ms: u64) {
        self.missed_ms += time_ms;
    }

    pub(super) fn health(&self) -> Health {
        let Some(running) = &self.running else {
            return Health::Off;
        };
        match &*running.stage.lock().unwrap() {
            Stage::Starting => Health::Starting,
            Stage::Up(replica) => Health::Up(replica.clone()),
            Stage::Failed(error) => Health::Failed(format!("{error:?}")),
        }
    }

    pub(super) fn replica(&self) -> Option<Replica> {
        match self.health() {
            Health::Up(replica) => Some(replica),
            _ => None,
        }
    }

    /// What it has applied, while it runs.
    pub(super) fn position(&self) -> Option<Position> {
        let state = self.running.as_ref()?.state.as_ref()?;
        Some(state.position())
    }

    /// Asks a member that is up; false when it is not.
    pub(super) fn ask(&self, number: u64, ask: Ask) -> bool {
        let up = self.replica().is_some();
        up && self
            .running
            .as_ref()
            .is_some_and(|running| running.asks.send((number, ask)).is_ok())
    }

    pub(super) fn take_answers(&self) -> VecDeque<(u64, Told)> {
        match &self.running {
            Some(running) => std::mem::take(&mut *running.answers.lock().unwrap()),
            None => VecDeque::new(),
        }
    }

    /// What is in its log, of a member that is up.
    pub(super) fn log_entries(&self) -> Result<Vec<Entry>, String> {
        let Some(reader) = self
            .running
            .as_ref()
            .and_then(|running| running.log.clone())
        else {
            return Ok(Vec::new());
        };
        let mut reader = reader;
        let read = futures::executor::block_on(reader.try_get_log_entries(0..u64::MAX));
        read.map_err(|error| error.to_string())
    }

    /// Lets the member do something, for as long as it takes, and no others do meanwhile.
    pub(super) fn trigger_snapshot(&self) {
        if let (Some(running), Some(replica)) = (&self.running, self.replica()) {
            running.runtime.spawn(async move {
                let _ = replica.take_snapshot().await;
            });
        }
    }

    /// Begins to stop as an operator would have it: leadership is handed over.
    pub(super) fn begin_shutdown(&self) {
        if let (Some(running), Some(replica)) = (&self.running, self.replica()) {
            running.runtime.spawn(replica.shutdown());
        }
    }

    /// Ends the process.
    pub(super) fn crash(&mut self, crash: Crash) {
        let Some(running) = self.running.take() else {
            return;
        };
        self.missed_ms = 0;
        self.network.close_door(self.id);
        if matches!(crash, Crash::Machine(_)) {
            self.network.darken(self.id);
        }
        // What the state has in memory only must not get to its files: RocksDB would write it when it is closed.
        // And no file may come or go while they are copied.
        if let Some(state) = &running.state {
            let all_done = WaitForCompactOptions::default();
            state.generation().db.wait_for_compact(&all_done).unwrap();
        }
        let before = self.data_dir();
        self.boots += 1;
        copy_of(&before, &self.data_dir());
        drop(running);
        if let Crash::Machine(seed) = crash {
            self.disk.crash(seed);
        }
        std::fs::remove_dir_all(before).unwrap();
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.running.take());
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// Where the others reach a member.
pub(super) fn address_of(id: u64) -> String {
    format!("member-{id}:1")
}

/// The files as they are now: those that never change again are shared.
fn copy_of(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let (from, to) = (entry.path(), to.join(&name));
        if entry.file_type().unwrap().is_dir() {
            copy_of(&from, &to);
        } else if name.ends_with(".sst") {
            std::fs::hard_link(&from, &to).unwrap();
        } else if name != "LOCK" && !name.starts_with("LOG") {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}
