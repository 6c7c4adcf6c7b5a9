use super::*;
use crate::types::{Command, LeaderId, Payload};
use bytes::Bytes;
use openraft::storage::RaftLogStorageExt as _;
use openraft::vote::RaftLeaderId as _;
use regraft_wal::testing::MemoryDisk;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) fn entry(term: u64, index: u64, size: usize) -> Entry {
    Entry {
        log_id: log_id(term, index),
        payload: Payload::Normal(Command(Bytes::from(vec![b'x'; size]))),
    }
}

pub(super) fn log_id(term: u64, index: u64) -> LogId {
    LogId {
        leader_id: LeaderId::new(term, 1),
        index,
    }
}

pub(super) fn open_at(path: &Path) -> Opened {
    open(path, None, Box::new(|| Ok(())), CancellationToken::new()).unwrap()
}

/// Waits until the folder may be opened again.
async fn close(opened: Opened) {
    let Opened {
        store,
        disks,
        room,
        size,
        failure: _,
        closed,
    } = opened;
    drop((store, disks, room, size));
    closed.wait().await;
}

async fn reopen(path: &Path, opened: Opened) -> Opened {
    close(opened).await;
    open_at(path)
}

fn indexes(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.log_id.index).collect()
}

#[tokio::test]
async fn everything_answered_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wal");
    let mut opened = open_at(&path);
    let store = &mut opened.store;
    let vote = Vote {
        leader_id: LeaderId::new(7, 2),
        committed: true,
    };
    store.save_vote(&vote).await.unwrap();
    store
        .blocking_append((1..=20).map(|index| entry(1, index, 10)))
        .await
        .unwrap();
    store.save_committed(Some(log_id(1, 12))).await.unwrap();
    store.truncate_after(Some(log_id(1, 15))).await.unwrap();
    store.purge(log_id(1, 3)).await.unwrap();

    let mut opened = reopen(&path, opened).await;
    let store = &mut opened.store;
    let mut reader = store.get_log_reader().await;
    assert_eq!(reader.read_vote().await.unwrap(), Some(vote));
    assert_eq!(store.read_committed().await.unwrap(), Some(log_id(1, 12)));
    let state = store.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 3)));
    assert_eq!(state.last_log_id, Some(log_id(1, 15)));
    let entries = reader.try_get_log_entries(..).await.unwrap();
    assert_eq!(indexes(&entries), (4..=15).collect::<Vec<_>>());
    assert_eq!(entries.last(), Some(&entry(1, 15, 10)));
    drop(reader);
    close(opened).await;
}

#[tokio::test]
async fn entries_beyond_the_tail_are_read_from_disk_without_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(&dir.path().join("wal"));
    let store = &mut opened.store;
    // Six times the tail.
    for index in 1..=120 {
        store
            .blocking_append([entry(1, index, 100 << 10)])
            .await
            .unwrap();
    }
    let mut reader = store.get_log_reader().await;
    let all = reader.try_get_log_entries(1..=120).await.unwrap();
    assert_eq!(indexes(&all), (1..=120).collect::<Vec<_>>());
    let limited = reader.limited_get_log_entries(1, 121).await.unwrap();
    assert!((5..=11).contains(&limited.len()), "{}", limited.len());
    let one = reader.limited_get_log_entries(119, 121).await.unwrap();
    assert_eq!(indexes(&one), [119, 120]);
    let streamed: Vec<_> = futures::StreamExt::collect(reader.entries_stream(1..121).await).await;
    let streamed: Vec<Entry> = streamed.into_iter().map(Result::unwrap).collect();
    assert_eq!(indexes(&streamed), (1..=120).collect::<Vec<_>>());
    drop(reader);
    close(opened).await;
}

#[tokio::test]
async fn appending_after_a_truncation_replaces_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wal");
    let mut opened = open_at(&path);
    let store = &mut opened.store;
    store
        .blocking_append((1..=5).map(|index| entry(1, index, 1)))
        .await
        .unwrap();
    store.truncate_after(Some(log_id(1, 2))).await.unwrap();
    store.blocking_append([entry(2, 3, 1)]).await.unwrap();
    let expected = [log_id(1, 1), log_id(1, 2), log_id(2, 3)];
    let ids = |entries: Vec<Entry>| -> Vec<LogId> {
        entries.into_iter().map(|entry| entry.log_id).collect()
    };
    let mut reader = store.get_log_reader().await;
    assert_eq!(ids(reader.try_get_log_entries(..).await.unwrap()), expected);
    drop(reader);
    let mut opened = reopen(&path, opened).await;
    let mut reader = opened.store.get_log_reader().await;
    assert_eq!(ids(reader.try_get_log_entries(..).await.unwrap()), expected);
    drop(reader);
    close(opened).await;
}

