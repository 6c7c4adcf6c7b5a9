//! Starting from what peers know: sooner to a verdict, never misled for long, and nothing that a broken summary could do.

use crate::metrics::{
    ENTRY_BYTES_MAX, Learning, SERVICE_ENTRY, SUMMARY_FORMAT, Settings, Summary, Verdict, Watch,
};
use crate::{Error, Stored};
use proptest::prelude::*;
use regraft_model::Timestamp;

const STEP_MS: i64 = 300_000;
const DAY: i64 = 288;
/// Where clusters begin: a Saturday, 06:00 UTC.
const BEGIN_MS: i64 = 1_700_287_200_000;

/// A service in one cluster: how large it is, and how noisy for its size.
#[derive(Clone, Copy)]
struct Service {
    size: f64,
    noise: f64,
}

const USUAL: Service = Service {
    size: 100.0,
    noise: 0.05,
};

impl Service {
    /// Requests and errors of a moment: the requests have a day, the errors have none.
    fn values(self, step: i64) -> [f64; 2] {
        let of_day = step.rem_euclid(DAY) as f64 / DAY as f64;
        let day = 1.0 + 0.6 * libm::sin(of_day * std::f64::consts::TAU);
        [
            self.size * (day + self.noise * noise(2 * step)),
            self.size * 0.01 * (1.0 + self.noise * noise(2 * step + 1)),
        ]
    }
}

/// From -1 to 1, the same for the same number.
fn noise(number: i64) -> f64 {
    (crate::tests::noise::at(number as u64) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

fn at(step: i64) -> Timestamp {
    Timestamp(BEGIN_MS + step * STEP_MS)
}

fn empty() -> Watch {
    let names = ["requests", "errors"].map(str::to_owned);
    Watch::new(Settings::default(), names.to_vec()).unwrap()
}

/// A watch that saw a service for some time, with the last verdict.
fn watched(service: Service, steps: std::ops::Range<i64>, peers: &[Summary]) -> (Watch, Verdict) {
    let mut watch = empty();
    let mut last = None;
    for step in steps {
        if watch.wants_peers() {
            watch.start_from(peers);
        }
        last = Some(watch.observe(at(step), &service.values(step), Learning::On));
    }
    (watch, last.unwrap())
}

/// What another cluster knows that saw a service for two weeks.
fn peer(service: Service) -> Summary {
    watched(service, -14 * DAY..0, &[]).0.summary()
}

fn entries(summary: &Summary) -> Vec<(String, Vec<u8>)> {
    let entries = summary.entries().into_iter();
    entries.map(|(name, it)| (name.to_owned(), it)).collect()
}

fn read(entries: &[(String, Vec<u8>)]) -> (Summary, Vec<(String, Error)>) {
    Summary::read(
        entries
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice())),
    )
}

/// The check sum of an entry: FNV-1a.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn a_summary_is_read_as_it_was_written_and_keeps_its_bound() {
    let summary = peer(USUAL);
    let written = entries(&summary);
    let names: Vec<_> = written.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [SERVICE_ENTRY, "errors", "requests"]);
    for (name, bytes) in &written {
        assert!(bytes.len() <= ENTRY_BYTES_MAX, "{name}: {}", bytes.len());
    }
    let (again, problems) = read(&written);
    assert_eq!(problems, []);
    assert_eq!(again, summary);
    assert_eq!(entries(&again), written);
}

#[test]
fn little_is_not_told_to_others() {
    let (watch, _) = watched(USUAL, 0..150, &[]);
    assert_eq!(watch.summary(), Summary::default());
}

#[test]
fn what_is_seen_while_learning_is_frozen_is_not_told_to_others() {
    let (mut watch, _) = watched(USUAL, 0..3 * DAY, &[]);
    let before = entries(&watch.summary());
    for step in 3 * DAY..4 * DAY {
        watch.observe(at(step), &[9e9, 9e9], Learning::Frozen);
    }
    assert_eq!(entries(&watch.summary()), before);
    assert_eq!(watch.learned_until(), Some(at(3 * DAY - 1)));
    watch.observe(at(4 * DAY), &USUAL.values(4 * DAY), Learning::On);
    assert_ne!(entries(&watch.summary()), before);
    assert_eq!(watch.learned_until(), Some(at(4 * DAY)));
}

