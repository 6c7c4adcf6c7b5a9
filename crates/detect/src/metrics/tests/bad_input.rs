//! What bad input leads to. Nothing of it makes an alarm by itself.
//!
//! | input | outcome |
//! |---|---|
//! | NaN, an infinity, beyond ±1e150 | missing: as if the metric had no value then |
//! | a row that is empty or has no number | `NoNumbers`; nothing is learned, an open episode is not ended sooner |
//! | fewer values than names, more values | the rest is missing; the rest is not looked at |
//! | denormals | numbers like all others |
//! | a doubled or late sample | `OutOfOrder`; it is left out, and what follows is judged as if it had not come |
//! | a clock set forward, or samples that come back after more than three steps | `Gap` for ten samples |
//! | a clock set back | `OutOfOrder` nine times, then `Gap` for ten samples |
//! | a metric that vanishes and returns | nothing; the others are judged |
//! | a metric that never changes | nothing strange; `NeverChanged` once that is sure, at 0 from the first |
//! | another unit (times 1000) | that is another value: one alarm, then it is learned |
//! | a counter | no level, so nothing to watch: to be given as [`crate::metrics::Rate`], which makes a reset missing |

use super::series::{
    MINUTE_MS, Noise, is_finite, letter, letters, minute, noisy, observe_all, watch,
};
use crate::metrics::{Learning, Rate, Verdict};
use proptest::prelude::*;
use regraft_model::Timestamp;

type Rows = Vec<(Timestamp, Vec<f64>)>;

const METRICS: usize = 4;
/// A day, of which the first 200 samples are only learned.
const ROWS: usize = 1440;
/// Seeds whose noise alone makes no alarm, as [`noise_alone_is_usual`] checks.
const SEEDS: [u64; 4] = [1, 2, 3, 4];

/// What is said of noise in which something has been made bad, for each seed.
#[track_caller]
fn check(spoil: impl Fn(&mut Rows, &mut Noise), expected: impl Fn(&str) -> bool) {
    for seed in SEEDS {
        let mut rows = noisy(METRICS, ROWS, seed);
        spoil(&mut rows, &mut Noise::new(seed + 1000));
        let mut watch = watch(METRICS);
        let said = letters(&observe_all(&mut watch, &rows));
        assert!(watch.is_sound());
        assert!(!said.contains(['B', 's']), "an alarm, seed {seed}: {said}");
        assert!(expected(&said), "seed {seed}: {said}");
    }
}

/// Replaces a share of all numbers.
fn replaced(with: impl Fn(f64) -> f64, share: f64) -> impl Fn(&mut Rows, &mut Noise) {
    move |rows, noise| {
        for value in rows.iter_mut().flat_map(|row| &mut row.1) {
            if noise.even() < share {
                *value = with(*value);
            }
        }
    }
}

#[test]
fn noise_alone_is_usual() {
    check(|_, _| (), |said| said == "t200.1240");
}

#[test]
fn what_is_no_number_is_missing() {
    let no_numbers = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        -1e308,
        1.1e150,
    ];
    for none in no_numbers {
        check(replaced(|_| none, 0.01), |said| said.ends_with(".1240"));
        // Baselines of half the samples take twice as long, some of which overlap.
        check(replaced(|_| none, 0.5), |said| said.contains('.'));
        check(replaced(|_| none, 1.0), |said| said == "n1440");
    }
}

#[test]
fn any_no_number_is_as_good_as_another() {
    let with = |none: f64| {
        let mut rows = noisy(METRICS, ROWS, 1);
        replaced(|_| none, 0.2)(&mut rows, &mut Noise::new(7));
        observe_all(&mut watch(METRICS), &rows)
    };
    assert_eq!(with(f64::NAN), with(f64::INFINITY));
    assert_eq!(with(f64::NAN), with(-1e308));
}

