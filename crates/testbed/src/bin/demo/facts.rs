//! What happened, as figures: the report of `--report` and the source of the story's end.

use std::collections::BTreeMap;

use serde::Serialize;

/// Everything that the demo measured. Seconds count from its start unless said otherwise.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Facts {
    /// Whether all of it held.
    pub(crate) held: bool,
    /// How long it took.
    pub(crate) seconds: f64,
    pub(crate) start: Start,
    pub(crate) repairs: Vec<Repair>,
    /// API requests of regraft by cluster.
    pub(crate) api: BTreeMap<String, Api>,
    /// Members at the end.
    pub(crate) members: Vec<MemberUse>,
    /// The branch at the end, newest first: `hash author subject`.
    pub(crate) log: Vec<String>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Start {
    pub(crate) clusters_ready_s: f64,
    pub(crate) leader_elected_s: f64,
    pub(crate) all_synced_s: f64,
    pub(crate) all_verified_s: f64,
}

/// One repair, from the bad commit to its verification.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Repair {
    pub(crate) application: String,
    pub(crate) bad_commit: String,
    pub(crate) incident: String,
    pub(crate) fence: u64,
    pub(crate) revert_commit: String,
    /// Commits on the branch that carry the incident's trailer.
    pub(crate) reverts: usize,
    pub(crate) outcome: String,
    pub(crate) bad_commit_pushed_s: f64,
    /// The bad image is in the specification in all clusters.
    pub(crate) bad_commit_applied_s: f64,
    /// The first pod shows the failure to whoever asks the API.
    pub(crate) fault_visible_s: f64,
    pub(crate) incident_opened_s: f64,
    pub(crate) locked_s: f64,
    pub(crate) revert_pushed_s: f64,
    /// The good image is in the specification in all clusters.
    pub(crate) revert_applied_s: f64,
    pub(crate) verified_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader_killed: Option<LeaderKilled>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeaderKilled {
    pub(crate) member: u64,
    pub(crate) killed_s: f64,
    pub(crate) successor: u64,
    /// From the kill until a living member names another leader.
    pub(crate) without_leader_s: f64,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Api {
    pub(crate) writes: u64,
    pub(crate) requests_by_verb: BTreeMap<String, u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberUse {
    pub(crate) name: String,
    pub(crate) resident_mib: f64,
    pub(crate) cpu_s: f64,
}
