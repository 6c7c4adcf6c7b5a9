//! One repair as a person watches it: through Git, the clusters' APIs and regraft's command line.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use regraft_testbed::{Installation, wait};
use serde_json::Value;

use crate::facts::{LeaderKilled, Repair};
use crate::story::Story;
use crate::world::World;

/// A commit is noticed within a poll interval and applied within a second.
const APPLY_BOUND: Duration = Duration::from_secs(45);
const CLUSTERS: usize = 3;

/// What a person breaks.
pub(crate) struct Breakage {
    pub(crate) application: &'static str,
    /// Tag of the new image: says to the test nodes how it fails.
    pub(crate) tag: &'static str,
    pub(crate) message: &'static str,
}

/// A repair under way.
pub(crate) struct Watch {
    repair: Repair,
    /// File that was broken, its content before, and its image.
    file: String,
    before: String,
    good_image: String,
}

/// Pushes the bad commit and waits until it is applied and its failure shows.
pub(crate) fn commit_breakage(
    world: &mut World,
    story: &Story,
    breakage: &Breakage,
) -> Result<Watch> {
    let application = breakage.application;
    let file = format!("apps/{application}/deployment.yaml");
    world.person.pull()?;
    let before = world.person.read(&file)?;
    let good_image = image_in(&before).with_context(|| format!("{file} names no image"))?;
    let (name, _) = good_image.rsplit_once(':').context("the image has a tag")?;
    let bad_image = format!("{name}:{}", breakage.tag);
    world.person.replace(&file, &good_image, &bad_image)?;
    let commit = world.person.publish(breakage.message)?;
    let mut repair = Repair {
        application: application.to_owned(),
        bad_commit: commit,
        ..Repair::default()
    };
    repair.bad_commit_pushed_s = story.seconds();
    story.tell(&format!(
        "Dana pushes \"{}\": image {bad_image}",
        breakage.message
    ));
    // Whichever of the two comes first: one cluster may fail before another has applied.
    let (mut applied_s, mut visible) = (None, None);
    wait::until(
        &format!("the failure of {application} shows"),
        APPLY_BOUND,
        || {
            let count = world.clusters_with_image(application, &bad_image);
            if count == CLUSTERS && applied_s.is_none() {
                applied_s = Some(story.seconds());
                story.tell("applied in all three clusters");
            }
            if visible.is_none()
                && let Some((cluster, reason)) = world.visible_fault(application)
            {
                visible = Some(story.seconds());
                story.tell(&format!(
                    "{cluster}: the new pod shows {reason}; the old ReplicaSet keeps serving"
                ));
            }
            match (applied_s, visible) {
                (Some(_), Some(_)) => Ok(()),
                _ => Err(format!(
                    "applied in {count} clusters, failure seen: {}",
                    visible.is_some()
                )),
            }
        },
    )?;
    repair.bad_commit_applied_s = applied_s.unwrap_or_default();
    repair.fault_visible_s = visible.unwrap_or_default();
    Ok(Watch {
        repair,
        file,
        before,
        good_image,
    })
}

impl Watch {
    /// Waits for the incident and its lock.
    pub(crate) fn until_locked(
        &mut self,
        world: &mut World,
        story: &Story,
        bound: Duration,
    ) -> Result<()> {
        let application = self.repair.application.clone();
        let opened = world
            .regraft
            .wait_for("an incident is opened", bound, |regraft| {
                incident_of(regraft, &application)
            })?;
        self.repair.incident = text(&opened["id"]);
        self.repair.incident_opened_s = story.seconds();
        let clusters = opened["targets"]
            .as_object()
            .map_or(0, serde_json::Map::len);
        story.tell(&format!(
            "incident {}: {} in {clusters} cluster(s)",
            self.repair.incident,
            text(&opened["class"])
        ));
        let id = self.repair.incident.clone();
        let locked = world
            .regraft
            .wait_for("the plan holds its lock", bound, |regraft| {
                let incident = incident(regraft, &id)?;
                if incident["lock"].is_u64() {
                    Ok(incident)
                } else {
                    Err(standing(&incident))
                }
            })?;
        self.repair.fence = locked["lock"].as_u64().unwrap_or_default();
        self.repair.locked_s = story.seconds();
        story.tell(&format!(
            "the lock is granted with fence {}",
            self.repair.fence
        ));
        Ok(())
    }

    /// Notes that the leader was killed meanwhile.
    pub(crate) fn leader_killed(&mut self, killed: LeaderKilled) {
        self.repair.leader_killed = Some(killed);
    }

