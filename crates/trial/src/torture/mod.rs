//! Three real processes under a load and real faults, and whether they kept their promises.
//!
//! ```text
//! Schedule (seed) ──> strike ──> Members (processes, network, disks, clocks) <── clients (regraft-client)
//!                                                                                   │ History
//!                                  faults, recovery ──> Report <── regraft_history ─┘
//! ```
//!
//! - Expected flow: members start, clients work without a pause, blows come one after another, each after all members have
//!   recovered from the one before; then everything the clients saw is judged.
//! - Guarantees: nothing outside the folder of the run and the namespaces of this process is changed. A seed gives the same
//!   blows; what they hit is the processes' business, so two runs are never the same.
//! - Assumptions: Linux. Faults of the network and of disk space need what root may.
//! - Left out: damaged files (the log's own tests have them), members that come and go (the simulation has them).

pub(crate) mod delay;
mod fault;
mod lab;
mod load;
mod members;
mod report;
mod strike;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use regraft_client::{Consistency, Range, Settings};
use regraft_history::{Answer, Call, Freshness, History, Operation, Seen};
use regraft_testbed::TestDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::bench::Output;
use crate::clock;
use fault::{Blow, Kind, Schedule};
use lab::{Confinement, Lab};
use load::{Load, Work};
use members::Members;
use report::Report;
use strike::Struck;

/// Members of the trio.
const MEMBERS: u64 = 3;
/// How long all members may take to serve at the beginning.
const START_BOUND: Duration = Duration::from_secs(30);
/// How long members may take to recover by themselves; then a person would start them again.
const RECOVERY_BOUND: Duration = Duration::from_secs(20);
/// How long the last reads may take.
const LAST_READS_BOUND: Duration = Duration::from_secs(30);
/// How often it is looked who has ended.
const SUPERVISE_EVERY: Duration = Duration::from_millis(250);
/// A week.
const MINUTES_MAX: f64 = 10_080.0;
/// More threads of one driver than this say nothing of the members.
const CLIENTS_MAX: i64 = 1_000;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// How long, and with what.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Minutes under faults
    #[arg(long, default_value_t = 2.0, value_parser = minutes)]
    minutes: f64,
    /// What the faults follow from; of the time of day unless told
    #[arg(long)]
    seed: Option<u64>,
    /// Clients
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    clients: u32,
    /// Only these faults
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Kind>,
    /// How the report is printed
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Leave logs and data where they are
    #[arg(long)]
    keep: bool,
    /// Said by this program to itself: network and mounts are its own already
    #[arg(long, hide = true)]
    confined: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if minutes > 0.0 && minutes <= MINUTES_MAX => Ok(minutes),
        _ => Err(format!("more than 0 and at most {MINUTES_MAX} are wanted")),
    }
}

/// The one clock of a run.
#[derive(Clone, Copy, Debug)]
struct Time(Instant);

