//! A person who changes the members while everything else goes wrong, as `regraft members` would have it.
//!
//! ```text
//! look (who are the members?) --> undertake: join, replace, remove, lead, or a disk is lost
//!                                   └─> ask a member for each change, in order, until it is done
//! ```
//!
//! - Keeps to what is asked of people: an id is used once, a lost disk never comes back, no majority loses its disks, and
//!   who was told that a change may be done asks for the same again, or looks first.
//! - Checked: a change that was told to be done was made.

mod choose;

use super::host::address_of;
use super::requests::Told;
use super::world::{World, draw};
use crate::members::{MemberChange, MembersError};
use crate::types::Membership;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Between two undertakings on the average, milliseconds; each seed has one of these. 0: there are none.
const EVERY_MS: [u64; 4] = [0, 300, 1_000, 4_000];
/// An answer that takes longer than this is not waited for, milliseconds; each time it is between these. A change that was
/// asked for twice must be made once.
const PATIENCE_MS: (u64, u64) = (2_000, 16_000);
const IMPATIENCE_MS: (u64, u64) = (50, 700);
/// What was refused is asked for again after this, milliseconds.
const AGAIN_MS: (u64, u64) = (100, 700);
/// A new member that has no vote by then is given up, milliseconds; each time it is between these.
const GIVE_UP_MS: (u64, u64) = (4_000, 20_000);
/// Who is no member any more is switched off within this, if at all, milliseconds.
const OFF_WITHIN_MS: u64 = 8_000;

pub(super) struct Operator {
    every_ms: u64,
    /// How many should vote.
    full: usize,
    doubt: Doubt,
    work: Option<Work>,
    /// Members whose disk is lost, while others may still count on them.
    lost: BTreeSet<u64>,
    /// When machines of former members are switched off.
    leaving: BTreeMap<u64, u64>,
    /// Whether a removal that was asked for and put off may still be made.
    may_remove: bool,
    next_ms: u64,
    is_winding_up: bool,
    /// How often what was done.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

/// What it does when it is not known what came of a change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doubt {
    AsksAgain,
    /// Waits until no change is half-done, and then asks again for what was not done.
    LooksFirst,
}

/// Changes that belong together.
struct Work {
    steps: VecDeque<MemberChange>,
    /// The newest change when the first step became the first.
    since: u64,
    /// What was asked, and until when its answer is waited for.
    asked: Option<(u64, u64)>,
    again_ms: u64,
    give_up_ms: u64,
    is_looking: bool,
}

/// Who the members are.
struct Seen {
    voters: BTreeSet<u64>,
    learners: BTreeSet<u64>,
}

impl Operator {
    pub(super) fn new(world: &mut World) -> Self {
        let every_ms = EVERY_MS[draw(&mut world.dice, EVERY_MS.len())];
        Self {
            every_ms,
            full: world.hosts.len(),
            doubt: match world.dice.percent(50) {
                true => Doubt::AsksAgain,
                false => Doubt::LooksFirst,
            },
            work: None,
            lost: BTreeSet::new(),
            leaving: BTreeMap::new(),
            may_remove: false,
            next_ms: 1_000 + world.dice.below(every_ms + 1),
            is_winding_up: false,
            counts: BTreeMap::new(),
        }
    }

    /// Does what is due. Whether it has just asked for a change of those that vote.
    pub(super) fn act(&mut self, world: &mut World) -> bool {
        self.switch_off(world);
        for (number, told) in std::mem::take(&mut world.mail) {
            self.hear(number, told, world);
        }
        if self.work.is_some() {
            if !self.is_winding_up && world.dice.below(20_000) < 3 {
                self.lose_disk(world);
            }
            return self.go_on(world);
        }
        if self.is_winding_up {
            self.tidy(world);
        } else if self.every_ms > 0 && world.now_ms >= self.next_ms {
            self.undertake(world);
        }
        false
    }

    /// From now on it only brings the members back to their full number.
    pub(super) fn wind_up(&mut self) {
        self.is_winding_up = true;
    }

    /// Whether there is nothing left to do.
    pub(super) fn is_at_rest(&self, world: &World) -> bool {
        let seen = look(world);
        self.work.is_none() && seen.is_some_and(|seen| self.next_to_tidy(&seen, world).is_none())
    }

