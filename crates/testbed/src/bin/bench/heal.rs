//! Seconds from a commit to its application, from a fault to its revert, from a leader's death to the next write; and
//! what three members use while nothing happens. Three clusters, three members, `gitops-examples/`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use regraft_testbed::fleet::list;
use regraft_testbed::{
    Author, ControlPlane, Fleet, FleetOptions, Stopwatch, TestDir, Usage, WorkClone, wait,
};

use crate::figures::{median, peak_mib};
use crate::idle;
use serde_json::Value;

const CLUSTERS: &[&str] = &["eu-west", "us-east", "ap-south"];
/// Services whose image is broken in turn.
const SERVICES: [&str; 3] = ["storefront", "catalog", "payments"];
const MEMBERS: usize = 3;
const STEP_BOUND: Duration = Duration::from_secs(120);
/// How closely Git and the clusters are watched: a hundredth of what is measured.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
struct Bench {
    fleet: Fleet,
    person: WorkClone,
}

/// What one repair took, in seconds.
struct Repair {
    push_to_applied: f64,
    fault_to_commit: f64,
    commit_to_end: f64,
}

/// Runs everything and prints the medians.
pub(crate) fn heal(dir: TestDir, examples: &Path, rounds: usize) -> Result<()> {
    let options = FleetOptions {
        clusters: CLUSTERS,
        members: MEMBERS,
        repository: examples,
    };
    let fleet = Fleet::start_in(dir, &options)?;
    let person = fleet.git.work_clone(&Author::named("Bench Example"))?;
    let mut bench = Bench { fleet, person };
    bench.allow_many_repairs()?;
    bench.fleet.wait_verified(STEP_BOUND)?;

    println!("three clusters, three members, poll interval 1 s, confirmFor 3 s; {rounds} rounds\n");
    let mut repairs = Vec::new();
    for round in 1..=rounds {
        let repair = bench.repair(round)?;
        println!(
            "repair {round}: applied in all clusters {:.2} s after the push; reverted {:.2} s after the fault was \
             visible; ended {:.2} s after the revert",
            repair.push_to_applied, repair.fault_to_commit, repair.commit_to_end
        );
        repairs.push(repair);
        bench.fleet.wait_verified(STEP_BOUND)?;
    }
    let mut failovers = Vec::new();
    for round in 1..=rounds {
        let seconds = bench.failover()?;
        println!(
            "failover {round}: writes are possible {seconds:.2} s after the SIGKILL of the leader"
        );
        failovers.push(seconds);
    }
    println!();
    let of = |read: fn(&Repair) -> f64| median(repairs.iter().map(read).collect());
    for (what, seconds) in [
        (
            "commit pushed to applied in three clusters",
            of(|it| it.push_to_applied),
        ),
        (
            "fault visible to revert pushed",
            of(|it| it.fault_to_commit),
        ),
        ("revert pushed to incident ended", of(|it| it.commit_to_end)),
        ("SIGKILL of the leader to the next write", median(failovers)),
    ] {
        println!("{what:<46} {seconds:>6.2} s (median of {rounds})");
    }
    println!();
    bench.idle()
}

impl Bench {
    fn allow_many_repairs(&self) -> Result<()> {
        let limits = "maxActionsPerHour: 100\n  maxSameActionPerDay: 100\n  cooldown: 0s";
        self.person
            .replace(".regraft/policies.yaml", "cooldown: 10s", limits)?;
        self.person.publish("Allow many repairs in a row")?;
        Ok(())
    }

