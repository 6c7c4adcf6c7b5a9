//! Writes the inputs that a search begins with, made by the real encoders: `cargo run -p regraft-fuzz --example seeds -- FOLDER`.
//! Their names begin with `seed-`. Those of certificates differ each time, for their keys do.

use anyhow::{Context as _, Result};
use prost::Message;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use regraft_fuzz::input::join;
use regraft_replica::certs::{Authority, ClientRole, Overwrite};
use regraft_replica::fuzzing;
use regraft_state::apply;
use regraft_state::command::{COMMAND_FORMAT, Envelope, Stamped};
use regraft_state::operation::{
    Acquire, Budget, CloseSession, Delete, ExpireSession, NoteMembers, OpenSession, Operation, Put,
    RaiseFormat, Release, Request, Wait,
};
use regraft_state::store::Memory;
use regraft_wire::raft::v1 as raft;
use regraft_wire::store::v1 as store;
use std::path::{Path, PathBuf};

/// A log of commands of format 1.
const COMMANDS: &str = include_str!("../../state/tests/machine/format-1.txt");
/// One of each command that is not in it; the letter before each is its client.
const MORE: &[&str] = &[
    r#"{"recordHead":{"repository":"fleet","branch":"main","revision":"aa","previous":null,"relation":"first"}}"#,
    r#"{"recordHead":{"repository":"fleet","branch":"main","revision":"bb","previous":"aa","relation":"descends"}}"#,
    r#"{"recordHead":{"repository":"fleet","branch":"main","revision":"cc","previous":"bb","relation":"rewritten"}}"#,
    r#"{"recordConfiguration":{"repository":"fleet","branch":"main","revision":"cc","fleet":{"clusters":{},"applications":{}}}}"#,
    r#"{"assign":{"after":0,"grants":[[{"application":"shop","cluster":"eu"},1]],"revoked":[]}}"#,
    r#"{"shareBaselines":{"target":{"application":"shop","cluster":"eu"},"member":1,"fence":5,"workload":"web","entries":{"cpu":{"version":7,"summary":"AQID"}}}}"#,
    r#"{"remoteAsked":{"application":"shop","fence":6}}"#,
    r#"{"confirmDelete":{"target":{"application":"shop","cluster":"eu"},"token":"t"}}"#,
    r#"{"retired":{"target":{"application":"shop","cluster":"eu"}}}"#,
    r#"{"resume":{"subject":{"repository":"fleet"}}}"#,
    r#"{"forgetCluster":{"cluster":"eu"}}"#,
    r#"{"forgetRepository":{"repository":"fleet"}}"#,
];
/// What may come after the log's first entries, which open incidents 4 and 5, plan, and lock.
const AFTER: &[&str] = &[
    r#"{"renew":{"incident":"shop-4","fence":4,"lease":"2m"}}"#,
    r#"{"approve":{"incident":"shop-4","diffHash":"diff"}}"#,
    r#"{"assignExecutor":{"incident":"cart-5","member":1}}"#,
    r#"{"advance":{"incident":"shop-4","fence":4,"transition":{"commit":{"revision":"c0","lock":8,"deadline":600000}}}}"#,
    r#"{"recordVeto":{"incident":"shop-4","fingerprint":"f","revision":"c1"}}"#,
    r#"{"advance":{"incident":"shop-4","fence":4,"transition":{"end":{"outcome":"verified","message":"m","closed":["bad"],"guards":[],"rejected":[]}}}}"#,
    r#"{"advance":{"incident":"cart-5","fence":5,"transition":{"replan":{"message":"m"}}}}"#,
    r#"{"advance":{"incident":"cart-5","fence":5,"transition":{"wait":{"reason":"r","message":"m","plan":null,"guards":[],"rejected":[]}}}}"#,
    r#"{"veto":{"incident":"cart-5","fingerprint":null,"reason":"no"}}"#,
];

struct Seeds {
    folder: PathBuf,
}

fn main() -> Result<()> {
    let folder = std::env::args()
        .nth(1)
        .context("name the folder of the corpus")?;
    let seeds = Seeds {
        folder: folder.into(),
    };
    seeds.commands()?;
    seeds.requests()?;
    seeds.stored()?;
    seeds.snapshots()?;
    seeds.wire()?;
    seeds.wal()?;
    seeds.certificates()
}

