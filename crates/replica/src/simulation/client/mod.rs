//! Programs that use the state: each has a session, and some requests under way.
//!
//! A request whose outcome is unknown is sent again, byte for byte, to whichever member; one that was certainly not
//! proposed may give way to another one with the same number.

mod choose;
mod judge;
mod record;

use super::observer::Ledger;
use super::requests::{Ask, Told};
use crate::local::Proposed;
use prost::Message as _;
use regraft_history::History;
use regraft_model::id::LockScope;
use regraft_state::operation::{Answer, OpenSession, Operation, Outcome, RefusalReason, Request};
use regraft_wal::testing::Dice;
use std::collections::BTreeMap;

/// Two of records, one of locks: as many slots.
const LANES: usize = 3;
const LOCKS: usize = 2;
/// A request that was not answered is sent again after this at the earliest, milliseconds; and half of it later at the
/// latest.
const PATIENCE_MS: u64 = 1_500;
const KEYS: u64 = 5;
/// Parts in a hundred of its time to live that a session surely has: a leader's clock may be fast by two.
const TTL_PERCENT: u64 = 97;
/// A tick of the simulation and one of a millisecond's clock, milliseconds.
const TTL_MARGIN_MS: u64 = 20;

/// What all clients have in common.
pub(super) struct Context<'a> {
    pub(super) now_ms: u64,
    pub(super) members: &'a [u64],
    pub(super) ledger: &'a Ledger,
    /// Whether new requests begin.
    pub(super) working: bool,
    /// Everything up to this index was seen by somebody.
    pub(super) floor: &'a mut u64,
    /// Numbers what is asked.
    pub(super) next: &'a mut u64,
    pub(super) dice: &'a mut Dice,
    /// To send: member, number, what.
    pub(super) letters: &'a mut Vec<(u64, u64, Ask)>,
    pub(super) tally: &'a mut Tally,
    /// Values of requests that were certainly not proposed.
    pub(super) never: &'a mut Vec<Vec<u8>>,
    /// What the clients saw, to be judged by that alone.
    pub(super) history: &'a mut History,
}

/// What came of requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) answered: u64,
    pub(super) resent: u64,
    pub(super) refused: u64,
    pub(super) sessions_lost: u64,
    pub(super) grants: u64,
    pub(super) reads: u64,
}

pub(super) struct Client {
    pub(super) id: u64,
    actor: String,
    ttl_ms: u64,
    session: Option<u64>,
    opening: Lane,
    lanes: [Lane; LANES],
    sequences: [u64; LANES],
    alive: KeepAlive,
    /// Who answered last.
    favourite: u64,
    /// What the client has of locks.
    lock: Option<(LockScope, Standing)>,
    /// When it was asked for, and told, milliseconds.
    lock_ms: (u64, u64),
    /// Until when its session lives, milliseconds.
    lives_until_ms: u64,
    values: u64,
    /// Which request an ask is of: lane and its own number.
    asked: BTreeMap<u64, (Place, u64)>,
    /// What requests were answered.
    answers: BTreeMap<u64, Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Opening,
    Alive,
    Lane(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Waits,
    Holds(u64),
    /// It gives the lock, or its place, back.
    Leaves,
}

struct KeepAlive {
    next_ms: u64,
    sent: BTreeMap<u64, (u64, u64)>,
}

enum Lane {
    Idle { until_ms: u64 },
    Busy(Box<Call>),
}

/// One request until its outcome is known.
struct Call {
    number: u64,
    kind: Kind,
    ask: Ask,
    begin_ms: u64,
    /// What was seen before it began.
    floor: u64,
    send_again_ms: u64,
    /// It was certainly not proposed so far.
    certainly_not: bool,
    tries: u64,
}

#[derive(Clone, Debug)]
enum Kind {
    Open,
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
        expected: Option<u64>,
    },
    Delete {
        key: Vec<u8>,
    },
    Get {
        key: Vec<u8>,
    },
    StaleGet {
        key: Vec<u8>,
    },
    Acquire {
        scope: LockScope,
    },
    Release,
    Stand,
}

