//! Peers that say anything that can be read leave a watch sound: it can be stored, and goes on in finite numbers.

use super::peers::fnv;
use super::series::{DAY_MS, Noise, is_finite, watch};
use crate::metrics::{Learning, SERVICE_ENTRY, SUMMARY_FORMAT, Summary, Watch};
use proptest::prelude::*;
use regraft_model::Timestamp;

const METRICS: usize = 2;
/// Numbers of a metric before its seasons, and of the service.
const HEAD: usize = 16;
const BINS: usize = 96;

/// What one peer says, as the numbers of its entries.
#[derive(Clone, Debug)]
struct Told {
    samples: u32,
    /// The first one is how far the logarithm of its magnitude is from that of the watch.
    head: Vec<f32>,
    /// Of day and week: without, with, unit.
    seasons: [Option<[f32; 3]>; 2],
    /// Of buckets and bins: which there are, and how large.
    pattern: u64,
}

impl Told {
    fn metric(&self, log_magnitude: f32) -> Vec<u8> {
        let mut noise = Noise::new(self.pattern);
        let mut bytes = vec![SUMMARY_FORMAT, 1];
        bytes.extend(self.samples.to_le_bytes());
        bytes.extend((log_magnitude + self.head[0]).to_le_bytes());
        bytes.extend(self.head[1..].iter().flat_map(|it| it.to_le_bytes()));
        for (season, buckets) in self.seasons.into_iter().zip([288, 168]) {
            bytes.push(u8::from(season.is_some()));
            let Some(numbers) = season else { continue };
            bytes.extend(numbers.iter().flat_map(|it| it.to_le_bytes()));
            let steps = (0..buckets).map(|_| match noise.even() {
                few if few < 0.1 => i16::MIN,
                many if many < 0.5 => i16::MAX,
                rest => (rest * 65_536.0 - 32_768.0) as i16,
            });
            bytes.extend(steps.flat_map(i16::to_le_bytes));
        }
        sealed(bytes)
    }

    /// Shares of one whole, most of them nothing.
    fn service(&self) -> Vec<u8> {
        let mut bytes = vec![SUMMARY_FORMAT, 2];
        bytes.extend(self.samples.to_le_bytes());
        let whole = self.pattern as usize % BINS;
        let least = [0.0, 1e-45, f32::MIN_POSITIVE, 1e-9][self.pattern as usize % 4];
        let shares = (0..BINS).map(|bin| if bin == whole { 1.0 } else { least });
        bytes.extend(shares.flat_map(f32::to_le_bytes));
        sealed(bytes)
    }

    /// What of it can be read.
    fn read(&self, magnitude: f64) -> Summary {
        let metric = self.metric(libm::log(magnitude) as f32);
        let entries = (0..METRICS).map(|index| (format!("metric-{index}"), metric.clone()));
        let entries: Vec<_> = entries
            .chain([(SERVICE_ENTRY.to_owned(), self.service())])
            .collect();
        let entries = entries.iter();
        Summary::read(entries.map(|(name, bytes)| (name.as_str(), bytes.as_slice()))).0
    }
}

/// With its check sum.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let seal = fnv(&bytes);
    bytes.extend(seal.to_le_bytes());
    bytes
}

/// Sizes at all ends of what is read, and now and then one that is not.
fn size() -> impl Strategy<Value = f32> {
    let sharp = [
        0.0,
        -0.0,
        1e-45,
        f32::MIN_POSITIVE,
        0.05,
        1.0,
        999.0,
        1000.0,
    ];
    prop_oneof![
        80 => prop::sample::select(sharp.to_vec()),
        1 => any::<u32>().prop_map(f32::from_bits),
    ]
}

fn told() -> impl Strategy<Value = Told> {
    let samples = prop::sample::select(vec![0, 1, 300, 10_000, u32::MAX]);
    let magnitude = prop_oneof![8 => Just(0.0_f32), 1 => -9.0_f32..9.0, 1 => Just(-2.0e3)];
    let changes = prop::sample::select(vec![0.0_f32, 1e-45, 0.5, 1.0]);
    let sizes = prop::collection::vec(size(), HEAD - 3);
    let head = (magnitude, changes, size(), any::<bool>(), sizes);
    let head = head.prop_map(|(magnitude, changes, level, falls, sizes)| {
        let level = if falls { -level } else { level };
        [vec![magnitude, changes, level], sizes].concat()
    });
    let season = || {
        let units = prop::sample::select(vec![0.0_f32, 1e-45, 1e-5, 0.01, 0.0305]);
        let numbers = (size(), size(), units);
        prop::option::weighted(0.8, numbers.prop_map(|(one, two, unit)| [one, two, unit]))
    };
    (samples, head, season(), season(), any::<u64>()).prop_map(
        |(samples, head, day, week, pattern)| Told {
            samples,
            head,
            seasons: [day, week],
            pattern,
        },
    )
}

/// Where time begins, and how fast it goes.
fn time() -> impl Strategy<Value = (i64, i64)> {
    let steps = vec![1, 60_000, DAY_MS, 40 * DAY_MS];
    let begins = vec![
        i64::MIN,
        -1,
        1_700_287_200_000,
        i64::MAX - 400 * 40 * DAY_MS,
    ];
    (prop::sample::select(begins), prop::sample::select(steps))
}

/// The watch as it comes back from its stored form.
#[track_caller]
fn stored(watch: &Watch) -> Watch {
    let bytes = watch.to_bytes();
    let read = Watch::from_bytes(&bytes).expect("what was learned can be stored");
    assert_eq!(read.to_bytes(), bytes);
    read
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn whatever_peers_say_the_watch_stays_sound_and_storable(
        peers in prop::collection::vec(told(), 1..4),
        (begin, step) in time(),
        scale in prop::sample::select(vec![1e-322, 1e-200, 1.0, 1e30, 1e140, 9e147]),
        own in 20_i64..100,
        seed in any::<u64>(),
    ) {
        let peers: Vec<_> = peers.iter().map(|it| it.read(100.0 * scale)).collect();
        let mut noise = Noise::new(seed);
        let mut row = |at: i64| {
            let values: Vec<_> = (0..METRICS).map(|_| noise.around_100() * scale).collect();
            (Timestamp(begin.saturating_add(at * step)), values)
        };
        let mut watch = watch(METRICS);
        for at in 0..own {
            let (at, values) = row(at);
            watch.observe(at, &values, Learning::On);
        }
        watch.start_from(&peers);
        prop_assert!(watch.is_sound(), "{:?}", watch);
        let mut read = stored(&watch);
        for at in own..own + 150 {
            let (at, values) = row(at);
            let said = watch.observe(at, &values, Learning::On);
            prop_assert_eq!(&read.observe(at, &values, Learning::On), &said);
            prop_assert!(is_finite(&said), "{:?}", said);
            prop_assert!(watch.is_sound(), "{:?}", watch);
        }
        prop_assert_eq!(stored(&watch).to_bytes(), read.to_bytes());
        let summary = watch.summary();
        let entries = summary.entries();
        let entries = entries.iter().map(|(name, bytes)| (*name, bytes.as_slice()));
        let (again, problems) = Summary::read(entries);
        prop_assert_eq!(problems, []);
        prop_assert_eq!(again, summary);
    }
}