impl Seeds {
    fn write(&self, target: &str, name: &str, input: &[u8]) -> Result<()> {
        let folder = self.folder.join(target);
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("seed-{name}"));
        std::fs::write(&path, input).with_context(|| format!("write {}", path.display()))
    }

    fn commands(&self) -> Result<()> {
        let log = log();
        for count in [1, 4, 12, 24] {
            let parts = &log[..count.min(log.len())];
            self.write("commands", &format!("log-{count}"), &join(parts))?;
        }
        self.write("commands", "log-end", &join(&log[log.len() - 12..]))?;
        for (number, after) in AFTER.iter().enumerate() {
            let mut parts = log[..12].to_vec();
            parts.push(command(number, after));
            self.write("commands", &format!("after-{number}"), &join(&parts))?;
        }
        let parts: Vec<Vec<u8>> = AFTER
            .iter()
            .enumerate()
            .map(|(n, it)| command(n, it))
            .collect();
        self.write(
            "commands",
            "after",
            &join(&[log[..12].to_vec(), parts].concat()),
        )?;
        for (number, text) in MORE.iter().enumerate() {
            let name = format!("command-{number}");
            self.write("commands", &name, &command(number, text))?;
        }
        let parts: Vec<Vec<u8>> = MORE
            .iter()
            .enumerate()
            .map(|(n, it)| command(n, it))
            .collect();
        self.write("commands", "commands", &join(&parts))?;
        let operations: Vec<Vec<u8>> = operations()
            .iter()
            .map(|it| [b"O\x01\x01", it.encode_to_vec().as_slice()].concat())
            .collect();
        self.write("commands", "operations", &join(&operations))?;
        let both = [operations[..1].to_vec(), log[..8].to_vec()].concat();
        self.write("commands", "formats", &join(&both))?;
        let envelope = Envelope::of_operation("user/a", operations_of_nobody());
        let envelope = [b"E\x01", envelope.encode_to_vec().as_slice()].concat();
        self.write("commands", "envelope", &envelope)?;
        let entry = Stamped {
            stamped_ms: 1,
            command: envelope[2..].to_vec(),
        };
        self.write("commands", "entry", &entry.encode_to_vec())
    }

    fn requests(&self) -> Result<()> {
        let id = Some(store::RequestId::default());
        let open = request(b'o', 1, &store::OpenSessionRequest { ttl_ms: 10_000 });
        let put = |expected| store::PutRequest {
            id,
            key: "a/b".into(),
            value: "value".into(),
            expected,
        };
        let delete = store::DeleteRequest {
            id,
            key: b"a/b".to_vec(),
            expected: None,
        };
        let list = store::ListRequest {
            prefix: b"a".to_vec(),
            limit: 1,
            ..store::ListRequest::default()
        };
        let records = [
            open.clone(),
            request(b'p', 1, &put(None)),
            request(b'p', 1, &put(Some(0))),
            request(b'p', 2, &put(Some(2))),
            request(b'l', 1, &list),
            request(b'd', 1, &delete),
            request(b'l', 1, &store::ListRequest::default()),
        ];
        self.write("requests", "records", &join(&records))?;
        let acquire = |scope: &str, permits, queue| store::AcquireRequest {
            id,
            scope: scope.to_owned(),
            permits,
            budgets: vec![store::Budget {
                level: "fleet".to_owned(),
                most: 2,
            }],
            queue,
        };
        let release = |scope: &str| store::ReleaseRequest {
            id,
            scope: scope.to_owned(),
        };
        let mut locks = vec![open.clone()];
        for scope in [
            "fleet",
            "cluster/eu",
            "namespace/eu/shop",
            "service/eu/shop/cart",
            "application/cart",
            "named/a/b",
        ] {
            let name = scope.replace('/', "-");
            let parts = [
                open.clone(),
                request(b'a', 1, &acquire(scope, 1, false)),
                open.clone(),
                request(b'a', 1, &acquire(scope, 1, true)),
                request(b'r', 1, &release(scope)),
                request(b'c', 1, &store::CloseSessionRequest { session: 1 }),
            ];
            self.write("requests", &format!("lock-{name}"), &join(&parts))?;
            locks.push(request(b'a', 1, &acquire(scope, 2, true)));
        }
        locks.push(request(b'c', 1, &store::CloseSessionRequest { session: 0 }));
        self.write("requests", "locks", &join(&locks))
    }

    fn stored(&self) -> Result<()> {
        let mut machine = Memory::default();
        let mut index = 0;
        let log = log();
        let operations = operations()
            .into_iter()
            .map(|it| entry_of(Envelope::of_operation("user/ada", it)));
        for entry in operations.chain(entries()) {
            index += 1;
            machine.write(apply(&machine, index, &entry)?.batch);
            let is_wanted = [3, 9, 20].contains(&index) || index as usize == log.len();
            if is_wanted {
                let parts: Vec<Vec<u8>> = machine
                    .0
                    .iter()
                    .map(|(key, value)| pair(key, value))
                    .collect();
                let parts = &parts[..parts.len().min(40)];
                self.write("stored", &format!("after-{index}"), &join(parts))?;
            }
        }
        for (number, (key, value)) in machine.0.iter().enumerate() {
            if number % 3 == 0 && value.len() < 2_000 {
                self.write("stored", &format!("pair-{number}"), &pair(key, value))?;
            }
        }
        Ok(())
    }

    fn snapshots(&self) -> Result<()> {
        let pair = |key: &str| raft::Pair {
            key: key.into(),
            value: b"2".to_vec(),
        };
        let chunk = |keys: &[&str]| raft::SnapshotChunk {
            pairs: keys.iter().map(|key| pair(key)).collect(),
        };
        let chunks = vec![chunk(&["a", "b"]), chunk(&["meta/format"])];
        let stream = fuzzing::write_snapshot(&header(), chunks.clone())?;
        self.write("snapshots", "raw", &[b"R", stream.as_slice()].concat())?;
        let frame = |kind: u8, message: Vec<u8>| [vec![kind], message].concat();
        let mut parts = vec![frame(b'h', header().encode_to_vec()), b"e".to_vec()];
        self.write("snapshots", "empty", &join(&parts))?;
        for chunk in &chunks {
            parts.insert(1, frame(b'c', chunk.encode_to_vec()));
        }
        self.write("snapshots", "chunks", &join(&parts))?;
        for end in ["n", "m"] {
            let counted = [&parts[..parts.len() - 1], &[end.into()]].concat();
            self.write("snapshots", &format!("counted-{end}"), &join(&counted))?;
        }
        let damages: [&[u8]; 5] = [
            b"x\x40\x00\x01",
            b"x\x0b\x00\x01",
            b"tmore",
            b"k\x50\x00",
            b"e",
        ];
        for (number, damage) in damages.into_iter().enumerate() {
            let damaged = [parts.clone(), vec![damage.to_vec()]].concat();
            self.write("snapshots", &format!("damaged-{number}"), &join(&damaged))?;
        }
        Ok(())
    }

    fn wire(&self) -> Result<()> {
        let id = raft::LogId {
            term: 3,
            node_id: 2,
            index: 17,
        };
        let ballot = raft::Ballot {
            term: 3,
            node_id: 2,
            committed: true,
        };
        let membership = membership();
        let payloads = [
            raft::entry::Payload::Blank(raft::Blank {}),
            raft::entry::Payload::Command(b"\x00\xff raw".as_slice().into()),
            raft::entry::Payload::Membership(membership.clone()),
        ];
        let entries: Vec<raft::Entry> = payloads
            .into_iter()
            .map(|payload| raft::Entry {
                log_id: Some(id),
                payload: Some(payload),
            })
            .collect();
        for (number, entry) in entries.iter().enumerate() {
            let name = format!("entry-{number}");
            self.write("wire", &name, &message(b'e', entry))?;
        }
        let append = raft::AppendRequest {
            caller: Some(caller()),
            ballot: Some(ballot),
            previous: Some(id),
            entries,
            leader_commit: Some(id),
        };
        self.write("wire", "append", &message(b'a', &append))?;
        let appended = raft::AppendResponse {
            disk_id: b"d1".to_vec(),
            outcome: Some(raft::append_response::Outcome::Higher(ballot)),
        };
        self.write("wire", "appended", &message(b'A', &appended))?;
        let vote = raft::VoteRequest {
            caller: Some(caller()),
            ballot: Some(ballot),
            last_log: Some(id),
            leadership_transfer: true,
        };
        self.write("wire", "vote", &message(b'v', &vote))?;
        let voted = raft::VoteResponse {
            disk_id: b"d1".to_vec(),
            ballot: Some(ballot),
            granted: true,
            last_log: Some(id),
        };
        self.write("wire", "voted", &message(b'V', &voted))?;
        let stored = raft::StoredMembership {
            log_id: Some(id),
            membership: Some(membership),
        };
        self.write("wire", "membership", &message(b'm', &stored))?;
        let promote = raft::Promote { id: 4, replaces: 2 };
        let change = raft::ChangeMembersRequest {
            caller: Some(caller()),
            change: Some(raft::change_members_request::Change::Promote(promote)),
            actor: "user/ada".to_owned(),
        };
        self.write("wire", "change", &message(b'c', &change))?;
        self.write("wire", "caller", &message(0, &caller()))?;
        self.write("wire", "header", &message(12, &header()))
    }

    fn wal(&self) -> Result<()> {
        // Appends, a value, a purge, a truncation, a batch that is not synced, and the log opened anew.
        let steps: &[u8] = b"\x01\x20a\x05b\x18\x01v\x00\x60c\x00\x60d\x02\x30e\x01f\x02g\x14\x01h\x03\x10\x01i\x02\x80\x10j\x3f\x00\x40k\x80\x07l";
        self.write("wal", "steps", steps)?;
        for (name, part) in [
            ("flip", b"x\x00\x80\x00\x01".as_slice()),
            ("flip-end", b"x\x02\x30\x00\x05"),
            ("zeros", b"z\x01\x00\x02\x20"),
            ("over", b"o\x00\x60\x00RGWB"),
            ("short", b"s\x01\x00\x03"),
            ("gone", b"d\x00"),
            ("power", b"p12"),
        ] {
            let parts = [steps.to_vec(), part.to_vec()];
            self.write("wal", name, &join(&parts))?;
        }
        // A head with room for a value, and a batch of two records, whatever their checksums.
        let mut file = vec![0; 80];
        file[40] = 1;
        file.extend([0; 48]);
        file[80 + 32] = 17 + 5 + 17;
        for (index, entry) in [(0_u64, b"entry".as_slice()), (1, b"")] {
            file.extend([0; 4]);
            file.extend(u32::try_from(entry.len())?.to_le_bytes());
            file.push(1);
            file.extend(index.to_le_bytes());
            file.extend(entry);
        }
        for how in 0..4 {
            let file = [b"\x00", [how].as_slice(), &file].concat();
            self.write(
                "wal",
                &format!("folder-{how}"),
                &[b"F", file.as_slice()].concat(),
            )?;
            let files = join(&[
                file.clone(),
                [b"\x01", &file[1..]].concat(),
                b"\x02\x02".to_vec(),
            ]);
            self.write(
                "wal",
                &format!("folders-{how}"),
                &[b"F", files.as_slice()].concat(),
            )?;
        }
        Ok(())
    }

    fn certificates(&self) -> Result<()> {
        let scratch = std::env::temp_dir().join(format!("regraft-seeds-{}", std::process::id()));
        let authority = Authority::create(&scratch, "shop", 1_767_225_600_000, Overwrite::Force)?;
        let made = [
            authority.member(1, &["host".to_owned()], 1_767_225_600_000, Overwrite::Force)?,
            authority.client(
                "ada",
                ClientRole::Admin,
                1_767_225_600_000,
                Overwrite::Force,
            )?,
            authority.client(
                "ben",
                ClientRole::Operator,
                1_767_225_600_000,
                Overwrite::Force,
            )?,
        ];
        for (number, files) in made.iter().enumerate() {
            self.write(
                "certificates",
                &format!("made-{number}"),
                &der(&files.cert)?,
            )?;
        }
        self.write(
            "certificates",
            "authority",
            &der(&authority.certificate_file())?,
        )?;
        std::fs::remove_dir_all(&scratch)?;
        let mut foreign = CertificateParams::new(vec!["1.shop.member.regraft".to_owned()])?;
        foreign.distinguished_name.push(DnType::CommonName, "x");
        foreign
            .subject_alt_names
            .push(SanType::IpAddress([127, 0, 0, 1].into()));
        let foreign = foreign.self_signed(&KeyPair::generate()?)?;
        self.write("certificates", "foreign", foreign.der())?;
        for (number, names) in [
            ["1.shop.member.regraft", "localhost"],
            ["ada.viewer.client.regraft", "ada.viewer.client.regraft"],
            ["ada.client.regraft", "ada.operator.client.regraft"],
            ["1.shop.member.regraft", "2.shop.member.regraft"],
            ["m1.shop", "localhost"],
            ["cada", "cada.operator"],
        ]
        .into_iter()
        .enumerate()
        {
            let names = join(&names.map(|name| name.as_bytes().to_vec()));
            let input = [b"N", names.as_slice()].concat();
            self.write("certificates", &format!("names-{number}"), &input)?;
        }
        Ok(())
    }
}