    /// Notes that Git has the revert already, whoever knows.
    pub(crate) fn revert_accepted(&mut self, story: &Story) {
        self.repair.revert_pushed_s = story.seconds();
    }

    /// Waits for the revert commit and shows it.
    pub(crate) fn until_reverted(
        &mut self,
        world: &mut World,
        story: &Story,
        bound: Duration,
    ) -> Result<()> {
        let repository = world.git.repository();
        let incident = &self.repair.incident;
        let commits = wait::until("the revert is on the branch", bound, || {
            let found = repository
                .commits_with_trailer("Regraft-Incident", incident)
                .map_err(|error| error.to_string())?;
            if found.is_empty() {
                Err("no commit with the incident's trailer".to_owned())
            } else {
                Ok(found)
            }
        })?;
        self.repair.revert_commit = commits[0].clone();
        if self.repair.revert_pushed_s == 0.0 {
            self.repair.revert_pushed_s = story.seconds();
        }
        story.tell("the revert is on the branch; git show:");
        story.quote(&repository.show(&commits[0])?);
        Ok(())
    }

    /// Waits until the revert is applied everywhere and the incident ended.
    pub(crate) fn until_verified(
        &mut self,
        world: &mut World,
        story: &Story,
        bound: Duration,
    ) -> Result<()> {
        let application = self.repair.application.clone();
        wait::until("the good image is back in all clusters", bound, || {
            let count = world.clusters_with_image(&application, &self.good_image);
            if count == CLUSTERS {
                Ok(())
            } else {
                Err(format!("in {count} clusters"))
            }
        })?;
        self.repair.revert_applied_s = story.seconds();
        story.tell("applied in all three clusters");
        let id = self.repair.incident.clone();
        let ended = world
            .regraft
            .wait_for("the incident ends", bound, |regraft| {
                let incident = incident(regraft, &id)?;
                if incident["phase"] == "Ended" {
                    Ok(incident)
                } else {
                    Err(standing(&incident))
                }
            })?;
        self.repair.verified_s = story.seconds();
        self.repair.outcome = text(&ended["outcome"]["kind"]);
        story.tell(&format!(
            "{}: {}",
            self.repair.outcome,
            text(&ended["outcome"]["message"])
        ));
        Ok(())
    }

    /// Checks that what was promised holds: verified, by exactly one revert, byte for byte.
    pub(crate) fn conclude(mut self, world: &World, story: &Story) -> Result<Repair> {
        let repository = world.git.repository();
        self.repair.reverts = repository
            .commits_with_trailer("Regraft-Incident", &self.repair.incident)?
            .len();
        ensure!(
            self.repair.outcome == "Verified",
            "the incident ended {}, not Verified",
            self.repair.outcome
        );
        ensure!(
            self.repair.reverts == 1,
            "{} reverts arrived, not one",
            self.repair.reverts
        );
        let now = repository.file_at("main", &self.file)?;
        ensure!(
            now == self.before,
            "{} is not what it was before the bad commit",
            self.file
        );
        story.tell("exactly one revert arrived, and the file is byte for byte what it was");
        Ok(self.repair)
    }
}

/// The newest incident of the application that has not ended.
fn incident_of(regraft: &Installation, application: &str) -> Result<Value, String> {
    let listed = regraft
        .json(&["get", "incidents"])
        .map_err(|error| error.to_string())?;
    let found =
        listed.as_array().into_iter().flatten().find(|incident| {
            incident["application"] == application && incident["phase"] != "Ended"
        });
    found.cloned().ok_or_else(|| {
        format!(
            "{} incidents, none open of {application}",
            listed.as_array().map_or(0, Vec::len)
        )
    })
}

fn incident(regraft: &Installation, id: &str) -> Result<Value, String> {
    regraft
        .json(&["get", "incidents", id])
        .map_err(|error| error.to_string())
}

/// Where an incident stands, for whoever waited in vain.
fn standing(incident: &Value) -> String {
    let last = incident["steps"]
        .as_array()
        .and_then(|steps| steps.last())
        .map(|step| text(&step["message"]));
    format!(
        "{}, waits for: {}; last step: {}",
        text(&incident["phase"]),
        text(&incident["waitsFor"]),
        last.unwrap_or_default()
    )
}

fn image_in(manifest: &str) -> Option<String> {
    manifest
        .lines()
        .find_map(|line| line.trim().strip_prefix("image: "))
        .map(str::to_owned)
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