#[tokio::test]
async fn nothing_is_purged_when_the_state_cannot_be_made_durable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wal");
    let broken: MakeDurable = Box::new(|| Err(io::Error::other("disk full")));
    let mut opened = open(&path, None, broken, CancellationToken::new()).unwrap();
    let store = &mut opened.store;
    store
        .blocking_append((1..=5).map(|index| entry(1, index, 1)))
        .await
        .unwrap();
    // Nobody waits for it.
    store.purge(log_id(1, 3)).await.unwrap();
    let failure = Arc::clone(&opened.failure);
    until("it has failed", || failure.get().is_some()).await;
    assert_eq!(failure.get().map(String::as_str), Some("disk full"));
    // The writer has stopped for good.
    let error = store.blocking_append([entry(1, 6, 1)]).await.unwrap_err();
    assert!(error.to_string().contains("stopped"), "{error}");
    let mut opened = reopen(&path, opened).await;
    let mut reader = opened.store.get_log_reader().await;
    let entries = reader.try_get_log_entries(..).await.unwrap();
    assert_eq!(indexes(&entries), [1, 2, 3, 4, 5]);
    drop(reader);
    close(opened).await;
}

#[tokio::test]
async fn a_member_keeps_the_disk_it_was_first_seen_with() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wal");
    let opened = open_at(&path);
    assert!(opened.disks.is_of(3, b"first").await.unwrap());
    assert!(!opened.disks.is_of(3, b"second").await.unwrap());
    let opened = reopen(&path, opened).await;
    assert!(!opened.disks.is_of(3, b"second").await.unwrap());
    assert!(opened.disks.is_of(3, b"first").await.unwrap());
    close(opened).await;
}

/// Polls until `done`.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let polling = async {
        let mut every = tokio::time::interval(std::time::Duration::from_millis(5));
        while !done() {
            every.tick().await;
        }
    };
    let limit = std::time::Duration::from_secs(20);
    assert!(tokio::time::timeout(limit, polling).await.is_ok(), "{what}");
}