/// The entries of the log as parts of an input.
fn log() -> Vec<Vec<u8>> {
    let lines = COMMANDS
        .lines()
        .filter_map(|line| line.strip_prefix("entry "));
    let fields = lines.filter_map(|line| line.splitn(5, ' ').collect::<Vec<_>>().try_into().ok());
    fields
        .map(|[_, client, sequence, _, text]: [&str; 5]| {
            let client = client.as_bytes().get(7).map_or(0, |digit| digit - b'0');
            let sequence = sequence.parse::<u8>().unwrap_or(u8::MAX);
            [&[b'J', client, sequence, 1], text.as_bytes()].concat()
        })
        .collect()
}

/// The same as entries.
fn entries() -> impl Iterator<Item = Vec<u8>> {
    log().into_iter().map(|part| {
        entry_of(Envelope {
            client: format!("client-{}", part[1]),
            sequence: part[2].into(),
            actor: "member/1".to_owned(),
            format: COMMAND_FORMAT,
            command: part[4..].to_vec(),
            operation: None,
        })
    })
}

fn entry_of(envelope: Envelope) -> Vec<u8> {
    Stamped {
        stamped_ms: 1_000,
        command: envelope.encode_to_vec(),
    }
    .encode_to_vec()
}

fn command(number: usize, text: &str) -> Vec<u8> {
    let sequence = u8::try_from(100 + number).unwrap_or(u8::MAX);
    [&[b'J', 1, sequence, 1], text.as_bytes()].concat()
}

