//! Trouble: what happens to links, machines, disks and clocks, each for a while.

use super::host::{Crash, Health, Life};
use super::world::{World, client_link, draw};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// Between two troubles on the average, milliseconds; each seed has one of these.
const EVERY_MS: [u64; 4] = [300, 800, 2_000, 6_000];
/// Most delay of a message when nothing is wrong, milliseconds; each seed has one of these.
const DELAY_MS: [u64; 3] = [1, 8, 40];

/// Of changes of the members that were asked for, in a hundred, this many have their leader struck.
const STRIKE_PERCENT: u64 = 50;
/// ... within this, milliseconds, or as soon as the change is half-done.
const STRIKE_WITHIN_MS: u64 = 150;

/// What goes on, and what ends it.
pub(super) struct Faults {
    every_ms: u64,
    delay_ms: u64,
    /// What is to happen, by when.
    due: BTreeMap<(u64, u64), Turn>,
    next: u64,
    /// Members whose disk is going to fail: they may stop.
    tampered: BTreeSet<u64>,
    /// Members whose disk is full: they may fail to start.
    full: BTreeSet<u64>,
    /// Members that were told to stop.
    leaving: BTreeSet<u64>,
    /// Who leads is struck when a change of the members is half-done.
    lies_in_wait: bool,
    /// How often what happened.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

/// An end of some trouble, or a start of a member.
enum Turn {
    Mend(Vec<(u64, u64)>),
    Calm,
    Start(usize),
    GoOn(usize),
    FastDisk(usize),
    Room(usize),
    /// After an orderly stop.
    Off(usize),
    /// Something happens to whoever leads.
    Strike,
}

impl Faults {
    pub(super) fn new(world: &mut World) -> Self {
        let delay_ms = DELAY_MS[draw(&mut world.dice, DELAY_MS.len())];
        world.network.set_delay(delay_ms);
        Self {
            every_ms: EVERY_MS[draw(&mut world.dice, EVERY_MS.len())],
            delay_ms,
            due: BTreeMap::new(),
            next: 0,
            tampered: BTreeSet::new(),
            leaving: BTreeSet::new(),
            full: BTreeSet::new(),
            lies_in_wait: false,
            counts: BTreeMap::new(),
        }
    }

    /// Ends what is due to end, and begins something now and then.
    pub(super) fn act(&mut self, world: &mut World) {
        self.restart(world);
        if self.lies_in_wait && world.ledger.book().memberships.is_half_done() {
            self.lies_in_wait = false;
            self.strike_leader(world);
        }
        // A step is some three milliseconds long.
        if world.dice.below(self.every_ms) < 3 {
            self.begin(world);
        }
    }

    /// Ends what is due, and does what an operator does.
    pub(super) fn restart(&mut self, world: &mut World) {
        let later = self.due.split_off(&(world.now_ms + 1, 0));
        for turn in std::mem::replace(&mut self.due, later).into_values() {
            self.end(turn, world);
        }
        for number in 0..world.hosts.len() {
            let host = &world.hosts[number];
            if host.life == Life::Over {
                continue;
            }
            let (member, excused) = (host.id, self.is_excused(host.id));
            let stopped = match host.health() {
                _ if !host.disk.has_power() => Some("the power is off".to_owned()),
                Health::Up(replica) => replica.status().fatal,
                Health::Failed(error) => Some(error),
                Health::Off | Health::Starting => None,
            };
            if let Some(reason) = stopped {
                world.check_fatal(member, &reason, excused);
                if !world.hosts[number].disk.will_fail() {
                    self.tampered.remove(&member);
                }
                let crash = match world.hosts[number].disk.has_power() {
                    true => Crash::Process,
                    false => Crash::Machine(world.dice.any()),
                };
                let later_ms = 200 + world.dice.below(2_000);
                self.crash(number, crash, later_ms, world);
            }
        }
    }

    /// Ends everything.
    pub(super) fn heal(&mut self, world: &mut World) {
        world.note("all is healed".to_owned());
        let due = std::mem::take(&mut self.due);
        for turn in due.into_values() {
            self.end(turn, world);
        }
    }

    fn is_excused(&self, member: u64) -> bool {
        [&self.tampered, &self.full, &self.leaving]
            .iter()
            .any(|all| all.contains(&member))
    }

