//! What a sync would do, for who asks before it is done.

use crate::Engine;
use regraft_diff::{ClusterState, Complete, Desired, compare, scale_targets, wanted};
use regraft_model::config::Application;
use regraft_model::id::{ClusterName, TargetKey};
use regraft_model::object::{Object, ObjectKey};
use regraft_model::source::Revision;
use std::collections::BTreeMap;

/// What a sync would ask a cluster for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The objects, without what is left to an autoscaler.
    pub objects: Vec<Object>,
    /// What left Git and would be deleted, also where that waits for a person.
    pub deletions: Vec<ObjectKey>,
}

impl Engine {
    /// What a sync would ask a cluster for, were an application's objects these. Of a cluster whose inventories this
    /// member was not told, no deletions are known; what another installation reconciles there is not ours to delete.
    pub fn wanted(
        &self,
        application: &Application,
        cluster: &ClusterName,
        objects: &[Object],
    ) -> Wanted {
        let observed = self.observed.get(cluster);
        let placed = observed.map(|it| it.placed(objects));
        let objects = placed.as_deref().unwrap_or(objects);
        let mut scaled = scale_targets(objects);
        scaled.extend(
            observed
                .into_iter()
                .flat_map(|it| it.scaled.iter().cloned()),
        );
        let as_asked = objects.iter().map(|object| {
            let live = observed.and_then(|it| it.live.get(&object.key()));
            wanted(object, live, &scaled).into_owned()
        });
        Wanted {
            objects: as_asked.collect(),
            deletions: self.deletions(application, cluster, objects),
        }
    }

    fn deletions(
        &self,
        application: &Application,
        cluster: &ClusterName,
        objects: &[Object],
    ) -> Vec<ObjectKey> {
        let Some(observed) = self.observed.get(cluster) else {
            return Vec::new();
        };
        let Some(inventory) = observed.inventory(&application.name) else {
            return Vec::new();
        };
        let desired = Desired {
            target: &TargetKey::new(&application.name, cluster),
            revision: &Revision::default(),
            application,
            installation: self.view.installation.as_deref().unwrap_or_default(),
            objects,
            complete: Complete::Yes,
            holds: &|name| self.holds(name),
        };
        let compared = ClusterState {
            live: &observed.live,
            unseen: &|key| observed.is_unseen(key),
            scaled: &observed.scaled,
            known_equal: &BTreeMap::new(),
        };
        let comparison = compare(&desired, &compared, inventory, None);
        let pruned = comparison.request.into_iter().flat_map(|it| it.prune);
        let waiting = comparison
            .blocked
            .into_iter()
            .filter(|it| it.token.is_some());
        let mut deletions: Vec<ObjectKey> = pruned.map(|(key, _)| key).collect();
        deletions.extend(waiting.flat_map(|it| it.objects));
        deletions
    }
}
