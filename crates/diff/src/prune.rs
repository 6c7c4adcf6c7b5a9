//! What leaves the cluster.
//!
//! Expected flow: inventory minus desired, in reverse order of application.
//! Guarantees (I5): only entries of our own inventory; nothing while the render has problems; never more than the
//! delete cap, and never a namespace, a kind or a volume claim, without a confirmation that names the exact list.
//! Assumptions: the edge checks label and installation again before each delete.

use crate::compare::{Blocked, ClusterState, Comparison};
use crate::order::{is_dangerous, rank};
use crate::stamp::hash_keys;
use regraft_model::apply::{ApplyRequest, Inventory};
use regraft_model::config::{DeletionPolicy, Prune};
use regraft_model::id::TargetKey;
use regraft_model::source::Revision;
use regraft_model::text::counted;
use regraft_model::{Application, ApplicationName, Object, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};

/// Most objects named in a message; the whole list is in [`Blocked::objects`].
const MAX_NAMED: usize = 10;

/// Names a list of deletions of an application: what `confirm-delete` confirms. It is the same in every cluster where
/// the list is the same.
pub fn deletion_token(application: &ApplicationName, keys: &[ObjectKey]) -> String {
    let sorted: BTreeSet<_> = keys.iter().cloned().collect();
    let sorted: Vec<_> = sorted.into_iter().collect();
    hash_keys(application.as_str(), &sorted)
}

/// What to do about an application that left Git. `confirmation` is a token of [`deletion_token`].
pub fn retire(
    target: &TargetKey,
    revision: &Revision,
    deletion: DeletionPolicy,
    cluster: &ClusterState<'_>,
    inventory: &Inventory,
    confirmation: Option<&str>,
) -> Comparison {
    let mut comparison = Comparison::default();
    if inventory.entries.is_empty() {
        return comparison;
    }
    let mut leaving = Leaving::default();
    let entries: Vec<_> = inventory.entries.iter().collect();
    match deletion {
        DeletionPolicy::Orphan => leaving.orphan(entries),
        DeletionPolicy::Delete => {
            let (kept, deleted) = entries
                .into_iter()
                .partition::<Vec<_>, _>(|(key, _)| keeps(cluster, key));
            leaving.orphan(kept);
            let keys: Vec<_> = deleted.iter().map(|(key, _)| (*key).clone()).collect();
            let token = deletion_token(&target.application, &keys);
            if keys.is_empty() || confirmation == Some(token.as_str()) {
                leaving.delete(deleted);
            } else {
                comparison.blocked.push(Blocked {
                    reason: "DeleteNeedsConfirmation".to_owned(),
                    message: format!(
                        "{} left Git and its policy says Delete: {} would be deleted ({}); \
                         confirm with `regraft confirm-delete {}` or put it back",
                        target.application,
                        counted(keys.len(), "object"),
                        named(&keys),
                        target.application
                    ),
                    objects: keys,
                    token: Some(token),
                });
                return comparison;
            }
        }
    }
    comparison.request = Some(ApplyRequest {
        number: 0,
        target: target.clone(),
        revision: revision.clone(),
        stages: Vec::new(),
        prune: leaving.prune,
        orphan: leaving.orphan,
        inventory: Inventory {
            installation: inventory.installation.clone(),
            entries: BTreeMap::new(),
        },
        inventory_before: inventory.clone(),
    });
    comparison
}

/// What happens to entries of the inventory that are not desired any more.
#[derive(Default)]
pub(crate) struct Leaving {
    /// To delete, in order.
    pub(crate) prune: Vec<(ObjectKey, String)>,
    /// To disown, in order.
    pub(crate) orphan: Vec<(ObjectKey, String)>,
    /// Still ours: they wait for a confirmation.
    pub(crate) waiting: BTreeMap<ObjectKey, String>,
    /// Why they wait.
    pub(crate) blocked: Option<Blocked>,
}

