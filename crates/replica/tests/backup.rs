//! A state that is taken into a file, and goes on in other members.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![expect(
    dead_code,
    reason = "the other tests use more of what they have in common"
)]

mod support;

use futures::StreamExt as _;
use regraft_replica::backup::{self, BackupInfo, ClusterName, restore};
use regraft_replica::{BackupError, Config, Error, MemberChange, Replica};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::{Fleet, get, kill, kill_all, leader_of, put, until};

/// Where the log of a restored state begins above the backup's last entry.
const GAP: u64 = 1_000_000_000_000;

async fn taken(member: &Replica) -> Vec<u8> {
    let parts = member.backup().await.unwrap();
    let parts: Vec<_> = parts.collect().await;
    parts.into_iter().flat_map(|part| part.unwrap()).collect()
}

async fn taken_into(member: &Replica, file: &Path) -> BackupInfo {
    std::fs::write(file, taken(member).await).unwrap();
    backup::verify(file).unwrap()
}

/// A single member, and a file with a backup of it.
async fn single() -> (Fleet, PathBuf, BackupInfo) {
    let fleet = Fleet::new(1);
    let member = fleet.start(1).await;
    put(&member, "a=1").await;
    put(&member, "b=2").await;
    let file = fleet.dir.path().join("backup");
    let info = taken_into(&member, &file).await;
    kill(member).await;
    (fleet, file, info)
}

/// The configuration of a member on a folder of its own.
fn anew(fleet: &Fleet, id: u64) -> Config {
    Config {
        data_dir: fleet.dir.path().join(format!("new-{id}")),
        ..fleet.config(id)
    }
}

async fn start_anew(fleet: &Fleet, id: u64) -> Replica {
    Replica::start(anew(fleet, id)).await.unwrap()
}

fn refusal(file: &Path, config: &Config) -> Error {
    restore(file, config, ClusterName::Same).unwrap_err()
}

#[tokio::test]
async fn a_backup_says_what_it_is_of_and_holds_every_pair() {
    let (fleet, file, info) = single().await;
    assert_eq!(info.cluster_id, "shop");
    assert_eq!(info.bytes, std::fs::metadata(&file).unwrap().len());
    let clock = fleet.clock_ms.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(info.taken_ms, clock);
    let address = fleet.addresses[&1].to_string();
    assert_eq!(info.members, BTreeMap::from([(1, address)]));
    assert_eq!(info.voters, [1].into());
    let mut pairs = BTreeMap::new();
    let again = backup::read_file(&file, &mut |key, value| {
        pairs.insert(key.to_vec(), value.to_vec());
        Ok(())
    });
    assert_eq!(again.unwrap(), info);
    assert_eq!(pairs.len() as u64, info.pairs);
    assert_eq!(pairs[b"a".as_slice()], b"1");
    assert_eq!(pairs[b"b".as_slice()], b"2");
}

#[tokio::test]
async fn no_byte_of_a_backup_can_be_changed_left_out_or_added_unseen() {
    let (fleet, file, _) = single().await;
    let bytes = std::fs::read(&file).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        let read = backup::read(&file, bytes, &mut |_, _| Ok(()));
        assert!(
            matches!(
                read,
                Err(Error::DamagedBackup { .. } | Error::NewerBackup { .. })
            ),
            "{what}: {read:?}"
        );
    };
    for at in 0..bytes.len() {
        for bit in [0, 7] {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            refused(&changed, &format!("bit {bit} of byte {at} changed"));
        }
    }
    for length in 0..bytes.len() {
        refused(&bytes[..length], &format!("cut to {length} bytes"));
    }
    refused(&[bytes.as_slice(), b"\0"].concat(), "a byte more");
    drop(fleet);
}

