//! Everything at once: control planes, a Git server and members that work on them.
//!
//! ```text
//! Fleet ─┬─ clusters   ControlPlane by name
//!        ├─ git        GitServer, filled from a folder
//!        └─ members    Member 1..n, mutual TLS between them when there are three
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::binaries::Binary;
use crate::controlplane::{ControlPlane, start_fleet};
use crate::dir::TestDir;
use crate::error::Error;
use crate::git::{Credentials, GitServer, HttpOptions};
use crate::member::{Member, MemberOptions};
use crate::ports::Port;
use crate::wait;

/// Id of the replicated cluster.
const CLUSTER_ID: &str = "testbed";
/// Name of the repository in the members' configuration.
const REPOSITORY: &str = "fleet";
/// How often the leader asks the remote; the product's default is longer.
const POLL_INTERVAL: &str = "1s";
/// Asking a member costs a process; looking more often would only slow it down.
const ASK_INTERVAL: Duration = Duration::from_millis(150);
/// Until a member answers after its start.
const ANSWER_BOUND: Duration = Duration::from_secs(20);

/// What to start.
#[derive(Clone, Debug)]
pub struct FleetOptions<'a> {
    /// Names of the clusters.
    pub clusters: &'a [&'a str],
    /// How many members; one needs no certificates.
    pub members: usize,
    /// Folder the repository is filled from.
    pub repository: &'a Path,
}

/// A running fleet. Dropping it ends everything.
#[derive(Debug)]
pub struct Fleet {
    members: Vec<Seat>,
    /// The Git server.
    pub git: GitServer,
    clusters: BTreeMap<String, ControlPlane>,
    certificates: Option<PathBuf>,
    dir: TestDir,
}

#[derive(Debug)]
struct Seat {
    member: Member,
    admin: String,
    http: u16,
    // Held so that a killed member finds its ports free at its restart.
    _ports: Vec<Port>,
}

impl Fleet {
    /// Starts clusters and Git server, then the members.
    ///
    /// # Errors
    /// The first thing that did not start.
    pub fn start(name: &str, options: &FleetOptions<'_>) -> Result<Self, Error> {
        let dir = TestDir::new(name)?;
        let password = format!("secret-{}", std::process::id());
        let credentials = Credentials { user: "regraft".to_owned(), password: password.clone() };
        let git = GitServer::http(dir.path(), HttpOptions { credentials: Some(credentials) })?;
        git.seed(options.repository)?;
        let planes = start_fleet(dir.path(), options.clusters)?;
        let clusters = planes.into_iter().map(|plane| (plane.name().to_owned(), plane)).collect();
        let mut fleet = Self { members: Vec::new(), git, clusters, certificates: None, dir };
        fleet.start_members(options.members, &password)?;
        Ok(fleet)
    }

    /// The folder of everything: logs, configurations, data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Keeps the folder when this is dropped.
    pub fn keep_dir(&mut self) {
        self.dir.keep();
    }

    /// A cluster by name.
    ///
    /// # Panics
    /// When it was not among the names it was started with.
    #[must_use]
    pub fn cluster(&mut self, name: &str) -> &mut ControlPlane {
        self.clusters.get_mut(name).expect("a cluster it was started with")
    }

    /// All clusters.
    pub fn clusters(&self) -> impl Iterator<Item = &ControlPlane> {
        self.clusters.values()
    }

