//! The character of a service: drawn once, the same all month.

use super::chance::{between, scale, unit};
use super::{Kind, Metric};
use crate::rng::Rng;

const DAY_S: f64 = 86_400.0;
const MIB: f64 = 1_048_576.0;

/// What never changes within a month.
#[derive(Clone, Debug)]
pub(super) struct Nature {
    /// Requests a second at the highest hour of the week.
    pub(super) peak_rate: f64,
    pub(super) shift_s: i64,
    pub(super) weekend: f64,
    /// Growth of traffic over the whole month, as a part.
    pub(super) growth: f64,
    pub(super) bursts_per_day: f64,
    /// Requests a second that one pod takes at full use.
    pub(super) pod_rate: f64,
    pub(super) least_pods: u32,
    pub(super) error_share: f64,
    pub(super) idle_cores: f64,
    pub(super) cores_per_request: f64,
    pub(super) base_memory: f64,
    pub(super) cache_memory: f64,
    pub(super) cache_fill_s: f64,
    pub(super) live_heap: f64,
    pub(super) heap_room: f64,
    /// Bytes that a request allocates.
    pub(super) garbage: f64,
    pub(super) base_latency_s: f64,
    pub(super) connections_per_request: f64,
    /// Seconds from one deploy or restart to the next on average.
    pub(super) deploy_every_s: f64,
    pub(super) restart_every_s: f64,
    pub(super) jobs: Vec<Job>,
}

/// Something that starts at a fixed time.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) every_s: i64,
    pub(super) offset_s: i64,
    pub(super) lasts_s: i64,
    pub(super) cores: f64,
    pub(super) memory: f64,
    /// What it puts into the queue.
    pub(super) items: f64,
}

impl Nature {
    pub(super) fn new(rng: &mut Rng, kind: Kind) -> Self {
        let peak_rate = match kind {
            Kind::Public => scale(rng, 5.0, 800.0),
            Kind::Office => scale(rng, 1.0, 60.0),
            Kind::Internal => scale(rng, 5.0, 400.0),
            Kind::Small => scale(rng, 0.005, 0.2),
            Kind::Worker => scale(rng, 0.5, 40.0),
            Kind::Nightly => scale(rng, 0.01, 0.1),
        };
        let pod_rate = (peak_rate / between(rng, 1.0, 5.0)).max(0.5);
        let base_memory = scale(rng, 20.0, 300.0) * MIB;
        let heap_room = scale(rng, 20.0, 400.0) * MIB;
        let weekend = match kind {
            Kind::Public => between(rng, 0.7, 1.25),
            Kind::Office => between(rng, 0.02, 0.15),
            Kind::Internal | Kind::Worker => between(rng, 0.75, 1.0),
            Kind::Small | Kind::Nightly => between(rng, 0.5, 1.0),
        };
        Self {
            shift_s: [0, 0, 3600, 7200, -18_000][rng.below(5)],
            weekend,
            growth: between(rng, -0.05, 0.15),
            bursts_per_day: between(rng, 0.1, 0.6),
            least_pods: if matches!(kind, Kind::Small | Kind::Nightly) {
                1
            } else {
                2
            },
            error_share: scale(rng, 1e-5, 3e-3),
            idle_cores: scale(rng, 0.002, 0.05),
            cores_per_request: scale(rng, 0.15, 0.7) / pod_rate,
            cache_memory: base_memory * between(rng, 0.1, 0.8),
            cache_fill_s: scale(rng, 3600.0, 12.0 * 3600.0),
            live_heap: base_memory * between(rng, 0.2, 0.6),
            // A pod at full use collects every 20 seconds to 20 minutes.
            garbage: heap_room / (pod_rate * scale(rng, 20.0, 1200.0)),
            base_latency_s: scale(rng, 0.01, 0.6),
            connections_per_request: scale(rng, 0.2, 4.0),
            deploy_every_s: 30.0 * DAY_S / scale(rng, 1.0, 10.0),
            restart_every_s: 30.0 * DAY_S / between(rng, 0.5, 2.0),
            jobs: jobs(rng, kind, base_memory, pod_rate),
            peak_rate,
            pod_rate,
            base_memory,
            heap_room,
        }
    }
}

impl Job {
    pub(super) fn runs(&self, second: i64) -> bool {
        (second - self.offset_s).rem_euclid(self.every_s) < self.lasts_s
    }

    pub(super) fn starts(&self, second: i64, step_s: f64) -> bool {
        ((second - self.offset_s).rem_euclid(self.every_s) as f64) < step_s
    }
}

fn jobs(rng: &mut Rng, kind: Kind, base_memory: f64, pod_rate: f64) -> Vec<Job> {
    let mut job = |every_s: i64, low_s: f64, high_s: f64| {
        let lasts_s = scale(rng, low_s, high_s);
        Job {
            every_s,
            offset_s: (unit(rng) * every_s as f64 / 300.0) as i64 * 300,
            lasts_s: lasts_s as i64,
            cores: scale(rng, 0.1, 1.0),
            memory: base_memory * between(rng, 0.05, 0.4),
            items: pod_rate * lasts_s * between(rng, 0.3, 1.5),
        }
    };
    match kind {
        Kind::Public | Kind::Small => vec![],
        Kind::Office => vec![job(7 * 86_400, 600.0, 3600.0)],
        Kind::Internal => vec![job(86_400, 300.0, 1800.0)],
        Kind::Worker => vec![job(3600, 120.0, 900.0), job(86_400, 600.0, 5400.0)],
        Kind::Nightly => vec![job(86_400, 900.0, 7200.0)],
    }
}

/// What a service of a kind measures: a worker has no latency, not everything runs on a collector.
pub(super) fn metrics(rng: &mut Rng, kind: Kind) -> Vec<Metric> {
    let mut metrics = match kind {
        Kind::Worker => vec![Metric::RequestRate, Metric::ErrorRate, Metric::QueueDepth],
        Kind::Nightly => vec![Metric::RequestRate, Metric::QueueDepth],
        Kind::Public | Kind::Office | Kind::Internal | Kind::Small => vec![
            Metric::RequestRate,
            Metric::ErrorRate,
            Metric::LatencyP99,
            Metric::Connections,
        ],
    };
    metrics.extend([Metric::Cpu, Metric::Memory]);
    if rng.chance(60) {
        metrics.push(Metric::Heap);
    }
    metrics
}