    fn begin(&mut self, world: &mut World) {
        let number = draw(&mut world.dice, world.hosts.len());
        if world.hosts[number].life == Life::Over {
            return;
        }
        match world.dice.below(100) {
            0..20 => self.cut(number, world),
            20..26 => self.cut_client(number, world),
            26..32 => self.slow_network(world),
            32..37 => self.break_connections(number, world),
            37..47 => {
                self.count("kill", world);
                let later_ms = 50 + world.dice.below(3_000);
                self.crash(number, Crash::Process, later_ms, world);
            }
            47..57 => {
                self.count("power loss", world);
                let (seed, later_ms) = (world.dice.any(), 100 + world.dice.below(3_000));
                self.crash(number, Crash::Machine(seed), later_ms, world);
            }
            57..61 => self.power_loss_in_a_write(number, world),
            61..63 => self.all_lose_power(world),
            63..73 => self.pause(number, world),
            73..79 => self.slow_disk(number, world),
            79..83 => self.fail_disk(number, world),
            83..87 => self.fill_disk(number, world),
            87..91 => self.set_clock(number, world),
            91..96 => {
                self.count("snapshot", world);
                world.hosts[number].trigger_snapshot();
            }
            _ => self.stop_orderly(number, world),
        }
    }

    fn end(&mut self, turn: Turn, world: &mut World) {
        match turn {
            Turn::Mend(links) => {
                world.note(format!("mended {links:?}"));
                for (from, to) in links {
                    world.network.mend(from, to);
                }
            }
            Turn::Calm => world.network.set_delay(self.delay_ms),
            Turn::Start(number) => {
                let host = &mut world.hosts[number];
                if !host.is_running() && host.life == Life::Kept {
                    let member = host.id;
                    host.start();
                    world.note(format!("member {member} starts"));
                }
            }
            Turn::GoOn(number) => world.hosts[number].is_paused = false,
            Turn::FastDisk(number) => world.hosts[number].pace.set(1),
            Turn::Room(number) => {
                let host = &world.hosts[number];
                self.full.remove(&host.id);
                host.disk.set_room(None);
            }
            Turn::Strike => self.strike_leader(world),
            Turn::Off(number) => {
                let later_ms = 50 + world.dice.below(1_000);
                self.crash(number, Crash::Process, later_ms, world);
            }
        }
    }

    fn cut(&mut self, number: usize, world: &mut World) {
        let me = world.hosts[number].id;
        let others: Vec<u64> = world.hosts.iter().map(|host| host.id).collect();
        let others = others.into_iter().filter(|other| *other != me);
        let mut links: Vec<(u64, u64)> = match world.dice.below(6) {
            // One link, alone.
            0 => others
                .take(1)
                .flat_map(|other| [(me, other), (other, me)])
                .collect(),
            1 => others.map(|other| (me, other)).collect(),
            2 => others.map(|other| (other, me)).collect(),
            // Two halves.
            3 => {
                let (there, mut here): (Vec<u64>, Vec<u64>) =
                    others.partition(|_| world.dice.percent(50));
                here.push(me);
                let across = |one: u64| there.iter().map(move |other| (one, *other));
                let across = here.into_iter().flat_map(across);
                let both_ways = |(one, other): (u64, u64)| [(one, other), (other, one)];
                across.flat_map(both_ways).collect()
            }
            _ => others
                .flat_map(|other| [(me, other), (other, me)])
                .collect(),
        };
        if world.dice.percent(30) {
            // The operator's link is the last.
            let clients = (0..=world.clients).map(client_link);
            links.extend(clients.flat_map(|client| [(me, client), (client, me)]));
        }
        self.count("cut", world);
        world.note(format!("cut {links:?}"));
        for (from, to) in &links {
            world.network.cut(*from, *to);
        }
        let for_ms = 100 + world.dice.below(6_000);
        self.plan(for_ms, Turn::Mend(links), world);
    }

    /// A change of the members was asked for: its leader may not live to end it.
    pub(super) fn strike(&mut self, world: &mut World) {
        if !world.dice.percent(STRIKE_PERCENT) {
            return;
        }
        match world.dice.percent(50) {
            true => self.lies_in_wait = true,
            false => {
                let later_ms = world.dice.below(STRIKE_WITHIN_MS);
                self.plan(later_ms, Turn::Strike, world);
            }
        }
    }

    fn strike_leader(&mut self, world: &mut World) {
        let leads = |number: &usize| {
            let host = &world.hosts[*number];
            let status = host.replica().map(|replica| replica.status());
            host.life == Life::Kept && status.is_some_and(|it| it.leader == Some(host.id))
        };
        let Some(number) = (0..world.hosts.len()).find(leads) else {
            return;
        };
        self.count("strike in a change", world);
        let later_ms = 50 + world.dice.below(3_000);
        match world.dice.below(5) {
            0..2 => self.crash(number, Crash::Process, later_ms, world),
            2 => {
                let crash = Crash::Machine(world.dice.any());
                self.crash(number, crash, later_ms, world);
            }
            3 => self.pause(number, world),
            _ => self.cut(number, world),
        }
    }

