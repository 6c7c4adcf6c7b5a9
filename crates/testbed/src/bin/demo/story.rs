//! The telling: a line per thing that happened, with the second it happened.

use anyhow::Result;
use regraft_testbed::Stopwatch;

use crate::facts::{Facts, Repair};
use crate::world::World;

/// Tells what happens when it happens.
pub(crate) struct Story {
    watch: Stopwatch,
}

impl Story {
    pub(crate) fn begin() -> Self {
        Self {
            watch: Stopwatch::start(),
        }
    }

    /// Seconds since the beginning.
    pub(crate) fn seconds(&self) -> f64 {
        self.watch.seconds()
    }

    /// A new part of the story.
    pub(crate) fn act(&self, title: &str) {
        println!("\n== {title}");
    }

    /// One thing that happened now.
    pub(crate) fn tell(&self, what: &str) {
        println!("{:6.1} s  {what}", self.seconds());
    }

    /// Text of others, such as `git show`, indented.
    pub(crate) fn quote(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("          | {line}");
        }
    }

    /// The whole once more, with figures.
    pub(crate) fn conclude(&self, world: &World, facts: &Facts) -> Result<()> {
        self.act("What happened");
        for repair in &facts.repairs {
            timeline(repair);
        }
        if let Some(repair) = facts.repairs.last() {
            println!("\nregraft describe incident {}", repair.incident);
            self.quote(
                &world
                    .regraft
                    .regraft(&["describe", "incident", &repair.incident])?,
            );
        }
        println!("\ngit log");
        self.quote(&facts.log.join("\n"));
        println!();
        for (cluster, api) in &facts.api {
            println!(
                "{cluster}: {} writes of regraft to the API server",
                api.writes
            );
        }
        for member in &facts.members {
            println!(
                "{}: {:.0} MiB resident, {:.1} s of processor time",
                member.name, member.resident_mib, member.cpu_s
            );
        }
        println!("\nAll of it held, in {:.0} s.", self.seconds());
        println!(
            "Try next: `cargo xtask demo --keep` and break something yourself; README.md shows the way to your own cluster."
        );
        Ok(())
    }

    /// How to look at what runs.
    pub(crate) fn invite(&self, world: &World) {
        self.act("Everything keeps running until Enter or Ctrl-C. In another terminal:");
        for (key, value) in world.regraft.environment() {
            println!("export {key}={value}");
        }
        if let Ok(binary) = regraft_testbed::Binary::Regraft.path() {
            println!("alias regraft={}", binary.display());
        }
        println!("regraft status\nregraft get incidents\nregraft get applications --watch");
        for (cluster, kubeconfig) in world.kubeconfigs() {
            println!(
                "kubectl --kubeconfig {} get pods -A    # {cluster}",
                kubeconfig.display()
            );
        }
        println!("git clone {} shop", world.git.url());
        println!(
            "# an image with the tag `crash`, `nopull`, `badconfig` or `slow` fails in that way"
        );
        for id in world.regraft.ids() {
            if let Some(url) = world.regraft.http(id) {
                println!("curl {url}/metrics    # member {id}");
            }
        }
    }
}

fn timeline(repair: &Repair) {
    println!("\n{} ({})", repair.application, repair.incident);
    let mut moments = vec![
        (
            repair.bad_commit_pushed_s,
            format!("{} is pushed: a broken image", short(&repair.bad_commit)),
        ),
        (
            repair.bad_commit_applied_s,
            "all three clusters run it".to_owned(),
        ),
        (
            repair.fault_visible_s,
            "the failure shows in the API".to_owned(),
        ),
        (
            repair.incident_opened_s,
            "it held for confirmFor: an incident is opened".to_owned(),
        ),
        (
            repair.locked_s,
            format!("the plan holds its lock, fence {}", repair.fence),
        ),
        (
            repair.revert_pushed_s,
            format!(
                "{} is pushed: the files of before",
                short(&repair.revert_commit)
            ),
        ),
        (
            repair.revert_applied_s,
            "all three clusters run the good image again".to_owned(),
        ),
        (
            repair.verified_s,
            format!("healthy for verifyFor: {}", repair.outcome),
        ),
    ];
    if let Some(killed) = &repair.leader_killed {
        moments.push((
            killed.killed_s,
            format!("SIGKILL to the leader, member {}", killed.member),
        ));
        let elected = killed.killed_s + killed.without_leader_s;
        moments.push((
            elected,
            format!(
                "member {} leads, after {:.1} s",
                killed.successor, killed.without_leader_s
            ),
        ));
    }
    moments.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (at, what) in moments {
        println!(
            "{:6.1} s  {:+6.1} s  {what}",
            at,
            at - repair.bad_commit_pushed_s
        );
    }
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}
