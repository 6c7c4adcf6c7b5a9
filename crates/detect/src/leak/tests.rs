//! Made-up memory of pods: what leaks, and what only looks like it.

use super::*;
use crate::tests::json::numbers;
use proptest::prelude::*;
use std::fmt::Write as _;

const MINUTES_5: i64 = 300_000;
const DAY_HOURS: f64 = 24.0;

/// From -0.5 to 0.5, the same for the same number.
fn noise(index: i64) -> f64 {
    crate::tests::noise::at(index as u64) as f64 / u64::MAX as f64 - 0.5
}

/// Samples every `step_ms` for so many days, of a value at each hour.
fn series(days: i64, step_ms: i64, value: impl Fn(f64) -> f64) -> Vec<(Timestamp, f64)> {
    (0..days * 86_400_000 / step_ms)
        .map(|index| {
            let at = index * step_ms;
            (Timestamp(at), value(at as f64 / HOUR_MS as f64) + noise(at))
        })
        .collect()
}

struct Seen {
    /// Hours from the start of the series to the first leak.
    first_hours: Option<f64>,
    last: Verdict,
    detector: Detector,
}

fn watch(limit: Option<f64>, samples: &[(Timestamp, f64)]) -> Seen {
    let mut detector = Detector::new(limit);
    let (mut first, mut last) = (None, Verdict::Nothing);
    for (at, value) in samples {
        last = detector.observe(&Options::default(), *at, *value);
        if matches!(last, Verdict::Leak(_)) && first.is_none() {
            first = Some(at.0 as f64 / HOUR_MS as f64);
        }
    }
    Seen {
        first_hours: first,
        last,
        detector,
    }
}

fn check_clean(value: impl Fn(f64) -> f64) {
    let seen = watch(None, &series(20, 900_000, value));
    assert_eq!(seen.first_hours, None);
    assert_eq!(seen.last, Verdict::Nothing);
}

fn check_leak(step_ms: i64, value: impl Fn(f64) -> f64) -> Leak {
    let seen = watch(Some(400.0), &series(10, step_ms, value));
    let Verdict::Leak(leak) = seen.last else {
        panic!("{:?}", seen.last);
    };
    leak
}

/// Growth after six days.
fn growth(hour: f64, per_day: f64) -> f64 {
    (hour - 6.0 * DAY_HOURS).max(0.0) * per_day / DAY_HOURS
}

/// Falls back to its floor every two hours.
fn sawtooth(hour: f64) -> f64 {
    (hour % 2.0) * 50.0
}

fn season(hour: f64) -> f64 {
    20.0 * (hour / DAY_HOURS * std::f64::consts::TAU).sin()
}

#[test]
fn noise_a_constant_a_season_a_sawtooth_and_a_step_are_no_leak() {
    check_clean(|_| 100.0);
    check_clean(|hour| 100.0 + 20.0 * noise(hour as i64));
    check_clean(|hour| 100.0 + season(hour));
    check_clean(|hour| 100.0 + sawtooth(hour));
    check_clean(|hour| if hour < 240.0 { 100.0 } else { 130.0 });
}

#[test]
fn growth_that_a_series_always_had_is_no_leak_without_a_limit() {
    check_clean(|hour| 100.0 + hour);
}

#[test]
fn steady_growth_is_a_leak_whatever_the_step() {
    for step_ms in [15_000, 60_000, MINUTES_5, 900_000] {
        let leak = check_leak(step_ms, |hour| 100.0 + growth(hour, 5.0));
        let (low, high) = leak.slope_interval;
        assert!(low <= 5.0 / 24.0 && 5.0 / 24.0 <= high, "{leak:?}");
        assert!(leak.r_squared > 0.9, "{leak:?}");
        assert!(leak.times_usual.unwrap() > 1.4, "{leak:?}");
    }
}

#[test]
fn a_leak_is_seen_in_the_floor_of_a_sawtooth_that_hides_it() {
    // Falls back at random times, so that the median of an hour wanders more than the leak grows.
    let leak = check_leak(MINUTES_5, |hour| {
        let teeth = (hour / 1.7) as i64;
        100.0 + growth(hour, 4.0) + (hour / 1.7).fract() * 60.0 * (1.3 + noise(teeth))
    });
    assert_eq!(leak.sight, Sight::Floor);
}

#[test]
fn a_leak_is_seen_through_a_daily_season() {
    check_leak(MINUTES_5, |hour| 100.0 + season(hour) + growth(hour, 20.0));
}

