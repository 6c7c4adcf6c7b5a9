//! A member's connection to a cluster: what is told, in which order, and when it breaks.

use crate::kube::{Change, Cluster};
use crate::world::{Occurrence, World};
use regraft_engine::Event;
use regraft_model::apply::{ClusterEvent, Inventory, KindScope, KindVersion};
use regraft_model::id::ClusterName;
use regraft_model::object::{APPLICATION_LABEL, Object, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};

/// How long a dead connection looks alive at most: the edge's probe.
const PROBE_MS: i64 = 6_000;
/// Waits between tries to connect.
const RECONNECT_MS: (i64, i64) = (200, 4_000);

#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    /// Whether the engine wants it.
    wanted: bool,
    generation: u64,
    pub(crate) is_up: bool,
    /// Whether the network between the two is cut.
    pub(crate) is_cut: bool,
    told_lost: bool,
    kinds: BTreeSet<KindVersion>,
    listed: BTreeSet<KindVersion>,
    /// When the next event of an object may be delivered, so that its order holds.
    lanes: BTreeMap<ObjectKey, i64>,
    /// No event before this.
    floor: i64,
    /// The last event under way.
    latest: i64,
    /// Since when the connection is up without a break.
    pub(crate) up_since: i64,
    /// Versions of the inventories as they were told, or written since: another one means that somebody else wrote.
    pub(crate) inventory_versions: BTreeMap<String, u64>,
    /// What those inventories said.
    pub(crate) inventories: BTreeMap<String, Inventory>,
}

impl World {
    pub(crate) fn watch_cluster(
        &mut self,
        member: usize,
        name: &ClusterName,
        kinds: BTreeSet<KindVersion>,
    ) {
        let Some(cluster) = self.cluster_number(name) else {
            return;
        };
        let link = self.links.entry((member, cluster)).or_default();
        let is_new = !link.wanted;
        link.wanted = true;
        link.kinds = kinds.clone();
        link.listed
            .retain(|kind| kinds.contains(kind) || kind.is_always_watched());
        if is_new {
            link.generation += 1;
            let generation = link.generation;
            self.connect_within((20, 400), member, cluster, generation);
        } else if link.is_up {
            self.list_new_kinds(member, cluster);
        }
    }

    pub(crate) fn unwatch_cluster(&mut self, member: usize, name: &ClusterName) {
        if let Some(cluster) = self.cluster_number(name) {
            self.forget_link(member, cluster);
        }
    }

    /// Drops every connection of a member that died.
    pub(crate) fn unlink(&mut self, member: usize) {
        for cluster in 0..self.clusters.len() {
            self.forget_link(member, cluster);
        }
    }

    fn forget_link(&mut self, member: usize, cluster: usize) {
        if let Some(link) = self.links.get_mut(&(member, cluster)) {
            link.wanted = false;
            link.is_up = false;
            link.told_lost = false;
            link.generation += 1;
            link.listed.clear();
        }
    }

    /// Whether requests of this member reach the cluster now.
    pub(crate) fn reaches(&self, member: usize, cluster: usize) -> bool {
        let cut = self
            .links
            .get(&(member, cluster))
            .is_some_and(|link| link.is_cut);
        self.clusters[cluster].up && !cut
    }

    pub(crate) fn connect(&mut self, member: usize, cluster: usize, generation: u64) {
        let reachable = self.reaches(member, cluster);
        let now = self.now;
        let Some(link) = self.links.get_mut(&(member, cluster)) else {
            return;
        };
        if link.generation != generation || link.is_up {
            return;
        }
        if !reachable {
            let told = std::mem::replace(&mut link.told_lost, true);
            if !told {
                let reason = "connection refused".to_owned();
                self.tell(member, cluster, None, ClusterEvent::Lost { reason });
            }
            self.connect_within(RECONNECT_MS, member, cluster, generation);
            return;
        }
        link.is_up = true;
        link.up_since = now;
        link.told_lost = false;
        link.listed.clear();
        link.inventory_versions
            .clone_from(&self.clusters[cluster].inventory_versions);
        link.inventories
            .clone_from(&self.clusters[cluster].inventories);
        let (uid, inventories) = (
            self.clusters[cluster].uid.clone(),
            self.clusters[cluster].inventories.clone(),
        );
        let name = self.clusters[cluster].name.clone();
        self.note(format!("member {} reaches {name}", member + 1));
        self.tell(
            member,
            cluster,
            None,
            ClusterEvent::Ready {
                uid,
                version: "v1.33.0".to_owned(),
            },
        );
        self.tell(
            member,
            cluster,
            None,
            ClusterEvent::Inventories(inventories),
        );
        self.list_new_kinds(member, cluster);
    }

