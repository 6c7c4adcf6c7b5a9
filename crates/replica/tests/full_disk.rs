//! A member whose disk is full accepts nothing, stays readable, and goes on by itself when there is room.
//!
//! Each test runs again in a process that alone sees its mounts, so that the kernel takes them away with it. Where that
//! cannot be had (neither root nor user namespaces), it says that it is skipped.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use regraft_replica::{Error, Machine, MemberChange, Replica};
use regraft_state::store::{Batch, Read, Write};
use regraft_state::{Applied, Halt};
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use support::{Fleet, Puts, applied, get, kill, kill_all, leader_of, put, until};

/// Set in the process that has mounts of its own.
const OWN_MOUNTS: &str = "REGRAFT_TEST_OWN_MOUNTS";
/// Room for two segments of the log, and more than a member wants to be free.
const DISK: &str = "192m";
/// Many of these are more than a memory table.
const VALUE_BYTES: usize = 100_000;
const VALUES: usize = 200;

/// As [`Puts`], and counts what was applied: who applies twice counts more.
struct Counts;

impl Machine for Counts {
    fn apply(&self, read: &dyn Read, index: u64, command: &[u8]) -> Result<Applied, Halt> {
        let applied = Puts.apply(read, index, command)?;
        let counted = read.get(b"count")?.map_or(0, |bytes| bytes[0]);
        let mut writes = applied.batch.writes;
        writes.push(Write::Put {
            key: b"count".to_vec(),
            value: vec![counted.wrapping_add(1)],
        });
        Ok(Applied {
            batch: Batch { writes },
            ..applied
        })
    }

    fn format(&self) -> u32 {
        1
    }
}

/// A small file system.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={DISK}"), "tmpfs"]);
        assert!(mount.arg(&at).status().unwrap().success());
        Self(at)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves so much; once more takes what was given back since.
    fn fill_but(&self, bytes: u64) {
        let mut file = File::options();
        let mut file = file.create(true).append(true).open(self.filler()).unwrap();
        for block in [1 << 20, 4096] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
        let length = file.metadata().unwrap().len();
        file.set_len(length - bytes).unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

/// Runs the test of this name in a process with mounts of its own.
fn alone(test: &str, run: impl AsyncFnOnce()) {
    if std::env::var_os(OWN_MOUNTS).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(run());
    }
    let unshare = |rights: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(rights);
        command.args(["--mount", "--propagation=private", "--"]);
        command
    };
    let rights: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
    let may = |rights: &&&[&str]| {
        let mut tried = unshare(rights);
        tried.args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
        tried.output().is_ok_and(|tried| tried.status.success())
    };
    let Some(rights) = rights.iter().find(may) else {
        eprintln!("{test} is skipped: no process may have mounts of its own here");
        return;
    };
    let ended = unshare(rights)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(OWN_MOUNTS, "1")
        .status();
    assert!(ended.unwrap().success());
}

fn counting() -> Fleet {
    let mut fleet = Fleet::new(3);
    fleet.machine = Arc::new(Counts);
    fleet
}

/// Three members with disks of their own, mounted at `part` of their folders, and who leads; `before` is 1.
async fn three_with_disks(part: &str) -> (Fleet, BTreeMap<u64, Disk>, BTreeMap<u64, Replica>, u64) {
    let fleet = counting();
    let disks = disks(&fleet, part);
    let members = fleet.start_all().await;
    let leader = leader_of(&members).await;
    put(&members[&leader], "before=1").await;
    (fleet, disks, members, leader)
}

fn disks(fleet: &Fleet, part: &str) -> BTreeMap<u64, Disk> {
    let mount = |id: &u64| (*id, Disk::mount(fleet.data_dir(*id).join(part)));
    fleet.addresses.keys().map(mount).collect()
}

/// Values that compression makes no smaller, under keys of their own.
async fn put_many(member: &Replica, name: &str) -> u64 {
    let mut last = 0;
    let mut noise = 1_u64;
    for number in 0..VALUES {
        let value: String = std::iter::repeat_with(|| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(b'0' + u8::try_from(noise >> 58).unwrap())
        })
        .take(VALUE_BYTES)
        .collect();
        last = put(member, &format!("{name}-{number}={value}")).await.index;
    }
    last
}

async fn told_full(member: &Replica, what: &str) -> String {
    until(what, async || match member.status().full_disk {
        Some(told) if told.contains(what) => Ok(told),
        other => Err(format!("{other:?}")),
    })
    .await
}

