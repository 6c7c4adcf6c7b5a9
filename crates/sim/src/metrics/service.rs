//! One service: its character, and its rows one after the other.

use super::calendar::Calendar;
use super::chance::{Wander, between, count, heavy, normal, scale, unit};
use super::nature::{Nature, metrics};
use super::{Kind, Metric, Month, Occurrence, Row};
use crate::rng::Rng;
use regraft_model::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;

const DAY_S: f64 = 86_400.0;
const MIB: f64 = 1_048_576.0;
/// An autoscaler goes down only to what the last five minutes needed.
const SCALE_DOWN_S: f64 = 300.0;
/// The part of what a pod takes that it is loaded with at most: beyond, latency would tell of saturation.
const USE_MAX: f64 = 0.8;
/// A burst is at most so many times the load: a person would ask about more.
const BURST_MAX: f64 = 2.0;
/// One in so many rows is lost by itself.
const LOST_ROWS: f64 = 1.0 / 500.0;
/// One in so many values is lost by itself.
const LOST_VALUES: f64 = 1.0 / 2000.0;

/// A service of a [`Month`]; iterates over its rows.
#[derive(Clone, Debug)]
pub struct Service {
    name: String,
    kind: Kind,
    metrics: Vec<Metric>,
    memory_limit_bytes: f64,
    month: Month,
    calendar: Arc<Calendar>,
    rng: Rng,
    second: i64,
    nature: Nature,
    wandering: Wandering,
    state: State,
    occurrences: Vec<Occurrence>,
}

/// What wanders; all in logarithms.
#[derive(Clone, Debug)]
struct Wandering {
    week: Wander,
    hour: Wander,
    minutes: Wander,
    errors: Wander,
    latency: Wander,
    cpu: Wander,
    memory: Wander,
}

/// What changes.
#[derive(Clone, Debug)]
struct State {
    pods: u32,
    /// Pods that the last minutes needed.
    needed: VecDeque<u32>,
    /// Second when the oldest pod started.
    started: i64,
    heap: f64,
    live: f64,
    queue: f64,
    connections: f64,
    burst: f64,
    burst_until: i64,
    gap_until: i64,
    cost_level: f64,
    memory_level: f64,
    latency_level: f64,
}

/// What a step's load comes to.
struct Load {
    requests: f64,
    per_second: f64,
    /// Of one pod: what it is asked, as a part of what it takes.
    utilisation: f64,
    job_cores: f64,
    job_memory: f64,
    /// Seconds since the oldest pod started.
    age_s: f64,
}

impl Service {
    pub(super) fn new(month: Month, calendar: Arc<Calendar>, index: u32) -> Self {
        let mut rng = Rng::new(month.seed ^ (u64::from(index) + 1).wrapping_mul(0x9E37_79B9));
        let kind = match index % 20 {
            0..=4 => Kind::Public,
            5..=8 => Kind::Office,
            9..=12 => Kind::Internal,
            13..=15 => Kind::Small,
            16..=18 => Kind::Worker,
            _ => Kind::Nightly,
        };
        let nature = Nature::new(&mut rng, kind);
        let step_s = f64::from(month.step_s.max(1));
        let wandering = Wandering::new(&mut rng, step_s);
        let state = State::new(&mut rng, &nature);
        let largest = nature.base_memory + nature.cache_memory + nature.live_heap;
        Self {
            name: format!("{kind:?}-{index:03}").to_lowercase(),
            metrics: metrics(&mut rng, kind),
            memory_limit_bytes: (largest + nature.heap_room) * between(&mut rng, 1.5, 2.5),
            kind,
            month,
            calendar,
            rng,
            second: 0,
            nature,
            wandering,
            state,
            occurrences: Vec::new(),
        }
    }

    /// Its name, unique within the month.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What kind of service it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What its rows hold values of, in this order.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// Limit of [`Metric::Memory`] in bytes.
    pub fn memory_limit_bytes(&self) -> f64 {
        self.memory_limit_bytes
    }

