//! One run: machines, clients and trouble, in steps of some milliseconds of simulated time.

use super::client::{Client, Context, Tally};
use super::faults::Faults;
use super::host::{CLUSTER, EPOCH_MS, Host, Life, Setting};
use super::observer::{Ledger, hash_on};
use super::operator::Operator;
use super::pipe::Network;
use super::requests::{Ask, Told};
use crate::config::Timings;
use crate::members::MemberChange;
use regraft_history::History;
use regraft_wal::testing::Dice;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Longest step, milliseconds: what happens within one on two machines does not meet.
const STEP_MS_MAX: u64 = 6;
/// How long trouble lasts, milliseconds.
const TROUBLE_MS: (u64, u64) = (8_000, 25_000);
/// After the last trouble everything comes to rest within this, milliseconds: some elections, the longest time-outs,
/// sessions that end, and changes of the members that are still to be made.
const REST_MS: u64 = 90_000;
/// Between two looks at whole states, milliseconds.
const LOOK_MS: u64 = 1_000;
/// A letter to a member that does not run, or over a cut link, is lost this many times in a hundred; else it is late.
const LOST_PERCENT: u64 = 30;
/// Ids of clients as ends of links.
const CLIENT_LINK: u64 = 1_000;

/// What came of a run.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) seed: u64,
    pub(super) violations: Vec<String>,
    /// Of everything that happened, in its order.
    pub(super) digest: u64,
    pub(super) tally: Tally,
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// Changes of the members that were made.
    pub(super) changes: BTreeMap<&'static str, u64>,
    pub(super) simulated_ms: u64,
    pub(super) entries: u64,
    /// All that happened.
    pub(super) trace: Vec<String>,
}

/// What goes between clients and members; the operator is one client more.
enum Letter {
    Asked {
        client: usize,
        member: u64,
        number: u64,
        ask: Ask,
    },
    Told {
        client: usize,
        member: u64,
        number: u64,
        told: Told,
    },
}

pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) dice: Dice,
    pub(super) network: Network,
    pub(super) hosts: Vec<Host>,
    pub(super) clients: usize,
    pub(super) ledger: Ledger,
    /// Answers that the operator got, by number.
    pub(super) mail: Vec<(u64, Told)>,
    setting: Setting,
    /// Whom clients ask: those that run, members or not.
    members: Vec<u64>,
    wall_ms: Arc<AtomicI64>,
    post: BTreeMap<(u64, u64), Letter>,
    /// Who asked, by number.
    askers: BTreeMap<u64, usize>,
    next: u64,
    floor: u64,
    pub(super) never: Vec<Vec<u8>>,
    pub(super) history: History,
    tally: Tally,
    digest: u64,
    trace: Vec<String>,
    pub(super) fatal_told: BTreeMap<u64, String>,
}

/// Runs a seed in `root`, a folder of its own.
pub(super) fn run(seed: u64, root: &Path) -> Outcome {
    let mut world = World::new(seed, root);
    let mut clients: Vec<Client> = (0..world.clients)
        .map(|number| Client::new(number as u64 + 1, &mut world.dice))
        .collect();
    let mut faults = Faults::new(&mut world);
    let mut operator = Operator::new(&mut world);
    for host in &mut world.hosts {
        host.start();
    }
    let trouble_until = TROUBLE_MS.0 + world.dice.below(TROUBLE_MS.1 - TROUBLE_MS.0);
    let mut look_at = LOOK_MS;
    while world.now_ms < trouble_until && world.ledger.book().violations.is_empty() {
        faults.act(&mut world);
        if operator.act(&mut world) {
            faults.strike(&mut world);
        }
        world.step(&mut clients, true);
        if world.now_ms >= look_at {
            look_at = world.now_ms + LOOK_MS;
            world.check_states();
        }
    }
    faults.heal(&mut world);
    operator.wind_up();
    let rest_by = world.now_ms + REST_MS;
    while world.ledger.book().violations.is_empty() {
        faults.restart(&mut world);
        operator.act(&mut world);
        world.step(&mut clients, false);
        let is_quiet = clients.iter().all(Client::is_at_rest) && operator.is_at_rest(&world);
        if is_quiet && world.all_applied() {
            world.check_at_rest();
            break;
        }
        if world.now_ms > rest_by {
            world.tell_unrest(&clients, &operator);
        }
    }
    world.end(seed, faults.counts, operator.counts)
}