#[tokio::test]
async fn a_member_is_made_only_of_a_whole_backup_of_its_own_cluster_in_an_empty_folder() {
    let (fleet, file, info) = single().await;
    let config = anew(&fleet, 1);
    let bytes = std::fs::read(&file).unwrap();
    let other = fleet.dir.path().join("other");

    std::fs::write(&other, &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(
        refusal(&other, &config),
        Error::DamagedBackup { .. }
    ));
    let mut newer = bytes.clone();
    newer[8..12].copy_from_slice(&9_u32.to_be_bytes());
    std::fs::write(&other, newer).unwrap();
    assert!(matches!(
        refusal(&other, &config),
        Error::NewerBackup { found: 9, .. }
    ));
    let bank = Config {
        cluster_id: "bank".to_owned(),
        ..config.clone()
    };
    assert!(matches!(
        refusal(&file, &bank),
        Error::OtherClustersBackup { .. }
    ));
    assert!(!config.data_dir.exists(), "a refusal leaves nothing behind");

    let running = fleet.start(1).await;
    let in_use = refusal(&file, &fleet.config(1));
    assert!(matches!(in_use, Error::DatabaseInUse { .. }), "{in_use}");
    kill(running).await;
    let full = refusal(&file, &fleet.config(1));
    assert!(matches!(full, Error::FolderNotEmpty { .. }), "{full}");

    let renamed = restore(&file, &bank, ClusterName::New).unwrap();
    assert_eq!(renamed.backup, info);
    assert_eq!(renamed.index, info.index + GAP);
}

#[tokio::test]
async fn a_restore_that_was_cut_off_is_not_started_and_begins_anew() {
    let (fleet, file, info) = single().await;
    let config = anew(&fleet, 1);
    restore(&file, &config, ClusterName::Same).unwrap();
    // As it is until the last step.
    let marker = config.data_dir.join("member.json");
    let text = std::fs::read_to_string(&marker).unwrap();
    let half = text.replace("\"line\"", "\"restoring\": true,\n  \"line\"");
    assert_ne!(half, text);
    std::fs::write(&marker, half).unwrap();
    std::fs::remove_dir_all(config.data_dir.join("wal")).unwrap();
    let started = Replica::start(config.clone()).await.map(drop);
    assert!(
        matches!(started, Err(Error::HalfRestored { .. })),
        "{started:?}"
    );

    restore(&file, &config, ClusterName::Same).unwrap();
    let member = Replica::start(config).await.unwrap();
    let proposed = put(&member, "c=3").await;
    assert!(proposed.index > info.index + GAP, "{proposed:?}");
    assert_eq!(get(&member, "a").as_deref(), Some("1"));
    kill(member).await;
}

