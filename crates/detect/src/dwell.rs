//! Since when a symptom holds, and whether that is long enough.
//!
//! Expected flow: for every workload of a connected cluster, [`Dwell::observe_view`] on each change and at
//! [`Dwell::next_deadline`]; [`Dwell::interrupt`] when the cluster is lost; [`Dwell::forget`] when a workload is gone,
//! [`Dwell::keep_only`] when other workloads are wanted.
//!
//! Guarantees: nothing is confirmed before it was seen at two moments at least `confirm_for` apart, without a break in
//! between ([`CRASH_LOOP_GRACE`] is no break of a crash loop) and on the same template. While it cannot be told which
//! template fails, nothing is confirmed and nothing starts again. A clock that goes back delays,
//! never hastens. What is confirmed stays so while it holds.
//!
//! Assumptions: between `Ready` and `Lost` the caller's objects are complete (no news means no change).

use crate::symptom::{bears_crash_marks, symptoms};
use crate::{CRASH_LOOP_GRACE, WorkloadView};
use regraft_model::{FailureClass, ObjectKey, Seconds, Symptom, Timestamp};
use std::collections::BTreeMap;

/// A symptom and since when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What was seen last.
    pub symptom: Symptom,
    /// Since when, without a break.
    pub since: Timestamp,
    /// Whether that is long enough.
    pub confirmation: Confirmation,
}

/// Whether a symptom held long enough to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Not yet; it counts if it is still seen at this moment.
    Pending(Timestamp),
    /// It counts.
    Confirmed,
}

/// Remembers since when which workload fails how. It holds one entry for each workload and class that fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dwell {
    entries: BTreeMap<(ObjectKey, FailureClass), Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    symptom: Symptom,
    /// The template it was last told of.
    template: Option<ObjectKey>,
    since: Timestamp,
    last_seen: Timestamp,
    /// Since when it is not seen, while that may only be a pause.
    missing_since: Option<Timestamp>,
    confirmation: Confirmation,
}

impl Dwell {
    /// Looks at a workload and records what fails. Ends a crash loop at once when no pod bears marks of a crash.
    pub fn observe_view(
        &mut self,
        view: &WorkloadView<'_>,
        now: Timestamp,
        confirm_for: Seconds,
    ) -> Vec<Held> {
        let workload = view.workload.key();
        if !bears_crash_marks(view) {
            self.entries
                .remove(&(workload.clone(), FailureClass::CrashLoopBackOff));
        }
        self.observe(&workload, symptoms(view, now), now, confirm_for)
    }

    /// Records what is seen of a workload now; what is not among `symptoms` is not seen.
    pub(crate) fn observe(
        &mut self,
        workload: &ObjectKey,
        symptoms: Vec<Symptom>,
        now: Timestamp,
        confirm_for: Seconds,
    ) -> Vec<Held> {
        let seen: Vec<_> = symptoms.iter().map(|symptom| symptom.class).collect();
        self.entries.retain(|(key, class), entry| {
            key != workload || seen.contains(class) || entry.miss(now)
        });
        for symptom in symptoms {
            let key = (workload.clone(), symptom.class);
            match self.entries.get_mut(&key) {
                Some(entry) if entry.continues(&symptom, now) => {
                    entry.see(symptom, now, confirm_for);
                }
                _ => {
                    self.entries
                        .insert(key, Entry::new(symptom, now, confirm_for));
                }
            }
        }
        self.held(workload)
    }

    /// What holds of a workload, as it was last observed.
    pub(crate) fn held(&self, workload: &ObjectKey) -> Vec<Held> {
        let first = (workload.clone(), FailureClass::CrashLoopBackOff);
        self.entries
            .range(first..)
            .take_while(|((key, _), _)| key == workload)
            .map(|(_, entry)| Held {
                symptom: entry.symptom.clone(),
                since: entry.since,
                confirmation: entry.told(),
            })
            .collect()
    }

    /// When to look again though nothing changed: a symptom may count by then, or a crash loop may be over.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.entries.values().filter_map(Entry::deadline).min()
    }

    /// Forgets a workload that is gone.
    pub fn forget(&mut self, workload: &ObjectKey) {
        self.entries.retain(|(key, _), _| key != workload);
    }

    /// Forgets every workload but those that are wanted: nobody looks at the others again.
    pub fn keep_only(&mut self, is_wanted: impl Fn(&ObjectKey) -> bool) {
        self.entries.retain(|(key, _), _| is_wanted(key));
    }

    /// The cluster cannot be seen any more: everything starts again (I7).
    pub fn interrupt(&mut self) {
        self.entries.clear();
    }
}

impl Entry {
    fn new(symptom: Symptom, now: Timestamp, confirm_for: Seconds) -> Self {
        let mut entry = Self {
            template: None,
            since: now,
            last_seen: now,
            missing_since: None,
            confirmation: Confirmation::Pending(now),
            symptom: symptom.clone(),
        };
        entry.see(symptom, now, confirm_for);
        entry
    }

    /// Whether a new sight of the symptom is the same failure: the same template, within the grace.
    fn continues(&self, symptom: &Symptom, now: Timestamp) -> bool {
        // Where either cannot be told, it may be the same.
        let same_template = match (&self.template, &symptom.newest_template) {
            (Some(known), Some(newest)) => known == newest,
            _ => true,
        };
        same_template
            && self
                .missing_since
                .is_none_or(|missing| now < missing.plus(CRASH_LOOP_GRACE))
    }

    fn see(&mut self, symptom: Symptom, now: Timestamp, confirm_for: Seconds) {
        if symptom.newest_template.is_some() {
            self.template.clone_from(&symptom.newest_template);
        }
        self.symptom = symptom;
        self.last_seen = now;
        self.missing_since = None;
        self.judge(now, confirm_for);
    }

    fn judge(&mut self, now: Timestamp, confirm_for: Seconds) {
        let needed = match self.symptom.class {
            // Its controller waited long enough already.
            FailureClass::ProgressDeadlineExceeded => Seconds(0),
            _ => confirm_for,
        };
        let at = self.since.plus(needed);
        if self.is_unsettled() {
            return;
        }
        if self.confirmation != Confirmation::Confirmed {
            self.confirmation = if now >= at {
                Confirmation::Confirmed
            } else {
                Confirmation::Pending(at)
            };
        }
    }

    /// Whether it cannot be told which template fails.
    fn is_unsettled(&self) -> bool {
        self.symptom.newest_template.is_none()
    }

    /// What is told of it: while its template cannot be told, it does not count.
    fn told(&self) -> Confirmation {
        match self.is_unsettled() {
            true => Confirmation::Pending(self.last_seen.plus(CRASH_LOOP_GRACE)),
            false => self.confirmation,
        }
    }

    /// Records that it is not seen, and whether that may only be a pause.
    fn miss(&mut self, now: Timestamp) -> bool {
        let missing = *self.missing_since.get_or_insert(now);
        self.symptom.class == FailureClass::CrashLoopBackOff && now < missing.plus(CRASH_LOOP_GRACE)
    }

    fn deadline(&self) -> Option<Timestamp> {
        if let Some(missing) = self.missing_since {
            return Some(missing.plus(CRASH_LOOP_GRACE));
        }
        let may_look_over = (self.symptom.class == FailureClass::CrashLoopBackOff)
            .then(|| self.last_seen.plus(CRASH_LOOP_GRACE));
        let counts = match self.told() {
            Confirmation::Pending(at) => Some(at),
            Confirmation::Confirmed => None,
        };
        [may_look_over, counts].into_iter().flatten().min()
    }
}