#[test]
fn the_time_to_the_limit_is_what_is_left_over_the_pace() {
    let leak = check_leak(MINUTES_5, |hour| 100.0 + growth(hour, 24.0));
    let exhaustion = leak.exhaustion.unwrap();
    assert!((exhaustion.hours - (400.0 - leak.level) / leak.slope).abs() < 1e-9);
    assert!((exhaustion.hours - 204.0).abs() < 5.0, "{exhaustion:?}");
    let latest = exhaustion.latest_hours.unwrap();
    assert!(exhaustion.soonest_hours <= exhaustion.hours && exhaustion.hours <= latest);
}

#[test]
fn growth_from_the_first_hour_is_a_leak_when_the_limit_is_near() {
    let samples = series(4, MINUTES_5, |hour| 100.0 + hour);
    assert!(watch(Some(220.0), &samples).first_hours.is_some());
    assert!(watch(Some(2000.0), &samples).first_hours.is_none());
}

#[test]
fn a_leak_ends_when_growth_ends() {
    let samples = series(16, MINUTES_5, |hour| 100.0 + growth(hour.min(216.0), 5.0));
    let seen = watch(None, &samples);
    assert!(seen.first_hours.is_some());
    assert_eq!(seen.last, Verdict::Nothing);
}

#[test]
fn a_restart_begins_a_new_life_whether_told_or_seen() {
    let leaky = |hour: f64| 100.0 + growth(hour, 5.0);
    let mut told = watch(None, &series(10, MINUTES_5, leaky)).detector;
    told.restarted();
    let at = Timestamp(10 * 86_400_000);
    let after = told.observe(&Options::default(), at, 100.0);
    assert!(matches!(after, Verdict::TooLittleData { .. }), "{after:?}");

    let falls = |hour: f64| if hour < 238.0 { leaky(hour) } else { 20.0 };
    let seen = watch(None, &series(10, MINUTES_5, falls));
    assert!(
        matches!(seen.last, Verdict::TooLittleData { hours: 1, .. }),
        "{:?}",
        seen.last
    );
}

#[test]
fn a_sawtooth_that_falls_to_a_tenth_is_no_restart() {
    let samples = series(4, MINUTES_5, |hour| 10.0 + (hour % 2.0) * 50.0);
    assert_eq!(watch(None, &samples).last, Verdict::Nothing);
}

#[test]
fn an_old_sample_is_stale_and_a_long_gap_is_too_little_data() {
    let mut seen = watch(
        None,
        &series(10, MINUTES_5, |hour| 100.0 + growth(hour, 5.0)),
    );
    let (last, _) = seen.detector.last.unwrap();
    let now = Timestamp(last.0 + 3 * HOUR_MS);
    let options = Options::default();
    assert_eq!(
        seen.detector.verdict(&options, now),
        Verdict::Stale { last }
    );
    for minute in 0..120 {
        let at = Timestamp(last.0 + 40 * HOUR_MS + minute * 60_000);
        let verdict = seen.detector.observe(&options, at, 150.0);
        assert!(!matches!(verdict, Verdict::Stale { .. }));
        if minute >= 60 {
            assert!(
                matches!(verdict, Verdict::TooLittleData { .. }),
                "{verdict:?}"
            );
        }
    }
}

#[test]
fn what_is_no_amount_of_memory_or_not_newer_changes_nothing() {
    let mut detector = watch(None, &series(3, MINUTES_5, |_| 100.0)).detector;
    let before = detector.clone();
    let later = Timestamp(4 * 86_400_000);
    for value in [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e308,
        -1.0,
        MEMORY_MAX * 2.0,
    ] {
        detector.observe(&Options::default(), later, value);
        assert_eq!(detector, before, "{value}");
    }
    let (last, _) = detector.last.unwrap();
    for at in [last, Timestamp(last.0 - 1)] {
        detector.observe(&Options::default(), at, 1e9);
        assert_eq!(
            (detector.last, &detector.window),
            (before.last, &before.window)
        );
    }
}

#[test]
fn a_clock_that_went_back_for_good_starts_anew() {
    let mut detector = watch(None, &series(4, MINUTES_5, |_| 100.0)).detector;
    let mut last = Verdict::Nothing;
    for minute in 0..120 {
        last = detector.observe(&Options::default(), Timestamp(minute * 60_000), 100.0);
    }
    assert!(matches!(last, Verdict::TooLittleData { .. }), "{last:?}");
    assert_eq!(detector.last.unwrap().0, Timestamp(119 * 60_000));
}