impl Client {
    pub(super) fn new(id: u64, dice: &mut Dice) -> Self {
        let idle = || Lane::Idle { until_ms: 0 };
        Self {
            id,
            actor: format!("user/{id}"),
            ttl_ms: 1_000 + dice.below(5_000),
            session: None,
            opening: idle(),
            lanes: [idle(), idle(), idle()],
            sequences: [0; LANES],
            alive: KeepAlive {
                next_ms: 0,
                sent: BTreeMap::new(),
            },
            favourite: 1,
            lock: None,
            lock_ms: (0, 0),
            lives_until_ms: 0,
            values: 0,
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }

    /// Whether nothing is under way, and no lock is held.
    pub(super) fn is_at_rest(&self) -> bool {
        let idle = |lane: &Lane| matches!(lane, Lane::Idle { .. });
        idle(&self.opening) && self.lanes.iter().all(idle) && self.lock.is_none()
    }

    /// What it waits for, for people.
    pub(super) fn waits_for(&self) -> String {
        let busy = |lane: &Lane| match lane {
            Lane::Busy(call) => Some(format!("{:?} ({} tries)", call.kind, call.tries)),
            Lane::Idle { .. } => None,
        };
        let waits: Vec<String> = self
            .lanes
            .iter()
            .chain([&self.opening])
            .filter_map(busy)
            .collect();
        format!(
            "client {} waits for {waits:?}, has {:?}",
            self.id, self.lock
        )
    }

    /// Does what is due.
    pub(super) fn act(&mut self, context: &mut Context<'_>) {
        let Some(session) = self.session else {
            let open = Operation {
                request: Some(Request::OpenSession(OpenSession {
                    ttl_ms: self.ttl_ms,
                })),
                ..Operation::default()
            };
            let is_due =
                matches!(self.opening, Lane::Idle { until_ms } if until_ms <= context.now_ms);
            if is_due && context.working {
                let ask = self.change(open);
                self.begin(Place::Opening, Kind::Open, ask, context);
            }
            self.repeat(Place::Opening, context);
            return;
        };
        self.keep_alive(session, context);
        for lane in 0..LANES {
            if matches!(self.lanes[lane], Lane::Idle { until_ms } if until_ms <= context.now_ms) {
                self.choose(lane, session, context);
            }
            self.repeat(Place::Lane(lane), context);
        }
    }

    fn keep_alive(&mut self, session: u64, context: &mut Context<'_>) {
        if self.alive.next_ms > context.now_ms {
            return;
        }
        let wait = self.ttl_ms / 4;
        self.alive.next_ms = context.now_ms + wait / 2 + context.dice.below(wait);
        let ask = Ask::KeepAlive {
            actor: self.actor.clone(),
            session,
        };
        // Only the leader answers: everybody is asked.
        for member in context.members {
            let number = take(context.next);
            self.asked.insert(number, (Place::Alive, 0));
            self.alive.sent.insert(number, (session, context.now_ms));
            context.letters.push((*member, number, ask.clone()));
        }
    }

    fn next_in(&mut self, lane: usize, session: u64, request: Request) -> Ask {
        self.sequences[lane] += 1;
        self.change(Operation {
            session,
            slot: u32::try_from(lane).unwrap(),
            sequence: self.sequences[lane],
            request: Some(request),
        })
    }

    fn change(&self, operation: Operation) -> Ask {
        Ask::Change {
            actor: self.actor.clone(),
            operation,
        }
    }

    fn begin(&mut self, place: Place, kind: Kind, ask: Ask, context: &mut Context<'_>) {
        let call = Call {
            number: take(context.next),
            kind,
            ask,
            begin_ms: context.now_ms,
            floor: *context.floor,
            send_again_ms: context.now_ms,
            certainly_not: true,
            tries: 0,
        };
        *self.lane(place) = Lane::Busy(Box::new(call));
    }

    /// Sends a request, again if it was not answered in time.
    fn repeat(&mut self, place: Place, context: &mut Context<'_>) {
        let now_ms = context.now_ms;
        let favourite = self.favourite;
        let Lane::Busy(call) = self.lane(place) else {
            return;
        };
        if call.send_again_ms > now_ms {
            return;
        }
        call.tries += 1;
        if call.tries > 1 {
            context.tally.resent += 1;
        }
        let is_there = context.members.contains(&favourite);
        let member = match call.tries == 1 && is_there && context.dice.percent(60) {
            true => favourite,
            false => {
                context.members
                    [usize::try_from(context.dice.below(context.members.len() as u64)).unwrap()]
            }
        };
        call.send_again_ms = now_ms + PATIENCE_MS + context.dice.below(PATIENCE_MS / 2);
        let number = take(context.next);
        context.letters.push((member, number, call.ask.clone()));
        let of = call.number;
        self.asked.insert(number, (place, of));
    }

    /// Takes an answer.
    pub(super) fn hear(&mut self, member: u64, number: u64, told: Told, context: &mut Context<'_>) {
        let Some((place, of)) = self.asked.remove(&number) else {
            return;
        };
        if place == Place::Alive {
            return self.hear_alive(number, &told, context);
        }
        let now_ms = context.now_ms;
        let dice_ms = context.dice.below(200);
        let Lane::Busy(call) = self.lane(place) else {
            return self.hear_late(of, &told, context);
        };
        if call.number != of {
            return self.hear_late(of, &told, context);
        }
        match told {
            Told::Refused(_) | Told::Halted(_) => {
                context.tally.refused += 1;
                call.send_again_ms = call.send_again_ms.min(now_ms + 20 + dice_ms);
                let reads = !matches!(call.ask, Ask::Change { .. });
                // One that is not sent any more must never be applied.
                let only = call.tries == 1 && call.certainly_not;
                if reads || (only && context.dice.percent(30)) {
                    self.give_up(place, context);
                }
            }
            Told::Unknown => {
                call.certainly_not = false;
                call.send_again_ms = call.send_again_ms.min(now_ms + 20 + dice_ms);
            }
            told => {
                self.favourite = member;
                let Lane::Busy(call) = std::mem::replace(
                    self.lane(place),
                    Lane::Idle {
                        until_ms: now_ms + dice_ms,
                    },
                ) else {
                    return;
                };
                context.tally.answered += 1;
                self.settle(place, *call, told, context);
            }
        }
    }

    /// A request that was certainly not proposed gives its number to the next one.
    fn give_up(&mut self, place: Place, context: &mut Context<'_>) {
        let idle = Lane::Idle {
            until_ms: context.now_ms + 10,
        };
        let Lane::Busy(call) = std::mem::replace(self.lane(place), idle) else {
            return;
        };
        if let (Place::Lane(lane), Ask::Change { .. }) = (place, &call.ask) {
            self.sequences[lane] -= 1;
            self.write_down(&call, regraft_history::Answer::NotDone, context);
        }
        if let Kind::Put { value, .. } = call.kind {
            context.never.push(value);
        }
    }

    fn hear_alive(&mut self, number: u64, told: &Told, context: &mut Context<'_>) {
        let Some((session, sent_ms)) = self.alive.sent.remove(&number) else {
            return;
        };
        match told {
            Told::Lives(0) if self.session == Some(session) => self.lose_session(context),
            Told::Lives(ttl_ms) if *ttl_ms > 0 => {
                let lives = (sent_ms + ttl_ms * TTL_PERCENT / 100).saturating_sub(TTL_MARGIN_MS);
                context.ledger.book().promise(session, lives);
                if self.session == Some(session) {
                    self.lives_until_ms = lives.max(self.lives_until_ms);
                }
            }
            _ => {}
        }
    }

    /// Another answer to a request that was answered: it must be the same one.
    fn hear_late(&mut self, of: u64, told: &Told, context: &mut Context<'_>) {
        let (Told::Changed(proposed), Some(first)) = (told, self.answers.get(&of)) else {
            return;
        };
        let later = outcome(proposed);
        let past = matches!(&later, Some(Outcome::Refused(refused)) if matches!(
            refused.known_reason(),
            Some(RefusalReason::SessionExpired | RefusalReason::StaleSequence)
        ));
        if !past && *first != proposed.response {
            let wrong = format!(
                "client {} was answered twice, and differently: {later:?}",
                self.id
            );
            context.ledger.book().violate(wrong);
        }
    }

    /// Keeps a lock for a while.
    fn hold(&mut self, place: Place, context: &mut Context<'_>) {
        *self.lane(place) = Lane::Idle {
            until_ms: context.now_ms + context.dice.below(1_500),
        };
    }

    /// The session has ended: what was under way may have been done.
    fn lose_session(&mut self, context: &mut Context<'_>) {
        context.tally.sessions_lost += 1;
        if let Some(session) = self.session {
            self.write_hold_down(session, context);
        }
        for lane in 0..LANES {
            let Lane::Busy(call) = &self.lanes[lane] else {
                continue;
            };
            let unknown = regraft_history::Answer::Unknown;
            context
                .history
                .operations
                .extend(self.operation(call, unknown, context.now_ms));
        }
        self.lives_until_ms = 0;
        self.session = None;
        self.lock = None;
        let until_ms = context.now_ms + 50;
        self.opening = Lane::Idle { until_ms };
        self.lanes = std::array::from_fn(|_| Lane::Idle { until_ms });
    }

    fn lane(&mut self, place: Place) -> &mut Lane {
        match place {
            Place::Lane(lane) => &mut self.lanes[lane],
            Place::Opening | Place::Alive => &mut self.opening,
        }
    }
}

fn outcome(proposed: &Proposed) -> Option<Outcome> {
    Answer::decode(proposed.response.as_slice()).ok()?.outcome
}

fn take(next: &mut u64) -> u64 {
    *next += 1;
    *next
}
