//! What the file means, on the machine it is read on.

use super::parse::location;
use super::schema;
use super::{AdminAddress, MemberConfig, Peer, Tls};
use regraft_model::id::MemberId;
use regraft_model::problem::{Problem, Severity};
use regraft_replica::certs;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const RAFT_DEFAULT: &str = "127.0.0.1:7101";
const HTTP_DEFAULT: &str = "127.0.0.1:7301";
/// Mode of a data folder that is made here: clones of private repositories are in it.
const DATA_DIR_MODE: u32 = 0o700;
/// Bits of a file's mode that let its group and others read it.
const OTHERS_READ_BITS: u32 = 0o044;
const ADMIN_SOCKET: &str = "admin.sock";
/// Longest path of a Unix socket: `sockaddr_un` holds 107 bytes, and the socket is born in a folder beside its place
/// (`admin.new/s`), whose path is a little longer.
const SOCKET_PATH_BYTES_MAX: usize = 100;
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
const NAME_BYTES_MAX: usize = 63;

/// Collects problems, so that a person corrects them all in one go.
pub(super) struct Check<'a> {
    pub(super) file: &'a str,
    folder: &'a Path,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

pub(super) fn check(
    file: &str,
    folder: &Path,
    schema: schema::File,
) -> Result<MemberConfig, Vec<Problem>> {
    let mut check = Check {
        file,
        folder,
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let config = check.config(schema);
    match config {
        Some(config) if check.problems.is_empty() => Ok(MemberConfig {
            warnings: check.warnings,
            ..config
        }),
        _ => {
            check.problems.sort();
            Err(check.problems)
        }
    }
}

impl Check<'_> {
    fn config(&mut self, schema: schema::File) -> Option<MemberConfig> {
        let id = schema.member.id.value;
        if id == 0 {
            self.wrong(
                &schema.member.id,
                "BadId",
                "member ids start at 1",
                "give this member a number that was never used before",
            );
        }
        self.cluster_id(&schema.cluster);
        let data_dir = self.data_dir(&schema.data_dir);
        let raft = self.listener(schema.listen.raft.as_ref(), RAFT_DEFAULT);
        let http = self.listener(schema.listen.http.as_ref(), HTTP_DEFAULT);
        let admin = self.admin(&schema, &data_dir);
        let store = schema.listen.store.as_ref();
        let store = store.map(|text| self.listener(Some(text), ""));
        self.ports(&schema.listen);
        let tls = schema.tls.as_ref().map(|tls| self.tls(tls));
        self.needs_tls(&schema, raft, admin.as_ref());
        let members = self.members(MemberId(id), &schema.peers, raft, admin.as_ref());
        let repositories = self.repositories(schema.repositories);
        let clusters = self.clusters(schema.clusters);
        let log_level = self.level(schema.log.level.as_ref());
        Some(MemberConfig {
            member: MemberId(id),
            name: schema.member.name.unwrap_or_else(|| format!("member-{id}")),
            cluster: schema.cluster.value,
            data_dir,
            raft: raft?,
            admin: admin?,
            store: match store {
                Some(store) => Some(store?),
                None => None,
            },
            http: http?,
            members,
            tls,
            repositories,
            clusters,
            log_format: schema.log.format,
            log_level,
            warnings: Vec::new(),
        })
    }

    /// How many problems were found so far.
    pub(super) fn problems(&self) -> usize {
        self.problems.len()
    }

    pub(super) fn wrong<T>(
        &mut self,
        at: &Spanned<T>,
        reason: &str,
        message: impl Into<String>,
        action: impl Into<String>,
    ) {
        self.problems.push(Problem {
            location: location(self.file, &at.referenced),
            severity: Severity::Error,
            reason: reason.to_owned(),
            message: message.into(),
            action: action.into(),
        });
    }

    fn cluster_id(&mut self, id: &Spanned<String>) {
        if let Err(error) = certs::check_cluster_id(&id.value) {
            let action =
                "write a short name, for example home: it becomes part of the certificates' names";
            self.wrong(id, "BadName", error.to_string(), action);
        }
    }

    pub(super) fn name(&mut self, what: &str, name: &Spanned<String>) {
        let text = &name.value;
        let ok = !text.is_empty()
            && text.len() <= NAME_BYTES_MAX
            && text
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.')
            && text
                .bytes()
                .next()
                .is_some_and(|c| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .last()
                .is_some_and(|c| c.is_ascii_alphanumeric());
        if !ok {
            self.wrong(
                name,
                "BadName",
                format!("`{text}` is no name for a {what}"),
                "use at most 63 of a-z, 0-9, `-` and `.`, beginning and ending with a letter or digit",
            );
        }
    }

    fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// Must exist as a readable file.
    pub(super) fn file(&mut self, what: &str, path: &Spanned<String>) -> PathBuf {
        let full = self.path(&path.value);
        match std::fs::File::open(&full).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => self.wrong(
                path,
                "NotAFile",
                format!("the {what} {} is not a file", full.display()),
                "name a file",
            ),
            Err(error) => self.wrong(
                path,
                "Unreadable",
                format!("the {what} {} cannot be read: {error}", full.display()),
                "correct the path (it counts from the folder of this file) or its permissions",
            ),
        }
        full
    }

    /// Must exist as a readable file, and should be readable by nobody else.
    pub(super) fn secret_file(&mut self, what: &str, path: &Spanned<String>) -> PathBuf {
        let full = self.file(what, path);
        let mode = std::fs::metadata(&full).map_or(0, |metadata| metadata.permissions().mode());
        if mode & OTHERS_READ_BITS != 0 {
            self.warnings.push(Problem {
                location: location(self.file, &path.referenced),
                severity: Severity::Warning,
                reason: "ReadableByOthers".to_owned(),
                message: format!(
                    "the {what} {} can be read by other users of this machine (mode {:04o})",
                    full.display(),
                    mode & 0o7777
                ),
                action: format!("run `chmod 600 {}`", full.display()),
            });
        }
        full
    }

    fn data_dir(&mut self, text: &Spanned<String>) -> PathBuf {
        let path = self.path(&text.value);
        if text.value.is_empty() {
            self.wrong(
                text,
                "Empty",
                "the data folder has no name",
                "name a folder that only this member uses",
            );
            return path;
        }
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(DATA_DIR_MODE)
            .create(&path);
        if let Err(error) = made {
            self.wrong(
                text,
                "NotWritable",
                format!("the data folder {} cannot be made: {error}", path.display()),
                "make it, owned by the user that runs regraft",
            );
            return path;
        }
        // Permissions alone do not tell: the file system may be read-only or full.
        let probe = path.join(".writable");
        match std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)) {
            Ok(()) => {}
            Err(error) => self.wrong(
                text,
                "NotWritable",
                format!(
                    "the data folder {} cannot be written: {error}",
                    path.display()
                ),
                "give it to the user that runs regraft",
            ),
        }
        path
    }

    fn listener(&mut self, text: Option<&Spanned<String>>, default: &str) -> Option<SocketAddr> {
        let Some(text) = text else {
            return default.parse().ok();
        };
        let parsed = text.value.parse();
        if parsed.is_err() {
            self.wrong(
                text,
                "BadAddress",
                format!("`{}` is no address to listen on", text.value),
                "write IP:PORT, for example 127.0.0.1:7101",
            );
        }
        parsed.ok()
    }

    fn admin(&mut self, schema: &schema::File, data_dir: &Path) -> Option<AdminAddress> {
        let Some(text) = &schema.listen.admin else {
            // A trio's members ask each other, so a socket on one machine's disk would not do.
            if !schema.peers.is_empty() {
                return Some(AdminAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 7201))));
            }
            let path = data_dir.join(ADMIN_SOCKET);
            let action = "shorten `dataDir`, or set `listen.admin`";
            self.socket(&schema.data_dir, &path, action);
            return Some(AdminAddress::Unix(path));
        };
        let Some(path) = text.value.strip_prefix("unix:") else {
            return self.listener(Some(text), "").map(AdminAddress::Tcp);
        };
        let path = self.path(path.strip_prefix("//").unwrap_or(path));
        self.socket(text, &path, "choose a shorter path");
        Some(AdminAddress::Unix(path))
    }

    /// Must fit into the address of a Unix socket.
    fn socket(&mut self, at: &Spanned<String>, path: &Path, action: &str) {
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let message = format!(
                "{} is too long for a Unix socket: at most {SOCKET_PATH_BYTES_MAX} bytes",
                path.display()
            );
            self.wrong(at, "TooLong", message, action);
        }
    }

    fn ports(&mut self, listen: &schema::Listen) {
        let mut seen: BTreeMap<SocketAddr, &str> = BTreeMap::new();
        for (name, text) in [
            ("raft", &listen.raft),
            ("admin", &listen.admin),
            ("store", &listen.store),
            ("http", &listen.http),
        ] {
            let Some(text) = text else { continue };
            let Ok(address) = text.value.parse::<SocketAddr>() else {
                continue;
            };
            if address.port() == 0 {
                self.wrong(
                    text,
                    "BadAddress",
                    format!("`{name}` needs a port others can know"),
                    "write a port from 1 to 65535",
                );
            } else if let Some(other) = seen.insert(address, name) {
                self.wrong(
                    text,
                    "PortClash",
                    format!("`{name}` and `{other}` both listen on {address}"),
                    "give each its own port",
                );
            }
        }
    }

    fn tls(&mut self, tls: &schema::Tls) -> Tls {
        Tls {
            ca: self.file("authority's certificate", &tls.ca),
            cert: self.file("certificate", &tls.cert),
            key: self.secret_file("key", &tls.key),
        }
    }

    fn needs_tls(
        &mut self,
        schema: &schema::File,
        raft: Option<SocketAddr>,
        admin: Option<&AdminAddress>,
    ) {
        if schema.tls.is_some() {
            return;
        }
        const ACTION: &str = "make certificates with `regraft certs init` and `regraft certs member`, and name them under `tls`";
        if let Some(peer) = schema.peers.first() {
            self.wrong(
                &peer.id,
                "TlsMissing",
                "members talk to each other with certificates only, and `tls` is missing",
                ACTION,
            );
        }
        if let (Some(text), Some(address)) = (&schema.listen.raft, raft)
            && !address.ip().is_loopback()
        {
            self.wrong(
                text,
                "TlsMissing",
                "beyond loopback members listen with certificates only, and `tls` is missing",
                ACTION,
            );
        }
        if let Some(text) = &schema.listen.store {
            self.wrong(
                text,
                "TlsMissing",
                "programs are known by their certificates only, and `tls` is missing",
                ACTION,
            );
        }
        if let (Some(text), Some(AdminAddress::Tcp(_))) = (&schema.listen.admin, admin) {
            self.wrong(
                text,
                "TlsMissing",
                "over TCP people are known by their certificates only, and `tls` is missing",
                format!("{ACTION}; or listen on `unix:` in the data folder"),
            );
        }
    }

    fn members(
        &mut self,
        own: MemberId,
        peers: &[schema::Peer],
        raft: Option<SocketAddr>,
        admin: Option<&AdminAddress>,
    ) -> Vec<Peer> {
        let mut members: BTreeMap<MemberId, Peer> = BTreeMap::new();
        for peer in peers {
            let id = MemberId(peer.id.value);
            if id.0 == 0 {
                self.wrong(
                    &peer.id,
                    "BadId",
                    "member ids start at 1",
                    "give the peer's own `member.id`",
                );
            }
            for text in [Some(&peer.raft), peer.admin.as_ref()]
                .into_iter()
                .flatten()
            {
                if !text.value.rsplit_once(':').is_some_and(|(host, port)| {
                    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
                }) {
                    self.wrong(
                        text,
                        "BadAddress",
                        format!("`{}` is no address of a peer", text.value),
                        "write HOST:PORT",
                    );
                }
            }
            let entry = Peer {
                id,
                raft: peer.raft.value.clone(),
                admin: peer.admin.as_ref().map(|text| text.value.clone()),
            };
            if let Some(other) = members
                .values()
                .find(|other| other.id != id && other.raft == entry.raft)
            {
                let message = format!(
                    "members {} and {id} share the address {}",
                    other.id, entry.raft
                );
                self.wrong(
                    &peer.raft,
                    "Duplicate",
                    message,
                    "give each member its own address",
                );
            }
            if members.insert(id, entry).is_some() {
                self.wrong(
                    &peer.id,
                    "Duplicate",
                    format!("member {id} stands in `peers` twice"),
                    "remove one of them",
                );
            }
        }
        // The own entry may be among the peers, so that all members can share the list; it then says
        // how the others reach this one.
        if let Some(raft) = raft {
            members.entry(own).or_insert_with(|| Peer {
                id: own,
                raft: raft.to_string(),
                admin: match admin {
                    Some(AdminAddress::Tcp(address)) => Some(address.to_string()),
                    _ => None,
                },
            });
        }
        members.into_values().collect()
    }

    fn level(&mut self, level: Option<&Spanned<String>>) -> String {
        match level {
            None => "info".to_owned(),
            Some(level) => {
                if !LEVELS.contains(&level.value.as_str()) {
                    self.wrong(
                        level,
                        "UnknownValue",
                        format!("`{}` is no level", level.value),
                        format!("one of: {}", LEVELS.join(", ")),
                    );
                }
                level.value.clone()
            }
        }
    }
}