    /// Something may be wrong with a connection: the edge finds out within its bound.
    pub(crate) fn doubt_link(&mut self, member: usize, cluster: usize) {
        let Some(link) = self.links.get(&(member, cluster)) else {
            return;
        };
        if link.is_up {
            let generation = link.generation;
            let delay = self.rng.range(100, PROBE_MS);
            self.probe_after(delay, member, cluster, generation);
        }
    }

    /// The edge gives a connection up and starts over.
    pub(crate) fn start_over(&mut self, member: usize, cluster: usize) {
        if let Some(link) = self.links.get(&(member, cluster)) {
            self.probe_after(1, member, cluster, link.generation);
        }
    }

    fn connect_within(
        &mut self,
        (least_ms, most_ms): (i64, i64),
        member: usize,
        cluster: usize,
        generation: u64,
    ) {
        let delay = self.rng.range(least_ms, most_ms);
        let connect = Occurrence::Connect {
            member,
            cluster,
            generation,
        };
        self.after(delay, connect);
    }

    fn probe_after(&mut self, delay_ms: i64, member: usize, cluster: usize, generation: u64) {
        let probe = Occurrence::Probe {
            member,
            cluster,
            generation,
        };
        self.after(delay_ms, probe);
    }

    /// The edge's probe finds the connection dead, or the break has cost watch events: it starts over.
    pub(crate) fn probe(&mut self, member: usize, cluster: usize, generation: u64) {
        let Some(link) = self.links.get_mut(&(member, cluster)) else {
            return;
        };
        if link.generation != generation || !link.is_up {
            return;
        }
        link.is_up = false;
        link.told_lost = true;
        link.generation += 1;
        let generation = link.generation;
        let name = self.clusters[cluster].name.clone();
        self.note(format!("member {} loses {name}", member + 1));
        let reason = "no sign of life".to_owned();
        self.tell(member, cluster, None, ClusterEvent::Lost { reason });
        self.connect_within(RECONNECT_MS, member, cluster, generation);
    }

    fn list_new_kinds(&mut self, member: usize, cluster: usize) {
        let Some(link) = self.links.get_mut(&(member, cluster)) else {
            return;
        };
        let mut wanted = link.kinds.clone();
        let always = KindVersion::ALWAYS_WATCHED.iter();
        wanted.extend(always.map(|(version, kind)| KindVersion::new(version, kind)));
        let new: Vec<_> = wanted.difference(&link.listed).cloned().collect();
        link.listed.extend(new.iter().cloned());
        for kind in new {
            if !Cluster::serves(&kind) {
                let absent = ClusterEvent::NoSuchKind {
                    kind,
                    served_otherwise: false,
                };
                self.tell(member, cluster, None, absent);
                continue;
            }
            let objects: Vec<_> = self.clusters[cluster]
                .objects
                .values()
                .filter(|object| KindVersion::of(object) == kind && is_told(object, &kind))
                .cloned()
                .collect();
            for object in objects {
                self.tell(
                    member,
                    cluster,
                    Some(object.key()),
                    ClusterEvent::Seen(object),
                );
            }
            let scope = KindScope::Namespaced;
            self.tell(member, cluster, None, ClusterEvent::Listed { kind, scope });
        }
    }

