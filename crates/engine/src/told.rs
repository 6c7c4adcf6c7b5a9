//! What the clusters tell, and which targets have to be looked at because of it.

use crate::Engine;
use crate::observed::Touched;
use regraft_model::apply::ClusterEvent;
use regraft_model::id::{ClusterName, TargetKey};
use regraft_model::object::ObjectKey;
use regraft_model::time::Timestamp;
use std::collections::BTreeSet;

impl Engine {
    pub(crate) fn cluster_told(
        &mut self,
        now: Timestamp,
        cluster: &ClusterName,
        event: ClusterEvent,
    ) {
        let lost = matches!(
            event,
            ClusterEvent::Lost { .. } | ClusterEvent::Ready { .. }
        );
        let inventories = matches!(event, ClusterEvent::Inventories(_));
        let (key, gone) = match &event {
            ClusterEvent::Seen(object) => (Some(object.key()), false),
            ClusterEvent::Gone { key, .. } => (Some(key.clone()), true),
            _ => (None, false),
        };
        let touched = self
            .observed
            .entry(cluster.clone())
            .or_default()
            .tell(event);
        if lost {
            self.interrupt_targets(now, cluster);
        }
        // Other kinds may have to be watched.
        let others = |touched: &Touched| matches!(touched, Touched::Applications(names) if !names.is_empty());
        self.dirty.everything |= lost || (inventories && others(&touched));
        let touched = self.touched_targets(cluster, touched, key.as_ref());
        if let (Some(key), true) = (&key, gone) {
            for target in &touched {
                if let Some(memory) = self.targets.get_mut(target) {
                    memory.lose(key);
                }
            }
        }
        self.dirty.targets.extend(touched);
    }

    /// The targets in a cluster that an event means something for; an object concerns also who asks for it.
    fn touched_targets(
        &self,
        cluster: &ClusterName,
        touched: Touched,
        object: Option<&ObjectKey>,
    ) -> BTreeSet<TargetKey> {
        let mut targets: BTreeSet<TargetKey> = match touched {
            Touched::Applications(names) => {
                let names = names.iter();
                names.map(|name| TargetKey::new(name, cluster)).collect()
            }
            Touched::All => {
                let all = self.view.assignments.keys();
                all.filter(|key| key.cluster == *cluster).cloned().collect()
            }
        };
        let wanting = object
            .into_iter()
            .flat_map(|key| self.rendered.wanting(key));
        targets.extend(wanting.map(|name| TargetKey::new(name, cluster)));
        targets
    }

    /// What held in a cluster does not hold any more (I7).
    pub(crate) fn interrupt_targets(&mut self, now: Timestamp, cluster: &ClusterName) {
        let targets = self.targets.iter_mut();
        for (_, memory) in targets.filter(|(target, _)| target.cluster == *cluster) {
            memory.interrupt(now);
        }
    }
}
