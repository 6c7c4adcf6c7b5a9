//! One cluster as it was last told: objects, who owns whom, and whether that can be trusted now.

use regraft_detect::WorkloadView;
use regraft_diff::scale_targets;
use regraft_model::ApplicationName;
use regraft_model::apply::{ClusterEvent, Inventory, KindScope, KindVersion};
use regraft_model::object::{APPLICATION_LABEL, Object, ObjectKey};
use regraft_render::KindScopes;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Warning events kept per object: enough to say why, bounded for what crashes all day.
const MAX_EVENTS_PER_OBJECT: usize = 8;
/// Objects with events kept per cluster.
const MAX_EVENT_OBJECTS: usize = 2000;

/// One cluster.
#[derive(Debug, Default)]
pub(crate) struct ObservedCluster {
    /// What the edge was last told to watch; absent when it was told nothing.
    pub(crate) watched: Option<(String, BTreeSet<KindVersion>)>,
    /// Whether it can be seen.
    pub(crate) sight: Sight,
    /// Inventories by application, absent until told: missing is never empty.
    pub(crate) inventories: Option<BTreeMap<String, Inventory>>,
    /// Live objects.
    pub(crate) live: BTreeMap<ObjectKey, Object>,
    /// Workloads that something scales.
    pub(crate) scaled: BTreeSet<ObjectKey>,
    /// What the cluster said of each kind that is watched.
    kinds: BTreeMap<KindVersion, Presence>,
    /// Where the kinds that were listed live here.
    scopes: KindScopes,
    children: BTreeMap<String, BTreeSet<ObjectKey>>,
    events: BTreeMap<String, VecDeque<Object>>,
}

/// Whether a cluster can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Nothing was told yet.
    #[default]
    Unknown,
    /// Connected, with the UID of its `kube-system`.
    Clear {
        /// UID.
        uid: String,
    },
    /// Not reachable: what is known is stale (I7).
    Lost {
        /// Why.
        reason: String,
    },
}

/// What a cluster has of a kind in one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// Its objects, which were told.
    Listed,
    /// Nothing.
    Absent,
    /// Objects, if any, through another version: they were not told.
    Otherwise,
}

/// The targets that an event means something for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Only these applications.
    Applications(BTreeSet<ApplicationName>),
    /// Every target of the cluster.
    All,
}

impl Touched {
    fn nothing() -> Self {
        Touched::Applications(BTreeSet::new())
    }

    fn and(self, other: Touched) -> Touched {
        match (self, other) {
            (Touched::Applications(mut one), Touched::Applications(mut other)) => {
                one.append(&mut other);
                Touched::Applications(one)
            }
            _ => Touched::All,
        }
    }
}

impl ObservedCluster {
    pub(crate) fn tell(&mut self, event: ClusterEvent) -> Touched {
        match event {
            ClusterEvent::Ready { uid, .. } => {
                self.forget_all();
                self.sight = Sight::Clear { uid };
                Touched::All
            }
            ClusterEvent::Lost { reason } => {
                self.sight = Sight::Lost { reason };
                Touched::All
            }
            ClusterEvent::Inventories(now) => match self.inventories.replace(now) {
                Some(before) => self.differing_inventories(&before),
                None => Touched::All,
            },
            ClusterEvent::Listed { kind, scope } => {
                self.scopes.tell(kind.group(), &kind.kind, scope);
                self.kinds.insert(kind, Presence::Listed);
                Touched::All
            }
            ClusterEvent::NoSuchKind {
                kind,
                served_otherwise,
            } => {
                let presence = match served_otherwise {
                    true => Presence::Otherwise,
                    false => Presence::Absent,
                };
                self.kinds.insert(kind, presence);
                Touched::All
            }
            ClusterEvent::Seen(object) => self.see(object),
            ClusterEvent::Gone { key, .. } => self.lose(&key),
        }
    }

