//! The three processes, what they are made to suffer, and how they are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use regraft_replica::{Tls, TlsPaths};
use regraft_testbed::{Process, Program, Signal};
use regraft_wire::store::v1::StatusRequest;
use regraft_wire::store::v1::store_client::StoreClient;

use super::MEMBERS;
use super::lab::{Cut, Lab};
use crate::clock;
use crate::member::faults::Faults;
use crate::trio::{self, Certificates};

/// How long a member may take to tell its status.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);
/// Entries between two snapshots: a few minutes' worth, so that who was away for long is sent one.
const SNAPSHOT_EVERY: u64 = 2_000;
/// A member that ends at once when it is started is started again no sooner than after this.
const RESTART_REST: Duration = Duration::from_secs(1);
/// How often those that have not recovered are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Three members.
pub(super) struct Members {
    pub(super) lab: Lab,
    folder: PathBuf,
    certificates: Certificates,
    tls: Arc<Tls>,
    processes: Mutex<BTreeMap<u64, (Process, Instant)>>,
    /// Who makes the way to a member slow.
    slow_ways: Mutex<BTreeMap<u64, Process>>,
    /// What each does not hear or reach, by the fault that cut it.
    cuts: Mutex<BTreeMap<u64, Vec<(u32, Cut)>>>,
}

/// How a member says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Whom it follows; 0: nobody.
    pub(super) leader: u64,
    pub(super) revision: u64,
}

impl Members {
    /// Starts all of them on what the lab has.
    pub(super) fn start(lab: Lab, folder: &Path) -> Result<Self> {
        let certificates = Certificates::create(&folder.join("certificates"))?;
        let tls = Tls::load(certificates.client())?;
        let members = Self {
            lab,
            folder: folder.to_owned(),
            certificates,
            tls: Arc::new(tls),
            processes: Mutex::default(),
            slow_ways: Mutex::default(),
            cuts: Mutex::default(),
        };
        for member in 1..=MEMBERS {
            members.revive(member)?;
        }
        Ok(members)
    }

    /// The addresses for programs, by member.
    pub(super) fn addresses(&self) -> BTreeMap<u64, String> {
        (1..=MEMBERS)
            .map(|member| (member, self.lab.store(member)))
            .collect()
    }

    pub(super) fn tls(&self) -> &Arc<Tls> {
        &self.tls
    }

    pub(super) fn faults(&self, member: u64) -> Faults {
        Faults::new(self.folder.join(format!("faults-{member}")))
    }

    /// Starts a member, unless it runs.
    pub(super) fn revive(&self, member: u64) -> Result<()> {
        let mut processes = lock(&self.processes);
        if processes.contains_key(&member) {
            return Ok(());
        }
        let tls = self.certificates.member(member, &self.lab.host(member))?;
        let program = self.program(member, &tls)?;
        let log = self.folder.join(format!("member-{member}.log"));
        let process = Process::start(&format!("member-{member}"), &program, &log)?;
        processes.insert(member, (process, clock::now()));
        Ok(())
    }

    fn program(&self, member: u64, tls: &TlsPaths) -> Result<Program> {
        let mut words = vec!["member".to_owned()];
        words.extend((1..=MEMBERS).map(|id| format!("--peer={id}={}", self.lab.raft(id))));
        words.extend([
            format!("--node-id={member}"),
            format!("--data-dir={}", self.lab.data(member).display()),
            format!("--raft={}", self.lab.raft(member)),
            format!("--store={}", self.lab.store(member)),
            format!("--ca={}", tls.ca.display()),
            format!("--cert={}", tls.cert.display()),
            format!("--key={}", tls.key.display()),
            format!("--snapshot-every={SNAPSHOT_EVERY}"),
            format!(
                "--faults={}",
                self.folder.join(format!("faults-{member}")).display()
            ),
        ]);
        self.beside(member, words)
    }

    /// This program with these arguments, in the network of a member.
    fn beside(&self, member: u64, arguments: Vec<String>) -> Result<Program> {
        let mut words = self.lab.prefix(member);
        words.push(std::env::current_exe()?.display().to_string());
        words.extend(arguments);
        let mut words = words.into_iter();
        let first = words.next().context("a program has a name")?;
        Ok(Program::new(first).args(words))
    }

    /// Kills a member.
    pub(super) fn kill(&self, member: u64) {
        let process = lock(&self.processes).remove(&member);
        drop(process);
    }

    /// Kills all of them at the same moment.
    pub(super) fn kill_all(&self) {
        let processes = std::mem::take(&mut *lock(&self.processes));
        for (process, _) in processes.values() {
            process.signal(Signal::Kill);
        }
        drop(processes);
    }

    pub(super) fn signal(&self, member: u64, signal: Signal) {
        if let Some((process, _)) = lock(&self.processes).get(&member) {
            process.signal(signal);
        }
    }

