//! What a client does next: reads, writes under conditions and without, locks.

use super::{Client, Context, KEYS, Kind, LOCKS, Place, Standing};
use crate::simulation::observer::scopes;
use crate::simulation::requests::Ask;
use bytes::Bytes;
use regraft_state::operation::{Acquire, Delete, Put, Release, Request, Wait};

impl Client {
    /// Begins another request, if it is time.
    pub(super) fn choose(&mut self, lane: usize, session: u64, context: &mut Context<'_>) {
        if lane == LOCKS {
            return self.choose_lock(session, context);
        }
        if !context.working {
            return;
        }
        let key = format!("k{}", context.dice.below(KEYS)).into_bytes();
        let newest = context.ledger.book().newest();
        let (kind, request) = match context.dice.below(100) {
            0..35 => {
                let ask = Ask::Get { key: key.clone() };
                return self.begin(Place::Lane(lane), Kind::Get { key }, ask, context);
            }
            35..40 => {
                let ask = Ask::StaleGet { key: key.clone() };
                return self.begin(Place::Lane(lane), Kind::StaleGet { key }, ask, context);
            }
            40..85 => {
                self.values += 1;
                let value = format!("v{}-{}", self.id, self.values).into_bytes();
                // A client that compares has read before; what it expects may be old by now.
                let seen = newest.saturating_sub(context.dice.below(10));
                let expected = context.dice.percent(40).then(|| {
                    let book = context.ledger.book();
                    book.record(&key, seen).map_or(0, |record| record.revision)
                });
                let put = Put {
                    key: Bytes::from(key.clone()),
                    value: Bytes::from(value.clone()),
                    expected,
                };
                let kind = Kind::Put {
                    key,
                    value,
                    expected,
                };
                (kind, Request::Put(put))
            }
            _ => {
                let delete = Delete {
                    key: Bytes::from(key.clone()),
                    expected: None,
                };
                (Kind::Delete { key }, Request::Delete(delete))
            }
        };
        let ask = self.next_in(lane, session, request);
        self.begin(Place::Lane(lane), kind, ask, context);
    }

    pub(super) fn choose_lock(&mut self, session: u64, context: &mut Context<'_>) {
        let place = Place::Lane(LOCKS);
        match self.lock.clone() {
            None if !context.working => {}
            None => {
                let all = scopes();
                let scope =
                    all[usize::try_from(context.dice.below(all.len() as u64)).unwrap()].clone();
                let wait = match context.dice.percent(60) {
                    true => Wait::Queue,
                    false => Wait::Try,
                };
                let acquire = Acquire {
                    scope: scope.to_string(),
                    permits: 1,
                    budgets: Vec::new(),
                    wait: wait.into(),
                };
                let ask = self.next_in(LOCKS, session, Request::Acquire(acquire));
                self.begin(place, Kind::Acquire { scope }, ask, context);
            }
            Some((scope, Standing::Waits)) if context.dice.percent(80) => {
                let ask = Ask::Stand { session, scope };
                self.begin(place, Kind::Stand, ask, context);
            }
            Some((scope, _)) => {
                self.write_hold_down(session, context);
                self.lock = Some((scope.clone(), Standing::Leaves));
                let release = Release {
                    scope: scope.to_string(),
                };
                let ask = self.next_in(LOCKS, session, Request::Release(release));
                self.begin(place, Kind::Release, ask, context);
            }
        }
    }
}