    /// A member by number, from 1.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn member(&mut self, id: usize) -> &mut Member {
        &mut self.members.get_mut(id - 1).expect("a member it was started with").member
    }

    /// How many members it has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Where a member's probes and metrics are.
    #[must_use]
    pub fn http_port(&self, id: usize) -> u16 {
        self.members[id - 1].http
    }

    /// The command line that asks a member, for people to try: program and connection flags.
    #[must_use]
    pub fn command_line(&self, id: usize) -> Vec<String> {
        let program = Binary::Regraft.path().unwrap_or_else(|_| "regraft".into());
        let mut line = vec![program.display().to_string()];
        line.extend(["--address".to_owned(), self.members[id - 1].admin.clone()]);
        if let Some(folder) = &self.certificates {
            let files = [("--ca", "ca.pem"), ("--cert", "client-demo.pem"), ("--key", "client-demo-key.pem")];
            for (flag, file) in files {
                line.extend([flag.to_owned(), folder.join(file).display().to_string()]);
            }
        }
        line
    }

    /// Runs `regraft ARGUMENTS` against a member; gives what it printed.
    ///
    /// # Errors
    /// `Command` with everything it wrote when it failed.
    pub fn ask(&self, id: usize, arguments: &[&str]) -> Result<String, Error> {
        let line = self.command_line(id);
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).args(arguments);
        let output =
            command.output().map_err(|source| Error::Start { program: "regraft".to_owned(), source })?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        Err(Error::Command {
            command: format!("regraft {}", arguments.join(" ")),
            status: output.status.to_string(),
            output: format!("{said}{}", String::from_utf8_lossy(&output.stderr)),
        })
    }

    /// Runs `regraft ARGUMENTS -o json` against the first member that answers.
    ///
    /// # Errors
    /// The last member's error when none answers; `Unreadable` when the answer is no JSON.
    pub fn ask_any(&self, arguments: &[&str]) -> Result<Value, Error> {
        let mut arguments = arguments.to_vec();
        arguments.extend(["-o", "json"]);
        let mut last = Error::Unreadable { what: "the fleet".to_owned(), detail: "it has no members".to_owned() };
        for (id, seat) in (1..).zip(&self.members) {
            if seat.member.pid().is_none() {
                continue;
            }
            match self.ask(id, &arguments) {
                Ok(text) => {
                    return serde_json::from_str(&text).map_err(|error| Error::Unreadable {
                        what: format!("the answer to {}", arguments.join(" ")),
                        detail: format!("{error}: {text}"),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks until `found` gives a value; its `Err` is the state seen.
    ///
    /// # Errors
    /// `TimedOut` with the last state.
    pub fn wait_for<T>(
        &self,
        what: &str,
        bound: Duration,
        arguments: &[&str],
        mut found: impl FnMut(&Value) -> Result<T, String>,
    ) -> Result<T, Error> {
        wait::until_every(ASK_INTERVAL, what, bound, || {
            let answer = self.ask_any(arguments).map_err(|error| error.to_string())?;
            found(&answer)
        })
    }

    /// Number of the leading member, as the members see it.
    ///
    /// # Errors
    /// `TimedOut` when none leads.
    pub fn leader(&self) -> Result<usize, Error> {
        self.wait_for("a member leads", ANSWER_BOUND, &["get", "members"], |members| {
            let leader = list(members).find(|member| member["role"] == "leader");
            let id = leader.and_then(|member| member["id"].as_u64());
            id.and_then(|id| usize::try_from(id).ok()).ok_or_else(|| members.to_string())
        })
    }

    /// Waits until every application is Synced, Healthy and has a verified revision with the inputs of the head.
    ///
    /// # Errors
    /// `TimedOut` with what is missing.
    pub fn wait_verified(&self, bound: Duration) -> Result<(), Error> {
        self.wait_for("everything is Synced, Healthy and verified", bound, &["get", "applications"], |found| {
            let total = list(found).count();
            let missing: Vec<String> = list(found)
                .filter(|it| {
                    it["sync"] != "Synced" || it["health"] != "Healthy" || it["verified"] != it["revision"]
                })
                .map(|it| format!("{}@{}: {} {} {}", it["name"], it["cluster"], it["sync"], it["health"], it["message"]))
                .collect();
            if total > 0 && missing.is_empty() { Ok(()) } else { Err(format!("{total} targets; {}", missing.join("; "))) }
        })
    }

    /// Waits until the newest incident of an application has ended; gives it.
    ///
    /// # Errors
    /// `TimedOut` with its phase and what it waits for.
    pub fn wait_ended(&self, application: &str, bound: Duration) -> Result<Value, Error> {
        self.wait_for("the incident ends", bound, &["get", "incidents"], |incidents| {
            let newest = newest_incident(incidents, application).ok_or("no incident yet")?;
            if newest["phase"] == "Ended" {
                return Ok(newest.clone());
            }
            Err(format!("{} in phase {}: {}", newest["id"], newest["phase"], newest["waitsFor"]))
        })
    }

    fn start_members(&mut self, count: usize, password: &str) -> Result<(), Error> {
        let secret = self.dir.path().join("git-password");
        std::fs::write(&secret, password).map_err(Error::file("write", &secret))?;
        if count > 1 {
            self.certificates = Some(self.make_certificates(count)?);
        }
        let mut ports = Vec::new();
        for _ in 0..count {
            ports.push([Port::reserve()?, Port::reserve()?, Port::reserve()?]);
        }
        let peers: String = (1..)
            .zip(&ports)
            .filter(|_| count > 1)
            .map(|(id, [raft, admin, _])| {
                format!(
                    "  - {{ id: {id}, raft: \"127.0.0.1:{}\", admin: \"127.0.0.1:{}\" }}\n",
                    raft.number(),
                    admin.number()
                )
            })
            .collect();
        for (id, [raft, admin, http]) in (1..).zip(ports) {
            let folder = self.dir.folder(&format!("member-{id}"))?;
            let listens = if count > 1 {
                format!("127.0.0.1:{}", admin.number())
            } else {
                format!("unix:{}", folder.join("admin.sock").display())
            };
            let config = self.member_config(id, [&raft, &http], &listens, &peers);
            let options = MemberOptions { name: format!("regraft-{id}"), config, environment: Vec::new() };
            let member = Member::start(&folder, &options)?;
            let http_port = http.number();
            self.members.push(Seat { member, admin: listens, http: http_port, _ports: vec![raft, admin, http] });
        }
        self.leader().map(drop)
    }

    fn make_certificates(&self, members: usize) -> Result<PathBuf, Error> {
        let folder = self.dir.path().join("certs");
        let text = folder.display().to_string();
        run_here(&["certs", "init", "--cluster", CLUSTER_ID, "--dir", &text])?;
        for id in 1..=members {
            run_here(&["certs", "member", &id.to_string(), "--dir", &text])?;
        }
        run_here(&["certs", "client", "demo", "--dir", &text])?;
        Ok(folder)
    }

    fn member_config(&self, id: usize, [raft, http]: [&Port; 2], admin: &str, peers: &str) -> String {
        let mut text = format!(
            "member: {{ id: {id} }}\ncluster: {CLUSTER_ID}\ndataDir: data\nlisten:\n  raft: 127.0.0.1:{}\n  \
             admin: \"{admin}\"\n  http: 127.0.0.1:{}\n",
            raft.number(),
            http.number()
        );
        if let Some(folder) = &self.certificates {
            let folder = folder.display();
            text.push_str(&format!(
                "peers:\n{peers}tls:\n  ca: {folder}/ca.pem\n  cert: {folder}/member-{id}.pem\n  \
                 key: {folder}/member-{id}-key.pem\n"
            ));
        }
        text.push_str(&format!(
            "repositories:\n  - name: {REPOSITORY}\n    url: {}\n    branch: main\n    pollInterval: {POLL_INTERVAL}\n    \
             credentials:\n      username: regraft\n      passwordFile: {}\nclusters:\n",
            self.git.url(),
            self.dir.path().join("git-password").display()
        ));
        for cluster in self.clusters.values() {
            text.push_str(&format!(
                "  - name: {}\n    kubeconfig: {}\n",
                cluster.name(),
                cluster.regraft_kubeconfig().display()
            ));
        }
        text
    }
}

/// The elements of an answer that is a list.
pub fn list(answer: &Value) -> impl Iterator<Item = &Value> {
    answer.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// The incident of an application that was opened last.
#[must_use]
pub fn newest_incident<'a>(incidents: &'a Value, application: &str) -> Option<&'a Value> {
    list(incidents)
        .filter(|incident| incident["application"] == application)
        .max_by_key(|incident| incident["openedAt"].as_i64())
}

fn run_here(arguments: &[&str]) -> Result<(), Error> {
    let program = Binary::Regraft.path()?;
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|source| Error::Start { program: "regraft".to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: format!("regraft {}", arguments.join(" ")),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