impl World {
    fn new(seed: u64, root: &Path) -> Self {
        let mut dice = Dice::new(seed);
        let size = match dice.below(10) {
            0..7 => 3,
            7..9 => 5,
            _ => 4,
        };
        let members: Vec<u64> = (1..=size).collect();
        let network = Network::new(CLUSTER, dice.any());
        let ledger = Ledger::default();
        let wall_ms = Arc::new(AtomicI64::new(EPOCH_MS));
        let setting = Setting {
            root: root.to_owned(),
            timings: Timings {
                snapshot_every_entries: [15, 40, 120, 100_000][draw(&mut dice, 4)],
                keep_entries: [0, 5, 30][draw(&mut dice, 3)],
                // 0: as few segments as there may be.
                log_bytes_max: [0, 512 << 20][draw(&mut dice, 2)],
                ..Timings::default()
            },
            network: network.clone(),
            ledger: ledger.clone(),
            wall_ms: Arc::clone(&wall_ms),
        };
        let hosts = members
            .iter()
            .map(|id| Host::new(*id, &members, &setting, &mut dice))
            .collect();
        Self {
            now_ms: 0,
            clients: 3 + draw(&mut dice, 4),
            dice,
            network,
            hosts,
            ledger,
            mail: Vec::new(),
            setting,
            members,
            wall_ms,
            post: BTreeMap::new(),
            askers: BTreeMap::new(),
            next: 0,
            floor: 0,
            never: Vec::new(),
            history: History::default(),
            tally: Tally::default(),
            digest: 0,
            trace: Vec::new(),
            fatal_told: BTreeMap::new(),
        }
    }

    /// Notes what happened: for people, and for the digest.
    pub(super) fn note(&mut self, text: String) {
        self.digest = hash_on(self.digest, &self.now_ms.to_be_bytes());
        self.digest = hash_on(self.digest, text.as_bytes());
        self.trace.push(format!("{:>6} {text}", self.now_ms));
    }

    /// The machine of a member.
    pub(super) fn host(&self, id: u64) -> Option<&Host> {
        self.hosts.iter().find(|host| host.id == id)
    }

    /// Another machine, with an empty disk and an id that was never used, which is told of `others`. Gives the id.
    pub(super) fn add_host(&mut self, others: &[u64]) -> u64 {
        let id = 1 + self.hosts.len() as u64;
        let peers: Vec<u64> = others.iter().copied().chain([id]).collect();
        let host = Host::new(id, &peers, &self.setting, &mut self.dice);
        self.hosts.push(host);
        self.list_members();
        id
    }

    /// Has clients ask those that are kept running.
    pub(super) fn list_members(&mut self) {
        let kept = self.hosts.iter().filter(|host| host.life == Life::Kept);
        self.members = kept.map(|host| host.id).collect();
    }

    /// One of those that clients ask.
    pub(super) fn a_member(&mut self) -> u64 {
        self.members[draw(&mut self.dice, self.members.len())]
    }

    /// Asks a member for a change of the members, in the operator's name. Gives the number of what is asked.
    pub(super) fn ask_for_change(&mut self, member: u64, change: MemberChange) -> u64 {
        self.next += 1;
        let asked = self.next;
        self.note(format!("the operator asks {member} #{asked} {change:?}"));
        self.send(self.clients, member, asked, Ask::Members(change));
        asked
    }

    fn step(&mut self, clients: &mut [Client], working: bool) {
        let step_ms = 1 + self.dice.below(STEP_MS_MAX);
        self.now_ms += step_ms;
        self.ledger.book().now_ms = self.now_ms;
        self.wall_ms
            .fetch_add(i64::try_from(step_ms).unwrap_or(0), Ordering::Relaxed);
        self.network.deliver(self.now_ms);
        self.deliver_letters(clients, working);
        // Each begins a step as often as the others.
        let first = draw(&mut self.dice, self.hosts.len());
        for number in 0..self.hosts.len() {
            let number = (first + number) % self.hosts.len();
            let host = &mut self.hosts[number];
            match host.is_paused {
                true => host.stand_still(step_ms),
                false => host.run(step_ms),
            }
            let member = host.id;
            let mut answers = Vec::from(host.take_answers());
            self.check_membership(number);
            // In which order tasks end within a step is chance.
            answers.sort_by_key(|(number, _)| *number);
            for (asked, told) in answers {
                self.send_back(member, asked, told);
            }
        }
        for number in 0..clients.len() {
            self.with_client(clients, number, working, Client::act);
        }
    }

