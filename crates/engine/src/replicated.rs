//! What the replicated state changes, and what has to be looked at again because of it.

use crate::Engine;
use crate::effect::{Effect, Level};
use regraft_model::id::{ApplicationName, ClusterName, TargetKey};
use regraft_model::time::Timestamp;
use regraft_state::store::Write;
use regraft_state::table::{prefix, target_of};
use regraft_state::view::{UnreadableRecord, View};
use std::collections::BTreeSet;

/// Tables that a status report, or what a cluster knows of its metrics, is written to.
const STATUS_TABLES: [&str; 4] = [
    prefix::STATUSES,
    prefix::BASELINES,
    prefix::SESSIONS,
    prefix::META,
];

impl Engine {
    pub(crate) fn restored(
        &mut self,
        now: Timestamp,
        index: u64,
        pairs: &[(Vec<u8>, Vec<u8>)],
        effects: &mut Vec<Effect>,
    ) {
        let pairs = pairs
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_slice()));
        match View::restore(pairs) {
            Ok(view) => {
                let before = std::mem::replace(&mut self.view, view).assignments;
                self.applied = index;
                self.catch_up_with_proof();
                // What happened to a target in between was not told.
                let changed =
                    |key: &&TargetKey| before.get(*key) != self.view.assignments.get(*key);
                let changed: Vec<TargetKey> = before.keys().filter(changed).cloned().collect();
                let gained = self
                    .view
                    .assignments
                    .keys()
                    .filter(|key| !before.contains_key(*key));
                let afresh: Vec<TargetKey> = gained.chain(&changed).cloned().collect();
                self.look_afresh(now, &afresh, effects);
                for target in changed {
                    self.forget_target(&target);
                }
                self.touch_all();
            }
            Err(error) => unreadable_state(&error, effects),
        }
    }

    pub(crate) fn replicated(
        &mut self,
        now: Timestamp,
        index: u64,
        writes: &[Write],
        effects: &mut Vec<Effect>,
    ) {
        if index <= self.applied {
            return;
        }
        self.applied = index;
        self.catch_up_with_proof();
        let others = self.targets_from_elsewhere(writes);
        if let Err(error) = self.view.apply(writes) {
            unreadable_state(&error, effects);
        }
        self.look_afresh(now, &others, effects);
        self.proposals.reached(now, index);
        // Statuses are by far the most frequent; only incidents depend on them.
        let mut only_statuses = true;
        for write in writes {
            let (Write::Put { key, .. } | Write::Delete { key }) = write;
            let key = String::from_utf8_lossy(key);
            only_statuses &= STATUS_TABLES.iter().any(|table| key.starts_with(table));
            self.touch_written(&key);
        }
        self.dirty.incidents = true;
        self.dirty.everything |= !only_statuses;
    }

    /// Targets whose assignment is being written and that another member may have written to since this one was told of
    /// their inventory: another one holds them, or nobody does although there was an inventory. What has none is new
    /// here.
    fn targets_from_elsewhere(&self, writes: &[Write]) -> Vec<TargetKey> {
        writes
            .iter()
            .filter_map(|write| {
                let (Write::Put { key, .. } | Write::Delete { key }) = write;
                let key = std::str::from_utf8(key).ok()?;
                let target = target_of(key.strip_prefix(prefix::ASSIGNMENTS)?);
                let from_elsewhere = match self.view.assignments.get(&target) {
                    Some(held) => held.member != self.settings.member,
                    None => self.told_inventory(&target).is_some(),
                };
                from_elsewhere.then_some(target)
            })
            .collect()
    }

    /// Connects clusters anew where a target came to this member: inventories are told once for each connection, and
    /// whoever held the target before may have written to it since. Missing is never empty (I5).
    fn look_afresh(&mut self, now: Timestamp, others: &[TargetKey], effects: &mut Vec<Effect>) {
        let me = self.settings.member;
        let mine = |target: &&TargetKey| {
            let held = self.view.assignments.get(*target);
            held.is_some_and(|held| held.member == me)
        };
        let clusters: BTreeSet<ClusterName> = others
            .iter()
            .filter(mine)
            .map(|target| target.cluster.clone())
            .collect();
        for cluster in clusters {
            if self.observed.remove(&cluster).is_some() {
                effects.push(Effect::Unwatch {
                    cluster: cluster.clone(),
                });
            }
            self.lose_applies(|target| target.cluster == cluster);
            self.interrupt_targets(now, &cluster);
        }
    }

    pub(crate) fn touch_application(&mut self, name: &ApplicationName) {
        self.touch_where(|target| target.application == *name);
    }

    pub(crate) fn touch_cluster(&mut self, cluster: &ClusterName) {
        self.touch_where(|target| target.cluster == *cluster);
    }

    pub(crate) fn touch_all(&mut self) {
        self.dirty.everything = true;
        self.touch_where(|_| true);
    }

    fn touch_where(&mut self, is_touched: impl Fn(&TargetKey) -> bool) {
        let all = self.view.assignments.keys();
        let touched = all.filter(|target| is_touched(target)).cloned();
        self.dirty.targets.extend(touched);
    }

    /// Targets whose next step may depend on a record. Heads are followed where they are read.
    fn touch_written(&mut self, key: &str) {
        let Some(end) = key.find('/') else {
            return;
        };
        let (table, rest) = key.split_at(end + 1);
        match table {
            prefix::CLUSTERS => self.touch_cluster(&rest.into()),
            prefix::ASSIGNMENTS | prefix::CONFIRMATIONS => {
                let target = target_of(rest);
                let mine = self
                    .view
                    .assignments
                    .get(&target)
                    .is_some_and(|held| held.member == self.settings.member);
                if mine {
                    self.dirty.targets.insert(target);
                } else {
                    self.forget_target(&target);
                }
            }
            prefix::SYNCS => self.touch_application(&rest.into()),
            // Who is let go may leave objects that another application asks for.
            prefix::RETIRING | prefix::CONFIGURATIONS | prefix::SUSPENSIONS => self.touch_all(),
            _ => {}
        }
    }
}

fn unreadable_state(error: &UnreadableRecord, effects: &mut Vec<Effect>) {
    effects.push(Effect::Say {
        level: Level::Page,
        subject: "state".to_owned(),
        message: format!("{error}; this member is older than what the others wrote: upgrade it"),
    });
}
