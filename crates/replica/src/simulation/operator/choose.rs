//! What the operator undertakes next, and machines that come and go with it.

use super::{Operator, Seen, add, look, pick};
use crate::members::MemberChange;
use crate::simulation::host::{Crash, Life};
use crate::simulation::world::World;
use std::collections::BTreeSet;

/// Most voters there are: more answer no other question.
const VOTERS_MAX: usize = 6;
/// Most machines of one run: each costs time.
const HOSTS_MAX: usize = 12;

/// What is to be put right.
pub(super) enum Tidying {
    Replace(u64),
    Remove(u64),
    Complete,
}

impl Operator {
    /// Begins something, as chance has it; what is missing first.
    pub(super) fn undertake(&mut self, world: &mut World) {
        self.next_ms = world.now_ms + world.dice.below(2 * self.every_ms);
        let Some(seen) = look(world) else {
            return;
        };
        let is_member = |id: &u64| seen.voters.contains(id) || seen.learners.contains(id);
        self.lost.retain(is_member);
        if let Some(lost) = self.lost.iter().next().copied() {
            return match world.dice.percent(70) || seen.voters.len() < 3 {
                true => self.replace(lost, &seen, world),
                false => self.begin([MemberChange::Remove { id: lost }], world),
            };
        }
        match world.dice.below(100) {
            _ if seen.voters.len() < self.full => self.complete(&seen, world),
            0..25 => self.lose_disk(world),
            25..40 => {
                let replaced = pick(&seen.voters, world);
                self.replace(replaced, &seen, world);
            }
            40..55 if seen.voters.len() < VOTERS_MAX => self.complete(&seen, world),
            55..65 => {
                if let Some(new) = self.start_machine(&seen, world) {
                    self.begin([add(new)], world);
                }
            }
            65..85 => {
                let all: BTreeSet<u64> = seen.voters.union(&seen.learners).copied().collect();
                let id = pick(&all, world);
                let leaves_few = seen.voters.len() <= 3 && !world.dice.percent(30);
                if seen.voters.contains(&id) && (seen.voters.len() <= 2 || leaves_few) {
                    return;
                }
                self.begin([MemberChange::Remove { id }], world);
            }
            _ => {
                let id = pick(&seen.voters, world);
                self.begin([MemberChange::Lead { id }], world);
            }
        }
    }

    /// Brings the members closer to their full number.
    pub(super) fn tidy(&mut self, world: &mut World) {
        let Some(seen) = look(world) else {
            return;
        };
        match self.next_to_tidy(&seen, world) {
            None => {}
            Some(Tidying::Replace(lost)) => self.replace(lost, &seen, world),
            Some(Tidying::Remove(id)) => self.begin([MemberChange::Remove { id }], world),
            Some(Tidying::Complete) => self.complete(&seen, world),
        }
    }

    pub(super) fn next_to_tidy(&self, seen: &Seen, world: &World) -> Option<Tidying> {
        let is_over = |id: &&u64| world.host(**id).is_none_or(|host| host.life == Life::Over);
        if let Some(lost) = seen.voters.iter().find(is_over) {
            return Some(Tidying::Replace(*lost));
        }
        if let Some(gone) = seen.learners.iter().find(is_over) {
            return Some(Tidying::Remove(*gone));
        }
        (seen.voters.len() < self.full).then_some(Tidying::Complete)
    }

    /// One more votes: one that follows already, or a new one.
    fn complete(&mut self, seen: &Seen, world: &mut World) {
        let is_there = |id: &&u64| world.host(**id).is_some_and(|host| host.life == Life::Kept);
        let follower = seen.learners.iter().find(is_there).copied();
        let promote = |id| MemberChange::Promote { id, replaces: None };
        match follower {
            Some(id) => self.begin([promote(id)], world),
            None => {
                if let Some(new) = self.start_machine(seen, world) {
                    self.begin([add(new), promote(new)], world);
                }
            }
        }
    }

    fn replace(&mut self, replaced: u64, seen: &Seen, world: &mut World) {
        let Some(new) = self.start_machine(seen, world) else {
            return;
        };
        let promote = MemberChange::Promote {
            id: new,
            replaces: Some(replaced),
        };
        self.begin([add(new), promote], world);
    }

    /// A new member's machine, which is told of the others.
    fn start_machine(&self, seen: &Seen, world: &mut World) -> Option<u64> {
        if world.hosts.len() >= HOSTS_MAX && !self.is_winding_up {
            return None;
        }
        let others: Vec<u64> = seen.voters.union(&seen.learners).copied().collect();
        let new = world.add_host(&others);
        world.note(format!("a machine for member {new}, beside {others:?}"));
        if let Some(host) = world.hosts.last_mut() {
            host.start();
        }
        Some(new)
    }

    /// A voter loses its disk for good, unless too many would have: whoever votes next has to have a majority that has
    /// lost nothing, too.
    pub(super) fn lose_disk(&mut self, world: &mut World) {
        let Some(seen) = look(world) else {
            return;
        };
        let removes = self.work.as_ref().is_some_and(|work| {
            let remove = |step: &MemberChange| matches!(step, MemberChange::Remove { .. });
            work.steps.iter().any(remove)
        });
        let voters = seen.voters.len() - usize::from(removes);
        if self.may_remove || self.lost.len() + 1 > voters.saturating_sub(1) / 2 {
            return;
        }
        let id = pick(&seen.voters, world);
        let Some(host) = world.hosts.iter_mut().find(|host| host.id == id) else {
            return;
        };
        if host.life == Life::Over {
            return;
        }
        host.life = Life::Over;
        host.crash(Crash::Machine(0));
        world.list_members();
        world.note(format!("the disk of member {id} is lost"));
        self.lost.insert(id);
        self.count("disks lost");
    }

    /// Switches machines of former members off.
    pub(super) fn switch_off(&mut self, world: &mut World) {
        let due = |until_ms: &u64| *until_ms <= world.now_ms;
        let Some(id) = self.leaving.iter().find(|(_, at)| due(at)).map(|it| *it.0) else {
            return;
        };
        self.leaving.remove(&id);
        if let Some(host) = world.hosts.iter_mut().find(|host| host.id == id) {
            host.life = Life::Over;
            host.crash(Crash::Process);
        }
        world.list_members();
        world.note(format!("member {id} is switched off"));
    }
}