    /// The load of a step: how many requests come, and what else runs.
    fn load(&mut self, step_s: f64) -> Load {
        let (nature, rng) = (&self.nature, &mut self.rng);
        let season = self
            .calendar
            .season(self.kind, self.second, nature.shift_s, nature.weekend);
        let common = match self.kind {
            Kind::Public | Kind::Office | Kind::Small => self.calendar.demand(self.second),
            Kind::Internal | Kind::Worker | Kind::Nightly => 0.0,
        };
        let wandering = self.wandering.week.step(rng)
            + self.wandering.hour.step(rng)
            + self.wandering.minutes.step(rng);
        let grown =
            1.0 + nature.growth * self.second as f64 / (f64::from(self.month.days.max(1)) * DAY_S);
        if self.second >= self.state.burst_until {
            self.state.burst = 1.0;
            if unit(rng) < nature.bursts_per_day * step_s / DAY_S {
                // Pareto with exponent 3: one in eight is twice as large.
                self.state.burst = (1.15 * libm::pow(unit(rng), -1.0 / 3.0)).min(BURST_MAX);
                self.state.burst_until = self.second + scale(rng, 60.0, 900.0) as i64;
            }
        }
        let rate =
            nature.peak_rate * season * grown * self.state.burst * libm::exp(common + wandering);
        let requests = count(rng, rate * step_s);
        let per_second = requests / step_s;
        let running = nature.jobs.iter().filter(|job| job.runs(self.second));
        let (job_cores, job_memory) = running.fold((0.0, 0.0), |(cores, memory), job| {
            (cores + job.cores, memory + job.memory)
        });
        Load {
            requests,
            per_second,
            utilisation: (rate / (f64::from(self.state.pods) * nature.pod_rate)).min(USE_MAX),
            job_cores,
            job_memory,
            age_s: (self.second - self.state.started) as f64,
        }
    }

    /// Deploys, restarts and scaling.
    fn change(&mut self, step_s: f64) {
        let local = (self.second + self.nature.shift_s).rem_euclid(7 * 86_400);
        let (day, hour) = (local / 86_400, local % 86_400 / 3600);
        let rng = &mut self.rng;
        let is_at_work = day < 5 && (9..17).contains(&hour);
        // Deploys fall into 40 hours of the week, so they are that much denser there.
        let deploys = is_at_work && unit(rng) < step_s / self.nature.deploy_every_s * 168.0 / 40.0;
        if deploys {
            let state = &mut self.state;
            // Mean-reverting, so that levels do not run away over many deploys.
            let next = |rng: &mut Rng, level: f64, deviation: f64| {
                libm::exp(0.7 * libm::log(level) + deviation * normal(rng))
            };
            state.cost_level = next(rng, state.cost_level, 0.04);
            state.memory_level = next(rng, state.memory_level, 0.03);
            state.latency_level = next(rng, state.latency_level, 0.04);
            self.occurrences.push(Occurrence::Deploy);
        } else if unit(rng) < step_s / self.nature.restart_every_s {
            self.occurrences.push(Occurrence::Restart);
        } else {
            return;
        }
        self.state.started = self.second;
        self.state.heap = 0.5 * self.nature.live_heap;
        self.state.live = self.state.heap;
    }

    fn scale(&mut self, load: &Load, step_s: f64) {
        let wanted = load.per_second / (0.6 * self.nature.pod_rate);
        let wanted = (libm::ceil(wanted) as u32).max(self.nature.least_pods);
        let state = &mut self.state;
        state.needed.push_back(wanted);
        while state.needed.len() as f64 > (SCALE_DOWN_S / step_s).max(1.0) {
            state.needed.pop_front();
        }
        let pods = state.needed.iter().copied().max().unwrap_or(wanted);
        // Within a tenth of its target an autoscaler leaves things as they are.
        let spare = f64::from(state.pods) * 0.6 * self.nature.pod_rate;
        let is_close = pods < state.pods && load.per_second > 0.9 * spare;
        if pods != state.pods && !is_close {
            state.pods = pods;
            self.occurrences.push(Occurrence::Scaled { pods });
        }
    }

