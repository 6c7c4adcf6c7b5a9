//! An installation of regraft: one member, or three with certificates, and the command line of a person.
//!
//! Expected flow: `start` -> `wait_leader` -> `get`, `regraft` -> drop. The
//! schema of a member's configuration is written in `member_config` and nowhere
//! else in this crate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::binaries::Binary;
use crate::error::Error;
use crate::git::Credentials;
use crate::member::{Member, MemberOptions};
use crate::ports::Port;
use crate::process::{self, Program};
use crate::wait;

/// Name of the repository in the members' configuration.
const REPOSITORY: &str = "fleet";
/// Name of the replicated cluster.
const CLUSTER: &str = "testbed";
/// The person whose client certificate the command line uses.
const PERSON: &str = "operator";
/// How often the command line is asked while waiting: it is a process each time.
const ASK_INTERVAL: Duration = Duration::from_millis(150);

/// What to start.
#[derive(Clone, Debug)]
pub struct InstallationOptions {
    /// How many members: one without certificates, three with them.
    pub members: u64,
    /// Address of the repository.
    pub repository: String,
    /// What the repository asks for.
    pub credentials: Option<Credentials>,
    /// How often the repository is asked for its tip.
    pub poll_interval_s: u64,
    /// Kubeconfigs by the names of clusters.
    pub clusters: BTreeMap<String, PathBuf>,
    /// Level of the members' logs.
    pub log_level: String,
}

/// Running members; dropping it kills them.
#[derive(Debug)]
pub struct Installation {
    dir: PathBuf,
    binary: PathBuf,
    seats: Vec<Seat>,
}

/// A member and where it listens.
#[derive(Debug)]
struct Seat {
    id: u64,
    member: Member,
    admin: String,
    http: u16,
    _ports: [Port; 3],
}

impl Installation {
    /// Makes certificates where they are needed, writes configurations and starts the members, all in `dir`.
    ///
    /// # Errors
    /// `MissingBinary` before the build; `Command` when certificates cannot be made.
    pub fn start(dir: &Path, options: &InstallationOptions) -> Result<Self, Error> {
        std::fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        let mut installation = Self {
            dir: dir.to_path_buf(),
            binary: Binary::Regraft.path()?,
            seats: Vec::new(),
        };
        if options.members > 1 {
            installation.make_certificates(options.members)?;
        }
        if let Some(credentials) = &options.credentials {
            let path = dir.join("password");
            std::fs::write(&path, &credentials.password).map_err(Error::file("write", &path))?;
        }
        let ports: Vec<[Port; 3]> = (0..options.members)
            .map(|_| Ok([Port::reserve()?, Port::reserve()?, Port::reserve()?]))
            .collect::<Result<_, Error>>()?;
        let numbers: Vec<[u16; 3]> = ports
            .iter()
            .map(|ports| ports.each_ref().map(Port::number))
            .collect();
        for (id, ports) in (1..).zip(ports) {
            let name = format!("member-{id}");
            let config = member_config(id, &numbers, options);
            let environment = vec![("RUST_BACKTRACE".to_owned(), "1".to_owned())];
            let member = Member::start(
                dir,
                &MemberOptions {
                    name,
                    config,
                    environment,
                },
            )?;
            let admin = match options.members {
                1 => format!("unix:{}", dir.join("data-1/admin.sock").display()),
                _ => format!("127.0.0.1:{}", ports[1].number()),
            };
            let http = ports[2].number();
            installation.seats.push(Seat {
                id,
                member,
                admin,
                http,
                _ports: ports,
            });
        }
        Ok(installation)
    }

    /// Ids of all members.
    #[must_use]
    pub fn ids(&self) -> Vec<u64> {
        self.seats.iter().map(|seat| seat.id).collect()
    }

    /// A member by its id.
    ///
    /// # Errors
    /// `Unreadable` when there is none.
    pub fn member(&mut self, id: u64) -> Result<&mut Member, Error> {
        self.seats
            .iter_mut()
            .find(|seat| seat.id == id)
            .map(|seat| &mut seat.member)
            .ok_or_else(|| no_member(id))
    }