#[test]
fn a_sample_that_is_not_learned_makes_no_summary_newer() {
    let mut watch = empty();
    assert_eq!(watch.learned_until(), None);
    watch.observe(at(0), &[f64::NAN, f64::INFINITY], Learning::On);
    watch.observe(at(1), &[], Learning::On);
    watch.observe(at(2), &USUAL.values(2), Learning::Frozen);
    assert_eq!(watch.learned_until(), None);
    watch.observe(at(3), &[f64::NAN, 1.0], Learning::On);
    for late in [3, 2] {
        watch.observe(at(late), &USUAL.values(late), Learning::On);
    }
    assert_eq!(watch.learned_until(), Some(at(3)));
    let stored = Watch::from_bytes(&watch.to_bytes()).unwrap();
    assert_eq!(stored.learned_until(), Some(at(3)));
}

#[test]
fn a_time_far_ahead_is_forgotten_when_the_clock_is_right_again() {
    let (mut watch, _) = watched(USUAL, 0..DAY, &[]);
    let far = at(400 * 365 * DAY);
    watch.observe(far, &USUAL.values(DAY), Learning::On);
    assert_eq!(watch.learned_until(), Some(far));
    for step in DAY..DAY + 20 {
        watch.observe(at(step), &USUAL.values(step), Learning::On);
    }
    assert_eq!(watch.learned_until(), Some(at(DAY + 19)));
}

#[test]
fn with_peers_a_verdict_comes_after_a_tenth_of_the_samples() {
    let steps = 0..25;
    let (_, alone) = watched(USUAL, steps.clone(), &[]);
    assert!(matches!(alone, Verdict::Unknown(_)), "{alone:?}");
    let (mut watch, verdict) = watched(USUAL, steps, &[peer(USUAL)]);
    assert!(matches!(verdict, Verdict::Usual { .. }), "{verdict:?}");
    let mut told = Vec::new();
    for step in 25..28 {
        let [requests, errors] = USUAL.values(step);
        let verdict = watch.observe(at(step), &[requests * 0.2, errors * 20.0], Learning::On);
        told.push(matches!(verdict, Verdict::Strange(_)));
    }
    assert!(told.contains(&true), "{told:?}");
}

#[test]
fn the_season_is_known_from_the_first_day_also_in_a_cluster_of_another_size() {
    for (size, begin) in [(100.0, 0), (5.0, 60), (900.0, 200)] {
        let service = Service { size, ..USUAL };
        let peers = [peer(USUAL)];
        let (mut watch, _) = watched(service, begin..begin + 30, &peers);
        let mut strange = 0;
        for step in begin + 30..begin + 2 * DAY {
            let verdict = watch.observe(at(step), &service.values(step), Learning::On);
            strange += u32::from(matches!(verdict, Verdict::Strange(_)));
        }
        assert_eq!(strange, 0, "size {size} from {begin}");
        // Half the day after the lowest hour: usual there only.
        let step = begin + 2 * DAY;
        let [usual, errors] = service.values(step);
        let other = [service.values(step + DAY / 2)[0], errors];
        let mut verdicts = Vec::new();
        for later in 0..3 {
            verdicts.push(watch.observe(at(step + later), &other, Learning::On));
        }
        let is_told = verdicts.iter().any(|it| matches!(it, Verdict::Strange(_)));
        let differs = (other[0] - usual).abs() > 0.5 * usual;
        assert!(is_told || !differs, "size {size}: {verdicts:?}");
    }
}

#[test]
fn what_peers_said_is_forgotten_as_own_samples_come() {
    let noisy = Service {
        noise: 0.4,
        ..USUAL
    };
    let steps = 0..20 * DAY;
    let (alone, _) = watched(noisy, steps.clone(), &[]);
    let (started, _) = watched(noisy, steps, &[peer(USUAL)]);
    let mut surprises = Vec::new();
    for mut watch in [alone, started] {
        let step = 20 * DAY;
        let [requests, errors] = noisy.values(step);
        let far = [requests * 2.0, errors * 2.0];
        let Verdict::Usual { surprise } = watch.observe(at(step), &far, Learning::On) else {
            panic!("one sample alone is not told");
        };
        surprises.push(surprise);
    }
    let [alone, started] = surprises[..] else {
        panic!("two watches")
    };
    assert!((alone - started).abs() < 0.1 * alone, "{surprises:?}");
}

#[test]
fn peers_are_asked_once_and_nobody_is_told_their_words_as_own() {
    let peers = [peer(USUAL)];
    let (mut watch, _) = watched(USUAL, 0..30, &peers);
    assert!(!watch.wants_peers());
    let before = watch.clone();
    watch.start_from(&peers);
    assert_eq!(watch, before);
    let metrics = entries(&watch.summary());
    assert!(
        metrics.iter().all(|(name, _)| name == SERVICE_ENTRY),
        "{metrics:?}"
    );
}

