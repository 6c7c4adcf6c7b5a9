//! Numbers by chance with a shape. All functions of reals are `libm`'s, which are the same on every platform.

use crate::rng::Rng;

/// A number of 0..1, never 0.
pub(super) fn unit(rng: &mut Rng) -> f64 {
    ((rng.next() >> 11) as f64 + 1.0) / 9_007_199_254_740_993.0
}

/// A number of `low..high`, each as likely.
pub(super) fn between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * unit(rng)
}

/// A number of `low..high`, each order of magnitude as likely; both above 0.
pub(super) fn scale(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low * libm::exp(unit(rng) * libm::log(high / low))
}

/// A normal number with mean 0 and variance 1 (Box, Muller 1958).
pub(super) fn normal(rng: &mut Rng) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(unit(rng)));
    radius * libm::cos(std::f64::consts::TAU * unit(rng))
}

/// Of mean 0 and variance 1 with heavy tails: Student's t with 5 degrees of freedom, by Bailey's method (1994).
pub(super) fn heavy(rng: &mut Rng) -> f64 {
    const FREEDOM: f64 = 5.0;
    let spread = FREEDOM * (libm::pow(unit(rng), -2.0 / FREEDOM) - 1.0);
    let variance = FREEDOM / (FREEDOM - 2.0);
    libm::sqrt(spread / variance) * libm::cos(std::f64::consts::TAU * unit(rng))
}

/// How often something happens that happens `mean` times on average (Knuth for few, a rounded normal for many).
pub(super) fn count(rng: &mut Rng, mean: f64) -> f64 {
    if mean > 40.0 {
        return libm::round(mean + libm::sqrt(mean) * normal(rng)).max(0.0);
    }
    let (limit, mut product, mut count) = (libm::exp(-mean), unit(rng), 0.0);
    while product > limit {
        product *= unit(rng);
        count += 1.0;
    }
    count
}

/// Wanders around 0 and returns: Ornstein and Uhlenbeck's process, in exact steps.
#[derive(Clone, Debug)]
pub(super) struct Wander {
    value: f64,
    keep: f64,
    push: f64,
}

impl Wander {
    /// With that standard deviation, forgetting within `memory_s`.
    pub(super) fn new(rng: &mut Rng, deviation: f64, memory_s: f64, step_s: f64) -> Self {
        let keep = libm::exp(-step_s / memory_s);
        Self {
            value: deviation * normal(rng),
            push: deviation * libm::sqrt(1.0 - keep * keep),
            keep,
        }
    }

    pub(super) fn step(&mut self, rng: &mut Rng) -> f64 {
        self.value = self.keep * self.value + self.push * normal(rng);
        self.value
    }
}