fn operations() -> Vec<Operation> {
    let within = |sequence, request| Operation {
        sequence,
        request: Some(request),
        ..Operation::default()
    };
    let outside = |request| Operation {
        request: Some(request),
        ..Operation::default()
    };
    let acquire = |scope: &str| Acquire {
        scope: scope.to_owned(),
        permits: 1,
        budgets: vec![Budget {
            level: "fleet".to_owned(),
            most: 2,
        }],
        wait: Wait::Queue.into(),
    };
    vec![
        outside(Request::OpenSession(OpenSession { ttl_ms: 10_000 })),
        within(
            1,
            Request::Put(Put {
                key: "key".into(),
                value: "value".into(),
                expected: None,
            }),
        ),
        within(2, Request::Acquire(acquire("cluster/eu"))),
        outside(Request::OpenSession(OpenSession { ttl_ms: 10_000 })),
        within(1, Request::Acquire(acquire("service/eu/shop/cart"))),
        within(
            2,
            Request::Delete(Delete {
                key: "key".into(),
                expected: Some(2),
            }),
        ),
        within(
            3,
            Request::Release(Release {
                scope: "service/eu/shop/cart".to_owned(),
            }),
        ),
        operations_of_nobody(),
        outside(Request::RaiseFormat(RaiseFormat { format: 2 })),
        outside(Request::ExpireSession(ExpireSession {
            session: 1,
            last_heard: 100,
        })),
        outside(Request::CloseSession(CloseSession { session: 4 })),
    ]
}

