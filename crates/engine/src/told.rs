//! What the clusters tell, and which targets have to be looked at because of it.

use crate::Engine;
use crate::observed::Touched;
use regraft_model::apply::ClusterEvent;
use regraft_model::id::{ClusterName, TargetKey};
use regraft_model::time::Timestamp;

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
        let gone = match &event {
            ClusterEvent::Gone { key, .. } => Some(key.clone()),
            _ => None,
        };
        let touched = self
            .observed
            .entry(cluster.clone())
            .or_default()
            .tell(event);
        if lost {
            self.interrupt_targets(now, cluster);
        }
        match touched {
            Touched::Applications(applications) => {
                // Other kinds may have to be watched.
                self.dirty.everything |= inventories && !applications.is_empty();
                let touched = applications.into_iter();
                for target in touched.map(|name| TargetKey::new(&name, cluster)) {
                    let memory = self.targets.get_mut(&target);
                    if let (Some(gone), Some(memory)) = (&gone, memory) {
                        memory.lose(gone);
                    }
                    self.dirty.targets.insert(target);
                }
            }
            Touched::All => self.touch_cluster(cluster),
        }
        self.dirty.everything |= lost;
    }

    /// What held in a cluster does not hold any more (I7).
    pub(crate) fn interrupt_targets(&mut self, now: Timestamp, cluster: &ClusterName) {
        let targets = self.targets.iter_mut();
        for (_, memory) in targets.filter(|(target, _)| target.cluster == *cluster) {
            memory.interrupt(now);
        }
    }
}
