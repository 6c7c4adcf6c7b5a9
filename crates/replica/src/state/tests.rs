use super::engine::Applier;
use super::snapshot::{SnapshotData, SnapshotFile, Snapshots};
use super::*;
use crate::changes::Change;
use crate::log::{self, LogStore};
use crate::room::Room;
use crate::types::{Command, LeaderId, Types};
use openraft::RaftSnapshotBuilder as _;
use openraft::StorageError;
use openraft::storage::RaftStateMachine as _;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::vote::RaftLeaderId as _;
use regraft_state::store::Batch;
use tokio_util::sync::CancellationToken;

/// `key=value` puts, `key` deletes; the answer is what was there.
struct Puts;

impl Machine for Puts {
    fn apply(&self, read: &dyn Read, index: u64, command: &[u8]) -> Result<Applied, Halt> {
        if command == b"halt" {
            return Err(Halt::Unknown {
                index,
                reason: "a test".to_owned(),
            });
        }
        let mut parts = command.splitn(2, |byte| *byte == b'=');
        let key = parts.next().unwrap_or_default().to_vec();
        let response = read.get(&key)?.unwrap_or_default();
        let write = match parts.next() {
            Some(value) => Write::Put {
                key,
                value: value.to_vec(),
            },
            None => Write::Delete { key },
        };
        Ok(Applied {
            batch: Batch {
                writes: vec![write],
            },
            response,
        })
    }

    fn format(&self) -> u32 {
        1
    }
}

fn command(index: u64, text: &str) -> Entry {
    Entry {
        log_id: LogId {
            leader_id: LeaderId::new(1, 1),
            index,
        },
        payload: Payload::Normal(Command(text.as_bytes().to_vec().into())),
    }
}

fn open_state(dir: &Path) -> StateStore {
    StateStore::open(&dir.join("state"), Arc::new(Puts)).unwrap()
}

fn apply(state: &StateStore, entry: Entry) -> io::Result<Vec<u8>> {
    let mut applied = state.apply(&[entry], Patience::Waits).unwrap();
    applied.outcome.map(|()| applied.answers.remove(0))
}

fn applier(dir: &Path) -> Applier {
    let state = open_state(dir);
    let snapshots = Snapshots::open(&dir.join("snapshots"), "shop", state.open_guard());
    Applier {
        state: Arc::new(state),
        snapshots: Arc::new(snapshots.unwrap()),
        room: Room::new(CancellationToken::new(), || {}),
    }
}

fn pairs(state: &StateStore) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    state
        .read(|view, _| {
            view.scan(b"", &mut |key, value| {
                pairs.push((text(key), text(value)));
                Walk::Continue
            })
        })
        .unwrap()
        .unwrap();
    pairs
}

struct Builder;

/// Dropped after the stores: no database may be open when the process of the tests ends.
struct Guard {
    closed: Option<Closed>,
    _dir: tempfile::TempDir,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(closed) = self.closed.take() {
            futures::executor::block_on(closed.wait());
        }
    }
}

impl StoreBuilder<Types, LogStore, Applier, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, Applier), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let applier = applier(dir.path());
        let state = Arc::clone(&applier.state);
        let make_durable = Box::new(move || state.make_durable());
        let opened = log::open(
            &dir.path().join("wal"),
            None,
            make_durable,
            CancellationToken::new(),
        )
        .unwrap();
        let guard = Guard {
            closed: Some(opened.closed),
            _dir: dir,
        };
        Ok((guard, opened.store, applier))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_and_state_pass_the_engines_own_suite() {
    Suite::test_all(Builder).await.unwrap();
}

#[test]
fn commands_change_the_state_and_the_position_together() {
    let dir = tempfile::tempdir().unwrap();
    let state = open_state(dir.path());
    assert_eq!(apply(&state, command(1, "a=1")).unwrap(), b"");
    assert_eq!(apply(&state, command(2, "a=2")).unwrap(), b"1");
    assert_eq!(apply(&state, command(3, "b=3")).unwrap(), b"");
    assert_eq!(apply(&state, command(4, "a")).unwrap(), b"2");
    drop(state);
    let state = open_state(dir.path());
    assert_eq!(pairs(&state), [("b".to_owned(), "3".to_owned())]);
    assert_eq!(index_of(&state.position()), 4);
    assert_eq!(*state.applied().borrow(), 4);
}

