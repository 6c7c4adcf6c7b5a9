//! What crosses the edge to a cluster: watches in, staged applies out.

use crate::config::Conflicts;
use crate::id::TargetKey;
use crate::object::{Object, ObjectKey};
use crate::source::Revision;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A kind to be watched: group, version, kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KindVersion {
    /// `apps/v1`, `v1`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
}

impl KindVersion {
    /// Kinds that are watched in every cluster, whoever owns them: they tell how workloads are and who scales them.
    pub const ALWAYS_WATCHED: [(&str, &str); 5] = [
        ("v1", "Pod"),
        ("apps/v1", "ReplicaSet"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("keda.sh/v1alpha1", "ScaledObject"),
        ("v1", "Event"),
    ];

    /// From its two parts.
    #[must_use]
    pub fn new(api_version: &str, kind: &str) -> Self {
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        }
    }

    /// The group of the API version, empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        let parts = self.api_version.split_once('/');
        parts.map_or("", |(group, _)| group)
    }

    /// Of an object.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        Self::new(object.api_version(), object.kind())
    }

    /// Whether it is among [`Self::ALWAYS_WATCHED`].
    #[must_use]
    pub fn is_always_watched(&self) -> bool {
        Self::ALWAYS_WATCHED.contains(&(self.api_version.as_str(), self.kind.as_str()))
    }
}

/// Where the objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindScope {
    /// In a namespace.
    Namespaced,
    /// In the cluster.
    Cluster,
}

/// What was applied for one target, kept in the cluster. Only these may be pruned (I5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// Installation that owns it.
    pub installation: String,
    /// Objects, with the API version they were applied through.
    pub entries: BTreeMap<ObjectKey, String>,
}

/// What a cluster tells. Between `Ready` and `Lost` deltas are complete and in order per object.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterEvent {
    /// Connected; everything known before is void and will be told again.
    Ready {
        /// UID of the `kube-system` namespace: the cluster's identity.
        uid: String,
        /// Server version.
        version: String,
    },
    /// Not reachable; what is known is stale from now on (I7).
    Lost {
        /// The error chain.
        reason: String,
    },
    /// All inventories of the cluster, told once after `Ready` (missing is never empty), by application name.
    Inventories(BTreeMap<String, Inventory>),
    /// The first list of a kind is complete.
    Listed {
        /// Which.
        kind: KindVersion,
        /// Where its objects live, as the server says.
        scope: KindScope,
    },
    /// The server has no such kind in this version (yet).
    NoSuchKind {
        /// Which.
        kind: KindVersion,
        /// It has the kind in another version: its objects are there, and are not told.
        served_otherwise: bool,
    },
    /// An object is there or changed.
    Seen(Object),
    /// An object is gone.
    Gone {
        /// Through which kind.
        kind: KindVersion,
        /// Which.
        key: ObjectKey,
    },
}

/// Work for one target. The edge runs the stages in order; within a stage all objects are dry-run before any is
/// written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApplyRequest {
    /// Tells it from the other requests of the engine that sends it, which gives it; the answer carries it.
    pub number: u64,
    /// The target.
    pub target: TargetKey,
    /// The revision applied.
    pub revision: Revision,
    /// Stages in order.
    pub stages: Vec<Stage>,
    /// Objects to delete after the last stage, in order, each with its `apiVersion`. Only ours: the edge checks label
    /// and installation again.
    pub prune: Vec<(ObjectKey, String)>,
    /// Objects to disown (label and annotations removed) instead of deleting, each with its `apiVersion`.
    pub orphan: Vec<(ObjectKey, String)>,
    /// The inventory after success. Written as union with `inventory_before` before anything else, and exactly at the
    /// end.
    pub inventory: Inventory,
    /// The inventory as it was known.
    pub inventory_before: Inventory,
}

/// Objects that may be written side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stage {
    /// The objects with our label and annotations, ready for server-side apply.
    pub objects: Vec<StagedObject>,
    /// What must be true before the next stage.
    pub then: StageWait,
}

/// What must be true of a stage before the next one begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StageWait {
    /// Nothing.
    #[default]
    Nothing,
    /// CRDs Established, namespaces Active.
    Established,
}

/// One object of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StagedObject {
    /// Desired.
    pub object: Object,
    /// What to do with fields others own.
    pub conflicts: Conflicts,
}

/// What became of an [`ApplyRequest`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApplyOutcome {
    /// The request's number.
    pub number: u64,
    /// The target.
    pub target: TargetKey,
    /// The revision applied.
    pub revision: Revision,
    /// Objects as the server answered, written or found equal by the dry run.
    pub objects: Vec<(Object, Written)>,
    /// Deleted.
    pub pruned: BTreeSet<ObjectKey>,
    /// What failed; empty means all of it was done.
    pub failures: Vec<ApplyFailure>,
}

/// Whether the dry run said there was something to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was written.
    Written,
    /// The server's defaults made it equal: nothing was written (I6).
    Unchanged,
}

/// One failure of an apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyFailure {
    /// The object, absent when the whole request failed.
    pub key: Option<ObjectKey>,
    /// What to do about it.
    pub retry: Retry,
    /// Stable word: `Conflict`, `Immutable`, `Forbidden`, `Invalid`, `NoSuchKind`, `Unreachable`, `NotOurs`, ...
    pub reason: String,
    /// The server's words, with the fields and their managers for a conflict.
    pub message: String,
}

/// The retry class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Retry {
    /// Try again soon, with back-off.
    Transient,
    /// Waits for something else to happen (a CRD, a namespace); try again slowly.
    Waiting,
    /// Only a change helps: a commit, or a person.
    Stalled,
}