    /// Starts those again that ended by themselves, as whoever looks after processes does; tells which, and how.
    pub(super) fn revive_ended(&self) -> Result<Vec<(u64, String)>> {
        let ended: Vec<(u64, String, String)> = lock(&self.processes)
            .iter_mut()
            .filter(|(_, (_, since))| since.elapsed() > RESTART_REST)
            .filter_map(|(member, (process, _))| {
                let how = process.ended()?.to_string();
                let last = process.log_tail().lines().last().map(str::to_owned);
                Some((*member, how, last.unwrap_or_default()))
            })
            .collect();
        let mut told = Vec::new();
        for (member, how, last) in ended {
            self.kill(member);
            self.revive(member)?;
            told.push((member, format!("member {member} ended ({how}): {last}")));
        }
        Ok(told)
    }

    /// Drops traffic of members, for as long as the fault of this number lasts.
    pub(super) fn cut(&self, fault: u32, cuts: &[(u64, Cut)]) -> Result<()> {
        let mut all = lock(&self.cuts);
        for (member, cut) in cuts {
            all.entry(*member).or_default().push((fault, *cut));
        }
        self.apply(&all)
    }

    /// Lets the traffic through again that the fault of this number cut.
    pub(super) fn mend(&self, fault: u32) -> Result<()> {
        let mut all = lock(&self.cuts);
        for cuts in all.values_mut() {
            cuts.retain(|(by, _)| *by != fault);
        }
        self.apply(&all)
    }

    /// Has all that is sent to a member, and its answers, arrive so much later.
    pub(super) fn delay(&self, member: u64, by: Duration) -> Result<()> {
        let mut slow_ways = lock(&self.slow_ways);
        // One at a time has the ports.
        drop(slow_ways.remove(&member));
        let mut words = vec!["delay".to_owned(), format!("--by-ms={}", by.as_millis())];
        words.extend(self.lab.slow_ways(member).map(|way| format!("--way={way}")));
        let log = self.folder.join(format!("delay-{member}.log"));
        let program = self.beside(member, words)?;
        let process = Process::start(&format!("delay-{member}"), &program, &log)?;
        slow_ways.insert(member, process);
        self.lab.lead_slowly(member)
    }

    /// Has it arrive as before.
    pub(super) fn hasten(&self, member: u64) -> Result<()> {
        self.lab.lead_straight(member)?;
        match lock(&self.slow_ways).remove(&member) {
            Some(mut process) => Ok(process.check()?),
            None => Ok(()),
        }
    }

    fn apply(&self, all: &BTreeMap<u64, Vec<(u32, Cut)>>) -> Result<()> {
        for (member, cuts) in all {
            let cuts: Vec<Cut> = cuts.iter().map(|(_, cut)| *cut).collect();
            self.lab.cut(*member, &cuts)?;
        }
        Ok(())
    }

    /// What a member says of itself.
    pub(super) async fn status(&self, member: u64) -> Result<Said> {
        let asking = async {
            let address: SocketAddr = self.lab.store(member).parse()?;
            let channel = trio::connect(&self.tls, address).await?;
            let status = StoreClient::new(channel).status(StatusRequest {}).await?;
            let status = status.into_inner();
            anyhow::Ok(Said {
                leader: status.leader,
                revision: status.revision,
            })
        };
        let asked = tokio::time::timeout(STATUS_TIMEOUT, asking).await;
        asked.with_context(|| format!("member {member} does not answer"))?
    }

    /// Who leads, as far as the one says who does; of several the one that has applied most.
    pub(super) async fn leader(&self) -> Option<u64> {
        let mut leaders = Vec::new();
        for member in 1..=MEMBERS {
            if let Ok(said) = self.status(member).await
                && said.leader == member
            {
                leaders.push((said.revision, member));
            }
        }
        leaders.into_iter().max().map(|(_, member)| member)
    }

    /// Waits until all have a leader and have applied what any of them had when it was asked first; tells who has not.
    pub(super) async fn recovered(&self, bound: Duration) -> Result<(), BTreeMap<u64, String>> {
        let began = clock::now();
        let mut goal = 0;
        let mut well = BTreeMap::new();
        loop {
            let mut ill = BTreeMap::new();
            for member in 1..=MEMBERS {
                match self.status(member).await {
                    Ok(said) => {
                        well.insert(member, said);
                    }
                    Err(error) => {
                        well.remove(&member);
                        ill.insert(member, format!("{error:#}"));
                    }
                }
            }
            if ill.is_empty() && goal == 0 {
                // One above what is known, so that it is seen that they go on.
                goal = well
                    .values()
                    .map(|said| said.revision)
                    .max()
                    .unwrap_or_default()
                    + 1;
            }
            for (member, said) in &well {
                if said.leader == 0 || said.revision < goal {
                    let Said { leader, revision } = said;
                    let how = format!("is at {revision} of {goal}, follows {leader}");
                    ill.insert(*member, how);
                }
            }
            if ill.is_empty() {
                return Ok(());
            }
            if began.elapsed() > bound {
                return Err(ill);
            }
            clock::rest(LOOK_EVERY).await;
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