#[test]
fn peers_that_know_other_metrics_or_nothing_change_nothing() {
    let (before, _) = watched(USUAL, 0..30, &[]);
    let other = read(&[("other".to_owned(), entries(&peer(USUAL))[1].1.clone())]).0;
    let tail = read(&entries(&peer(USUAL))[..1]).0;
    for peers in [vec![], vec![Summary::default()], vec![other], vec![tail]] {
        let (watch, _) = watched(USUAL, 0..30, &peers);
        assert_eq!(watch, before);
    }
}

#[test]
fn a_peer_of_another_kind_is_worth_little() {
    let wild = Service {
        size: 30_000.0,
        noise: 0.9,
    };
    let is_known = |services: &[Service]| {
        let peers: Vec<_> = services.iter().map(|it| peer(*it)).collect();
        let (_, verdict) = watched(USUAL, 0..30, &peers);
        matches!(verdict, Verdict::Usual { .. })
    };
    assert!(is_known(&[USUAL]));
    assert!(is_known(&[USUAL, wild]));
    assert!(!is_known(&[wild]));
}

#[test]
fn a_summary_of_a_newer_version_is_refused_by_its_number() {
    let mut written = entries(&peer(USUAL));
    written[1].1[0] = SUMMARY_FORMAT + 1;
    let (read, problems) = read(&written);
    let newer = Error::NewerFormat {
        what: Stored::Summary,
        found: u32::from(SUMMARY_FORMAT) + 1,
        known: u32::from(SUMMARY_FORMAT),
    };
    assert_eq!(problems, [("errors".to_owned(), newer.clone())]);
    let told = "read a stored summary of format 2; this program knows formats up to 1";
    assert_eq!(newer.to_string(), told);
    let left: Vec<_> = entries(&read).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, [SERVICE_ENTRY, "requests"]);
}

#[test]
fn every_changed_byte_and_every_cut_is_seen() {
    for (name, bytes) in entries(&peer(USUAL)) {
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 0x10;
            let changed = [(name.clone(), changed)];
            assert_eq!(read(&changed).1.len(), 1, "{name}: byte {index}");
            let cut = [(name.clone(), bytes[..index].to_vec())];
            assert_eq!(read(&cut).1.len(), 1, "{name}: cut at {index}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_refused_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..ENTRY_BYTES_MAX + 2),
        kind in 1_u8..3,
    ) {
        for name in [SERVICE_ENTRY, "errors"] {
            let mut entry = bytes.clone();
            prop_assert_eq!(read(&[(name.to_owned(), entry.clone())]).1.len(), 1);
            if entry.len() > 2 {
                entry[..2].copy_from_slice(&[SUMMARY_FORMAT, kind]);
            }
            let seal = fnv(&entry);
            entry.extend(seal.to_le_bytes());
            prop_assert_eq!(read(&[(name.to_owned(), entry)]).1.len(), 1);
        }
    }

    /// Whoever writes a wrong summary with the right check sum misleads for a while, and breaks nothing.
    #[test]
    fn a_peer_that_tells_nonsense_breaks_nothing(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        size in prop::sample::select(vec![1e-300, 1e-3, 1.0, 1e140]),
    ) {
        let mut written = entries(&watched(USUAL, -4 * DAY..0, &[]).0.summary());
        for (_, bytes) in &mut written {
            let end = bytes.len() - 8;
            for (index, byte) in &changes {
                // Most of an entry is its season, most of what decides is before it.
                let index = 2 + index.index(if byte % 2 == 0 { 64 } else { end - 2 });
                bytes[index] = *byte;
            }
            let seal = fnv(&bytes[..end]);
            bytes[end..].copy_from_slice(&seal.to_le_bytes());
        }
        let (summary, _) = read(&written);
        prop_assert_eq!(read(&entries(&summary)).0, summary.clone());
        let mut watch = empty();
        for step in 0..150 {
            if watch.wants_peers() {
                watch.start_from(std::slice::from_ref(&summary));
            }
            let values = Service { size, ..USUAL }.values(step);
            match watch.observe(at(step), &values, Learning::On) {
                Verdict::Usual { surprise } => prop_assert!(surprise.is_finite()),
                Verdict::Strange(anomaly) => prop_assert!(anomaly.surprise.is_finite()),
                Verdict::Unknown(_) => {}
            }
        }
    }
}
