//! A member whose data folder, configuration or certificate is not what it should be, and what a person is told.

use crate::support::{READY_BOUND, Single, make_certificates, plain};
use regraft_replica::certs::{Authority, Overwrite};
use regraft_testbed::{Member, MemberOptions, Port, wait};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_MS: i64 = 86_400_000;

impl Single {
    /// One that ran, and was stopped.
    fn stopped() -> Self {
        let mut single = Self::start();
        single.wait_ready();
        let suspended = single.regraft(&["suspend", "--all"]);
        assert_eq!(suspended.code, 0, "{}", suspended.err);
        assert!(single.member.stop());
        single
    }

    /// How a start is refused, in its words.
    fn refused(&self, code: i32) -> String {
        let answer = self.regraft(&["serve"]);
        assert_eq!(answer.code, code, "{}", answer.err);
        let error = answer.err.find("error: ").unwrap_or_default();
        plain(&answer.err[error..], self.folder.path())
    }

    fn data(&self, part: &str) -> PathBuf {
        self.folder.path().join("data").join(part)
    }
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

/// The files of a folder with this ending, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    files
}

/// Turns a byte over.
fn damage(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 0xff;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn another_cluster_or_member_is_told_with_what_to_correct() {
    let single = Single::stopped();
    replace(&single.config(), "cluster: alone", "cluster: other");
    insta::assert_snapshot!(single.refused(2));
}

#[test]
fn a_newer_format_is_told_with_the_version_to_start() {
    let single = Single::stopped();
    replace(
        &single.data("member.json"),
        "\"format\": 1",
        "\"format\": 99",
    );
    insta::assert_snapshot!(single.refused(7));
}

#[test]
fn a_damaged_log_is_told_with_its_file_and_never_skipped() {
    let mut single = Single::stopped();
    let segment = &files(&single.data("wal"), "")[0];
    let kept = std::fs::read(segment).unwrap();
    // In the middle of what was written: what follows shows that it is no torn end.
    let written = kept.iter().rposition(|byte| *byte != 0).unwrap();
    damage(segment, written / 2);
    let refused = single.refused(7);
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(refused.contains("error: Halted"), "{refused}");
    assert!(refused.contains(name), "{name}: {refused}");
    // Nothing was mended behind anybody's back: the same again, and well with what was there.
    assert_eq!(single.refused(7), refused);
    std::fs::write(segment, kept).unwrap();
    single.member.restart().unwrap();
    single.wait_ready();
}

#[test]
fn a_damaged_state_is_told_with_its_file() {
    let single = Single::stopped();
    let state = single.data("state");
    let generation = files(&state, "").into_iter().find(|path| path.is_dir());
    let table = files(&generation.unwrap(), ".sst").pop().unwrap();
    let length = std::fs::metadata(&table).unwrap().len();
    damage(&table, usize::try_from(length).unwrap() / 4);
    let refused = single.refused(7);
    let name = table.file_name().unwrap().to_str().unwrap();
    assert!(refused.contains(name), "{name}: {refused}");
}

/// What a member of three is configured with.
fn config(cluster: &str) -> String {
    let port = || Port::reserve().unwrap().number();
    format!(
        "member: {{id: 1}}\ncluster: {cluster}\ndataDir: data\n\
         listen: {{raft: '127.0.0.1:{}', admin: '127.0.0.1:{}', http: '127.0.0.1:{}'}}\n\
         peers:\n  - {{id: 1, raft: '127.0.0.1:1'}}\n  - {{id: 2, raft: '127.0.0.1:2'}}\n  - {{id: 3, raft: '127.0.0.1:3'}}\n\
         tls: {{ca: certs/ca.pem, cert: certs/member-1.pem, key: certs/member-1-key.pem}}\n",
        port(),
        port(),
        port(),
    )
}

/// Starts member 1 of three, and waits for its word.
fn hear(folder: &Path, cluster: &str, word: &str) -> String {
    let options = MemberOptions {
        name: "member-1".to_owned(),
        config: config(cluster),
        environment: Vec::new(),
    };
    let member = Member::start(folder, &options).unwrap();
    let heard = wait::until(word, READY_BOUND, || {
        let log = std::fs::read_to_string(member.log()).unwrap();
        let line = log.lines().find(|line| line.contains(word));
        line.map(str::to_owned).ok_or(log)
    });
    plain(&heard.unwrap(), folder)
}

/// Certificates are checked against the real time.
#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other clock than the system's"
)]
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap().as_millis()).unwrap()
}

#[test]
fn a_certificate_of_another_cluster_and_one_that_ran_out_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let certs = folder.path().join("certs");
    make_certificates(&certs);
    let told = hear(folder.path(), "other", "BadCertificate");
    assert!(
        told.contains(
            "is of member 1 of cluster trio, but this member is member 1 of cluster other"
        ),
        "{told}"
    );
    let made_ms = now_ms() - 900 * DAY_MS;
    let authority = Authority::load(&certs).unwrap();
    authority.member(1, &[], made_ms, Overwrite::Force).unwrap();
    let told = hear(folder.path(), "trio", "a certificate ran out");
    assert!(
        told.contains("replace the files under `tls`, and send SIGHUP"),
        "{told}"
    );
}
