//! One target compared: what has to be written, what must not be, and why.

use crate::leaf::differences;
use crate::prune::leaving;
use crate::scaled::{scale_targets, wanted as wanted_of};
use crate::stages::stages;
use crate::stamp::hash;
use regraft_model::apply::{ApplyRequest, Inventory, StagedObject};
use regraft_model::id::TargetKey;
use regraft_model::object::{APPLICATION_LABEL, DIGEST_ANNOTATION, INSTALLATION_ANNOTATION};
use regraft_model::source::Revision;
use regraft_model::{Application, Object, ObjectKey};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What Git says about one target.
#[derive(Clone, Copy)]
pub struct Desired<'a> {
    /// The target.
    pub target: &'a TargetKey,
    /// The revision the objects were rendered from.
    pub revision: &'a Revision,
    /// Its configuration.
    pub application: &'a Application,
    /// This installation.
    pub installation: &'a str,
    /// The objects, stamped.
    pub objects: &'a [Object],
    /// Whether these are all objects.
    pub complete: Complete,
    /// Whether an application of this installation with this name may still hold what carries its label.
    pub holds: &'a dyn Fn(&str) -> bool,
}

/// Whether a render gave everything there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complete {
    /// It did.
    Yes,
    /// Something was left out because of problems: nothing may be pruned (I5).
    WithProblems,
}

/// What is live in the cluster of the target.
#[derive(Clone, Copy)]
pub struct ClusterState<'a> {
    /// Live objects. Complete for the kinds of the desired objects and of the inventory.
    pub live: &'a BTreeMap<ObjectKey, Object>,
    /// Whether the server has the kind of an object in other versions only than those that `live` knows.
    pub unseen: &'a dyn Fn(&ObjectKey) -> bool,
    /// Workloads an autoscaler scales, see [`scale_targets`]. Autoscalers among the desired objects count as well.
    pub scaled: &'a BTreeSet<ObjectKey>,
    /// What dry runs said.
    pub known_equal: &'a BTreeMap<ObjectKey, KnownEqual>,
}

/// The server answered an apply (or its dry run) of desired content with this object: both are equal, however
/// differently they are written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownEqual {
    /// Digest of the desired object.
    pub digest: String,
    /// Version of the answered object.
    pub resource_version: String,
    /// Hash of the answered object without its status and bookkeeping, so that a status update does not forget it.
    pub content: String,
}

impl KnownEqual {
    /// From the object as the server answered it; it carries the digest we applied.
    pub fn of(answered: &Object) -> Self {
        Self {
            digest: answered
                .annotation(DIGEST_ANNOTATION)
                .unwrap_or_default()
                .to_owned(),
            resource_version: answered.resource_version().to_owned(),
            content: content(answered),
        }
    }

    fn holds(&self, digest: &str, live: &Object) -> bool {
        self.digest == digest
            && !digest.is_empty()
            && (self.resource_version == live.resource_version() || self.content == content(live))
    }
}

/// The outcome.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Work to be done; none when the cluster is what Git says, or when all that is left is blocked.
    pub request: Option<ApplyRequest>,
    /// Objects that differ, with the paths; an object that is not there has no paths.
    pub out_of_sync: Vec<(ObjectKey, Vec<String>)>,
    /// What needs a person.
    pub blocked: Vec<Blocked>,
}

/// Something that waits for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    /// Stable word: `DeleteNeedsConfirmation`, `ForeignInstallation`, `OtherApplication`.
    pub reason: String,
    /// For people, with the next action.
    pub message: String,
    /// The exact objects.
    pub objects: Vec<ObjectKey>,
    /// What a confirmation has to name, where one helps.
    pub token: Option<String>,
}

/// Compares one target. `confirmation` is a token of [`crate::deletion_token`] that a person confirmed.
pub fn compare(
    desired: &Desired<'_>,
    cluster: &ClusterState<'_>,
    inventory: &Inventory,
    confirmation: Option<&str>,
) -> Comparison {
    let mut comparison = Comparison::default();
    if let Some(blocked) = foreign_inventory(desired, inventory) {
        comparison.blocked.push(blocked);
        return comparison;
    }
    let mut scaled = scale_targets(desired.objects);
    scaled.extend(cluster.scaled.iter().cloned());
    let mut staged = Vec::new();
    let mut after = BTreeMap::new();
    let mut wanted = BTreeSet::new();
    for object in desired.objects {
        let key = object.key();
        let live = cluster.live.get(&key);
        wanted.insert(key.clone());
        if let Some(blocked) = live.and_then(|live| foreign(desired, &key, live)) {
            comparison.blocked.push(blocked);
            continue;
        }
        after.insert(key.clone(), object.api_version().to_owned());
        let object = wanted_of(object, live, &scaled);
        if let Some(paths) = out_of_sync(&object, live, cluster.known_equal.get(&key)) {
            comparison.out_of_sync.push((key, paths));
            staged.push(StagedObject {
                object: object.into_owned(),
                conflicts: desired.application.conflicts,
            });
        }
    }
    finish(
        desired,
        cluster,
        inventory,
        confirmation,
        Demand {
            staged,
            after,
            wanted,
        },
        comparison,
    )
}