    fn cut_client(&mut self, number: usize, world: &mut World) {
        self.count("cut of a client", world);
        let client = client_link(draw(&mut world.dice, world.clients + 1));
        let me = world.hosts[number].id;
        let links = vec![(me, client), (client, me)];
        for (from, to) in &links {
            world.network.cut(*from, *to);
        }
        let for_ms = 100 + world.dice.below(3_000);
        self.plan(for_ms, Turn::Mend(links), world);
    }

    fn slow_network(&mut self, world: &mut World) {
        self.count("slow network", world);
        let most_ms = 50 + world.dice.below(700);
        world.network.set_delay(most_ms);
        let for_ms = 200 + world.dice.below(3_000);
        self.plan(for_ms, Turn::Calm, world);
    }

    fn break_connections(&mut self, number: usize, world: &mut World) {
        self.count("broken connections", world);
        let one = world.hosts[number].id;
        for other in 1..=world.hosts.len() as u64 {
            if world.dice.percent(60) {
                world.network.break_connections(one, other);
            }
        }
    }

    fn crash(&mut self, number: usize, crash: Crash, later_ms: u64, world: &mut World) {
        let host = &mut world.hosts[number];
        if !host.is_running() || host.life == Life::Over {
            return;
        }
        let member = host.id;
        host.crash(crash);
        self.leaving.remove(&member);
        if crash != Crash::Process {
            self.tampered.remove(&member);
        }
        world.note(format!("member {member} is gone: {crash:?}"));
        self.plan(later_ms, Turn::Start(number), world);
    }

    fn power_loss_in_a_write(&mut self, number: usize, world: &mut World) {
        let host = &world.hosts[number];
        if !self.tampered.insert(host.id) {
            return;
        }
        self.count("power loss in a write", world);
        let host = &world.hosts[number];
        host.disk.cut_power_after(1 + world.dice.below(12));
    }

    fn all_lose_power(&mut self, world: &mut World) {
        self.count("power loss of all", world);
        for number in 0..world.hosts.len() {
            let (seed, later_ms) = (world.dice.any(), 100 + world.dice.below(2_000));
            self.crash(number, Crash::Machine(seed), later_ms, world);
        }
    }

    fn pause(&mut self, number: usize, world: &mut World) {
        self.count("pause", world);
        let member = world.hosts[number].id;
        world.note(format!("member {member} stands still"));
        world.hosts[number].is_paused = true;
        let for_ms = match world.dice.percent(50) {
            true => world.dice.below(600),
            false => 600 + world.dice.below(6_000),
        };
        self.plan(for_ms, Turn::GoOn(number), world);
    }

    fn slow_disk(&mut self, number: usize, world: &mut World) {
        self.count("slow disk", world);
        let most_ms = [20, 100, 700, 2_500][draw(&mut world.dice, 4)];
        world.hosts[number].pace.set(most_ms);
        let for_ms = 200 + world.dice.below(4_000);
        self.plan(for_ms, Turn::FastDisk(number), world);
    }

    fn fail_disk(&mut self, number: usize, world: &mut World) {
        let host = &world.hosts[number];
        if !self.tampered.insert(host.id) {
            return;
        }
        let nth = 1 + world.dice.below(5);
        match world.dice.percent(50) {
            true => host.disk.fail_sync(nth),
            false => host.disk.fail_write(nth),
        }
        self.count("failing disk", world);
    }

    fn fill_disk(&mut self, number: usize, world: &mut World) {
        let host = &world.hosts[number];
        // Its log waits for room; only a start finds none.
        self.full.insert(host.id);
        let room = host.disk.used_bytes() + world.dice.below(40_000);
        host.disk.set_room(Some(room));
        self.count("full disk", world);
        let for_ms = 500 + world.dice.below(5_000);
        self.plan(for_ms, Turn::Room(number), world);
    }

    fn set_clock(&mut self, number: usize, world: &mut World) {
        self.count("clock jump", world);
        let most_ms = [2_000, 60_000, 86_400_000][draw(&mut world.dice, 3)];
        let offset_ms = world.dice.below(2 * most_ms);
        let offset_ms = i64::try_from(offset_ms).unwrap_or(0) - i64::try_from(most_ms).unwrap_or(0);
        let clock = &world.hosts[number].clock_offset_ms;
        clock.store(offset_ms, Ordering::Relaxed);
    }

    fn stop_orderly(&mut self, number: usize, world: &mut World) {
        self.count("orderly stop", world);
        self.leaving.insert(world.hosts[number].id);
        world.hosts[number].begin_shutdown();
        let for_ms = 100 + world.dice.below(1_500);
        self.plan(for_ms, Turn::Off(number), world);
    }

    fn plan(&mut self, later_ms: u64, turn: Turn, world: &World) {
        self.next += 1;
        self.due.insert((world.now_ms + later_ms, self.next), turn);
    }

    fn count(&mut self, what: &'static str, world: &mut World) {
        *self.counts.entry(what).or_default() += 1;
        world.note(what.to_owned());
    }
}