/// Decides about the entries of `inventory` that are not in `desired`. Call it only for a complete render.
pub(crate) fn leaving(
    application: &Application,
    desired: &BTreeSet<ObjectKey>,
    cluster: &ClusterState<'_>,
    inventory: &Inventory,
    confirmation: Option<&str>,
) -> Leaving {
    let mut leaving = Leaving::default();
    let gone: Vec<_> = inventory
        .entries
        .iter()
        .filter(|(key, _)| !desired.contains(key))
        .collect();
    if application.prune == Prune::Keep {
        leaving.orphan(gone);
        return leaving;
    }
    let (kept, deleted) = gone
        .into_iter()
        .partition::<Vec<_>, _>(|(key, _)| keeps(cluster, key));
    leaving.orphan(kept);
    // Counted over what is there and what comes, so that the answer stays the same once the new objects are applied.
    let all = inventory
        .entries
        .keys()
        .chain(desired)
        .collect::<BTreeSet<_>>();
    let cap = cap(all.len(), application.policy.delete_cap_percent);
    // What is not there costs nothing to delete: an object that the server refused never came to be. What is there
    // through another version of its kind is not seen, and is deleted all the same.
    let is_there = |key: &ObjectKey| cluster.live.contains_key(key) || (cluster.unseen)(key);
    let lost = deleted.iter().filter(|(key, _)| is_there(key)).count();
    let (dangerous, ordinary) = deleted
        .into_iter()
        .partition::<Vec<_>, _>(|(key, _)| is_dangerous(key) && is_there(key));
    let over_cap = lost > cap;
    let (free, held) = match over_cap {
        true => (Vec::new(), [dangerous, ordinary].concat()),
        false => (ordinary, dangerous),
    };
    let keys: Vec<_> = held.iter().map(|(key, _)| (*key).clone()).collect();
    let token = deletion_token(&application.name, &keys);
    if held.is_empty() || confirmation == Some(token.as_str()) {
        leaving.delete([free, held].concat());
        return leaving;
    }
    leaving.delete(free);
    leaving.waiting = held
        .into_iter()
        .map(|(key, version)| (key.clone(), version.clone()))
        .collect();
    leaving.blocked = Some(waiting_for_confirmation(
        application,
        keys,
        token,
        over_cap.then_some(cap),
    ));
    leaving
}

impl Leaving {
    fn orphan(&mut self, entries: Vec<(&ObjectKey, &String)>) {
        self.orphan.extend(reversed(entries));
    }

    fn delete(&mut self, entries: Vec<(&ObjectKey, &String)>) {
        self.prune.extend(reversed(entries));
    }
}

fn waiting_for_confirmation(
    application: &Application,
    keys: Vec<ObjectKey>,
    token: String,
    over: Option<usize>,
) -> Blocked {
    let why = match over {
        Some(cap) => format!(
            "more than the delete cap of {cap} ({} % of the application)",
            application.policy.delete_cap_percent
        ),
        None => "deleting them takes more than themselves with them".to_owned(),
    };
    Blocked {
        reason: "DeleteNeedsConfirmation".to_owned(),
        message: format!(
            "{} left Git ({}), {why}; confirm with `regraft confirm-delete {}` or put them back",
            counted(keys.len(), "object"),
            named(&keys),
            application.name
        ),
        objects: keys,
        token: Some(token),
    }
}

/// At least one object may always go.
fn cap(objects: usize, percent: u32) -> usize {
    let percent = usize::try_from(percent).unwrap_or(100).min(100);
    (objects.saturating_mul(percent) / 100).max(1)
}

/// Whether a person marked the live object to be kept.
fn keeps(cluster: &ClusterState<'_>, key: &ObjectKey) -> bool {
    cluster.live.get(key).is_some_and(Object::is_kept)
}

fn reversed(entries: Vec<(&ObjectKey, &String)>) -> Vec<(ObjectKey, String)> {
    let mut entries: Vec<_> = entries
        .into_iter()
        .map(|(key, version)| (key.clone(), version.clone()))
        .collect();
    entries.sort_by(|(a, _), (b, _)| (rank(b), b).cmp(&(rank(a), a)));
    entries
}

fn named(keys: &[ObjectKey]) -> String {
    let mut names: Vec<_> = keys
        .iter()
        .take(MAX_NAMED)
        .map(ToString::to_string)
        .collect();
    if keys.len() > MAX_NAMED {
        names.push(format!("and {} more", keys.len() - MAX_NAMED));
    }
    names.join(", ")
}
