//! A trio that is lost comes back from a backup, and what must not be restored is not.

use crate::support::{Answer, READY_BOUND, Single, Trio, command, plain};
use regraft_testbed::{Member, MemberOptions, wait};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A configuration on another data folder, beside the one of before.
fn config_anew(member: &Member) -> (PathBuf, String) {
    let text = std::fs::read_to_string(member.config()).unwrap();
    let text = text.replace("dataDir: data", "dataDir: new-data");
    let path = member
        .config()
        .with_file_name(format!("new-{}.yaml", member.name()));
    std::fs::write(&path, &text).unwrap();
    (path, text)
}

fn restore(file: &Path, config: &Path, more: &[&str]) -> Answer {
    let restoring = command()
        .arg("restore")
        .arg(file)
        .arg("--config")
        .arg(config)
        .args(more)
        .output();
    restoring.unwrap().into()
}

fn verify(file: &Path) -> Answer {
    let checking = command().args(["backup", "--verify"]).arg(file).output();
    checking.unwrap().into()
}

/// Starts a member on the folder that was restored.
fn start_anew(folder: &Path, name: &str, config: String) -> Member {
    let options = MemberOptions {
        name: format!("new-{name}"),
        config,
        environment: Vec::new(),
    };
    Member::start(folder, &options).unwrap()
}

/// The log index of the newest entry of the audit.
fn newest_index(audit: &Answer) -> u64 {
    let entries = audit.json();
    entries.as_array().unwrap().last().unwrap()["index"]
        .as_u64()
        .unwrap()
}

impl Trio {
    fn done(&self, id: usize, arguments: &[&str]) -> Answer {
        let answer = self.regraft(id, arguments);
        assert_eq!(answer.code, 0, "{arguments:?}: {}", answer.err);
        answer
    }

    fn backup(&self, file: &Path) -> Value {
        let file = file.to_str().unwrap();
        let taken = self.regraft_as("client-root", 2, &["backup", file, "-o", "json"]);
        assert_eq!(taken.code, 0, "{}", taken.err);
        taken.json()
    }
}

#[test]
fn a_lost_trio_comes_back_from_a_backup_and_those_of_before_do_not() {
    let mut trio = Trio::start();
    trio.make_certificate(&["client", "root", "--role", "admin"]);
    trio.make_certificate(&["client", "eve", "--role", "viewer"]);
    let folder = trio.folder.path().to_owned();
    let file = folder.join("state.backup");
    trio.done(1, &["suspend", "--all", "--reason", "drill"]);

    let refused = trio.regraft(1, &["backup", file.to_str().unwrap()]);
    assert_eq!(refused.code, 5, "{}", refused.err);
    insta::assert_snapshot!(refused.err, @r"
    error: Forbidden: user/alice is operator and may not do that: it takes the role admin
      next: make a certificate with `regraft certs client NAME --role admin`
    ");
    assert!(!file.exists());
    let arguments = ["backup", folder.to_str().unwrap(), "--force"];
    let refused = trio.regraft_as("client-root", 1, &arguments);
    assert_eq!(refused.code, 5, "{}", refused.err);
    assert!(
        refused.err.contains("is no regular file"),
        "{}",
        refused.err
    );
    let taken = trio.backup(&file);
    assert_eq!(taken["cluster"], "trio");
    assert_eq!(taken["members"].as_array().unwrap().len(), 3);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut checked = verify(&file);
    assert_eq!(checked.code, 0, "{}", checked.err);
    checked.out.truncate(checked.out.find(" with").unwrap());
    assert_eq!(
        checked.out,
        format!("{} is whole: cluster trio", file.display())
    );

    // What comes after the backup is lost with the trio.
    trio.done(1, &["resume", "--all"]);
    trio.done(2, &["suspend", "--all", "--reason", "after the backup"]);
    let lost = newest_index(&trio.done(3, &["audit", "-o", "json"]));
    let chain = trio.regraft_as("client-eve", 3, &["audit", "verify"]);
    assert_eq!(chain.code, 0, "{}", chain.err);
    assert!(
        chain.out.contains(" are whole; the chain's head is "),
        "{}",
        chain.out
    );
    let runs = restore(&file, trio.members[0].config(), &[]);
    assert_eq!(runs.code, 1, "{}", runs.err);
    assert!(runs.err.contains("error: DataInUse"), "{}", runs.err);
    for member in &mut trio.members {
        assert!(member.stop(), "{}", member.log_tail());
    }

    let mut lines = Vec::new();
    let mut configs = Vec::new();
    for member in &trio.members {
        let (path, text) = config_anew(member);
        let restored = restore(&file, &path, &["-o", "json"]);
        assert_eq!(restored.code, 0, "{}", restored.err);
        lines.push(restored.json()["line"].clone());
        configs.push(text);
    }
    assert!(lines.iter().all(|line| *line == lines[0]), "{lines:?}");
    let mut old = std::mem::take(&mut trio.members);
    for (member, config) in old.iter().zip(&configs) {
        let started = start_anew(&folder, member.name(), config.clone());
        trio.members.push(started);
    }
    for id in 1..=3 {
        trio.wait_ready(id);
    }

    let status = trio.done(1, &["status", "-o", "json"]).json();
    assert_eq!(status["suspensions"][0]["reason"], "drill", "{status}");
    assert_eq!(
        status["installation"].as_str().map(str::len),
        Some(16),
        "{status}"
    );
    let chain = trio
        .regraft_as("client-eve", 2, &["audit", "verify", "-o", "json"])
        .json();
    assert_eq!(chain["whole"], true);
    let audit = trio.done(2, &["audit", "-o", "json"]).json();
    let reasons: Vec<&Value> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["reason"])
        .collect();
    assert!(reasons.contains(&&"StateRestored".into()), "{reasons:?}");
    trio.done(3, &["resume", "--all"]);
    let index = newest_index(&trio.done(1, &["audit", "-o", "json"]));
    let begun = taken["index"].as_u64().unwrap() + 1_000_000_000_000;
    assert!(index > begun && index > lost, "{index}");

    // One of before comes back in the place of one that is restored.
    let leader = trio.leader(1).unwrap();
    let away = leader % 3 + 1;
    assert!(trio.members[away - 1].stop());
    old[away - 1].restart().unwrap();
    let log = trio.members[leader - 1].log().to_owned();
    wait::until("the one of before is refused", READY_BOUND, || {
        let log = std::fs::read_to_string(&log).unwrap();
        match log.contains("do not come from the same restore of a backup") {
            true => Ok(()),
            false => Err(log),
        }
    })
    .unwrap();
    let answer = trio.regraft(away, &["get", "members"]);
    assert_eq!(
        answer.code, 4,
        "it has no leader: {}{}",
        answer.out, answer.err
    );
    trio.done(leader, &["suspend", "--all", "--reason", "it goes on"]);
    assert!(old[away - 1].stop());
    trio.members[away - 1].restart().unwrap();
    trio.wait_ready(away);
    let seen = trio.done(away, &["status", "-o", "json"]).json();
    assert_eq!(seen["suspensions"][0]["reason"], "it goes on", "{seen}");
}