fn operations_of_nobody() -> Operation {
    let note = NoteMembers {
        member: 2,
        reason: "MemberAdded".to_owned(),
        message: "m".to_owned(),
    };
    Operation {
        request: Some(Request::NoteMembers(note)),
        ..Operation::default()
    }
}

fn request(method: u8, actor: u8, message: &impl Message) -> Vec<u8> {
    [&[method, actor], message.encode_to_vec().as_slice()].concat()
}

fn message(kind: u8, message: &impl Message) -> Vec<u8> {
    [&[kind], message.encode_to_vec().as_slice()].concat()
}

/// A pair of a state as a part of an input, with no letter for its table: its key has all of it.
fn pair(key: &[u8], value: &[u8]) -> Vec<u8> {
    let no_table = b'A' + 31;
    [&[no_table], key, b"=", value].concat()
}

fn caller() -> raft::Caller {
    raft::Caller {
        cluster_id: "shop".to_owned(),
        node_id: 1,
        target_node_id: 2,
        disk_id: b"d1".to_vec(),
    }
}

fn membership() -> raft::Membership {
    let node = |id| raft::Node {
        id,
        address: format!("host-{id}:7000"),
    };
    raft::Membership {
        configs: vec![
            raft::Voters { ids: vec![1, 2] },
            raft::Voters { ids: vec![1, 3] },
        ],
        nodes: vec![node(1), node(2), node(3), node(4)],
    }
}

fn header() -> raft::SnapshotHeader {
    let id = raft::LogId {
        term: 3,
        node_id: 2,
        index: 17,
    };
    raft::SnapshotHeader {
        cluster_id: "shop".to_owned(),
        last_log: Some(id),
        membership: Some(raft::StoredMembership {
            log_id: Some(id),
            membership: Some(membership()),
        }),
        taken_ms: 5,
    }
}

/// The bytes of a certificate in a file of PEM.
fn der(path: &Path) -> Result<Vec<u8>> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    let certificate = CertificateDer::from_pem_file(path);
    let certificate = certificate.with_context(|| format!("read {}", path.display()))?;
    Ok(certificate.to_vec())
}
