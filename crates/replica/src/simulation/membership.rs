//! Who the members were, from which entry on, as each of them applied it.

use crate::types::{LogId, Membership, StoredMembership};
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

/// By the index of the entry that made it so.
#[derive(Default)]
pub(super) struct Memberships(BTreeMap<u64, Fact>);

struct Fact {
    log_id: LogId,
    membership: Membership,
    /// Who applied it first.
    first: u64,
    /// Up to this index, at least, somebody went by it; and who.
    newest_until: (u64, u64),
}

impl Memberships {
    /// A member that has applied everything up to `applied` goes by `stored`. Gives what is wrong with that.
    pub(super) fn see(
        &mut self,
        member: u64,
        applied: u64,
        stored: &StoredMembership,
    ) -> Option<String> {
        let log_id = stored.log_id().as_ref()?;
        let index = log_id.index;
        let newer = (Excluded(index), Included(applied.max(index)));
        if let Some((newer, fact)) = self.0.range(newer).next() {
            return Some(format!(
                "member {member} has applied {applied} and goes by the members of {index}, though member {} had others at {newer}",
                fact.first
            ));
        }
        let Some(known) = self.0.get_mut(&index) else {
            let older = self.0.range(..index).next_back();
            let wrong = older.filter(|(_, fact)| fact.newest_until.0 >= index);
            let wrong = wrong.map(|(older, fact)| {
                format!(
                    "member {member} has other members at {index}, though member {} had applied {} and went by those of {older}",
                    fact.newest_until.1, fact.newest_until.0
                )
            });
            let fact = Fact {
                log_id: *log_id,
                membership: stored.membership().clone(),
                first: member,
                newest_until: (applied, member),
            };
            self.0.insert(index, fact);
            return wrong;
        };
        known.newest_until = known.newest_until.max((applied, member));
        if known.log_id == *log_id && known.membership == *stored.membership() {
            return None;
        }
        Some(format!(
            "the members that member {member} has from {index} on are {}, not {} as member {} has them",
            stored.membership(),
            known.membership,
            known.first
        ))
    }

    /// The last change that anybody applied.
    pub(super) fn newest(&self) -> Option<(&LogId, &Membership)> {
        let fact = self.0.values().next_back()?;
        Some((&fact.log_id, &fact.membership))
    }

    /// Whether the last change that anybody applied is still to be ended.
    pub(super) fn is_half_done(&self) -> bool {
        let newest = self.newest();
        newest.is_some_and(|(_, membership)| membership.get_joint_config().len() > 1)
    }

    /// Those that were in force at `index`, and all after them.
    pub(super) fn since(&self, index: u64) -> impl Iterator<Item = &Membership> {
        self.0.range(index..).map(|(_, fact)| &fact.membership)
    }

    /// How many changes one leader began and another one ended.
    pub(super) fn ended_by_another(&self) -> u64 {
        let mut count = 0;
        for (before, after) in self.0.values().zip(self.0.values().skip(1)) {
            let is_joint = before.membership.get_joint_config().len() > 1;
            if is_joint && before.log_id.leader_id != after.log_id.leader_id {
                count += 1;
            }
        }
        count
    }
}