    fn with_client(
        &mut self,
        clients: &mut [Client],
        number: usize,
        working: bool,
        act: impl FnOnce(&mut Client, &mut Context<'_>),
    ) {
        let mut letters = Vec::new();
        let mut context = Context {
            now_ms: self.now_ms,
            members: &self.members,
            ledger: &self.ledger,
            working,
            floor: &mut self.floor,
            next: &mut self.next,
            dice: &mut self.dice,
            letters: &mut letters,
            tally: &mut self.tally,
            never: &mut self.never,
            history: &mut self.history,
        };
        act(&mut clients[number], &mut context);
        for (member, asked, ask) in letters {
            self.note(format!("client {number} asks {member} #{asked} {ask:?}"));
            self.send(number, member, asked, ask);
        }
    }

    fn send(&mut self, client: usize, member: u64, number: u64, ask: Ask) {
        self.askers.insert(number, client);
        let due = self.now_ms + self.network.draw_delay(client_link(client), member);
        let letter = Letter::Asked {
            client,
            member,
            number,
            ask,
        };
        self.put_in_post(due, letter);
    }

    fn send_back(&mut self, member: u64, number: u64, told: Told) {
        let Some(client) = self.askers.remove(&number) else {
            return;
        };
        let text = match &told {
            Told::Refused(reason) | Told::Halted(reason) => reason.clone(),
            told => format!("{told:?}"),
        };
        self.note(format!("member {member} tells #{number} {text}"));
        let due = self.now_ms + self.network.draw_delay(member, client_link(client));
        let letter = Letter::Told {
            client,
            member,
            number,
            told,
        };
        self.put_in_post(due, letter);
    }

    fn put_in_post(&mut self, due: u64, letter: Letter) {
        self.next += 1;
        self.post.insert((due, self.next), letter);
    }

    fn deliver_letters(&mut self, clients: &mut [Client], working: bool) {
        let later = self.post.split_off(&(self.now_ms + 1, 0));
        for letter in std::mem::replace(&mut self.post, later).into_values() {
            let (from, to) = match &letter {
                Letter::Asked { client, member, .. } => (client_link(*client), *member),
                Letter::Told { client, member, .. } => (*member, client_link(*client)),
            };
            if self.network.is_cut(from, to) {
                if !self.dice.percent(LOST_PERCENT) {
                    let due = self.now_ms + 50 + self.dice.below(200);
                    self.put_in_post(due, letter);
                }
                continue;
            }
            match letter {
                Letter::Asked {
                    member,
                    number,
                    ask,
                    client,
                } => {
                    let host = self.hosts.iter().find(|host| host.id == member);
                    if !host.is_some_and(|host| host.ask(number, ask)) {
                        // The port is closed: nothing was taken.
                        self.askers.remove(&number);
                        let told = Told::Refused("it is not up".to_owned());
                        let due =
                            self.now_ms + self.network.draw_delay(member, client_link(client));
                        let letter = Letter::Told {
                            client,
                            member,
                            number,
                            told,
                        };
                        self.put_in_post(due, letter);
                    }
                }
                Letter::Told {
                    client,
                    member,
                    number,
                    told,
                } => {
                    self.note(format!("client {client} hears #{number}"));
                    if client == self.clients {
                        self.mail.push((number, told));
                        continue;
                    }
                    self.with_client(clients, client, working, |client, context| {
                        client.hear(member, number, told, context);
                    });
                }
            }
        }
    }

    fn end(
        mut self,
        seed: u64,
        faults: BTreeMap<&'static str, u64>,
        mut changes: BTreeMap<&'static str, u64>,
    ) -> Outcome {
        let (violations, entries) = {
            let book = self.ledger.book();
            let ended = book.memberships.ended_by_another();
            changes.insert("ended by another leader", ended);
            (book.violations.clone(), book.newest())
        };
        self.note(format!("{entries} entries, {violations:?}"));
        Outcome {
            seed,
            violations,
            digest: self.digest,
            tally: self.tally.clone(),
            faults,
            changes,
            simulated_ms: self.now_ms,
            entries,
            trace: std::mem::take(&mut self.trace),
        }
    }
}

/// A number below `end`.
pub(super) fn draw(dice: &mut Dice, end: usize) -> usize {
    usize::try_from(dice.below(end as u64)).unwrap_or(0)
}

pub(super) fn client_link(client: usize) -> u64 {
    CLIENT_LINK + client as u64
}