impl Time {
    /// Microseconds since the run began.
    fn us(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What happened to the members, in order.
#[derive(Default)]
struct Happened {
    blows: Vec<Suffered>,
    /// Members that ended by themselves and were started again.
    ended: Vec<Stopped>,
    /// Members that did not recover until a person killed them.
    restarts: Vec<Stopped>,
    /// Why the run ended early.
    stuck: Option<String>,
}

/// A member that did not go on by itself.
struct Stopped {
    member: u64,
    at_us: u64,
    /// For people.
    how: String,
}

/// Faults that came together, and how long it took until all members were well again.
struct Suffered {
    faults: Vec<Struck>,
    recovered_us: u64,
}

impl Happened {
    fn started_again(&mut self, member: u64, at_us: u64, how: String) {
        report::tell(&format!("killed by hand: {how}"));
        self.restarts.push(Stopped { member, at_us, how });
    }

    /// Those that did not go on by themselves after a full disk, which every member has to.
    fn stopped_by_full_disk(&self) -> Vec<String> {
        let stopped = self.ended.iter().chain(&self.restarts);
        let by_full_disk =
            stopped.filter(|it| self.blows.iter().any(|blow| blow.had_to_survive(it)));
        by_full_disk.map(|it| it.how.clone()).collect()
    }
}

impl Suffered {
    /// Whether a member was stopped in it although nothing hit it that members need not survive: only its disk was full.
    fn had_to_survive(&self, stopped: &Stopped) -> bool {
        let begins = self.faults.iter().map(|fault| fault.begin_us);
        let begin_us = begins.min().unwrap_or_default();
        let hit_by = |kinds: &[Kind]| {
            let mut faults = self.faults.iter();
            faults.any(|it| [0, stopped.member].contains(&it.member) && kinds.contains(&it.kind))
        };
        (begin_us..=self.recovered_us).contains(&stopped.at_us)
            && hit_by(&[Kind::FullDisk])
            && !hit_by(&[Kind::Kill, Kind::KillAll, Kind::FailSync])
    }
}

/// Tortures; fails when a promise was broken.
pub(crate) async fn torture(options: &Options) -> Result<()> {
    let left_out = match options.confined {
        true => None,
        // Only comes back where it cannot be done.
        false => Some(lab::confine()?),
    };
    let mut dir = TestDir::new("torture")?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let ran = tokio::select! {
        ran = run(options, &mut dir, left_out) => ran,
        _ = interrupted.recv() => bail!("interrupted"),
        _ = terminated.recv() => bail!("ended by a signal"),
    };
    let report = ran.map_err(|error| {
        dir.keep();
        let folder = dir.path().display();
        error.context(format!("logs are kept in {folder}"))
    })?;
    report.print(options.output)?;
    match report.is_clean() {
        true => Ok(()),
        false => bail!("promises were broken; see {}", dir.path().display()),
    }
}

async fn run(options: &Options, dir: &mut TestDir, left_out: Option<String>) -> Result<Report> {
    let confinement = match left_out {
        None => Confinement::Own,
        Some(_) => Confinement::Shared,
    };
    let seed = options
        .seed
        .unwrap_or_else(|| clock::wall_ms().unsigned_abs());
    let wanted = match options.faults.as_slice() {
        [] => Kind::ALL.to_vec(),
        wanted => wanted.to_vec(),
    };
    let (kinds, skipped): (Vec<Kind>, Vec<Kind>) =
        wanted.into_iter().partition(|kind| kind.fits(confinement));
    if kinds.is_empty() {
        bail!(
            "none of these faults can be had here: {}",
            left_out.unwrap_or_default()
        )
    }
    report::tell(&format!("seed {seed}; logs in {}", dir.path().display()));
    if let Some(reason) = &left_out {
        report::tell(&format!(
            "{} kinds of faults are left out: {reason}",
            skipped.len()
        ));
    }
    let lab = Lab::new(dir.path(), confinement)?;
    let members = Arc::new(Members::start(lab, dir.path())?);
    if let Err(ill) = until_served(&members).await {
        bail!("the members did not start: {ill:?}")
    }
    let time = Time(clock::now());
    let load = Load::start(&members, time, seed, options.clients);
    let lasts = Duration::from_secs_f64(60.0 * options.minutes);
    let happened = suffer(&members, &load, time, lasts, Schedule::new(seed, kinds)).await?;
    let mut work = load.end().await?;
    let suffered_s = time.0.elapsed().as_secs_f64();
    if happened.stuck.is_none() {
        work.operations.extend(last_reads(&members, time).await?);
    }
    let history = History {
        operations: std::mem::take(&mut work.operations),
        holds: std::mem::take(&mut work.holds),
    };
    let report = Report::new(seed, suffered_s, skipped, &happened, &work, &history);
    if !report.is_clean() || options.keep {
        members.kill_all();
        members.lab.keep()?;
        report.write(&dir.path().join("report.json"))?;
        dir.keep();
    }
    Ok(report)
}

/// Before there are clients, nothing rises: having a leader is enough.
async fn until_served(members: &Members) -> Result<(), BTreeMap<u64, String>> {
    let began = clock::now();
    loop {
        let mut ill = BTreeMap::new();
        for member in 1..=MEMBERS {
            match members.status(member).await {
                Ok(said) if said.leader != 0 => {}
                Ok(_) => drop(ill.insert(member, "follows nobody".to_owned())),
                Err(error) => drop(ill.insert(member, format!("{error:#}"))),
            }
        }
        if ill.is_empty() {
            return Ok(());
        }
        if began.elapsed() > START_BOUND {
            return Err(ill);
        }
        clock::rest(Duration::from_millis(50)).await;
    }
}

/// Suffers, while somebody starts again whoever ends.
async fn suffer(
    members: &Members,
    load: &Load,
    time: Time,
    lasts: Duration,
    schedule: Schedule,
) -> Result<Happened> {
    let mut ended = Vec::new();
    let supervising = async {
        loop {
            clock::rest(SUPERVISE_EVERY).await;
            match members.revive_ended() {
                Ok(told) => ended.extend(told.into_iter().map(|(member, how)| Stopped {
                    member,
                    at_us: time.us(),
                    how,
                })),
                Err(error) => return Err::<Happened, _>(error),
            }
        }
    };
    let happened = tokio::select! {
        failed = supervising => failed,
        happened = blows(members, load, time, lasts, schedule) => happened,
    };
    Ok(Happened { ended, ..happened? })
}

async fn blows(
    members: &Members,
    load: &Load,
    time: Time,
    lasts: Duration,
    mut schedule: Schedule,
) -> Result<Happened> {
    let mut happened = Happened::default();
    let kinds = u32::try_from(schedule.kinds()).unwrap_or(u32::MAX);
    let mut number = 0;
    let mut told = clock::now();
    clock::rest(Duration::from_secs(1)).await;
    // However slow the machine is, each kind comes once: none comes again before all others.
    while time.0.elapsed() < lasts || number < kinds {
        let Blow { faults, rest } = schedule.next();
        let leader = members.leader().await;
        let strikes = faults.into_iter().map(|planned| {
            number += 1;
            strike::strike(members, time, number, planned, leader)
        });
        let faults = futures::future::try_join_all(strikes).await?;
        let recovered = recover(members, time, &mut happened).await?;
        happened.blows.push(Suffered {
            faults,
            recovered_us: time.us(),
        });
        if let Err(stuck) = recovered {
            report::tell(&stuck);
            happened.stuck = Some(stuck);
            break;
        }
        if told.elapsed() > PROGRESS_EVERY {
            told = clock::now();
            progress(time, load, &happened);
        }
        clock::rest(rest).await;
    }
    Ok(happened)
}

fn progress(time: Time, load: &Load, happened: &Happened) {
    let faults: usize = happened.blows.iter().map(|blow| blow.faults.len()).sum();
    let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    report::tell(&format!(
        "{:>5} s: {faults} faults, {} operations answered, {} unknown, {} not done, {} restarts by hand",
        time.us() / 1_000_000,
        of(&load.doing.answered),
        of(&load.doing.unknown),
        of(&load.doing.not_done),
        happened.restarts.len()
    ));
}

/// Waits until all members are well; starts those again that are not, as a person would. Tells when that does not help.
async fn recover(
    members: &Members,
    time: Time,
    happened: &mut Happened,
) -> Result<Result<(), String>> {
    let Err(ill) = members.recovered(RECOVERY_BOUND).await else {
        return Ok(Ok(()));
    };
    for (member, how) in ill {
        let how = format!("member {member} did not recover: {how}");
        happened.started_again(member, time.us(), how);
        members.kill(member);
        members.revive(member)?;
    }
    let recovered = members.recovered(RECOVERY_BOUND).await;
    Ok(recovered.map_err(|ill| format!("the members do not recover: {ill:?}")))
}

/// What each member has at the end.
async fn last_reads(members: &Members, time: Time) -> Result<Vec<Operation>> {
    let mut operations = Vec::new();
    for (member, address) in members.addresses() {
        let only = BTreeMap::from([(member, address)]);
        let client = load::client_of(members, only, Settings::default()).within(LAST_READS_BOUND);
        let begin_us = time.us();
        let range = Range::default();
        let read = client.list(&range, Consistency::Linearizable).await;
        let read = read.with_context(|| format!("list what member {member} has"))?;
        if read.value.next.is_some() {
            bail!("more records than one page holds")
        }
        let end_us = time.us();
        let mut found: BTreeMap<String, Seen> = BTreeMap::new();
        for record in read.value.records {
            let seen = Seen {
                value: load::name_of(&record.value),
                revision: record.revision,
            };
            found.insert(String::from_utf8(record.key)?, seen);
        }
        for key in (0..load::KEYS).map(load::key) {
            let record = found.remove(&key);
            let call = Call::Get {
                key,
                freshness: Freshness::Linearizable,
            };
            let answer = Answer::Read {
                revision: read.revision,
                record,
            };
            operations.push(Operation {
                client: 0,
                begin_us,
                end_us,
                call,
                answer,
            });
        }
        if let Some(key) = found.keys().next() {
            bail!("member {member} has the key {key}, which nobody writes")
        }
    }
    Ok(operations)
}

#[cfg(test)]
mod tests {
    use super::fault::Victim;
    use super::*;

    fn struck(kind: Kind, member: u64) -> Struck {
        Struck {
            kind,
            member,
            victim: Victim::Follower,
            how: String::new(),
            begin_us: 100,
            end_us: 200,
        }
    }

    /// Whether member 2, which ended at that time, is told to have been stopped by a full disk.
    #[track_caller]
    fn check(faults: Vec<Struck>, at_us: u64, expected: bool) {
        let blow = Suffered {
            faults,
            recovered_us: 300,
        };
        let ended = Stopped {
            member: 2,
            at_us,
            how: "it ended".to_owned(),
        };
        let happened = Happened {
            blows: vec![blow],
            ended: vec![ended],
            ..Happened::default()
        };
        assert_eq!(!happened.stopped_by_full_disk().is_empty(), expected);
    }

    #[test]
    fn a_member_that_ends_after_nothing_but_a_full_disk_breaks_a_promise() {
        let full = || struck(Kind::FullDisk, 2);
        check(vec![full()], 150, true);
        check(vec![full()], 250, true);
        check(vec![full(), struck(Kind::Freeze, 2)], 250, true);
        check(vec![full(), struck(Kind::FailSync, 1)], 250, true);
        // Not then, not it, or not only.
        check(vec![full()], 350, false);
        check(vec![struck(Kind::FullDisk, 1)], 150, false);
        check(vec![full(), struck(Kind::FailSync, 2)], 250, false);
        check(vec![full(), struck(Kind::KillAll, 0)], 250, false);
    }
}
