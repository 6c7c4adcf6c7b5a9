//! What is shown, in order. Each act fails when what it shows does not hold.

use std::time::Duration;

use anyhow::Result;
use regraft_testbed::{HoldPoint, Installation};

use crate::facts::{Facts, LeaderKilled};
use crate::repair::{Breakage, commit_breakage};
use crate::story::Story;
use crate::world::World;

/// First sync of four small applications into three clusters, and their verification time of eight seconds.
const SYNC_BOUND: Duration = Duration::from_secs(90);
/// Election takes about a second.
const SUCCESSION_BOUND: Duration = Duration::from_secs(30);
/// Detection, commit, roll out and verification; half a minute on a quiet machine.
const REPAIR_BOUND: Duration = Duration::from_secs(90);
/// Applications times clusters of `gitops-examples`.
const TARGETS: usize = 12;

/// All applications become Synced and Healthy in all clusters, and stay so for their verification time.
pub(crate) fn everything_gets_healthy(
    world: &mut World,
    story: &Story,
    facts: &mut Facts,
) -> Result<()> {
    story.act("Four applications in three clusters");
    let synced =
        |target: &serde_json::Value| target["sync"] == "Synced" && target["health"] == "Healthy";
    world.regraft.wait_for(
        "all applications are Synced and Healthy",
        SYNC_BOUND,
        |regraft| all(regraft, synced),
    )?;
    facts.start.all_synced_s = story.seconds();
    story.tell("all are Synced and Healthy");
    story.quote(&world.regraft.regraft(&["get", "applications"])?);
    let verified = |target: &serde_json::Value| synced(target) && target["verified"].is_string();
    world
        .regraft
        .wait_for("all applications are verified", SYNC_BOUND, |regraft| {
            all(regraft, verified)
        })?;
    facts.start.all_verified_s = story.seconds();
    story.tell("healthy for verifyFor: these revisions are now what a repair goes back to");
    Ok(())
}

/// A broken image is detected, locked, reverted, applied and verified.
pub(crate) fn a_bad_commit_is_healed(
    world: &mut World,
    story: &Story,
    facts: &mut Facts,
) -> Result<()> {
    story.act("A bad commit: payments gets an image that crashes");
    let breakage = Breakage {
        application: "payments",
        tag: "crash-1.10.0",
        message: "Upgrade payments to 1.10.0",
    };
    let mut watch = commit_breakage(world, story, &breakage)?;
    watch.until_locked(world, story, REPAIR_BOUND)?;
    watch.until_reverted(world, story, REPAIR_BOUND)?;
    watch.until_verified(world, story, REPAIR_BOUND)?;
    facts.repairs.push(watch.conclude(world, story)?);
    Ok(())
}

/// The leader is killed after Git accepted the revert and before anybody was told: exactly one revert arrives.
pub(crate) fn a_repair_survives_the_leader(
    world: &mut World,
    story: &Story,
    facts: &mut Facts,
) -> Result<()> {
    story.act("A second bad commit, and the leader dies in the middle of the repair");
    let breakage = Breakage {
        application: "catalog",
        tag: "nopull-2.8.0",
        message: "Upgrade catalog to 2.8.0",
    };
    let mut watch = commit_breakage(world, story, &breakage)?;
    world.git.hold_pushes(HoldPoint::AfterAccept);
    watch.until_locked(world, story, REPAIR_BOUND)?;
    world.git.wait_held(REPAIR_BOUND)?;
    watch.revert_accepted(story);
    story.tell("Git has accepted the revert; its answer is held back, so no member knows yet");
    let leader = world.regraft.leader()?;
    let killed_s = story.seconds();
    world.regraft.member(leader)?.kill();
    story.tell(&format!("SIGKILL to member {leader}, the leader"));
    world.git.release();
    let successor =
        world
            .regraft
            .wait_for("another member leads", SUCCESSION_BOUND, |regraft| {
                let found = regraft.leader().map_err(|error| error.to_string())?;
                if found == leader {
                    Err(format!("member {found} is still named"))
                } else {
                    Ok(found)
                }
            })?;
    let without_leader_s = story.seconds() - killed_s;
    story.tell(&format!("member {successor} leads"));
    watch.leader_killed(LeaderKilled {
        member: leader,
        killed_s,
        successor,
        without_leader_s,
    });
    watch.until_reverted(world, story, REPAIR_BOUND)?;
    watch.until_verified(world, story, REPAIR_BOUND)?;
    facts.repairs.push(watch.conclude(world, story)?);
    world.regraft.member(leader)?.restart()?;
    world
        .regraft
        .wait_for("the killed member is back", SUCCESSION_BOUND, |regraft| {
            // It answers only with proof that its state is the majority's.
            let answer = regraft.regraft_at(leader, &["get", "members"]);
            answer.map(drop).map_err(|error| error.to_string())
        })?;
    story.tell(&format!("member {leader} is back on its data"));
    Ok(())
}

fn all(regraft: &Installation, holds: impl Fn(&serde_json::Value) -> bool) -> Result<(), String> {
    let targets = World::targets(regraft, None)?;
    let good = targets.iter().filter(|target| holds(target)).count();
    if good == TARGETS {
        return Ok(());
    }
    let waiting = targets
        .iter()
        .filter(|target| !holds(target))
        .map(|target| {
            format!(
                "{}/{}: {} {} {}",
                target["cluster"],
                target["name"],
                target["sync"],
                target["health"],
                target["message"]
            )
        });
    Err(format!(
        "{good} of {TARGETS}; {}",
        waiting.collect::<Vec<_>>().join("; ")
    ))
}
