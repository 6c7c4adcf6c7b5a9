//! What has to be true of members, looked at from outside: now and then, and at rest.

use super::client::Client;
use super::host::Health;
use super::observer::hash_of_state;
use super::operator::Operator;
use super::world::World;
use crate::types::{Entry, entry_to_wire};
use prost::Message as _;
use regraft_history::Searched;
use std::collections::{BTreeMap, BTreeSet};

/// Steps of the search for an order that no revision tells, for each key; it gives up after them.
const SEARCH_STEPS: usize = 5_000;

impl World {
    /// Looks at the whole state of each member that is up.
    pub(super) fn check_states(&mut self) {
        for host in &self.hosts {
            let Health::Up(replica) = host.health() else {
                continue;
            };
            let read = replica.read_at(|view, index| Ok((index, hash_of_state(view)?)));
            let mut book = self.ledger.book();
            match read.flatten() {
                Ok((index, hash)) => book.check_state(host.id, index, hash),
                Err(error) => book.violate(format!("member {}: {error}", host.id)),
            }
        }
    }

    /// Whether the members that the last change left are all up, agree on who they are, and have applied the same.
    pub(super) fn all_applied(&self) -> bool {
        let book = self.ledger.book();
        let Some((at, membership)) = book.memberships.newest() else {
            return false;
        };
        let (newest, at) = (book.newest(), *at);
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let members: Vec<u64> = membership.nodes().map(|(id, _)| *id).collect();
        let is_joint = membership.get_joint_config().len() > 1;
        drop(book);
        let is_settled = |id: &u64| {
            let Some(host) = self.host(*id) else {
                return false;
            };
            let agrees = |status: crate::Status| {
                status.applied >= newest
                    && status.voters == voters
                    && status.members.keys().eq(&members)
            };
            // A cut that was due may come with the very last write.
            host.disk.has_power()
                && host
                    .position()
                    .is_some_and(|position| *position.membership.log_id() == Some(at))
                && host
                    .replica()
                    .is_some_and(|replica| agrees(replica.status()))
        };
        !is_joint && members.iter().all(is_settled)
    }

    pub(super) fn check_at_rest(&mut self) {
        self.check_states();
        self.check_logs();
        self.check_history();
        let mut book = self.ledger.book();
        for value in &self.never {
            if book.was_written(value) {
                let text = String::from_utf8_lossy(value).into_owned();
                book.violate(format!("{text} was not proposed, and was written"));
            }
        }
    }

    /// What the clients saw is what one honest state could have answered: by the revisions it gave, and without them.
    fn check_history(&mut self) {
        let mut book = self.ledger.book();
        for violation in regraft_history::check(&self.history) {
            book.violate(format!("{violation:?}"));
        }
        for (key, operations) in self.history.by_key() {
            if regraft_history::search(&operations, SEARCH_STEPS) == Searched::NotLinearizable {
                book.violate(format!("no order explains what was seen of {key}"));
            }
        }
    }

    /// The logs have no holes, and say the same up to what is applied.
    fn check_logs(&mut self) {
        let mut seen: BTreeMap<u64, (u64, Vec<u8>)> = BTreeMap::new();
        for host in &self.hosts {
            let applied = host.replica().map_or(0, |replica| replica.status().applied);
            let entries = match host.log_entries() {
                Ok(entries) => entries,
                Err(error) => {
                    let text = format!("the log of member {}: {error}", host.id);
                    self.ledger.book().violate(text);
                    continue;
                }
            };
            for entry in entries {
                let index = entry.log_id.index;
                if index > applied {
                    break;
                }
                let bytes = bytes_of(&entry);
                let (first, known) = seen.entry(index).or_insert((host.id, bytes.clone()));
                if *known != bytes {
                    let text = format!(
                        "entry {index} in the log of member {} is not that of member {first}",
                        host.id
                    );
                    self.ledger.book().violate(text);
                }
            }
        }
    }

    /// A member stopped for good though nothing was done to its disk, or could not start.
    pub(super) fn check_fatal(&mut self, member: u64, reason: &str, excused: bool) {
        if self
            .fatal_told
            .get(&member)
            .is_some_and(|told| told == reason)
        {
            return;
        }
        self.fatal_told.insert(member, reason.to_owned());
        self.note(format!("member {member} has stopped: {reason}"));
        if !excused {
            let text = format!("member {member} has stopped without a cause: {reason}");
            self.ledger.book().violate(text);
        }
    }

    /// Holds what a member has applied against what others have: who the members are from which entry on.
    pub(super) fn check_membership(&mut self, number: usize) {
        let host = &self.hosts[number];
        let Some(position) = host.position() else {
            return;
        };
        let applied = position.applied.map_or(0, |id| id.index);
        let mut book = self.ledger.book();
        let wrong = book.memberships.see(host.id, applied, &position.membership);
        if let Some(wrong) = wrong {
            book.violate(wrong);
        }
    }

    pub(super) fn tell_unrest(&mut self, clients: &[Client], operator: &Operator) {
        let mut lines = vec!["it does not come to rest".to_owned()];
        lines.extend(
            clients
                .iter()
                .filter(|client| !client.is_at_rest())
                .map(Client::waits_for),
        );
        lines.push(operator.waits_for());
        if let Some((at, membership)) = self.ledger.book().memberships.newest() {
            lines.push(format!("the members since {at} are {membership}"));
        }
        for host in &self.hosts {
            lines.push(match host.health() {
                Health::Off => format!("member {} is off", host.id),
                Health::Starting => format!("member {} starts", host.id),
                Health::Failed(error) => format!("member {}: {error}", host.id),
                Health::Up(replica) => format!("{:?}", replica.status()),
            });
        }
        self.ledger.book().violate(lines.join("\n"));
    }
}

fn bytes_of(entry: &Entry) -> Vec<u8> {
    entry_to_wire(entry).encode_to_vec()
}