#[tokio::test]
async fn a_backup_has_what_was_acknowledged_and_writing_goes_on_while_it_is_taken() {
    let fleet = Fleet::new(1);
    let member = fleet.start(1).await;
    let acknowledged = put(&member, "a=1").await;
    let mut parts = member.backup().await.unwrap();
    assert!(matches!(
        member.backup().await.map(drop),
        Err(BackupError::Busy)
    ));
    put(&member, "a=2").await;
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await {
        bytes.extend(part.unwrap());
    }
    let mut found = Vec::new();
    let info = backup::read(Path::new("it"), bytes.as_slice(), &mut |key, value| {
        if key == b"a" {
            found = value.to_vec();
        }
        Ok(())
    });
    assert_eq!(found, b"1");
    assert_eq!(info.unwrap().index, acknowledged.index);
    drop(parts);
    until("the next backup may be taken", async || {
        member.backup().await.map(drop).map_err(|it| it.to_string())
    })
    .await;
    until("its files are gone", async || {
        let left = std::fs::read_dir(fleet.data_dir(1).join("snapshots")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        match left.is_empty() {
            true => Ok(()),
            false => Err(format!("{left:?}")),
        }
    })
    .await;
    kill(member).await;
}

#[tokio::test]
async fn a_restored_trio_goes_on_far_above_and_keeps_those_of_before_out() {
    let mut fleet = Fleet::new(4);
    let fourth = fleet.addresses.remove(&4).unwrap();
    let old = fleet.start_all().await;
    let leader = leader_of(&old).await;
    put(&old[&leader], "a=1").await;
    let file = fleet.dir.path().join("backup");
    let info = taken_into(&old[&(leader % 3 + 1)], &file).await;
    let lost = put(&old[&leader], "a=lost").await;
    kill_all(old.into_values()).await;

    let restored: Vec<_> = (1..=3)
        .map(|id| restore(&file, &anew(&fleet, id), ClusterName::Same).unwrap())
        .collect();
    assert!(restored.iter().all(|it| *it == restored[0]), "{restored:?}");

    // The third of before comes first: it is kept out, and takes nobody's place.
    let mut members = BTreeMap::new();
    for id in [1, 2] {
        members.insert(id, start_anew(&fleet, id).await);
    }
    let leader = leader_of(&members).await;
    let ghost = fleet.start(3).await;
    let told = until("the member of before is refused", async || {
        let trouble = members[&leader].status().troubles.get(&3).cloned();
        let trouble = trouble.unwrap_or_default();
        match trouble.contains("do not come from the same restore") {
            true => Ok(trouble),
            false => Err(trouble),
        }
    })
    .await;
    assert!(told.contains("stop that one for good"), "{told}");
    let proposed = put(&members[&leader], "b=2").await;
    assert!(proposed.index > info.index + GAP && proposed.index > lost.index);
    assert_eq!(get(&ghost, "b"), None);
    kill(ghost).await;

    members.insert(3, start_anew(&fleet, 3).await);
    let third = &members[&3];
    until("the third follows", async || {
        match get(third, "b").as_deref() {
            Some("2") => Ok(()),
            _ => Err(format!("{:?}", third.status())),
        }
    })
    .await;
    assert_eq!(get(third, "a").as_deref(), Some("1"));

    // A new member belongs to them, and is one of them also after a restart.
    fleet.addresses.insert(4, fourth);
    let mut newcomer = fleet.start(4).await;
    let address = fourth.to_string();
    let add = MemberChange::Add { id: 4, address };
    until("the fourth is added", async || {
        let changed = members[&1].change_members("user/root", add.clone()).await;
        changed.map_err(|error| error.to_string())
    })
    .await;
    for _ in 0..2 {
        until("the fourth follows", async || {
            match get(&newcomer, "b").as_deref() {
                Some("2") => Ok(()),
                _ => Err(format!("{:?}", newcomer.status())),
            }
        })
        .await;
        kill(newcomer).await;
        newcomer = fleet.start(4).await;
        put(&members[&1], "c=3").await;
    }
    until("the fourth is spoken to", async || {
        match get(&newcomer, "c").as_deref() {
            Some("3") => Ok(()),
            _ => Err(format!("{:?}", newcomer.status())),
        }
    })
    .await;
    members.insert(4, newcomer);
    kill_all(members.into_values()).await;
}

#[tokio::test]
async fn members_that_were_restored_from_something_else_stay_apart() {
    let fleet = Fleet::new(2);
    let old = fleet.start_all().await;
    let leader = leader_of(&old).await;
    let (one, other) = (fleet.dir.path().join("one"), fleet.dir.path().join("other"));
    put(&old[&leader], "a=1").await;
    taken_into(&old[&leader], &one).await;
    put(&old[&leader], "a=2").await;
    taken_into(&old[&leader], &other).await;
    kill_all(old.into_values()).await;

    let first = restore(&one, &anew(&fleet, 1), ClusterName::Same).unwrap();
    let second = restore(&other, &anew(&fleet, 2), ClusterName::Same).unwrap();
    assert_ne!(first.line, second.line);
    let members = [start_anew(&fleet, 1).await, start_anew(&fleet, 2).await];
    until("they refuse each other", async || {
        let trouble = members[0].status().troubles.get(&2).cloned();
        let trouble = trouble.unwrap_or_default();
        match trouble.contains("restore all members from one file") {
            true => Ok(()),
            false => Err(trouble),
        }
    })
    .await;
    assert!(members.iter().all(|it| it.status().leader.is_none()));
    kill_all(members).await;
}