    /// What it waits for, for people.
    pub(super) fn waits_for(&self) -> String {
        let steps = self.work.as_ref().map(|work| &work.steps);
        let looks = self.work.as_ref().is_some_and(|work| work.is_looking);
        format!(
            "the operator waits for {steps:?}, looks: {looks}, lost are {:?}",
            self.lost
        )
    }

    fn begin(&mut self, steps: impl Into<VecDeque<MemberChange>>, world: &mut World) {
        let give_up_ms = world.now_ms + between(GIVE_UP_MS, world);
        self.work = Some(Work {
            steps: steps.into(),
            since: newest(world),
            asked: None,
            again_ms: world.now_ms,
            give_up_ms,
            is_looking: false,
        });
    }

    /// Asks for the next step, if it is time. Whether that is one that changes who votes.
    fn go_on(&mut self, world: &mut World) -> bool {
        let doubt = self.doubt;
        let Some(work) = &mut self.work else {
            return false;
        };
        let Some(step) = work.steps.front().cloned() else {
            self.work = None;
            return false;
        };
        if let Some((_, until_ms)) = work.asked {
            if world.now_ms >= until_ms {
                work.asked = None;
                work.is_looking = doubt == Doubt::LooksFirst;
            }
            return false;
        }
        if work.is_looking {
            let Some(is_made) = look(world).map(|seen| seen.shows(&step)) else {
                return false;
            };
            work.is_looking = false;
            if is_made {
                self.finish(world);
                return false;
            }
        }
        if world.now_ms < work.again_ms {
            return false;
        }
        let is_late = world.now_ms >= work.give_up_ms;
        let is_given_up = is_late && !matches!(step, MemberChange::Lead { .. });
        if is_given_up && self.give_up(&step, world) {
            return false;
        }
        let Some(work) = &mut self.work else {
            return false;
        };
        let member = world.a_member();
        let number = world.ask_for_change(member, step.clone());
        let patience = match world.dice.percent(50) {
            true => PATIENCE_MS,
            false => IMPATIENCE_MS,
        };
        work.asked = Some((number, world.now_ms + between(patience, world)));
        matches!(
            step,
            MemberChange::Promote { .. } | MemberChange::Remove { .. }
        )
    }

    /// Gives up what has taken too long, if that leaves nothing in doubt.
    fn give_up(&mut self, step: &MemberChange, world: &mut World) -> bool {
        let is_made = look(world).is_some_and(|seen| seen.shows(step));
        match step {
            // It was only not told.
            MemberChange::Promote { .. } if is_made => {
                self.finish(world);
                true
            }
            MemberChange::Add { id, .. } | MemberChange::Promote { id, .. } => {
                let steps = [MemberChange::Remove { id: *id }];
                if let Some(work) = &mut self.work {
                    work.steps = steps.into();
                    work.since = newest(world);
                }
                self.count("given up");
                true
            }
            // What comes after it names another one to lead, if that is still needed.
            MemberChange::Lead { .. } => {
                if let Some(work) = &mut self.work {
                    work.steps.pop_front();
                }
                true
            }
            MemberChange::Remove { .. } => false,
        }
    }

    fn hear(&mut self, number: u64, told: Told, world: &mut World) {
        let again_ms = world.now_ms + between(AGAIN_MS, world);
        let doubt = self.doubt;
        let Some(work) = &mut self.work else {
            return;
        };
        if work.asked.is_none_or(|(asked, _)| asked != number) {
            return;
        }
        work.asked = None;
        work.again_ms = again_ms;
        let Some(step) = work.steps.front().cloned() else {
            return;
        };
        match told {
            Told::Members(Ok(())) => {
                let since = work.since;
                check_made(&step, since, world);
                self.finish(world);
            }
            Told::Members(Err(MembersError::Unknown)) => {
                work.is_looking = doubt == Doubt::LooksFirst;
            }
            Told::Members(Err(MembersError::Refused { reason, .. })) => {
                self.hear_refused(&step, &reason, world);
            }
            _ if matches!(step, MemberChange::Lead { .. }) => {
                self.give_up(&step, world);
            }
            _ => {}
        }
    }