#[test]
fn what_cannot_be_backed_up_or_restored_says_why_and_what_next() {
    let mut single = Single::start();
    single.wait_ready();
    let folder = single.folder.path().to_owned();
    let name = |file: &str| folder.join(file).to_str().unwrap().to_owned();
    let taken = single.regraft(&["backup", &name("state")]);
    assert_eq!(taken.code, 0, "{}", taken.err);
    assert!(taken.out.contains(" was made in "), "{}", taken.out);
    assert!(!folder.join("state.partial").exists());

    let mut shown = String::new();
    let mut show = |what: &str, code: i32, answer: &Answer| {
        assert_eq!(answer.code, code, "{what}: {}{}", answer.out, answer.err);
        shown.push_str(&format!("{what}\n{}", plain(&answer.err, &folder)));
    };
    show(
        "a file that exists",
        5,
        &single.regraft(&["backup", &name("state")]),
    );
    let forced = single.regraft(&["backup", &name("state"), "--force"]);
    assert_eq!(forced.code, 0, "{}", forced.err);
    show(
        "no such folder",
        1,
        &single.regraft(&["backup", &name("none/state")]),
    );
    let whole = std::fs::read(name("state")).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    std::fs::write(name("flipped"), flipped).unwrap();
    std::fs::write(name("cut"), &whole[..whole.len() - 10]).unwrap();
    let mut newer = whole.clone();
    newer[8..12].copy_from_slice(&9_u32.to_be_bytes());
    std::fs::write(name("newer"), newer).unwrap();
    for file in ["flipped", "cut", "newer", "none"] {
        show(&format!("verify {file}"), 2, &verify(&folder.join(file)));
    }
    show(
        "audit of a cut backup",
        2,
        &single.regraft(&["audit", "verify", "--backup", &name("cut")]),
    );
    let audit = single.regraft(&["audit", "verify", "--backup", &name("state")]);
    assert_eq!(audit.code, 0, "{}", audit.err);

    let (anew, text) = config_anew(&single.member);
    let bank = folder.join("bank.yaml");
    std::fs::write(&bank, text.replace("cluster: alone", "cluster: bank")).unwrap();
    show(
        "a running member",
        1,
        &restore(&folder.join("state"), &single.config(), &[]),
    );
    assert!(single.member.stop(), "{}", single.member.log_tail());
    show(
        "a full folder",
        5,
        &restore(&folder.join("state"), &single.config(), &[]),
    );
    show("restore cut", 2, &restore(&folder.join("cut"), &anew, &[]));
    show(
        "another cluster",
        2,
        &restore(&folder.join("state"), &bank, &[]),
    );
    let nothing = std::fs::read_dir(folder.join("new-data")).unwrap().count();
    assert_eq!(nothing, 0, "what was refused leaves nothing behind");
    insta::assert_snapshot!(shown);

    let renamed = restore(&folder.join("state"), &bank, &["--new-cluster-id"]);
    assert_eq!(renamed.code, 0, "{}", renamed.err);
}

#[test]
fn the_chain_that_is_checked_is_the_one_that_is_listed() {
    let mut single = Single::start();
    single.wait_ready();
    for reason in ["one", "two"] {
        let suspended = single.regraft(&["suspend", "--all", "--reason", reason]);
        assert_eq!(suspended.code, 0, "{}", suspended.err);
        let resumed = single.regraft(&["resume", "--all"]);
        assert_eq!(resumed.code, 0, "{}", resumed.err);
    }
    // What the member itself has to say at its start comes beside that.
    let listed = wait::until("the chain is at rest", READY_BOUND, || {
        let listed = single.regraft(&["audit", "-o", "json"]).json();
        let mut entries = listed.as_array().unwrap().iter();
        match entries.any(|entry| entry["reason"] == "FormatRaised") {
            true => Ok(listed),
            false => Err(listed.to_string()),
        }
    })
    .unwrap();
    let verdict = single.regraft(&["audit", "verify", "-o", "json"]);
    assert_eq!(verdict.code, 0, "{}", verdict.err);
    let verdict = verdict.json();
    assert_eq!(verdict["entries"], listed.as_array().unwrap().len());
    assert_eq!(
        verdict["hash"],
        listed.as_array().unwrap().last().unwrap()["hash"]
    );
}