    /// Forgets the kinds that are not watched any more: nobody tells when their objects go, so they would be stale when
    /// they are asked for again (I7).
    pub(crate) fn watch_only(&mut self, kinds: &BTreeSet<KindVersion>) {
        let before = self.watched.as_ref().map(|(_, kinds)| kinds);
        let dropped: BTreeSet<KindVersion> = before
            .into_iter()
            .flatten()
            .filter(|kind| !kinds.contains(kind) && !kind.is_always_watched())
            .cloned()
            .collect();
        self.kinds.retain(|kind, _| !dropped.contains(kind));
        let gone: Vec<ObjectKey> = self
            .live
            .iter()
            .filter(|(_, object)| dropped.contains(&KindVersion::of(object)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.lose(&key);
        }
    }

    /// Whether every one of these kinds was listed since the cluster was last reached.
    pub(crate) fn has_listed(&self, kinds: &BTreeSet<KindVersion>) -> bool {
        kinds.iter().all(|kind| self.kinds.contains_key(kind))
    }

    /// Whether objects of this one's kind may be there that were not told.
    pub(crate) fn is_unseen(&self, key: &ObjectKey) -> bool {
        let mut otherwise = false;
        for (kind, presence) in &self.kinds {
            if kind.kind == key.kind && kind.group() == key.group {
                match presence {
                    Presence::Listed => return false,
                    Presence::Otherwise => otherwise = true,
                    Presence::Absent => {}
                }
            }
        }
        otherwise
    }

    /// The inventory of an application; none also where inventories were not told yet.
    pub(crate) fn inventory(&self, application: &ApplicationName) -> Option<&Inventory> {
        self.inventories.as_ref()?.get(application.as_str())
    }

    /// Puts in what the server answered to a write, unless the watch was faster.
    pub(crate) fn see(&mut self, object: Object) -> Touched {
        if object.kind() == "Event" {
            return self.see_event(object);
        }
        let key = object.key();
        if let Some(known) = self.live.get(&key)
            && is_older(&object, known)
        {
            return Touched::nothing();
        }
        self.forget_links(&key);
        if let Some((_, _, uid)) = object.controller() {
            self.children
                .entry(uid.to_owned())
                .or_default()
                .insert(key.clone());
        }
        let scales = is_scaler(&object);
        let touched = self.owner_of(&object);
        let touched = match self.live.insert(key, object) {
            // Who held it before learns that somebody took the label off.
            Some(before) => touched.and(self.owner_of(&before)),
            None => touched,
        };
        if scales {
            self.find_scaled();
            return Touched::All;
        }
        touched
    }

    /// Objects of Git as this cluster knows them: where the server says that a kind lives in no namespace, the one that
    /// was taken for granted when they were rendered is left out.
    pub(crate) fn placed<'a>(&self, objects: &'a [Object]) -> Cow<'a, [Object]> {
        let is_misplaced = |object: &Object| {
            let scope = || self.scopes.of(object.group(), object.kind());
            !object.namespace().is_empty() && scope() == KindScope::Cluster
        };
        if !objects.iter().any(is_misplaced) {
            return Cow::Borrowed(objects);
        }
        let mut placed = objects.to_vec();
        for object in placed.iter_mut().filter(|it| is_misplaced(it)) {
            if let Some(metadata) = object.0["metadata"].as_object_mut() {
                metadata.remove("namespace");
            }
        }
        Cow::Owned(placed)
    }

    /// What belongs to a workload: its ReplicaSets, pods and events.
    pub(crate) fn view_of<'a>(&'a self, workload: &'a Object) -> WorkloadView<'a> {
        let children = self.children_of(workload);
        let (replica_sets, mut pods): (Vec<_>, Vec<_>) = children
            .into_iter()
            .partition(|object| object.kind() == "ReplicaSet");
        for replica_set in &replica_sets {
            pods.extend(self.children_of(replica_set));
        }
        let events = std::iter::once(workload)
            .chain(replica_sets.iter().copied())
            .chain(pods.iter().copied())
            .filter_map(|object| self.events.get(object.uid()))
            .flatten()
            .collect();
        WorkloadView {
            workload,
            replica_sets,
            pods,
            events,
        }
    }

    fn differing_inventories(&self, before: &BTreeMap<String, Inventory>) -> Touched {
        let now = self.inventories.as_ref();
        let names = now
            .into_iter()
            .flat_map(BTreeMap::keys)
            .chain(before.keys());
        let differs = |name: &&String| now.and_then(|now| now.get(*name)) != before.get(*name);
        Touched::Applications(names.filter(differs).map(|it| it.as_str().into()).collect())
    }

    fn children_of(&self, owner: &Object) -> Vec<&Object> {
        let keys = self.children.get(owner.uid());
        keys.into_iter()
            .flatten()
            .filter_map(|key| self.live.get(key))
            .collect()
    }

    fn lose(&mut self, key: &ObjectKey) -> Touched {
        let Some(object) = self.live.get(key).cloned() else {
            return Touched::nothing();
        };
        let touched = self.owner_of(&object);
        self.forget_links(key);
        self.live.remove(key);
        self.events.remove(object.uid());
        if is_scaler(&object) {
            self.find_scaled();
            return Touched::All;
        }
        touched
    }

    /// The application an object belongs to: by its label, or by that of the workload that owns it.
    fn owner_of(&self, object: &Object) -> Touched {
        let mut current = object;
        // Pod -> ReplicaSet -> Deployment is the longest chain there is.
        for _ in 0..3 {
            if let Some(name) = current.label(APPLICATION_LABEL) {
                return Touched::Applications(BTreeSet::from([name.into()]));
            }
            let Some((kind, name, _)) = current.controller() else {
                return Touched::nothing();
            };
            let group = if matches!(kind, "Job" | "CronJob") {
                "batch"
            } else {
                "apps"
            };
            let key = ObjectKey {
                group: group.to_owned(),
                kind: kind.to_owned(),
                namespace: object.namespace().to_owned(),
                name: name.to_owned(),
            };
            match self.live.get(&key) {
                Some(owner) => current = owner,
                None => return Touched::nothing(),
            }
        }
        Touched::nothing()
    }

    fn see_event(&mut self, event: Object) -> Touched {
        let uid = event.text("/involvedObject/uid");
        if uid.is_empty() || !self.has_room_for_events_of(uid) {
            return Touched::nothing();
        }
        let kept = self.events.entry(uid.to_owned()).or_default();
        kept.retain(|known| known.name() != event.name());
        kept.push_back(event);
        if kept.len() > MAX_EVENTS_PER_OBJECT {
            kept.pop_front();
        }
        Touched::nothing()
    }

    /// Whether events of an object may be kept; those of objects that are not there make room.
    fn has_room_for_events_of(&mut self, uid: &str) -> bool {
        let is_full = |events: &BTreeMap<_, _>| events.len() >= MAX_EVENT_OBJECTS;
        if self.events.contains_key(uid) || !is_full(&self.events) {
            return true;
        }
        let live: BTreeSet<&str> = self.live.values().map(Object::uid).collect();
        self.events.retain(|uid, _| live.contains(uid.as_str()));
        !is_full(&self.events)
    }

    fn find_scaled(&mut self) {
        self.scaled = scale_targets(self.live.values().filter(|object| is_scaler(object)));
    }

    fn forget_links(&mut self, key: &ObjectKey) {
        let owner = self.live.get(key).and_then(|known| known.controller());
        if let Some((_, _, uid)) = owner
            && let Some(siblings) = self.children.get_mut(uid)
        {
            siblings.remove(key);
            if siblings.is_empty() {
                let uid = uid.to_owned();
                self.children.remove(&uid);
            }
        }
    }

    fn forget_all(&mut self) {
        self.inventories = None;
        self.live.clear();
        self.scaled.clear();
        self.kinds.clear();
        self.scopes = KindScopes::default();
        self.children.clear();
        self.events.clear();
    }
}

