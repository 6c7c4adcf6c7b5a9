//! A clean month: what the services of a healthy cluster measure, so that everything a detector alarms about in it is
//! a false alarm.
//!
//! ```text
//! Month (seed) ──> Calendar, shared by all: holiday, common demand, outages of the scraper
//!              ──> Service 0..n: character drawn once ──> Row every step: load ──> requests, errors, latency,
//!                                                                                CPU, memory, heap, queue, connections
//! ```
//!
//! What each part is modelled after:
//! - **Season**: traffic of web shops and of office software. Two humps a day that peak at noon and in the evening, or
//!   one block of office hours; quieter or empty weekends; one weekday that is a holiday and looks like a Sunday.
//! - **Noise**: arrivals are counts (Poisson), their rate wanders with a memory of minutes, of an hour and of a week
//!   (Ornstein–Uhlenbeck), part of it in common to all services; short bursts of a size with a heavy tail, a few a
//!   week, as from campaigns and crawlers.
//! - **Latency**: grows with utilisation as in a queue, and is a quantile of few requests on small services, so noisy;
//!   nothing where nobody asked. Errors are a small share of requests.
//! - **Pods**: scaled by load as by a horizontal autoscaler, up at once and down after five minutes.
//! - **Memory** of one pod: a start that fills caches within hours, connections, slow wandering that always returns.
//!   Its heap is a sawtooth: it fills with the load and falls back to what lives.
//! - **Deploys**: in office hours, a few a month. Memory starts again, a CPU peak for minutes, and a level that is a
//!   few percent another. They and restarts by maintenance are announced in the row they happen in.
//! - **Jobs**: each hour, each night or each Sunday at a fixed minute, with CPU, memory and a queue that drains.
//! - **Gaps**: scrapes that are lost one by one, minutes that one service misses, hours that all miss.
//!
//! A month has no incident, no leak, no saturation and no change without a cause named above. It is not wilder than
//! that on purpose: values a person would ask about are left out. The same seed gives the same month on every platform.

mod calendar;
mod chance;
mod nature;
mod service;

#[cfg(test)]
mod tests;

pub use service::Service;

use calendar::Calendar;
use regraft_model::Timestamp;
use std::sync::Arc;

/// A month of metrics to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Month {
    /// What all chance follows from.
    pub seed: u64,
    /// How many services there are.
    pub services: u32,
    /// How many days it has.
    pub days: u32,
    /// Seconds between two rows; at least 1.
    pub step_s: u32,
    /// When it begins: midnight UTC of a Monday, else the week is another.
    pub start: Timestamp,
}

impl Month {
    /// 200 services for 30 days, a row a minute, from Monday, 1 June 2026.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            services: 200,
            days: 30,
            step_s: 60,
            start: Timestamp(1_780_272_000_000),
        }
    }

    /// Its services, each with all its rows. They do not depend on each other, so they may be run side by side.
    pub fn services(&self) -> impl Iterator<Item = Service> + use<> {
        let calendar = Arc::new(Calendar::new(self));
        let month = self.clone();
        (0..self.services)
            .map(move |index| Service::new(month.clone(), Arc::clone(&calendar), index))
    }
}

/// What is measured. Rates are per second, latency in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Requests a second, of all pods.
    RequestRate,
    /// Failed requests a second, of all pods.
    ErrorRate,
    /// The latency in seconds that one in a hundred requests exceeds.
    LatencyP99,
    /// Cores in use, of all pods.
    Cpu,
    /// Working set in bytes, of the oldest pod.
    Memory,
    /// Heap in use in bytes, of the oldest pod: a garbage collector's sawtooth.
    Heap,
    /// Jobs that wait.
    QueueDepth,
    /// Open connections, of all pods.
    Connections,
}

impl Metric {
    /// Its name in Prometheus' style.
    pub fn name(self) -> &'static str {
        match self {
            Metric::RequestRate => "requests_per_second",
            Metric::ErrorRate => "errors_per_second",
            Metric::LatencyP99 => "latency_p99_seconds",
            Metric::Cpu => "cpu_cores",
            Metric::Memory => "memory_working_set_bytes",
            Metric::Heap => "heap_used_bytes",
            Metric::QueueDepth => "queue_depth",
            Metric::Connections => "connections",
        }
    }
}

/// What kind of service it is; it decides its season and its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What people use all day, most in the evening.
    Public,
    /// What people use at work.
    Office,
    /// What other services call, all day nearly the same.
    Internal,
    /// A few requests a minute at most.
    Small,
    /// Takes jobs from a queue.
    Worker,
    /// Idle but for its job at night.
    Nightly,
}

/// Something that happened to a service; nothing that is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurrence {
    /// A new version: memory starts again, levels are a few percent others.
    Deploy,
    /// The same version on another node: memory starts again.
    Restart,
    /// Another number of pods.
    Scaled {
        /// How many there are now.
        pods: u32,
    },
}

/// What was scraped at a moment. Moments of a gap have no row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// When.
    pub at: Timestamp,
    /// A value for each of [`Service::metrics`]; NaN where that one is missing.
    pub values: Vec<f64>,
    /// What happened since the row before, also in a gap.
    pub occurrences: Vec<Occurrence>,
}