    /// Tells every watcher what changed in a cluster.
    pub(crate) fn spread_changes(&mut self, cluster: usize) {
        let changes = std::mem::take(&mut self.clusters[cluster].changes);
        if changes.is_empty() {
            return;
        }
        for member in 0..self.members.len() {
            let up = self
                .links
                .get(&(member, cluster))
                .is_some_and(|link| link.is_up);
            if !up || !self.reaches(member, cluster) {
                continue;
            }
            for change in &changes {
                self.tell_change(member, cluster, change);
            }
        }
    }

    fn tell_change(&mut self, member: usize, cluster: usize, change: &Change) {
        let (kind, key) = match change {
            Change::Seen(object) => (KindVersion::of(object), object.key()),
            Change::Gone(kind, key) => (kind.clone(), key.clone()),
        };
        let watched = self
            .links
            .get(&(member, cluster))
            .is_some_and(|link| link.listed.contains(&kind));
        if !watched {
            return;
        }
        let event = match change {
            Change::Seen(object) if is_told(object, &kind) => ClusterEvent::Seen(object.clone()),
            // An object that lost our label leaves the selection.
            Change::Seen(_) => ClusterEvent::Gone {
                kind,
                key: key.clone(),
            },
            Change::Gone(..) => ClusterEvent::Gone {
                kind,
                key: key.clone(),
            },
        };
        if self.mishap(2) {
            self.tell(member, cluster, Some(key.clone()), event.clone());
        }
        self.tell(member, cluster, Some(key), event);
    }

    /// Puts an event on its way: in order per object, and never across what concerns the whole connection.
    fn tell(
        &mut self,
        member: usize,
        cluster: usize,
        lane: Option<ObjectKey>,
        event: ClusterEvent,
    ) {
        let life = self.members[member].life;
        let delay = match self.mishap(3) {
            true => self.rng.range(100, 2_000),
            false => self.rng.range(1, 30),
        };
        let name = ClusterName::from(self.clusters[cluster].name.as_str());
        let now = self.now;
        let link = self.links.entry((member, cluster)).or_default();
        let at = match lane {
            Some(key) => {
                let last = link.lanes.get(&key).copied().unwrap_or(0);
                let at = (now + delay).max(last).max(link.floor);
                link.lanes.insert(key, at);
                at
            }
            None => {
                let at = (now + delay).max(link.latest);
                link.floor = at;
                at
            }
        };
        link.latest = link.latest.max(at);
        let event = Box::new(Event::Cluster {
            cluster: name,
            event,
        });
        self.at(
            at,
            Occurrence::Deliver {
                member,
                life,
                event,
            },
        );
    }

    pub(crate) fn cluster_number(&self, name: &ClusterName) -> Option<usize> {
        self.clusters
            .iter()
            .position(|cluster| cluster.name == name.as_str())
    }

    /// The controllers of a cluster run, and run again when their time has come.
    pub(crate) fn run_controllers(&mut self, cluster: usize) {
        if self.clusters[cluster].wake != Some(self.now) {
            return;
        }
        self.clusters[cluster].wake = None;
        if !self.clusters[cluster].up {
            return;
        }
        let version = self.clusters[cluster].version();
        let next = self.clusters[cluster].step(self.now, &mut self.rng);
        self.spread_changes(cluster);
        if self.clusters[cluster].version() != version {
            self.wake_controllers(cluster, self.now + 80);
        }
        if let Some(at) = next {
            self.wake_controllers(cluster, at);
        }
    }

    pub(crate) fn wake_controllers(&mut self, cluster: usize, at: i64) {
        let at = at.max(self.now + 1);
        if self.clusters[cluster]
            .wake
            .is_some_and(|wake| wake > self.now && wake <= at)
        {
            return;
        }
        self.clusters[cluster].wake = Some(at);
        self.at(at, Occurrence::Controllers { cluster });
    }
}

fn is_told(object: &Object, kind: &KindVersion) -> bool {
    kind.is_always_watched() || object.label(APPLICATION_LABEL).is_some()
}