    fn values(&mut self, load: &Load, step_s: f64) -> Vec<f64> {
        let metrics = std::mem::take(&mut self.metrics);
        let values = metrics
            .iter()
            .map(|metric| {
                let value = match metric {
                    Metric::RequestRate => load.per_second,
                    Metric::ErrorRate => self.errors(load, step_s),
                    Metric::LatencyP99 => self.latency(load),
                    Metric::Cpu => self.cpu(load),
                    Metric::Memory => self.memory(load),
                    Metric::Heap => self.heap(load, step_s),
                    Metric::QueueDepth => self.queue(load, step_s),
                    Metric::Connections => self.connections(load, step_s),
                };
                match unit(&mut self.rng) < LOST_VALUES {
                    true => f64::NAN,
                    false => value,
                }
            })
            .collect();
        self.metrics = metrics;
        values
    }

    fn errors(&mut self, load: &Load, step_s: f64) -> f64 {
        let rng = &mut self.rng;
        // While pods are exchanged some connections break.
        let exchange = if load.age_s < 120.0 { 2.0 } else { 1.0 };
        let share = self.nature.error_share * exchange * libm::exp(self.wandering.errors.step(rng));
        count(rng, load.requests * share.min(0.05)) / step_s
    }

    fn latency(&mut self, load: &Load) -> f64 {
        let rng = &mut self.rng;
        let wander = self.wandering.latency.step(rng);
        if load.requests < 1.0 {
            return f64::NAN;
        }
        let queueing = 1.0 + 0.6 * libm::pow(load.utilisation, 4.0) / (1.0 - load.utilisation);
        let cold = 1.0 + 0.5 * libm::exp(-load.age_s / 180.0);
        // A quantile of few requests wanders with the square root of their number.
        let noise = 0.05 + 0.5 / libm::sqrt(load.requests + 2.0);
        self.nature.base_latency_s
            * self.state.latency_level
            * queueing
            * cold
            * libm::exp(wander + noise * heavy(rng))
    }

    fn cpu(&mut self, load: &Load) -> f64 {
        let (nature, rng) = (&self.nature, &mut self.rng);
        let pods = f64::from(self.state.pods);
        let start = pods * 0.4 * libm::exp(-load.age_s / 90.0);
        let work = load.per_second * nature.cores_per_request * self.state.cost_level;
        let wander = self.wandering.cpu.step(rng) + 0.03 * heavy(rng);
        (pods * nature.idle_cores + work + start + load.job_cores) * libm::exp(wander)
    }

    fn memory(&mut self, load: &Load) -> f64 {
        let (nature, rng) = (&self.nature, &mut self.rng);
        let filled = 1.0 - libm::exp(-load.age_s / nature.cache_fill_s);
        let own = nature.base_memory + nature.cache_memory * filled + self.state.live;
        let connections = self.state.connections / f64::from(self.state.pods) * 0.05 * MIB;
        let wander = self.wandering.memory.step(rng) + 0.002 * heavy(rng);
        let bytes =
            (own * self.state.memory_level + connections + load.job_memory) * libm::exp(wander);
        pages(bytes)
    }

    fn heap(&mut self, load: &Load, step_s: f64) -> f64 {
        let (nature, rng) = (&self.nature, &mut self.rng);
        let room = nature.live_heap + nature.heap_room;
        let allocated = load.requests / f64::from(self.state.pods) * nature.garbage
            + nature.heap_room * step_s / (6.0 * 3600.0);
        self.state.heap += allocated;
        if self.state.heap > room {
            let warm = 1.0 - 0.5 * libm::exp(-load.age_s / 3600.0);
            let live = nature.live_heap * warm * (0.85 + 0.3 * load.utilisation);
            self.state.live = live * libm::exp(0.03 * heavy(rng));
            // Several collections fit into a step; the last one ended anywhere in it.
            let left = allocated.min(nature.heap_room) * unit(rng);
            self.state.heap = (self.state.live + left).min(room);
        }
        pages(self.state.heap)
    }

