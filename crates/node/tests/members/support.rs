//! Real members on loopback, and the command line as a person uses it.

use regraft_testbed::{Member, MemberOptions, Port, Signal, wait};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// A member is ready well within this, also when builds share the machine.
pub(crate) const READY_BOUND: Duration = Duration::from_secs(30);

/// What `regraft` answered.
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `regraft` without anything of this machine's environment.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regraft"));
    for name in [
        "REGRAFT_ADDRESS",
        "REGRAFT_CA",
        "REGRAFT_CERT",
        "REGRAFT_KEY",
        "REGRAFT_CONFIG",
    ] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn regraft(arguments: &[&str]) -> Answer {
    command().args(arguments).output().unwrap().into()
}

/// A member without certificates in its own folder.
pub(crate) struct Single {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) member: Member,
    pub(crate) http: Port,
}

impl Single {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With more lines of configuration.
    pub(crate) fn start_with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let http = Port::reserve().unwrap();
        let config = format!(
            "member: {{id: 1, name: alone}}\ncluster: alone\ndataDir: data\nlisten: {{http: '127.0.0.1:{}'}}\nlog: {{level: debug}}\n{more}",
            http.number()
        );
        let options = MemberOptions {
            name: "alone".to_owned(),
            config,
            environment: Vec::new(),
        };
        let member = Member::start(folder.path(), &options).unwrap();
        Self {
            folder,
            member,
            http,
        }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("alone.yaml")
    }

    pub(crate) fn regraft(&self, arguments: &[&str]) -> Answer {
        command()
            .arg("--config")
            .arg(self.config())
            .args(arguments)
            .output()
            .unwrap()
            .into()
    }

    /// Permission bits of a file or folder of the member.
    pub(crate) fn mode_of(&self, path: &str) -> u32 {
        let found = std::fs::metadata(self.folder.path().join(path)).unwrap();
        found.permissions().mode() & 0o777
    }

    pub(crate) fn wait_ready(&mut self) {
        let http = self.http.number();
        ready(&mut self.member, http);
    }
}

/// Three members with certificates.
pub(crate) struct Trio {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) members: Vec<Member>,
    http: Vec<Port>,
    pub(crate) admin: Vec<Port>,
    raft: Vec<Port>,
}

impl Trio {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificates(&folder.path().join("certs"));
        let reserve = || -> Vec<Port> { (0..3).map(|_| Port::reserve().unwrap()).collect() };
        let (raft, admin, http) = (reserve(), reserve(), reserve());
        let peers = peers(&raft, &admin);
        let members = (0..3).map(|index| {
            let id = index + 1;
            let config = format!(
                "member: {{id: {id}}}\ncluster: trio\ndataDir: data-{id}\n\
                 listen: {{raft: '127.0.0.1:{}', admin: '127.0.0.1:{}', http: '127.0.0.1:{}'}}\n\
                 peers:\n{peers}tls: {{ca: certs/ca.pem, cert: certs/member-{id}.pem, key: certs/member-{id}-key.pem}}\n",
                raft[index].number(),
                admin[index].number(),
                http[index].number(),
            );
            let options = MemberOptions { name: format!("member-{id}"), config, environment: Vec::new() };
            Member::start(folder.path(), &options).unwrap()
        });
        let members = members.collect();
        let mut trio = Self {
            members,
            http,
            admin,
            raft,
            folder,
        };
        for index in 0..3 {
            ready(&mut trio.members[index], trio.http[index].number());
        }
        trio
    }

    /// The three, as a configuration lists them.
    pub(crate) fn peers(&self) -> String {
        peers(&self.raft, &self.admin)
    }

    /// Sends SIGHUP to member `id` and waits for its word about it.
    pub(crate) fn hang_up(&self, id: usize, word: &str) {
        let member = &self.members[id - 1];
        member.signal(Signal::Hangup);
        wait::until("the member answers the hangup", READY_BOUND, || {
            let log = std::fs::read_to_string(member.log()).unwrap();
            match log.contains(word) {
                true => Ok(()),
                false => Err(member.log_tail()),
            }
        })
        .unwrap();
    }

    /// Asks member `id` as `alice`.
    pub(crate) fn regraft(&self, id: usize, arguments: &[&str]) -> Answer {
        self.regraft_as("client-alice", id, arguments)
    }

    /// Asks member `id` with another certificate.
    pub(crate) fn regraft_as(&self, who: &str, id: usize, arguments: &[&str]) -> Answer {
        let certs = self.folder.path().join("certs");
        command()
            .args([
                "--address",
                &format!("127.0.0.1:{}", self.admin[id - 1].number()),
            ])
            .arg("--ca")
            .arg(certs.join("ca.pem"))
            .arg("--cert")
            .arg(certs.join(format!("{who}.pem")))
            .arg("--key")
            .arg(certs.join(format!("{who}-key.pem")))
            .args(arguments)
            .output()
            .unwrap()
            .into()
    }

    /// Who leads, as member `id` sees it.
    pub(crate) fn leader(&self, id: usize) -> Option<usize> {
        let answer = self.regraft(id, &["get", "members", "-o", "json", "--stale"]);
        let members = answer.json();
        let leader = members
            .as_array()?
            .iter()
            .find(|member| member["role"] == "leader")?;
        usize::try_from(leader["id"].as_u64()?).ok()
    }

    /// Waits until member `id` is ready.
    pub(crate) fn wait_ready(&mut self, id: usize) {
        ready(&mut self.members[id - 1], self.http[id - 1].number());
    }
}

fn peers(raft: &[Port], admin: &[Port]) -> String {
    let mut peers = String::new();
    for (index, (raft, admin)) in raft.iter().zip(admin).enumerate() {
        let (raft, admin) = (raft.number(), admin.number());
        writeln!(
            peers,
            "  - {{id: {}, raft: '127.0.0.1:{raft}', admin: '127.0.0.1:{admin}'}}",
            index + 1
        )
        .unwrap();
    }
    peers
}

/// An authority, certificates of the members 1 to 3, and that of `alice`.
pub(crate) fn make_certificates(folder: &Path) {
    let folder = folder.to_str().unwrap();
    let wanted: [&[&str]; 5] = [
        &["init", "--cluster", "trio"],
        &["member", "1"],
        &["member", "2"],
        &["member", "3"],
        &["client", "alice"],
    ];
    for what in wanted {
        let arguments = [&["certs"], what, &["--dir", folder]].concat();
        let answer = regraft(&arguments);
        assert_eq!(answer.code, 0, "{}", answer.err);
    }
}

/// The status and body of a page.
pub(crate) fn page(port: u16, path: &str) -> Result<(u16, String), String> {
    use std::io::{Read as _, Write as _};
    let mut stream =
        std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .map_err(|error| error.to_string())?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    let code = text
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or("no status")?;
    Ok((
        code,
        text.split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
            .unwrap_or_default(),
    ))
}

fn ready(member: &mut Member, http: u16) {
    let waited = wait::until("the member is ready", READY_BOUND, || {
        member.check().map_err(|error| error.to_string())?;
        match page(http, "/readyz")? {
            (200, _) => Ok(()),
            (_, body) => Err(body),
        }
    });
    waited.unwrap_or_else(|error| panic!("{error}\n{}", member.log_tail()));
}

/// Text with a folder's name and other things of this run taken out.
pub(crate) fn plain(text: &str, folder: &Path) -> String {
    text.replace(&folder.display().to_string(), "FOLDER")
}