fn is_scaler(object: &Object) -> bool {
    matches!(object.kind(), "HorizontalPodAutoscaler" | "ScaledObject")
}

/// Whether `object` is an older version of the same incarnation. Versions of one cluster's object compare as
/// numbers where both are numbers (since Kubernetes 1.35 that is promised); otherwise the newcomer wins.
fn is_older(object: &Object, known: &Object) -> bool {
    let version = |object: &Object| object.resource_version().parse::<u64>().ok();
    object.uid() == known.uid()
        && matches!((version(object), version(known)), (Some(new), Some(old)) if new < old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(number: usize, uid: &str) -> ClusterEvent {
        ClusterEvent::Seen(Object(json!({
            "kind": "Event",
            "metadata": {"name": format!("e{number}")},
            "involvedObject": {"uid": uid},
        })))
    }

    #[test]
    fn what_the_server_keeps_outside_namespaces_has_none() {
        let rendered = ["Issuer", "ClusterIssuer"].map(|kind| {
            Object(json!({
                "apiVersion": "cert-manager.io/v1", "kind": kind,
                "metadata": {"name": "ca", "namespace": "shop"},
            }))
        });
        let mut observed = ObservedCluster::default();
        let namespaces = |observed: &ObservedCluster| {
            let placed = observed.placed(&rendered);
            [0, 1].map(|at| placed[at].namespace().to_owned())
        };
        assert_eq!(namespaces(&observed), ["shop", "shop"]);
        for (kind, scope) in [
            ("Issuer", KindScope::Namespaced),
            ("ClusterIssuer", KindScope::Cluster),
        ] {
            let kind = KindVersion::new("cert-manager.io/v1", kind);
            observed.tell(ClusterEvent::Listed { kind, scope });
        }
        assert_eq!(namespaces(&observed), ["shop", ""]);
        // The definition was made anew, and now says otherwise.
        let kind = KindVersion::new("cert-manager.io/v1", "ClusterIssuer");
        let scope = KindScope::Namespaced;
        observed.tell(ClusterEvent::Listed { kind, scope });
        assert_eq!(namespaces(&observed), ["shop", "shop"]);
    }

    #[test]
    fn events_of_objects_that_are_not_there_make_room_for_others() {
        let mut observed = ObservedCluster::default();
        for number in 0..MAX_EVENT_OBJECTS {
            observed.tell(event(number, &format!("gone-{number}")));
        }
        let pod = Object(json!({"kind": "Pod", "metadata": {"name": "web", "uid": "live"}}));
        observed.tell(ClusterEvent::Seen(pod.clone()));
        observed.tell(event(0, "live"));
        assert_eq!(observed.view_of(&pod).events.len(), 1);
        assert_eq!(observed.events.len(), 1);
    }
}