    fn queue(&mut self, load: &Load, step_s: f64) -> f64 {
        let rng = &mut self.rng;
        for job in self
            .nature
            .jobs
            .iter()
            .filter(|job| job.starts(self.second, step_s))
        {
            self.state.queue += count(rng, job.items);
        }
        let capacity = f64::from(self.state.pods) * self.nature.pod_rate * step_s;
        let drained = (capacity - load.requests).max(0.1 * capacity);
        self.state.queue = (self.state.queue - drained).max(0.0);
        // What is on its way at any moment, Little's law.
        let on_its_way =
            load.per_second / (self.nature.pod_rate * f64::from(self.state.pods)) * 3.0;
        libm::floor(self.state.queue) + count(rng, on_its_way)
    }

    fn connections(&mut self, load: &Load, step_s: f64) -> f64 {
        let rng = &mut self.rng;
        let wanted = load.per_second * self.nature.connections_per_request;
        // Kept alive for minutes after their last request.
        let keep = libm::exp(-step_s / 240.0);
        self.state.connections = keep * self.state.connections + (1.0 - keep) * wanted;
        libm::round(2.0 * f64::from(self.state.pods) + self.state.connections) + count(rng, 0.5)
    }

    fn is_lost(&mut self, step_s: f64) -> bool {
        let rng = &mut self.rng;
        // Once or twice a month a service's own exporter cannot be reached for a while.
        if self.second >= self.state.gap_until && unit(rng) < 1.5 * step_s / (30.0 * DAY_S) {
            self.state.gap_until = self.second + scale(rng, 180.0, 7200.0) as i64;
        }
        let is_lost = unit(rng) < LOST_ROWS;
        is_lost || self.second < self.state.gap_until || !self.calendar.is_scraped(self.second)
    }
}

impl Iterator for Service {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let step_s = f64::from(self.month.step_s.max(1));
        while self.second < i64::from(self.month.days) * 86_400 {
            self.change(step_s);
            let load = self.load(step_s);
            self.scale(&load, step_s);
            let values = self.values(&load, step_s);
            let is_lost = self.is_lost(step_s);
            let at = Timestamp(self.month.start.0.saturating_add(self.second * 1000));
            self.second += i64::from(self.month.step_s.max(1));
            if !is_lost {
                return Some(Row {
                    at,
                    values,
                    occurrences: std::mem::take(&mut self.occurrences),
                });
            }
        }
        None
    }
}

impl Wandering {
    fn new(rng: &mut Rng, step_s: f64) -> Self {
        let mut wander = |deviation, memory_s| Wander::new(rng, deviation, memory_s, step_s);
        Self {
            week: wander(0.04, 5.0 * DAY_S),
            hour: wander(0.05, 3600.0),
            minutes: wander(0.04, 240.0),
            errors: wander(0.3, 1800.0),
            latency: wander(0.06, 1200.0),
            cpu: wander(0.03, 900.0),
            memory: wander(0.008, DAY_S),
        }
    }
}

impl State {
    fn new(rng: &mut Rng, nature: &Nature) -> Self {
        Self {
            pods: nature.least_pods,
            needed: VecDeque::new(),
            started: -(between(rng, 0.1, 10.0) * DAY_S) as i64,
            heap: nature.live_heap,
            live: nature.live_heap,
            queue: 0.0,
            connections: 0.0,
            burst: 1.0,
            burst_until: 0,
            gap_until: 0,
            cost_level: 1.0,
            memory_level: 1.0,
            latency_level: 1.0,
        }
    }
}

/// Memory is counted in pages.
fn pages(bytes: f64) -> f64 {
    libm::floor(bytes / 4096.0) * 4096.0
}
