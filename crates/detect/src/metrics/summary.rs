//! What one cluster knows of a service, as bytes that another cluster can start from.
//!
//! Everything is in units of the metric's own magnitude, so that it fits a cluster of another size. One entry a metric, one
//! for the service as a whole, each at most [`ENTRY_BYTES_MAX`]:
//!
//! ```text
//! format, kind | samples, ln magnitude, changes, level, its spread | 4 x scale | day? | week? | FNV-1a   a metric
//! format, kind | samples | shares of the bins of strangeness                                  | FNV-1a   the service
//! ```
//!
//! Numbers are little-endian. Bytes that were read are written again as the same bytes.

use super::baseline::FEATURES;
use super::tail::BINS;
use crate::{Error, Stored};
use std::collections::BTreeMap;

/// Newest format of an entry that this version writes and reads.
pub const SUMMARY_FORMAT: u8 = 1;
/// Most bytes of one entry.
pub const ENTRY_BYTES_MAX: usize = 4096;
/// Name of the entry of the service as a whole; a metric of this name is not shared.
pub const SERVICE_ENTRY: &str = "*";

const METRIC: u8 = 1;
const SERVICE: u8 = 2;
/// Beyond this a size is no size of the metric: a metric's residuals are about as large as itself, rarely ten times.
const RELATIVE_MAX: f32 = 1000.0;
/// Beyond this a logarithm of a magnitude is none: values are at most 1e150.
const LOG_MAGNITUDE_MAX: f32 = 746.0;
/// A bucket that nothing is known of.
const UNKNOWN: i16 = i16::MIN;
/// By how much the shares of the bins may miss 1, for rounding.
const SHARES_SLACK: f32 = 0.01;

/// What one cluster knows of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub(super) tail: Option<TailShape>,
    pub(super) metrics: BTreeMap<String, Shape>,
}

/// What a metric is like, in units of its magnitude.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    /// Own samples behind it: what peers said is no evidence.
    pub(super) samples: u32,
    pub(super) log_magnitude: f32,
    /// Share of samples that differ from the one before.
    pub(super) changes: f32,
    pub(super) level: f32,
    pub(super) level_spread: f32,
    /// All of them, also those that are not started from: a later version may have a use for what this one told.
    pub(super) scales: [ScaleShape; FEATURES.len()],
    pub(super) day: Option<ProfileShape>,
    pub(super) week: Option<ProfileShape>,
}

/// How large residuals of a feature are; all zero where none was ever seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ScaleShape {
    pub(super) spread: f32,
    pub(super) root: f32,
    pub(super) high: f32,
}

/// What a period adds to the level.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProfileShape {
    /// Mean size of residuals without and with it.
    pub(super) without: f32,
    pub(super) with: f32,
    unit: f32,
    steps: Vec<i16>,
}

/// How strange the service usually is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TailShape {
    pub(super) samples: u32,
    /// Of each bin; they sum up to 1.
    pub(super) shares: Vec<f32>,
}

impl Summary {
    /// Its entries by name, as bytes to be stored. None when too little is known.
    #[must_use]
    pub fn entries(&self) -> Vec<(&str, Vec<u8>)> {
        let tail = self.tail.iter().map(|it| (SERVICE_ENTRY, it.encode()));
        let metrics = self.metrics.iter();
        tail.chain(metrics.map(|(name, it)| (name.as_str(), it.encode())))
            .collect()
    }

    /// Reads entries. One that cannot be read is left out and named, and hinders no other.
    #[must_use]
    pub fn read<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> (Self, Vec<(String, Error)>) {
        let (mut summary, mut problems) = (Self::default(), Vec::new());
        for (name, bytes) in entries {
            let taken = match name {
                SERVICE_ENTRY => TailShape::decode(bytes).map(|it| summary.tail = Some(it)),
                _ => Shape::decode(bytes).map(|it| {
                    summary.metrics.insert(name.to_owned(), it);
                }),
            };
            if let Err(problem) = taken {
                problems.push((name.to_owned(), problem));
            }
        }
        (summary, problems)
    }
}