#[test]
fn it_goes_on_from_its_serde_form_to_the_same_bytes() {
    let samples = series(10, MINUTES_5, |hour| {
        100.0 + season(hour) + growth(hour, 20.0)
    });
    let mut whole = Detector::new(Some(300.0));
    let mut parts = whole.clone();
    for (index, (at, value)) in samples.iter().enumerate() {
        let said = whole.observe(&Options::default(), *at, *value);
        if index % 97 == 0 {
            let text = serde_json::to_string(&parts).unwrap();
            parts = serde_json::from_str(&text).unwrap();
        }
        assert_eq!(parts.observe(&Options::default(), *at, *value), said);
    }
    let text = |detector: &Detector| serde_json::to_string(detector).unwrap();
    assert_eq!(text(&whole), text(&parts));
}

/// Changes the stored form of a detector that has seen ten days of a leak.
fn changed(change: impl FnOnce(&mut serde_json::Value)) -> Result<Detector, String> {
    let samples = series(10, MINUTES_5, |hour| 100.0 + growth(hour, 20.0));
    let mut stored = serde_json::to_value(watch(Some(1e9), &samples).detector).unwrap();
    change(&mut stored);
    serde_json::from_value(stored).map_err(|error| error.to_string())
}

#[test]
fn a_changed_or_newer_stored_form_is_refused() {
    let check = |path: &str, value: serde_json::Value, expected: &str| {
        let read = changed(|stored| *stored.pointer_mut(path).unwrap() = value);
        let error = read.expect_err(path);
        assert!(error.contains(expected), "{path}: {error}");
    };
    assert!(changed(|_| ()).is_ok());
    check("/format", 2.into(), "format 2");
    check("/format", 0.into(), "no format 0");
    let damaged = "no samples lead to its numbers";
    check("/limit", (-1).into(), damaged);
    check("/limit", 1e19.into(), damaged);
    check("/last", serde_json::Value::Null, damaged);
    check("/last/0", i64::MIN.into(), damaged);
    check("/last/1", (-1).into(), damaged);
    check("/old_samples", 255.into(), damaged);
    check("/window/3/number", 0.into(), damaged);
    check("/window/3/number", i32::MAX.into(), damaged);
    check("/window/0/number", 0.into(), damaged);
    check("/window/0/number", i32::MIN.into(), damaged);
    check("/window/3/middle", 1e30.into(), damaged);
    check("/window/3/floor", 1e30.into(), damaged);
    check("/collector/number", 0.into(), damaged);
    check("/collector/samples", Vec::<f32>::new().into(), damaged);
    check("/collector/samples", vec![1; 61].into(), damaged);
    check("/collector/lows/0/0", i32::MAX.into(), damaged);
    check("/middle/slopes", vec![1; 73].into(), damaged);
    check("/middle/last_slope", i32::MAX.into(), damaged);
    check("/middle/since", i64::MAX.into(), damaged);
    check("/floor/slopes/0", (-1).into(), damaged);
    check("/floor/strength", (-1).into(), damaged);
    check("/floor/highest_before", (-1).into(), damaged);
}

#[test]
fn a_time_before_all_hours_that_are_counted_does_not_stay_in_the_window() {
    let mut samples = series(30, 1_800_000, |_| 100.0);
    samples.insert(0, (Timestamp(i64::MIN), 100.0));
    let seen = watch(None, &samples);
    assert_eq!(seen.last, Verdict::Nothing);
    assert_eq!(
        seen.detector.window.len(),
        Options::default().window_hours as usize
    );
}

#[test]
fn without_hours_that_it_has_to_last_a_constant_is_no_leak_either() {
    let options = Options {
        lasting_hours: 0,
        ..Options::default()
    };
    let mut detector = Detector::new(None);
    for (at, value) in series(10, 1_800_000, |_| 100.0) {
        let said = detector.observe(&options, at, value);
        assert!(!matches!(said, Verdict::Leak(_)), "{said:?}");
    }
}

#[test]
fn a_limit_that_nothing_reaches_is_none() {
    let samples = series(10, MINUTES_5, |hour| 100.0 + growth(hour, 20.0));
    for limit in [f64::MAX, 9_223_372_036_854_771_712.0] {
        let Verdict::Leak(leak) = watch(Some(limit), &samples).last else {
            panic!("no leak");
        };
        assert_eq!(leak.exhaustion, None, "{limit}");
    }
}

