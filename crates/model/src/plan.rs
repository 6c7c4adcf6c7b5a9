//! An immutable repair: exact edits on an exact parent, with the guards that were asked.

use crate::config::Mode;
use crate::id::{ApplicationName, BranchName, IncidentId, PlanId, RepositoryName};
use crate::object::ObjectKey;
use crate::source::{BlobId, FileMode, Revision};
use crate::time::Timestamp;
use crate::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A repair as a commit. Immutable; planning again makes a new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Its id, from the incident.
    pub id: PlanId,
    /// Id of the installation that made it.
    pub installation: String,
    /// The incident it repairs.
    pub incident: IncidentId,
    /// The application.
    pub application: ApplicationName,
    /// The repository.
    pub repository: RepositoryName,
    /// The tracked branch.
    pub branch: BranchName,
    /// What kind of repair.
    pub action: Action,
    /// The commit ours will be on top of (I3).
    pub parent: Revision,
    /// The revision whose files are restored.
    pub restores: Revision,
    /// Commits that are undone, oldest first.
    pub suspects: Vec<Revision>,
    /// Digest at the parent of the inputs of each workload that fails, by the workload's key.
    #[serde(default)]
    pub suspect_inputs: BTreeMap<String, String>,
    /// What changes, by path.
    pub edits: Vec<Edit>,
    /// The whole commit message with trailers.
    pub message: String,
    /// SHA-256 of the edits in hex: what an approval names.
    pub diff_hash: String,
    /// Mode of the application when it was made.
    pub mode: Mode,
    /// Where the commit goes.
    pub delivery: Delivery,
    /// What was asked before, and the answers.
    pub guards: Vec<GuardResult>,
    /// What else was thought of, and why not.
    pub rejected: Vec<Rejected>,
}

words! {
    /// A kind of repair.
    pub enum Action {
        /// Restore the files of the last verified revision.
        Rollback => "rollback",
    }
}

words! {
    /// Where a plan's commit goes.
    pub enum Delivery {
        /// To nobody: shadow mode.
        Observe => "observe",
        /// To a branch of its own, for review.
        Propose => "propose",
        /// To the tracked branch.
        Push => "push",
    }
}

/// One file to change. Content is named by its blob: restoring makes no new bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edit {
    /// Path from the repository's root.
    pub path: String,
    /// The blob at the parent, absent when the file is not there.
    pub before: Option<BlobId>,
    /// The blob to put, absent to delete the file.
    pub after: Option<BlobId>,
    /// Mode of the file to put.
    pub mode: FileMode,
}

words! {
    /// A thing asked before acting, in the order they are asked.
    pub enum Guard {
        /// Is healing suspended by a person?
        Suspended => "Suspended",
        /// Is the configuration valid and the history not rewritten?
        Frozen => "Frozen",
        /// Is the evidence fresh and complete?
        Evidence => "Evidence",
        /// Are many things wrong at once?
        Storm => "Storm",
        /// Does the application's mode allow it?
        Mode => "Mode",
        /// Does the suspect run healthy elsewhere?
        PartialFailure => "PartialFailure",
        /// Does the repair touch what it must not touch by itself?
        DangerousObjects => "DangerousObjects",
        /// Does another application read the same files?
        SharedFiles => "SharedFiles",
        /// Does another installation of regraft repair here too?
        OtherInstallation => "OtherInstallation",
        /// Did a person undo the same repair before?
        Veto => "Veto",
        /// Did the same repair not help before?
        Ineffective => "Ineffective",
        /// Is another service under repair?
        ConcurrentRepairs => "ConcurrentRepairs",
        /// Were there too many actions in the last hour in a cluster?
        ActionRate => "ActionRate",
        /// Was the same action done too often in 24 h?
        SameAction => "SameAction",
        /// Did an incident of this application end just now?
        Cooldown => "Cooldown",
    }
}

/// A guard's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardResult {
    /// Which guard.
    pub guard: Guard,
    /// Its answer.
    pub answer: Answer,
    /// Why, with the figures it was decided on.
    pub message: String,
}

/// What a guard says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Go on.
    Passed,
    /// Not now; ask again at this moment or when the world changes.
    Wait(Timestamp),
    /// A person must look: propose, do not push.
    Propose,
    /// Do not do it; escalate.
    Refused,
}

/// An alternative that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// What it would have been.
    pub alternative: String,
    /// Why not.
    pub message: String,
}

/// An object a plan touches, for the guard on dangerous objects and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Touched {
    /// The object.
    pub key: ObjectKey,
    /// What happens to it.
    pub how: Touch,
}

/// What a plan does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Touch {
    /// It comes (back).
    Creates,
    /// It changes.
    Changes,
    /// It goes.
    Deletes,
}