impl Shape {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![SUMMARY_FORMAT, METRIC];
        bytes.extend(self.samples.to_le_bytes());
        let head = [
            self.log_magnitude,
            self.changes,
            self.level,
            self.level_spread,
        ];
        let scales = self.scales.iter();
        let scales = scales.flat_map(|it| [it.spread, it.root, it.high]);
        for number in head.into_iter().chain(scales) {
            bytes.extend(number.to_le_bytes());
        }
        for profile in [&self.day, &self.week] {
            bytes.push(u8::from(profile.is_some()));
            if let Some(profile) = profile {
                profile.encode(&mut bytes);
            }
        }
        sealed(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::open(bytes, METRIC)?;
        let shape = Self {
            samples: reader.u32()?,
            log_magnitude: reader.f32()?,
            changes: reader.f32()?,
            level: reader.f32()?,
            level_spread: reader.f32()?,
            scales: {
                let mut scales = [ScaleShape::default(); FEATURES.len()];
                for scale in &mut scales {
                    *scale = ScaleShape {
                        spread: reader.f32()?,
                        root: reader.f32()?,
                        high: reader.f32()?,
                    };
                }
                scales
            },
            day: ProfileShape::decode(&mut reader, super::season::DAY_BUCKETS)?,
            week: ProfileShape::decode(&mut reader, super::season::WEEK_BUCKETS)?,
        };
        reader.close()?;
        match shape.is_sound() {
            true => Ok(shape),
            false => Err(Stored::Summary.broken("a number that cannot be")),
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        let scales = self.scales.iter();
        let mut sizes = scales.flat_map(|it| [it.spread, it.root, it.high]);
        self.log_magnitude.abs() <= LOG_MAGNITUDE_MAX
            && (0.0..=1.0).contains(&self.changes)
            && self.level.abs() <= RELATIVE_MAX
            && is_size(self.level_spread)
            && sizes.all(is_size)
            && [&self.day, &self.week]
                .into_iter()
                .flatten()
                .all(ProfileShape::is_sound)
    }
}

impl ProfileShape {
    /// From what each bucket adds to the level; none where nothing is known.
    pub(super) fn new(without: f32, with: f32, buckets: &[Option<f32>]) -> Self {
        let sizes = buckets.iter().flatten().map(|it| it.abs());
        let unit = sizes.fold(0.0, f32::max) / f32::from(i16::MAX);
        let step = |bucket: f32| {
            let steps = if unit > 0.0 { bucket / unit } else { 0.0 };
            #[expect(clippy::cast_possible_truncation, reason = "a cast saturates")]
            let steps = steps.round() as i16;
            steps.max(-i16::MAX)
        };
        let steps = buckets.iter().map(|it| it.map_or(UNKNOWN, step)).collect();
        Self {
            without,
            with,
            unit,
            steps,
        }
    }

    /// What each bucket adds to the level.
    pub(super) fn buckets(&self) -> impl Iterator<Item = Option<f32>> {
        let steps = self.steps.iter();
        steps.map(|it| (*it != UNKNOWN).then(|| f32::from(*it) * self.unit))
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        for number in [self.without, self.with, self.unit] {
            bytes.extend(number.to_le_bytes());
        }
        for step in &self.steps {
            bytes.extend(step.to_le_bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>, buckets: usize) -> Result<Option<Self>, Error> {
        match reader.u8()? {
            0 => return Ok(None),
            1 => {}
            _ => return Err(Stored::Summary.broken("a season that neither is nor is not")),
        }
        let (without, with, unit) = (reader.f32()?, reader.f32()?, reader.f32()?);
        let steps: Result<_, _> = (0..buckets).map(|_| reader.i16()).collect();
        Ok(Some(Self {
            without,
            with,
            unit,
            steps: steps?,
        }))
    }

    fn is_sound(&self) -> bool {
        [self.without, self.with, self.unit * f32::from(i16::MAX)]
            .into_iter()
            .all(is_size)
    }
}

impl TailShape {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![SUMMARY_FORMAT, SERVICE];
        bytes.extend(self.samples.to_le_bytes());
        for share in &self.shares {
            bytes.extend(share.to_le_bytes());
        }
        sealed(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::open(bytes, SERVICE)?;
        let samples = reader.u32()?;
        let shares: Result<Vec<_>, _> = (0..BINS).map(|_| reader.f32()).collect();
        let shares = shares?;
        reader.close()?;
        let is_share = shares.iter().all(|it| (0.0..=1.0).contains(it));
        let sum: f32 = shares.iter().sum();
        match is_share && (sum - 1.0).abs() <= SHARES_SLACK {
            true => Ok(Self { samples, shares }),
            false => Err(Stored::Summary.broken("shares that are none of a whole")),
        }
    }
}

/// Takes an entry apart.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Looks at the format before anything else: a newer one may lie in any other way.
    fn open(bytes: &'a [u8], kind: u8) -> Result<Self, Error> {
        let format = bytes
            .first()
            .ok_or(Stored::Summary.broken("nothing is there"))?;
        Stored::Summary.check_format(u32::from(*format), u32::from(SUMMARY_FORMAT))?;
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(Stored::Summary.broken("more bytes than an entry may have"));
        }
        let (content, seal) = bytes
            .split_last_chunk()
            .ok_or(Stored::Summary.broken("it is cut off"))?;
        if fnv(content) != u64::from_le_bytes(*seal) {
            return Err(Stored::Summary.broken("its check sum is another"));
        }
        match content.get(1) {
            Some(found) if *found == kind => Ok(Self(&content[2..])),
            _ => Err(Stored::Summary.broken("an entry of another kind")),
        }
    }

    fn take<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Error> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Stored::Summary.broken("it is cut off"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.take().map(|[byte]| byte)
    }

    fn i16(&mut self) -> Result<i16, Error> {
        self.take().map(i16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.take().map(u32::from_le_bytes)
    }

    fn f32(&mut self) -> Result<f32, Error> {
        self.take().map(f32::from_le_bytes)
    }

    fn close(self) -> Result<(), Error> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(Stored::Summary.broken("bytes that belong to nothing")),
        }
    }
}

fn is_size(number: f32) -> bool {
    (0.0..=RELATIVE_MAX).contains(&number)
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let seal = fnv(&bytes);
    bytes.extend(seal.to_le_bytes());
    bytes
}

/// FNV-1a (Fowler, Noll, Vo): tells every change of one byte, which is all that is asked of it here.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