async fn has_room(member: &Replica) {
    until("there is room again", async || {
        let status = member.status();
        match (status.full_disk, status.fatal) {
            (None, None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

async fn all_have_the_same(members: &BTreeMap<u64, Replica>, last: u64) {
    for member in members.values() {
        applied(member, last).await;
    }
    let states: Vec<_> = members
        .values()
        .map(|it| it.list(b"").unwrap().pairs)
        .collect();
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_follower_whose_tables_find_no_room_goes_on_when_there_is_some() {
    let test = "a_follower_whose_tables_find_no_room_goes_on_when_there_is_some";
    alone(test, async || {
        let (_fleet, disks, members, leader) = three_with_disks("state").await;
        let full = leader % 3 + 1;
        disks[&full].fill_but(0);
        let last = put_many(&members[&leader], "meanwhile").await;
        let told = told_full(&members[&full], "No space left on device").await;
        assert!(told.contains("are free in"), "{told}");
        let behind = members[&full].status();
        assert!(behind.applied < last, "{behind:?}");
        assert_eq!(get(&members[&full], "before").as_deref(), Some("1"));
        disks[&full].empty();
        has_room(&members[&full]).await;
        let last = put(&members[&leader], "after=1").await.index;
        all_have_the_same(&members, last).await;
        kill_all(members.into_values()).await;
    });
}

#[test]
fn a_leader_whose_disk_is_full_has_another_one_lead() {
    let test = "a_leader_whose_disk_is_full_has_another_one_lead";
    alone(test, async || {
        let (_fleet, disks, members, leader) = three_with_disks("").await;
        disks[&leader].fill_but(0);
        let next = until("another one leads", async || {
            match leader_of(&members).await {
                next if next != leader => Ok(next),
                _ => Err(format!("{:?}", members[&leader].status())),
            }
        })
        .await;
        put_many(&members[&next], "meanwhile").await;
        assert_eq!(get(&members[&leader], "before").as_deref(), Some("1"));
        disks[&leader].empty();
        has_room(&members[&leader]).await;
        let last = put(&members[&next], "after=1").await.index;
        all_have_the_same(&members, last).await;
        kill_all(members.into_values()).await;
    });
}

#[test]
fn the_one_whose_disk_has_room_leads_in_the_end() {
    let test = "the_one_whose_disk_has_room_leads_in_the_end";
    alone(test, async || {
        let (_fleet, disks, members, leader) = three_with_disks("").await;
        // Among those that are as good the highest number is asked first: the two that are full ask each other.
        let (has_room, full) = (1, [2, 3]);
        if leader == has_room {
            let lead = MemberChange::Lead { id: full[1] };
            members[&leader]
                .change_members("user/alice", lead)
                .await
                .unwrap();
        }
        for id in full {
            disks[&id].fill_but(0);
        }
        until("the one with room leads", async || {
            match leader_of(&members).await {
                id if id == has_room => Ok(()),
                id => Err(format!("{id} leads")),
            }
        })
        .await;
        put(&members[&has_room], "meanwhile=1").await;
        for id in full {
            disks[&id].empty();
            self::has_room(&members[&id]).await;
        }
        let last = put(&members[&has_room], "after=1").await.index;
        all_have_the_same(&members, last).await;
        kill_all(members.into_values()).await;
    });
}

#[test]
fn where_all_disks_are_full_nothing_is_accepted_until_there_is_room() {
    let test = "where_all_disks_are_full_nothing_is_accepted_until_there_is_room";
    alone(test, async || {
        let (fleet, disks, members, leader) = three_with_disks("").await;
        for disk in disks.values() {
            disk.fill_but(0);
        }
        for (id, member) in &members {
            let told = told_full(member, "").await;
            let folder = fleet.data_dir(*id).display().to_string();
            assert!(told.contains(&folder), "{told}");
        }
        let refused = until("nothing is accepted", async || {
            let proposed = members[&leader].propose(b"meanwhile=1".to_vec()).await;
            proposed.map_or_else(|error| Ok(error.to_string()), |it| Err(format!("{it:?}")))
        })
        .await;
        assert!(
            refused.starts_with("not proposed: the disk of the leader is full: "),
            "{refused}"
        );
        until("what was accepted is read", async || {
            let proved = members[&leader].barrier().await;
            proved.map_err(|error| error.to_string())
        })
        .await;
        assert_eq!(get(&members[&leader], "before").as_deref(), Some("1"));
        for disk in disks.values() {
            disk.empty();
        }
        for member in members.values() {
            has_room(member).await;
        }
        let last = put_many(&members[&leader], "after").await;
        all_have_the_same(&members, last).await;
        kill_all(members.into_values()).await;
    });
}

#[test]
fn a_snapshot_that_finds_no_room_is_taken_when_there_is_some() {
    let test = "a_snapshot_that_finds_no_room_is_taken_when_there_is_some";
    alone(test, async || {
        let fleet = Fleet::new(1);
        let disk = Disk::mount(fleet.data_dir(1));
        let member = fleet.start(1).await;
        put(&member, "a=1").await;
        disk.fill_but(0);
        told_full(&member, "").await;
        // What the log had begun to prepare is given back by now.
        disk.fill_but(0);
        member.take_snapshot().await.unwrap();
        told_full(&member, "No space left on device").await;
        assert_eq!(get(&member, "a").as_deref(), Some("1"));
        disk.empty();
        has_room(&member).await;
        until("the snapshot", async || match member.status().snapshot {
            0 => Err(format!("{:?}", member.status())),
            _ => Ok(()),
        })
        .await;
        let left = std::fs::read_dir(fleet.data_dir(1).join("snapshots")).unwrap();
        // The pointer and what it names: nothing half made.
        assert_eq!(left.count(), 2);
        kill(member).await;
    });
}

#[test]
fn a_snapshot_that_finds_no_room_is_sent_again() {
    let test = "a_snapshot_that_finds_no_room_is_sent_again";
    alone(test, async || {
        let mut fleet = counting();
        fleet.timings.keep_entries = 1;
        let disks = disks(&fleet, "");
        let mut members = fleet.start_all().await;
        let leader = leader_of(&members).await;
        let behind = leader % 3 + 1;
        members.remove(&behind).unwrap().shutdown().await;
        let last = put_many(&members[&leader], "meanwhile").await;
        members[&leader].take_snapshot().await.unwrap();
        until("the log is purged", async || {
            let status = members[&leader].status();
            match status.purged + 2 >= last {
                true => Ok(()),
                false => Err(format!("{status:?}")),
            }
        })
        .await;
        let disk = &disks[&behind];
        // Enough to start.
        disk.fill_but(4 << 20);
        let back = fleet.start(behind).await;
        let trouble = until("the leader says why", async || {
            let troubles = members[&leader].status().troubles;
            match troubles.get(&behind) {
                Some(told) if told.contains("full") => Ok(told.clone()),
                _ => Err(format!("{troubles:?}")),
            }
        })
        .await;
        assert!(
            trouble.contains("the disk of this member is full"),
            "{trouble}"
        );
        disk.empty();
        applied(&back, last).await;
        members.insert(behind, back);
        all_have_the_same(&members, last).await;
        kill_all(members.into_values()).await;
    });
}

#[test]
fn a_member_starts_on_a_full_disk_or_says_why_not() {
    let test = "a_member_starts_on_a_full_disk_or_says_why_not";
    alone(test, async || {
        let fleet = Fleet::new(1);
        let disk = Disk::mount(fleet.data_dir(1));
        disk.fill_but(0);
        let error = Replica::start(fleet.config(1)).await.map(drop).unwrap_err();
        check_full(&fleet, &error);
        disk.empty();
        let member = fleet.start(1).await;
        put(&member, "a=1").await;
        member.shutdown().await;
        disk.fill_but(0);
        match Replica::start(fleet.config(1)).await {
            Err(error) => check_full(&fleet, &error),
            // What RocksDB takes away of its own text logs may be enough for it.
            Ok(member) => {
                told_full(&member, "").await;
                assert_eq!(get(&member, "a").as_deref(), Some("1"));
                kill(member).await;
            }
        }
        disk.empty();
        let member = fleet.start(1).await;
        put(&member, "b=1").await;
        assert_eq!(get(&member, "a").as_deref(), Some("1"));
        kill(member).await;
    });
}

fn check_full(fleet: &Fleet, error: &Error) {
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    let path = fleet.data_dir(1);
    let told = error.to_string().replace(&*path.to_string_lossy(), "DIR");
    let (before, behind) = told.split_once(" (").unwrap();
    assert_eq!(before, "the disk of DIR is full");
    assert!(
        behind.ends_with("are free): make room on it, then try again"),
        "{told}"
    );
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains(&*path.to_string_lossy()), "{cause}");
}