    fn repair(&self, round: usize) -> Result<Repair> {
        let service = SERVICES[round % SERVICES.len()];
        let file = format!("apps/{service}/deployment.yaml");
        let image = format!("registry.example.com/shop/{service}:crash-{round}");
        self.person.pull()?;
        let text = self.person.read(&file)?;
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with("image: "))
            .context("a manifest with an image")?;
        let indent = &line[..line.len() - line.trim_start().len()];
        self.person.write(
            &file,
            &text.replace(line, &format!("{indent}image: {image}")),
        )?;
        let bad = self.person.publish(&format!("{service}: round {round}"))?;
        let pushed = Stopwatch::start();
        let deployment = format!("/apis/apps/v1/namespaces/{service}/deployments/{service}");
        self.look("the image is applied in all clusters", || {
            let missing = self.fleet.clusters().find(|plane| {
                let live = plane.api().get(&deployment).unwrap_or_default();
                live["spec"]["template"]["spec"]["containers"][0]["image"] != *image
            });
            missing.map_or(Ok(()), |plane| Err(plane.name().to_owned()))
        })?;
        let push_to_applied = pushed.seconds();
        self.look("the fault is visible", || {
            let seen = self
                .fleet
                .clusters()
                .any(|plane| crash_loops(plane, service));
            if seen { Ok(()) } else { Err(String::new()) }
        })?;
        let visible = Stopwatch::start();
        self.look("the revert arrives", || {
            let head = self.fleet.git.repository().head();
            match head.map_err(|error| error.to_string())? {
                head if head != bad => Ok(()),
                head => Err(head),
            }
        })?;
        let fault_to_commit = visible.seconds();
        let committed = Stopwatch::start();
        let incident = self.fleet.wait_ended(service, STEP_BOUND)?;
        ensure!(
            incident["outcome"]["kind"] == "Verified",
            "round {round} did not end Verified: {incident:#}"
        );
        Ok(Repair {
            push_to_applied,
            fault_to_commit,
            commit_to_end: committed.seconds(),
        })
    }

    /// Kills the leader; seconds until a survivor has acknowledged a write.
    fn failover(&mut self) -> Result<f64> {
        let leader = self.fleet.leader()?;
        let survivor = leader % MEMBERS + 1;
        self.fleet.member(leader).kill();
        let watch = Stopwatch::start();
        self.look("a write is acknowledged", || {
            self.fleet
                .ask(survivor, &["suspend", "cart"])
                .map_err(|error| error.to_string())
        })?;
        let seconds = watch.seconds();
        self.fleet.ask(survivor, &["resume", "cart"])?;
        self.fleet.member(leader).restart()?;
        // Only who leads hears of all.
        self.look("the leader hears of all members", || {
            let leader = self.fleet.leader().map_err(|error| error.to_string())?;
            let told = self.fleet.ask(leader, &["get", "members", "-o", "json"]);
            let told = told.map_err(|error| error.to_string())?;
            let members: Value = serde_json::from_str(&told).map_err(|error| error.to_string())?;
            match list(&members).all(|member| member["contact"] == "Reachable") {
                true => Ok(()),
                false => Err(told),
            }
        })?;
        self.fleet.wait_verified(STEP_BOUND)?;
        Ok(seconds)
    }

    fn idle(&mut self) -> Result<()> {
        let marks: Vec<_> = self
            .fleet
            .clusters()
            .map(ControlPlane::audit_mark)
            .collect();
        let before = self.usage()?;
        let seconds =
            idle::a_minute(|| (1..=MEMBERS).try_for_each(|id| self.fleet.member(id).check()))?;
        for (plane, mark) in self.fleet.clusters().zip(marks) {
            let requests = plane.regraft_requests(mark)?;
            println!("idle: {} writes to {}", requests.writes, plane.name());
            ensure!(requests.writes == 0, "{:?}", requests.written);
        }
        let used: Vec<(Usage, Usage)> = before.into_iter().zip(self.usage()?).collect();
        for (id, (_, after)) in (1..).zip(&used) {
            println!("member {id}: peak {:.0} MiB", peak_mib(after));
        }
        for (id, (before, after)) in (1..).zip(&used) {
            idle::judge(&format!("member {id}"), after.cpu_s - before.cpu_s, seconds)?;
        }
        Ok(())
    }

    fn usage(&mut self) -> Result<Vec<Usage>> {
        (1..=MEMBERS)
            .map(|id| self.fleet.member(id).usage().context("a member ended"))
            .collect()
    }

    fn look<T>(&self, what: &str, probe: impl FnMut() -> Result<T, String>) -> Result<T> {
        Ok(wait::until_every(LOOK_INTERVAL, what, STEP_BOUND, probe)?)
    }
}

fn crash_loops(plane: &ControlPlane, service: &str) -> bool {
    let pods = plane
        .api()
        .get(&format!("/api/v1/namespaces/{service}/pods"));
    let pods = pods.unwrap_or_default();
    list(&pods["items"]).any(|pod| {
        list(&pod["status"]["containerStatuses"])
            .any(|status| status["state"]["waiting"]["reason"] == "CrashLoopBackOff")
    })
}
