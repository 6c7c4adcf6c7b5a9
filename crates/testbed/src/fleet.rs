//! Everything at once: control planes, a Git server and an installation that works on them.
//!
//! ```text
//! Fleet ─┬─ clusters       ControlPlane by name
//!        ├─ git            GitServer, filled from a folder, with a password
//!        └─ installation   members, mutual TLS between them when there are three
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::controlplane::{ControlPlane, start_fleet};
use crate::dir::TestDir;
use crate::error::Error;
use crate::git::{Credentials, GitServer, HttpOptions};
use crate::installation::{Installation, InstallationOptions};
use crate::member::Member;
use crate::wait;

/// The shortest that a member accepts; the product's default is longer.
const POLL_INTERVAL_S: u64 = 1;
/// Asking a member costs a process; looking more often would only slow it down.
const ASK_INTERVAL: Duration = Duration::from_millis(150);
/// Until a member answers after its start, and one leads.
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
    installation: Installation,
    /// The Git server.
    pub git: GitServer,
    clusters: BTreeMap<String, ControlPlane>,
    dir: TestDir,
}

impl Fleet {
    /// Starts clusters and Git server, then the members, and waits until one leads.
    ///
    /// # Errors
    /// The first thing that did not start.
    pub fn start(name: &str, options: &FleetOptions<'_>) -> Result<Self, Error> {
        Self::start_in(TestDir::new(name)?, options)
    }

    /// The same, in a folder of the caller's.
    ///
    /// # Errors
    /// See [`Fleet::start`].
    pub fn start_in(dir: TestDir, options: &FleetOptions<'_>) -> Result<Self, Error> {
        let credentials = Credentials {
            user: "regraft".to_owned(),
            password: format!("secret-{}", std::process::id()),
        };
        let git = GitServer::http(
            dir.path(),
            HttpOptions {
                credentials: Some(credentials.clone()),
            },
        )?;
        git.seed(options.repository)?;
        let planes = start_fleet(dir.path(), options.clusters)?;
        let clusters: BTreeMap<_, _> = planes
            .into_iter()
            .map(|plane| (plane.name().to_owned(), plane))
            .collect();
        let kubeconfigs = clusters
            .iter()
            .map(|(name, plane)| (name.clone(), plane.regraft_kubeconfig()))
            .collect();
        let mut installation = Installation::start(
            &dir.path().join("regraft"),
            &InstallationOptions {
                members: seat(options.members),
                repository: git.url(),
                credentials: Some(credentials),
                poll_interval_s: POLL_INTERVAL_S,
                clusters: kubeconfigs,
                log_level: "info".to_owned(),
            },
        )?;
        installation.wait_leader(ANSWER_BOUND)?;
        Ok(Self {
            installation,
            git,
            clusters,
            dir,
        })
    }

    /// The folder of everything: logs, configurations, data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A cluster by name.
    ///
    /// # Panics
    /// When it was not among the names it was started with.
    #[must_use]
    pub fn cluster(&mut self, name: &str) -> &mut ControlPlane {
        self.clusters
            .get_mut(name)
            .expect("a cluster it was started with")
    }

    /// All clusters.
    pub fn clusters(&self) -> impl Iterator<Item = &ControlPlane> {
        self.clusters.values()
    }

    /// A member by its id, from 1.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn member(&mut self, id: usize) -> &mut Member {
        self.installation
            .member(seat(id))
            .expect("a member it was started with")
    }

    /// The members and a person's command line.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Runs `regraft ARGUMENTS` against a member; gives what it printed.
    ///
    /// # Errors
    /// `Command` with everything it wrote when it failed.
    pub fn ask(&self, id: usize, arguments: &[&str]) -> Result<String, Error> {
        self.installation.regraft_at(seat(id), arguments)
    }

    /// Runs `regraft ARGUMENTS -o json` against the first member that answers.
    ///
    /// # Errors
    /// The last member's error when none answers; `Unreadable` when the answer is no JSON.
    pub fn ask_any(&self, arguments: &[&str]) -> Result<Value, Error> {
        self.installation.json(arguments)
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

    /// Id of the leading member, as the members see it.
    ///
    /// # Errors
    /// `TimedOut` when none leads.
    pub fn leader(&self) -> Result<usize, Error> {
        wait::until_every(ASK_INTERVAL, "a member leads", ANSWER_BOUND, || {
            let id = self.installation.leader();
            let id = id.map_err(|error| error.to_string())?;
            usize::try_from(id).map_err(|error| error.to_string())
        })
    }

    /// Waits until every application is Synced, Healthy and has a verified revision with the inputs of the head.
    ///
    /// # Errors
    /// `TimedOut` with what is missing.
    pub fn wait_verified(&self, bound: Duration) -> Result<(), Error> {
        self.wait_for(
            "everything is Synced, Healthy and verified",
            bound,
            &["get", "applications"],
            |found| {
                let total = list(found).count();
                let missing: Vec<String> = list(found)
                    .filter(|it| {
                        it["sync"] != "Synced"
                            || it["health"] != "Healthy"
                            || it["verified"] != it["revision"]
                    })
                    .map(|it| {
                        format!(
                            "{}@{}: {} {} {}",
                            it["name"], it["cluster"], it["sync"], it["health"], it["message"]
                        )
                    })
                    .collect();
                if total > 0 && missing.is_empty() {
                    Ok(())
                } else {
                    Err(format!("{total} targets; {}", missing.join("; ")))
                }
            },
        )
    }

    /// Waits until the newest incident of an application has ended; gives it.
    ///
    /// # Errors
    /// `TimedOut` with its phase and what it waits for.
    pub fn wait_ended(&self, application: &str, bound: Duration) -> Result<Value, Error> {
        self.wait_for(
            "the incident ends",
            bound,
            &["get", "incidents"],
            |incidents| {
                let newest = newest_incident(incidents, application).ok_or("no incident yet")?;
                if newest["phase"] == "Ended" {
                    return Ok(newest.clone());
                }
                Err(format!(
                    "{} in phase {}: {}",
                    newest["id"], newest["phase"], newest["waitsFor"]
                ))
            },
        )
    }
}

/// A member's number in a test as the id it goes by.
fn seat(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The elements of an answer that is a list.
pub fn list(answer: &Value) -> impl Iterator<Item = &Value> {
    answer
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
}

/// The incident of an application that was opened last.
#[must_use]
pub fn newest_incident<'a>(incidents: &'a Value, application: &str) -> Option<&'a Value> {
    list(incidents)
        .filter(|incident| incident["application"] == application)
        .max_by_key(|incident| incident["openedAt"].as_str())
}