    /// A person reads why, and helps.
    fn hear_refused(&mut self, step: &MemberChange, reason: &str, world: &mut World) {
        let leaves = match step {
            MemberChange::Remove { id } => Some(*id),
            MemberChange::Promote { replaces, .. } => *replaces,
            _ => None,
        };
        let is_needed = leaves.is_some_and(|id| !self.lost.contains(&id)) && !self.lost.is_empty();
        if is_needed && reason.contains("which is no majority") {
            // The lost ones come first. A new member that was given up may have got its vote after all.
            self.may_remove |= matches!(step, MemberChange::Remove { .. });
            self.work = None;
        } else if leaves.is_some_and(|id| reason == format!("member {id} leads")) {
            let others = look(world).map(|seen| seen.voters).unwrap_or_default();
            let others = others.difference(&self.lost).copied();
            let others: BTreeSet<u64> = others.filter(|id| Some(*id) != leaves).collect();
            if others.is_empty() {
                return;
            }
            let id = pick(&others, world);
            if let Some(work) = &mut self.work {
                work.steps.push_front(MemberChange::Lead { id });
            }
        } else if reason.contains("brings a log of its own") {
            self.count("ids spent");
            self.give_up(step, world);
        } else if matches!(step, MemberChange::Lead { .. }) {
            self.give_up(step, world);
        }
    }

    /// The first step is made.
    fn finish(&mut self, world: &mut World) {
        let Some(work) = &mut self.work else {
            return;
        };
        let Some(step) = work.steps.pop_front() else {
            return;
        };
        work.since = newest(world);
        if work.steps.is_empty() {
            self.work = None;
        }
        world.note(format!("the operator knows that {step:?} is done"));
        match step {
            MemberChange::Add { .. } => self.count("added"),
            MemberChange::Promote { replaces: None, .. } => self.count("promoted"),
            MemberChange::Promote {
                replaces: Some(id), ..
            } => {
                self.count(match self.lost.contains(&id) {
                    true => "replaced a lost one",
                    false => "replaced",
                });
                self.leave(id, world);
            }
            MemberChange::Remove { id } => {
                self.count(match self.lost.contains(&id) {
                    true => "removed a lost one",
                    false => "removed",
                });
                self.leave(id, world);
            }
            MemberChange::Lead { .. } => self.count("led"),
        }
    }

    /// A member is one no more: its machine may go on for a while, or until the end.
    fn leave(&mut self, id: u64, world: &mut World) {
        if !self.lost.remove(&id) && world.dice.percent(60) {
            let at = world.now_ms + world.dice.below(OFF_WITHIN_MS);
            self.leaving.insert(id, at);
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

impl Seen {
    fn of(membership: &Membership) -> Self {
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let members = membership.nodes().map(|(id, _)| *id);
        Self {
            learners: members.filter(|id| !voters.contains(id)).collect(),
            voters,
        }
    }

    /// Whether a change is made.
    fn shows(&self, change: &MemberChange) -> bool {
        let votes = |id: &u64| self.voters.contains(id);
        match change {
            MemberChange::Add { id, .. } => votes(id) || self.learners.contains(id),
            MemberChange::Promote { id, replaces } => {
                votes(id) && !replaces.as_ref().is_some_and(votes)
            }
            MemberChange::Remove { id } => !votes(id) && !self.learners.contains(id),
            MemberChange::Lead { .. } => true,
        }
    }
}

/// Who the members are, as `regraft get members` tells; nothing while a change is half-done.
fn look(world: &World) -> Option<Seen> {
    let book = world.ledger.book();
    let (_, membership) = book.memberships.newest()?;
    (membership.get_joint_config().len() == 1).then(|| Seen::of(membership))
}

fn newest(world: &World) -> u64 {
    let book = world.ledger.book();
    book.memberships.newest().map_or(0, |(at, _)| at.index)
}

/// What was told to be done was made, some time since it was asked for.
fn check_made(change: &MemberChange, since: u64, world: &World) {
    let mut book = world.ledger.book();
    let is_made = {
        let mut whole = book
            .memberships
            .since(since)
            .filter(|membership| membership.get_joint_config().len() == 1);
        whole.any(|membership| Seen::of(membership).shows(change))
    };
    if !is_made {
        book.violate(format!(
            "{change:?} was told to be done, and nobody has applied it"
        ));
    }
}

fn add(id: u64) -> MemberChange {
    MemberChange::Add {
        id,
        address: address_of(id),
    }
}

fn pick(all: &BTreeSet<u64>, world: &mut World) -> u64 {
    let nth = draw(&mut world.dice, all.len());
    all.iter().nth(nth).copied().unwrap_or_default()
}

fn between((least, most): (u64, u64), world: &mut World) -> u64 {
    least + world.dice.below(most - least)
}