#[test]
fn it_takes_no_more_than_it_says() {
    let detector = watch(
        Some(1e9),
        &series(30, 60_000, |hour| 100.0 + growth(hour, 20.0)),
    )
    .detector;
    let track = |track: &Track| {
        track.slopes.capacity() * size_of::<f32>() + track.trend.iter().count() * size_of::<Trend>()
    };
    let bytes = size_of::<Detector>()
        + detector.window.capacity() * size_of::<Hour>()
        + detector.collector.bytes()
        + track(&detector.middle)
        + track(&detector.floor);
    assert!(bytes <= STATE_BYTES, "{bytes}");
}

#[test]
fn the_evidence_reads_as_a_person_would_say_it() {
    let mut text = String::new();
    for (limit, per_day) in [(None, 5e6), (Some(400e6), 24e6)] {
        let samples = series(10, MINUTES_5, |hour| 100e6 + growth(hour, per_day));
        let Verdict::Leak(leak) = watch(limit, &samples).last else {
            panic!("no leak");
        };
        writeln!(text, "{leak}\n").unwrap();
    }
    insta::assert_snapshot!(text);
}

fn any_sample() -> impl Strategy<Value = (i64, f64)> {
    let step = prop_oneof![8 => 0..7_200_000i64, 1 => -7_200_000..0i64, 1 => any::<i64>()];
    let value = prop_oneof![
        6 => 0.0..1e10,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(1e308),
        1 => any::<f64>(),
    ];
    (step, value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_input_makes_it_panic_or_say_what_is_no_number(
        samples in proptest::collection::vec(any_sample(), 0..600),
        limit in proptest::option::of(any::<f64>()),
    ) {
        let mut detector = Detector::new(limit);
        let mut at = 0i64;
        for (step, value) in samples {
            at = at.saturating_add(step);
            if let Verdict::Leak(leak) = detector.observe(&Options::default(), Timestamp(at), value) {
                prop_assert!(leak.slope.is_finite() && leak.level.is_finite());
                prop_assert!(leak.slope > 0.0);
            }
            prop_assert!(detector.strength().is_finite());
        }
        let text = serde_json::to_string(&detector).unwrap();
        prop_assert!(serde_json::from_str::<Detector>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn any_changed_number_is_refused_or_leads_to_no_nonsense(
        place in any::<prop::sample::Index>(),
        number in prop_oneof![
            (-2i64..3000).prop_map(|it| serde_json::json!(it)),
            any::<i64>().prop_map(|it| serde_json::json!(it)),
            any::<f32>().prop_map(|it| serde_json::json!(it)),
        ],
    ) {
        let read = changed(|stored| {
            let mut numbers = numbers(stored);
            let place = place.index(numbers.len());
            *numbers[place] = number;
        });
        if let Ok(mut detector) = read {
            let last = detector.last.unwrap().0;
            for hours in 1..200 {
                let at = Timestamp(last.0.saturating_add(hours * 3_600_000));
                if let Verdict::Leak(leak) = detector.observe(&Options::default(), at, 300.0) {
                    prop_assert!(leak.slope.is_finite() && leak.level.is_finite());
                }
            }
            prop_assert!(detector.window.len() <= Options::WINDOW_HOURS_MAX as usize);
            let text = serde_json::to_string(&detector).unwrap();
            prop_assert!(serde_json::from_str::<Detector>(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn bad_samples_among_good_ones_change_no_verdict(
        bad in proptest::collection::vec((0..2880usize, prop_oneof![
            Just(f64::NAN), Just(f64::INFINITY), Just(-5.0), Just(1e308)
        ]), 1..200),
    ) {
        let good = series(10, MINUTES_5, |hour| 100.0 + growth(hour, 5.0));
        let mut mixed = good.clone();
        for (place, value) in bad {
            let at = mixed[place].0;
            mixed.insert(place, (at, value));
        }
        let clean = watch(None, &good);
        let seen = watch(None, &mixed);
        prop_assert_eq!(clean.first_hours, seen.first_hours);
        prop_assert_eq!(clean.last, seen.last);
    }

    #[test]
    fn a_step_and_a_spike_are_no_leak(
        (step, by) in (0.0..300.0f64, -40.0..40.0f64),
        spike in 0.0..300.0f64,
    ) {
        let value = |hour: f64| {
            let level = if hour < step { 0.0 } else { by };
            let spike = if (spike..spike + 2.0).contains(&hour) { 500.0 } else { 0.0 };
            200.0 + level + spike + 5.0 * noise(hour as i64)
        };
        prop_assert_eq!(watch(None, &series(13, 900_000, value)).first_hours, None);
    }
}