#[test]
fn a_scan_stays_within_its_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let state = open_state(dir.path());
    for (index, text) in ["a=1", "b/1=2", "b/2=3", "c=4"].iter().enumerate() {
        apply(&state, command(index as u64 + 1, text)).unwrap();
    }
    let mut seen = Vec::new();
    let index = state
        .read(|view, index| {
            view.scan(b"b/", &mut |key, _| {
                seen.push(key.to_vec());
                Walk::Continue
            })
            .map(|()| index)
        })
        .unwrap()
        .unwrap();
    assert_eq!(seen, [b"b/1".to_vec(), b"b/2".to_vec()]);
    assert_eq!(index, 4);
    assert_eq!(successor(&[DATA_PREFIX, 0xff, 0xff]), [DATA_PREFIX + 1]);
}

#[test]
fn a_halt_stops_applying_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let state = open_state(dir.path());
    apply(&state, command(1, "a=1")).unwrap();
    apply(&state, command(2, "halt")).unwrap_err();
    let error = apply(&state, command(3, "a=3")).unwrap_err();
    insta::assert_snapshot!(error, @"log entry 2 is not a command this version knows: a test");
    assert_eq!(index_of(&state.position()), 1);
    assert_eq!(pairs(&state), [("a".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn changes_come_in_order_and_a_slow_subscriber_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let state = open_state(dir.path());
    let mut slow = state.changes().subscribe();
    let mut quick = state.changes().subscribe();
    apply(&state, command(1, "a=1")).unwrap();
    let expected = Change::Applied {
        index: 1,
        writes: vec![Write::Put {
            key: b"a".to_vec(),
            value: b"1".to_vec(),
        }]
        .into(),
    };
    assert_eq!(quick.next().await, Ok(expected));
    let entries = (2..=20_000).map(|index| command(index, "a=1"));
    let entries: Vec<Entry> = entries.collect();
    let applied = state.apply(&entries, Patience::Waits).unwrap();
    assert_eq!(
        (applied.answers.len(), applied.outcome.is_ok()),
        (19_999, true)
    );
    let Err(crate::changes::ChangesError::Lagged { missed }) = slow.next().await else {
        panic!("the slow subscriber was not told");
    };
    assert_eq!(missed, 20_000 - 16_384);
    assert!(matches!(slow.next().await, Ok(Change::Applied { index, .. }) if index == missed + 1));
}

#[tokio::test]
async fn a_snapshot_is_of_the_moment_its_builder_was_made_and_replaces_another_state() {
    let from = tempfile::tempdir().unwrap();
    let mut source = applier(from.path());
    for index in 1..=2000 {
        let text = format!("key{index:04}={}", "v".repeat(500));
        apply(&source.state, command(index, &text)).unwrap();
    }
    let mut builder = source.get_snapshot_builder().await;
    let snapshot = builder.build_snapshot().await.unwrap();
    assert_eq!(snapshot.meta.last_log_id.unwrap().index, 2000);
    apply(&source.state, command(2001, "late=1")).unwrap();
    let stream = stream_of(&snapshot.snapshot);
    assert!(stream.len() > 1_000_000);

    let to = tempfile::tempdir().unwrap();
    let mut target = applier(to.path());
    apply(&target.state, command(1, "old=1")).unwrap();
    let mut changes = target.state.changes().subscribe();
    let received = received(&target.snapshots, &stream);
    assert_eq!(target.snapshots.verify(&received).unwrap(), snapshot.meta);
    let before = pairs(&target.state);
    let held = target.state.generation();
    target
        .install_snapshot(&snapshot.meta, SnapshotData::Received(received))
        .await
        .unwrap();
    assert_eq!(changes.next().await, Ok(Change::Reset { index: 2000 }));
    assert_eq!(before.len(), 1);
    assert_eq!(pairs(&target.state).len(), 2000);
    assert_eq!(pairs(&target.state)[0].0, "key0001");
    // The old state goes when its last reader does.
    assert!(held.path().exists());
    let old = held.path().to_owned();
    drop(held);
    assert!(!old.exists());
    drop(target);
    let target = applier(to.path());
    assert_eq!(pairs(&target.state).len(), 2000);
    assert_eq!(target.snapshots.current().unwrap().meta(), &snapshot.meta);
}

#[tokio::test]
async fn a_damaged_cut_or_foreign_snapshot_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = applier(dir.path());
    apply(&source.state, command(1, "a=1")).unwrap();
    let snapshot = source
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .unwrap()
        .snapshot;
    let stream = stream_of(&snapshot);
    #[track_caller]
    fn refusal(snapshots: &Snapshots, stream: &[u8]) -> String {
        let file = received(snapshots, stream);
        let text = snapshots.verify(&file).unwrap_err().to_string();
        text.split_once("cannot be used: ").unwrap().1.to_owned()
    }
    let source = &source.snapshots;

    let mut bits = stream.clone();
    bits[stream.len() / 2] ^= 1;
    insta::assert_snapshot!(refusal(source, &bits), @"a checksum does not match");
    insta::assert_snapshot!(refusal(source, &stream[..stream.len() - 3]), @"it was cut short");
    insta::assert_snapshot!(refusal(source, b"hello, this is no snapshot"), @"it is not a snapshot of regraft");
    let mut newer = stream.clone();
    newer[8..12].copy_from_slice(&2_u32.to_be_bytes());
    insta::assert_snapshot!(refusal(source, &newer), @"it has format 2, this version reads up to 1");
    let other = tempfile::tempdir().unwrap();
    let state = open_state(other.path());
    let bank = Snapshots::open(&other.path().join("snapshots"), "bank", state.open_guard());
    insta::assert_snapshot!(refusal(&bank.unwrap(), &stream), @"it is of cluster shop, not bank");
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_installed_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut target = applier(dir.path());
    apply(&target.state, command(1, "a=1")).unwrap();
    let mut builder = target.get_snapshot_builder().await;
    let snapshot = builder.build_snapshot().await.unwrap();
    let mut stream = stream_of(&snapshot.snapshot);
    stream.pop();
    let cut = SnapshotData::Received(received(&target.snapshots, &stream));
    let installed = target.install_snapshot(&snapshot.meta, cut).await;
    assert!(installed.is_err());
    assert_eq!(pairs(&target.state), [("a".to_owned(), "1".to_owned())]);
    let left = std::fs::read_dir(dir.path().join("state")).unwrap();
    let mut left: Vec<_> = left.map(|it| it.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["CURRENT", "db-1"]);
    drop((builder, target));
    assert_eq!(pairs(&open_state(dir.path())).len(), 1);
}

#[tokio::test]
async fn an_unreadable_current_snapshot_is_dropped_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = applier(dir.path());
    apply(&source.state, command(1, "a=1")).unwrap();
    let mut builder = source.get_snapshot_builder().await;
    builder.build_snapshot().await.unwrap();
    drop((builder, source));
    let path = dir.path().join("snapshots/checkpoint-0");
    std::fs::write(path.join("CURRENT"), "no manifest").unwrap();
    let again = applier(dir.path());
    assert!(again.snapshots.current().is_none());
    assert!(!path.exists());
}

fn stream_of(snapshot: &SnapshotData) -> Vec<u8> {
    let SnapshotData::Taken(taken) = snapshot else {
        panic!("it was not taken here");
    };
    let mut stream = Vec::new();
    taken.write_to(&mut stream).unwrap();
    stream
}

fn received(into: &Snapshots, stream: &[u8]) -> SnapshotFile {
    let file = into.temporary().unwrap();
    file.write_at(0, stream).unwrap();
    file
}