/// What the objects of Git ask for.
struct Demand {
    staged: Vec<StagedObject>,
    after: BTreeMap<ObjectKey, String>,
    wanted: BTreeSet<ObjectKey>,
}

fn finish(
    desired: &Desired<'_>,
    cluster: &ClusterState<'_>,
    inventory: &Inventory,
    confirmation: Option<&str>,
    demand: Demand,
    mut comparison: Comparison,
) -> Comparison {
    let Demand {
        staged,
        mut after,
        wanted,
    } = demand;
    let (mut prune, mut orphan) = (Vec::new(), Vec::new());
    match desired.complete {
        Complete::Yes => {
            let leaving = leaving(
                desired.application,
                &wanted,
                cluster,
                inventory,
                confirmation,
            );
            after.extend(leaving.waiting);
            comparison.blocked.extend(leaving.blocked);
            (prune, orphan) = (leaving.prune, leaving.orphan);
        }
        // What a problem hides is still ours.
        Complete::WithProblems => {
            for (key, version) in &inventory.entries {
                if !wanted.contains(key) {
                    after.insert(key.clone(), version.clone());
                }
            }
        }
    }
    let unchanged = staged.is_empty() && after == inventory.entries;
    if !unchanged {
        comparison.request = Some(ApplyRequest {
            number: 0,
            target: desired.target.clone(),
            revision: desired.revision.clone(),
            stages: stages(staged),
            prune,
            orphan,
            inventory: Inventory {
                installation: desired.installation.to_owned(),
                entries: after,
            },
            inventory_before: inventory.clone(),
        });
    }
    comparison
}

/// The paths that differ, or `None` when the object is in sync.
fn out_of_sync(
    desired: &Object,
    live: Option<&Object>,
    known: Option<&KnownEqual>,
) -> Option<Vec<String>> {
    let Some(live) = live else {
        return Some(Vec::new());
    };
    let digest = desired.annotation(DIGEST_ANNOTATION).unwrap_or_default();
    let paths = differences(&desired.0, &live.0);
    let equal = live.annotation(DIGEST_ANNOTATION) == Some(digest) && paths.is_empty();
    (!equal && !known.is_some_and(|known| known.holds(digest, live))).then_some(paths)
}

fn foreign_inventory(desired: &Desired<'_>, inventory: &Inventory) -> Option<Blocked> {
    let other = inventory.installation.as_str();
    (!other.is_empty() && other != desired.installation).then(|| Blocked {
        reason: "ForeignInstallation".to_owned(),
        message: format!(
            "{} is already reconciled by the installation `{other}`; remove the application from one of the two",
            desired.target
        ),
        ..Blocked::default()
    })
}

fn foreign(desired: &Desired<'_>, key: &ObjectKey, live: &Object) -> Option<Blocked> {
    let blocked = |reason: &str, message: String| {
        Some(Blocked {
            reason: reason.to_owned(),
            message,
            objects: vec![key.clone()],
            token: None,
        })
    };
    if let Some(other) = live.annotation(INSTALLATION_ANNOTATION)
        && other != desired.installation
    {
        return blocked(
            "ForeignInstallation",
            format!("{key} belongs to the installation `{other}`; remove it from one of the two"),
        );
    }
    match live.label(APPLICATION_LABEL) {
        Some(other) if other != desired.application.name.as_str() && (desired.holds)(other) => {
            blocked(
                "OtherApplication",
                format!(
                    "{key} belongs to the application `{other}`; let one application hold it, or wait until `{other}` \
                 has let it go"
                ),
            )
        }
        _ => None,
    }
}

/// Hash of everything but status and bookkeeping of the server.
fn content(object: &Object) -> String {
    let mut bare = object.0.clone();
    if let Some(fields) = bare.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = bare.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["resourceVersion", "managedFields", "generation"] {
            metadata.remove(field);
        }
    }
    hash(&bare)
}
