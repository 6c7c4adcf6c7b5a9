//! Numbers that look random and are the same everywhere.

/// The constant of SplitMix64 (Steele et al. 2014).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The random number at a place.
pub(crate) fn at(place: u64) -> u64 {
    mixed(place.wrapping_mul(GOLDEN))
}

fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// One number after the other, from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Evenly between 0 and 1.
    pub(crate) fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        (mixed(self.0) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// As good as normal: mean 0, deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum::<f64>() - 6.0
    }

    /// A sample of a metric around 100.
    pub(crate) fn around_100(&mut self) -> f64 {
        100.0 + 10.0 * self.normal()
    }
}
