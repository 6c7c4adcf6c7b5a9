//! What a person configures in Git: `Cluster`, `Application`, `Policy` of `regraft.dev/v1alpha1`, after parsing.

use crate::id::{ApplicationName, ClusterName, RepositoryName};
use crate::problem::Location;
use crate::time::Seconds;
use crate::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Group and version of the objects in `.regraft/`.
pub const CONFIG_API_VERSION: &str = "regraft.dev/v1alpha1";
/// Folder of the configuration in a repository.
pub const CONFIG_FOLDER: &str = ".regraft";

/// The valid configuration of one repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// Clusters by name.
    pub clusters: BTreeMap<ClusterName, ClusterSpec>,
    /// Applications by name.
    pub applications: BTreeMap<ApplicationName, Application>,
}

impl Fleet {
    /// An application's clusters, without those a person paused.
    pub fn active_clusters<'a>(
        &'a self,
        application: &'a Application,
    ) -> impl Iterator<Item = &'a ClusterName> + use<'a> {
        let is_paused =
            |cluster: &ClusterName| self.clusters.get(cluster).is_some_and(|spec| spec.suspend);
        application
            .clusters
            .iter()
            .filter(move |cluster| !is_paused(cluster))
    }
}

/// A cluster that applications name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Name of the credentials in the members' configuration; the cluster's own name when absent.
    pub credentials: String,
    /// Whether a person paused all work on it.
    pub suspend: bool,
}

/// One application: a directory of manifests for some clusters. References are resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// Its name, unique over all repositories.
    pub name: ApplicationName,
    /// The repository that holds it.
    pub repository: RepositoryName,
    /// Where it is configured.
    pub location: Location,
    /// Directory of its manifests from the repository's root, without slashes at either end.
    pub path: String,
    /// The clusters it runs in.
    pub clusters: Vec<ClusterName>,
    /// Namespace for namespaced objects that name none.
    pub namespace: String,
    /// What healing may do; the application's own word, else its policy's, else `observe`.
    pub mode: Mode,
    /// Whether objects that left Git leave the cluster.
    pub prune: Prune,
    /// What happens to fields that another field manager owns.
    pub conflicts: Conflicts,
    /// Whether a person paused it in Git.
    pub suspend: bool,
    /// What happens to its objects when the application leaves Git.
    pub deletion: DeletionPolicy,
    /// Its policy, defaults filled in.
    pub policy: Policy,
}

words! {
    /// What healing may do.
    #[derive(Default)]
    pub enum Mode {
        /// Say what it would do.
        #[default]
        Observe => "observe",
        /// Push a branch for review.
        Propose => "propose",
        /// Push to the tracked branch.
        Auto => "auto",
    }
}

/// Whether objects that left Git leave the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Prune {
    /// They stay.
    #[default]
    Keep,
    /// They are deleted, under the delete cap.
    Delete,
}

/// What happens to fields that another field manager owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Conflicts {
    /// A named conflict; the object is left alone.
    #[default]
    Refuse,
    /// Taken over.
    Force,
}

/// What happens to the objects of an application that left Git.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeletionPolicy {
    /// They stay, without our label.
    #[default]
    Orphan,
    /// They are deleted, after `confirm-delete`.
    Delete,
}

/// When and how much healing may act. Defaults are those of the field (see the docs of each).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Its name; `default` for the built-in one.
    pub name: String,
    /// How long a failure must hold before it counts. Default 2 m.
    pub confirm_for: Seconds,
    /// How long a repair must stay healthy to be Verified, and a revision to become the one to roll back to.
    /// Default 5 m (kubelet's back-off reaches 5 m: a restart that "works" must outlive it).
    pub verify_for: Seconds,
    /// How long to wait for clusters that still roll the suspect out. Default 10 m (the rollout deadline of
    /// Deployments).
    pub rollout_wait: Seconds,
    /// How long a repair that is on the branch may take to be applied and healthy everywhere, before `verify_for`
    /// begins to count at the latest. Default 15 m.
    pub verify_deadline: Seconds,
    /// Quiet time after an incident of the application ended. Default 10 m.
    pub cooldown: Seconds,
    /// Actions per hour and cluster. Default 3.
    pub max_actions_per_hour: u32,
    /// Same action on the same application within 24 h. Default 2.
    pub max_same_action_per_day: u32,
    /// Services under repair at a time in the whole fleet. Default 1.
    pub max_concurrent_repairs: u32,
    /// Lease of the repair's lock; it is renewed while the plan lives. Default 60 s.
    pub lock_lease: Seconds,
    /// Share of failing workloads, in percent, above which it is a storm. Default 20.
    pub storm_percent: u32,
    /// Fewest failing workloads for a storm by share. Default 5.
    pub storm_workloads: u32,
    /// Window in which failures are counted towards a storm. Default 5 m.
    pub storm_window: Seconds,
    /// What to do where the suspect runs healthy in other clusters. Default propose.
    pub partial_failure: PartialFailure,
    /// Share of an application's objects, in percent, that one commit may delete unconfirmed. Default 30; at least one
    /// object.
    pub delete_cap_percent: u32,
}

/// What to do where the suspect runs healthy in other clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PartialFailure {
    /// Push a branch and page.
    #[default]
    Propose,
    /// Revert for the whole fleet.
    Revert,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            confirm_for: Seconds(120),
            verify_for: Seconds(300),
            rollout_wait: Seconds(600),
            verify_deadline: Seconds(900),
            cooldown: Seconds(600),
            max_actions_per_hour: 3,
            max_same_action_per_day: 2,
            max_concurrent_repairs: 1,
            lock_lease: Seconds(60),
            storm_percent: 20,
            storm_workloads: 5,
            storm_window: Seconds(300),
            partial_failure: PartialFailure::Propose,
            delete_cap_percent: 30,
        }
    }
}