#[tokio::test]
async fn a_full_disk_is_told_and_writes_wait_for_room() {
    let disk = MemoryDisk::new();
    let (_, closed) = database::open_and_closed();
    let keeps: MakeDurable = Box::new(|| Ok(()));
    let mut opened = open_on(
        Under {
            disk: Arc::new(disk.clone()),
            closed,
            options: Options::default(),
            stop: CancellationToken::new(),
        },
        Path::new("memory"),
        keeps,
        writer::run_on_a_thread,
    )
    .unwrap();
    let store = &mut opened.store;
    store.blocking_append([entry(1, 1, 10)]).await.unwrap();
    until("there is room", || opened.room.lacking_still().is_none()).await;
    disk.set_room(Some(disk.used_bytes()));
    let mut index = 1;
    // The spare segment is used up before the disk is missed.
    while opened.room.lacking_still().is_none() {
        index += 1;
        let appended = store.blocking_append([entry(1, index, 1 << 20)]).await;
        appended.unwrap();
        assert!(index < 100, "the disk is never full");
    }
    disk.set_room(None);
    until("there is room again", || {
        opened.room.lacking_still().is_none()
    })
    .await;
    store
        .blocking_append([entry(1, index + 1, 10)])
        .await
        .unwrap();
    let mut reader = opened.store.get_log_reader().await;
    let entries = reader.try_get_log_entries(..).await.unwrap();
    assert_eq!(indexes(&entries), (1..=index + 1).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_write_that_waits_for_room_ends_with_its_member() {
    let (mut opened, _, stop) = beside_a_full_state();
    let room = opened.room.clone();
    let store = &mut opened.store;
    store.blocking_append([entry(1, 1, 1)]).await.unwrap();
    // Nothing can follow behind the hole before there is room.
    let purging = store.purge(log_id(1, 8));
    let giving_up = async {
        until("it is told", || room.lacking().is_some()).await;
        stop.cancel();
    };
    let (purged, ()) = futures::future::join(purging, giving_up).await;
    purged.unwrap_err();
    assert!(opened.failure.get().is_some());
}

/// A log on a disk with room, beside a state that finds none while it is told so.
fn beside_a_full_state() -> (Opened, Arc<AtomicBool>, CancellationToken) {
    let (full, stop) = (Arc::new(AtomicBool::new(true)), CancellationToken::new());
    let told = Arc::clone(&full);
    let make_durable: MakeDurable = Box::new(move || match told.load(Ordering::Acquire) {
        true => Err(io::ErrorKind::StorageFull.into()),
        false => Ok(()),
    });
    let under = Under {
        disk: Arc::new(MemoryDisk::new()),
        closed: database::open_and_closed().1,
        options: Options::default(),
        stop: stop.clone(),
    };
    let path = Path::new("memory");
    let opened = open_on(under, path, make_durable, writer::run_on_a_thread);
    (opened.unwrap(), full, stop)
}

#[tokio::test]
async fn a_purge_is_put_off_while_the_state_finds_no_room_and_hinders_nothing() {
    let (mut opened, full, _) = beside_a_full_state();
    let first = |opened: &Opened| opened.store.shared.reader.bounds().first;
    let store = &mut opened.store;
    let entries = (1..=5).map(|index| entry(1, index, 1));
    store.blocking_append(entries).await.unwrap();
    store.purge(log_id(1, 2)).await.unwrap();
    store.purge(log_id(1, 3)).await.unwrap();
    store.blocking_append([entry(1, 6, 1)]).await.unwrap();
    assert_eq!(first(&opened), 1);
    let told = opened.room.lacking().unwrap();
    assert!(
        told.starts_with("the state finds no room to be made durable"),
        "{told}"
    );
    full.store(false, Ordering::Release);
    until("the log is purged", || {
        opened.room.lacking_still().is_none() && first(&opened) == 4
    })
    .await;
    let mut reader = opened.store.get_log_reader().await;
    let entries = reader.try_get_log_entries(..).await.unwrap();
    assert_eq!(indexes(&entries), [4, 5, 6]);
}

#[tokio::test]
async fn nothing_follows_behind_a_hole_before_the_state_is_durable() {
    let (mut opened, full, _) = beside_a_full_state();
    let room = opened.room.clone();
    let store = &mut opened.store;
    store.blocking_append([entry(1, 1, 1)]).await.unwrap();
    let purging = async {
        store.purge(log_id(1, 8)).await.unwrap();
        assert!(!full.load(Ordering::Acquire));
        store.blocking_append([entry(1, 9, 1)]).await.unwrap();
    };
    let freeing = async {
        until("it is told", || room.lacking().is_some()).await;
        full.store(false, Ordering::Release);
    };
    futures::future::join(purging, freeing).await;
    let mut reader = opened.store.get_log_reader().await;
    let entries = reader.try_get_log_entries(..).await.unwrap();
    assert_eq!(indexes(&entries), [9]);
}

#[tokio::test]
async fn what_a_quorum_of_others_committed_is_not_told_before_it_is_in_this_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wal");
    let mut opened = open_at(&path);
    let store = &mut opened.store;
    store
        .blocking_append((1..=3).map(|index| entry(1, index, 1)))
        .await
        .unwrap();
    store.save_committed(Some(log_id(1, 5))).await.unwrap();
    let mut opened = reopen(&path, opened).await;
    assert_eq!(opened.store.read_committed().await.unwrap(), None);
    let store = &mut opened.store;
    store.save_committed(Some(log_id(1, 5))).await.unwrap();
    store
        .blocking_append((4..=5).map(|index| entry(1, index, 1)))
        .await
        .unwrap();
    let mut opened = reopen(&path, opened).await;
    let committed = opened.store.read_committed().await.unwrap();
    assert_eq!(committed, Some(log_id(1, 5)));
    close(opened).await;
}

#[tokio::test]
async fn a_writer_that_stops_for_good_says_so_whoever_it_failed() {
    let disk = MemoryDisk::new();
    let under = Under {
        disk: Arc::new(disk.clone()),
        closed: database::open_and_closed().1,
        options: Options::default(),
        stop: CancellationToken::new(),
    };
    let keeps: MakeDurable = Box::new(|| Ok(()));
    let opened = open_on(under, Path::new("memory"), keeps, writer::run_on_a_thread);
    let opened = opened.unwrap();
    assert_eq!(opened.failure.get(), None);
    disk.fail_sync(1);
    // Not the engine's: it would not find out.
    opened.disks.is_of(2, b"a disk").await.unwrap_err();
    let told = opened.failure.get().unwrap();
    assert!(told.contains("sync"), "{told}");
    let mut store = opened.store;
    store.blocking_append([entry(1, 1, 1)]).await.unwrap_err();
}