    /// All members, for measuring.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.seats.iter().map(|seat| &seat.member)
    }

    /// Where a member answers probes and serves metrics, as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn http(&self, id: u64) -> Option<String> {
        self.seats
            .iter()
            .find(|seat| seat.id == id)
            .map(|seat| format!("http://127.0.0.1:{}", seat.http))
    }

    /// Variables with which a person's `regraft` reaches the first living member.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let living = self.seats.iter().find(|seat| seat.member.pid().is_some());
        living
            .map(|seat| self.environment_of(seat))
            .unwrap_or_default()
    }

    /// Runs the command line against the living members in turn, until one answers.
    ///
    /// # Errors
    /// `Command` of the last one asked.
    pub fn regraft(&self, args: &[&str]) -> Result<String, Error> {
        let mut last = None;
        for seat in self.seats.iter().filter(|seat| seat.member.pid().is_some()) {
            match self.ask(seat, args) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Command {
            command: format!("regraft {}", args.join(" ")),
            status: "not started".to_owned(),
            output: "no member lives".to_owned(),
        }))
    }

    /// Runs the command line against one member.
    ///
    /// # Errors
    /// `Command` with everything it wrote when it failed; `Unreadable` when there is no such member.
    pub fn regraft_at(&self, id: u64, args: &[&str]) -> Result<String, Error> {
        match self.seats.iter().find(|seat| seat.id == id) {
            Some(seat) => self.ask(seat, args),
            None => Err(no_member(id)),
        }
    }

    /// A document by `regraft ARGS... -o json`.
    ///
    /// # Errors
    /// As `regraft`; `Unreadable` where the answer is no JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value, Error> {
        let answer = self.regraft(&[args, &["-o", "json"]].concat())?;
        serde_json::from_str(&answer).map_err(|error| Error::Unreadable {
            what: format!("regraft {}", args.join(" ")),
            detail: error.to_string(),
        })
    }

    /// The leader's id, as a living member knows it.
    ///
    /// # Errors
    /// As `json`; `Unreadable` when no leader is known.
    pub fn leader(&self) -> Result<u64, Error> {
        let members = self.json(&["get", "members"])?;
        let leader = members
            .as_array()
            .into_iter()
            .flatten()
            .find(|member| member["role"] == "leader");
        leader
            .and_then(|member| member["id"].as_u64())
            .ok_or_else(|| Error::Unreadable {
                what: "the leader".to_owned(),
                detail: members.to_string(),
            })
    }

    /// Waits until a leader is known and gives its id.
    ///
    /// # Errors
    /// `Ended` when a member ended, `TimedOut` when none leads in time.
    pub fn wait_leader(&mut self, bound: Duration) -> Result<u64, Error> {
        self.wait_for("a member leads", bound, |installation| {
            installation.leader().map_err(|error| error.to_string())
        })
    }

    /// Asks until `probe` has an answer, and looks that no living member ended meanwhile.
    ///
    /// # Errors
    /// `Ended` when a member ended by itself, `TimedOut` with the last state.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        bound: Duration,
        mut probe: impl FnMut(&Self) -> Result<T, String>,
    ) -> Result<T, Error> {
        wait::until_every(ASK_INTERVAL, what, bound, || {
            for seat in self
                .seats
                .iter_mut()
                .filter(|seat| seat.member.pid().is_some())
            {
                if let Err(ended) = seat.member.check() {
                    return Ok(Err(ended));
                }
            }
            probe(self).map(Ok)
        })?
    }

    fn make_certificates(&self, members: u64) -> Result<(), Error> {
        let dir = self.dir.join("certs").display().to_string();
        let certs = |args: &[&str]| {
            let program = Program::new(&self.binary)
                .args(["certs"])
                .args(args.iter().copied());
            process::run(&program.args(["--dir", &dir])).map(drop)
        };
        certs(&["init", "--cluster", CLUSTER])?;
        for id in 1..=members {
            certs(&["member", &id.to_string()])?;
        }
        certs(&["client", PERSON])
    }

    fn environment_of(&self, seat: &Seat) -> Vec<(String, String)> {
        let mut environment = vec![("REGRAFT_ADDRESS".to_owned(), seat.admin.clone())];
        if !seat.admin.starts_with("unix:") {
            let file = |name: &str| self.dir.join("certs").join(name).display().to_string();
            environment.push(("REGRAFT_CA".to_owned(), file("ca.pem")));
            environment.push((
                "REGRAFT_CERT".to_owned(),
                file(&format!("client-{PERSON}.pem")),
            ));
            environment.push((
                "REGRAFT_KEY".to_owned(),
                file(&format!("client-{PERSON}-key.pem")),
            ));
        }
        environment
    }

    fn ask(&self, seat: &Seat, args: &[&str]) -> Result<String, Error> {
        let mut program = Program::new(&self.binary).args(args.iter().copied());
        for (key, value) in self.environment_of(seat) {
            program = program.env(key, value);
        }
        process::run(&program)
    }
}

fn no_member(id: u64) -> Error {
    Error::Unreadable {
        what: "the members".to_owned(),
        detail: format!("there is no {id}"),
    }
}

/// A member's configuration; JSON is YAML, and quotes itself right.
fn member_config(id: u64, ports: &[[u16; 3]], options: &InstallationOptions) -> String {
    let address = |port: u16| format!("127.0.0.1:{port}");
    let seats: Vec<(u64, [u16; 3])> = (1..).zip(ports.iter().copied()).collect();
    let [raft, admin, http] = seats
        .iter()
        .find(|(seat, _)| *seat == id)
        .map_or([0; 3], |(_, ports)| *ports);
    let mut config = json!({
        "member": {"id": id},
        "cluster": CLUSTER,
        "dataDir": format!("data-{id}"),
        "listen": {"raft": address(raft), "http": address(http)},
        "repositories": [{
            "name": REPOSITORY,
            "url": options.repository,
            "branch": "main",
            "pollInterval": format!("{}s", options.poll_interval_s),
        }],
        "clusters": options
            .clusters
            .iter()
            .map(|(name, kubeconfig)| json!({"name": name, "kubeconfig": kubeconfig}))
            .collect::<Vec<_>>(),
        "log": {"format": "human", "level": options.log_level},
    });
    if let Some(credentials) = &options.credentials {
        config["repositories"][0]["credentials"] =
            json!({"username": credentials.user, "passwordFile": "password"});
    }
    if seats.len() > 1 {
        config["listen"]["admin"] = json!(address(admin));
        config["tls"] = json!({
            "ca": "certs/ca.pem",
            "cert": format!("certs/member-{id}.pem"),
            "key": format!("certs/member-{id}-key.pem"),
        });
        config["peers"] = seats
            .iter()
            .filter(|(seat, _)| *seat != id)
            .map(|(seat, [raft, admin, _])| json!({"id": seat, "raft": address(*raft), "admin": address(*admin)}))
            .collect();
    }
    format!("{config:#}\n")
}