#[test]
fn an_empty_row_says_nothing_and_is_not_learned() {
    let empty = |rows: &mut Rows, _: &mut Noise| rows[700].1.clear();
    check(empty, |said| said == "t200.500n1.739");
    let short = |rows: &mut Rows, _: &mut Noise| {
        rows[700..900].iter_mut().for_each(|row| row.1.truncate(1));
    };
    check(short, |said| said == "t200.1240");
    let mut unspoilt = watch(1);
    let mut long = watch(1);
    let rows = noisy(1, 300, 1);
    let mut longer = rows.clone();
    longer.iter_mut().for_each(|row| row.1.extend([1e9, 7.0]));
    let expected = observe_all(&mut unspoilt, &rows);
    assert_eq!(observe_all(&mut long, &longer), expected);
    assert_eq!(long, unspoilt);
}

#[test]
fn a_doubled_or_late_sample_changes_nothing_that_follows() {
    for (from, back) in [(700, 0), (700, 1), (150, 3), (1000, 200)] {
        let rows = noisy(METRICS, ROWS, 1);
        let mut unspoilt = watch(METRICS);
        let expected = observe_all(&mut unspoilt, &rows);
        let mut spoilt = watch(METRICS);
        let mut said = Vec::new();
        for (index, (at, values)) in rows.iter().enumerate() {
            said.push(spoilt.observe(*at, values, Learning::On));
            // Up to nine in a row: more are a clock that was set back.
            if index >= from && index % 3 == 0 {
                for _ in 0..index % 10 {
                    let at = minute(index - back);
                    let late = spoilt.observe(at, &[1e6; METRICS], Learning::On);
                    assert_eq!(letter(&late), 'o');
                }
            }
        }
        assert_eq!(said, expected);
    }
}

#[test]
fn samples_out_of_order_make_no_alarm() {
    let shuffle = |rows: &mut Rows, noise: &mut Noise| {
        for index in 1..rows.len() {
            if noise.even() < 0.1 {
                rows.swap(index - 1, index);
            }
        }
    };
    check(shuffle, |said| said.contains("o1"));
}

#[test]
fn a_clock_set_forward_is_a_gap() {
    for ahead_ms in [4 * MINUTE_MS, 90 * MINUTE_MS, i64::MAX / 2] {
        let jump = |rows: &mut Rows, _: &mut Noise| {
            rows[700..].iter_mut().for_each(|row| row.0.0 += ahead_ms);
        };
        check(jump, |said| said == "t200.500g10.730");
    }
}

#[test]
fn a_clock_set_back_is_late_for_a_while_and_then_a_gap() {
    for back_ms in [30 * MINUTE_MS, 100_000 * MINUTE_MS] {
        let jump = |rows: &mut Rows, _: &mut Noise| {
            rows[700..].iter_mut().for_each(|row| row.0.0 -= back_ms);
        };
        check(jump, |said| said == "t200.500o9g10.721");
    }
}

#[test]
fn times_at_the_ends_of_time_are_times() {
    let mut watch = watch(1);
    let times = [i64::MIN, i64::MAX, i64::MAX, i64::MIN, 0, i64::MAX];
    for at in times.into_iter().cycle().take(1000) {
        watch.observe(Timestamp(at), &[at as f64], Learning::On);
        let _ = watch.stale(Timestamp(at.wrapping_add(1)));
        assert!(watch.is_sound());
    }
}

#[test]
fn a_metric_that_vanishes_and_returns_is_no_alarm() {
    let vanish = |rows: &mut Rows, _: &mut Noise| {
        rows[600..800]
            .iter_mut()
            .for_each(|row| row.1[0] = f64::NAN);
    };
    check(vanish, |said| said == "t200.1240");
    // The whole service.
    let vanish = |rows: &mut Rows, _: &mut Noise| drop(rows.drain(600..800));
    check(vanish, |said| said == "t200.400g10.630");
    // It comes back for a sample now and then.
    let blink = |rows: &mut Rows, _: &mut Noise| {
        for (index, row) in rows.iter_mut().enumerate().skip(600) {
            if index % 7 != 0 {
                row.1.clear();
            }
        }
    };
    check(blink, |said| said.contains("n6.1n6.1"));
}

#[test]
fn what_never_changes_is_never_strange() {
    for (value, expected) in [
        (0.0, "t100c5900"),
        (5.0, "t200.4801c999"),
        (-1e149, "t200.4801c999"),
        (5e-324, "t100c5900"),
    ] {
        let rows: Rows = (0..6000)
            .map(|index| (minute(index), vec![value; 2]))
            .collect();
        let said = letters(&observe_all(&mut watch(2), &rows));
        assert!(!said.contains(['B', 's']), "{value}: {said}");
        assert_eq!(said, expected, "{value}");
    }
}

#[test]
fn denormals_are_numbers() {
    for scale in [1e-320, 1e-200, 1e148] {
        let shrink = |rows: &mut Rows, _: &mut Noise| {
            rows.iter_mut()
                .flat_map(|row| &mut row.1)
                .for_each(|value| *value = (*value / 100.0) * scale);
        };
        check(shrink, |said| said == "t200.1240");
    }
}

#[test]
fn what_is_beyond_all_measure_has_evidence_in_finite_numbers() {
    let mut rows = noisy(1, 300, 1);
    rows.iter_mut().for_each(|row| row.1[0] *= 1e-300);
    rows[298..].iter_mut().for_each(|row| row.1[0] = 1e150);
    let said = observe_all(&mut watch(1), &rows);
    let Some(Verdict::Strange(anomaly)) = said.last() else {
        panic!("{:?}", said.last());
    };
    let metric = &anomaly.metrics[0];
    assert!(metric.strangeness.is_finite(), "{metric:?}");
    assert!(
        metric.features.iter().all(|it| it.1.is_finite()),
        "{metric:?}"
    );
}

#[test]
fn another_unit_is_told_once_and_then_learned() {
    let mut rows = noisy(1, 4000, 1);
    for row in &mut rows[1440..] {
        row.1[0] *= 1000.0;
    }
    let said = letters(&observe_all(&mut watch(1), &rows));
    assert_eq!(said.matches('B').count(), 1, "{said}");
    assert!(said.starts_with("t200.124"), "{said}");
}

#[test]
fn a_counter_is_watched_as_a_rate_which_a_reset_does_not_disturb() {
    for seed in SEEDS {
        let mut noise = Noise::new(seed);
        let (mut rate, mut total) = (Rate::default(), 0.0);
        let rows: Rows = (0..ROWS)
            .map(|index| {
                total += noise.around_100().max(0.0) * 60.0;
                if index % 400 == 399 {
                    total = 0.0;
                }
                let value = rate.per_second(minute(index), total);
                (minute(index), vec![value.unwrap_or(f64::NAN)])
            })
            .collect();
        let said = letters(&observe_all(&mut watch(1), &rows));
        assert_eq!(said, "n1t200.198n1.399n1.399n1.240", "seed {seed}");
    }
}

/// Numbers of every kind: all bits, all sizes, and the few that code trips over.
fn number() -> impl Strategy<Value = f64> {
    let sharp = [
        0.0,
        -0.0,
        1.0,
        f64::NAN,
        f64::INFINITY,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        1e150,
        -1e150,
        1e149,
    ];
    prop_oneof![
        prop::num::f64::ANY,
        prop::sample::select(sharp.to_vec()),
        -10.0..10.0_f64,
    ]
}

/// Distances of samples: mostly a step, now and then anything.
fn distance_ms() -> impl Strategy<Value = i64> {
    prop_oneof![
        12 => Just(MINUTE_MS),
        1 => -10 * MINUTE_MS..10 * MINUTE_MS,
        1 => any::<i64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_row_and_no_time_makes_it_panic_or_unsound(
        rows in prop::collection::vec(
            (distance_ms(), prop::collection::vec(number(), 0..5)), 0..500,
        ),
        frozen in any::<u64>(),
    ) {
        let mut watch = watch(3);
        let mut at = 0_i64;
        for (index, (distance_ms, values)) in rows.iter().enumerate() {
            at = at.saturating_add(*distance_ms);
            let learning = match frozen >> (index % 64) & 1 == 1 && index % 2 == 0 {
                true => Learning::Frozen,
                false => Learning::On,
            };
            let verdict = watch.observe(Timestamp(at), values, learning);
            prop_assert!(is_finite(&verdict), "{verdict:?}");
            prop_assert!(!verdict.to_string().is_empty());
            prop_assert!(watch.is_sound(), "{watch:?}");
        }
    }
}
