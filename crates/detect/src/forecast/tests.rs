//! Forecasts of made-up series, driven through the public functions.

use super::{
    Ahead, Forecast, Forecaster, LEVELS, Observed, STALE_STEPS, Season, Withheld, scale_hint,
};
use crate::tests::json::numbers;
use crate::tests::noise::Noise;
use proptest::prelude::*;
use regraft_model::Timestamp;

/// An hour: a day of few steps makes weeks cheap.
const STEP_S: u32 = 3_600;
const DAY: i64 = 24;
const WEEK: i64 = 7 * DAY;

fn new() -> Forecaster {
    Forecaster::new(STEP_S).expect("an hour is a step")
}

const STEP_MS: i64 = STEP_S as i64 * 1000;

fn time(hour: i64) -> Timestamp {
    Timestamp(hour * STEP_MS)
}

/// A forecaster that has seen these values, one an hour from 1970 on.
fn seen(values: impl IntoIterator<Item = f64>) -> Forecaster {
    let mut forecaster = new();
    for (hour, value) in (0..).zip(values) {
        forecaster.observe(time(hour), value);
    }
    forecaster
}

/// A wave of a day.
fn daily(hour: i64) -> f64 {
    100.0 + 50.0 * libm::sin(hour as f64 / DAY as f64 * std::f64::consts::TAU)
}

/// That, with quiet weekends.
fn weekly(hour: i64) -> f64 {
    let quiet = hour.rem_euclid(WEEK) >= 5 * DAY;
    if quiet { 40.0 } else { daily(hour) }
}

/// The wave with noise on it.
fn noisy(hours: i64, seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    (0..hours)
        .map(|hour| daily(hour) + 5.0 * noise.normal())
        .collect()
}

#[track_caller]
fn check_season(values: impl IntoIterator<Item = f64>, expected: Season) {
    assert_eq!(seen(values).season(), expected);
}

#[test]
fn a_day_is_found_and_a_week_when_days_differ() {
    check_season((0..4 * DAY).map(daily), Season::Day);
    check_season((0..4 * WEEK).map(weekly), Season::Week);
    check_season(noisy(4 * WEEK, 1), Season::Day);
}

#[test]
fn a_day_is_not_assumed_before_three_were_seen() {
    check_season((0..2 * DAY).map(daily), Season::None);
}

#[test]
fn a_series_without_a_season_gets_none() {
    check_season(std::iter::repeat_n(7.0, 500), Season::None);
    check_season((1_000..1_500).map(f64::from), Season::None);
    for seed in 0..20 {
        let mut noise = Noise::new(seed);
        check_season((0..500).map(|_| 100.0 + noise.normal()), Season::None);
        let mut level = 1_000.0;
        check_season(
            (0..500).map(|_| {
                level += noise.normal();
                level
            }),
            Season::None,
        );
    }
}

#[test]
fn without_a_season_days_ahead_are_flat() {
    let mut noise = Noise::new(3);
    let forecaster = seen((0..4 * WEEK).map(|_| 100.0 + 10.0 * noise.normal()));
    let forecast = forecaster
        .forecast(time(4 * WEEK - 1), 7 * DAY as usize)
        .expect("four weeks");
    let far = &forecast.steps[12..];
    for ahead in far {
        assert!((ahead.point - 100.0).abs() < 10.0, "{ahead:?}");
    }
    // Bands are watched at five distances beyond the near ones; only there another way of telling may take over.
    let changes = far
        .windows(2)
        .filter(|pair| pair[0].point != pair[1].point)
        .count();
    assert!(changes < 5, "{changes}");
}

#[test]
fn with_a_season_days_ahead_follow_it() {
    let forecaster = seen(noisy(4 * WEEK, 4));
    let now = 4 * WEEK - 1;
    let forecast = forecaster
        .forecast(time(now), 7 * DAY as usize)
        .expect("four weeks");
    let error: f64 = (1..)
        .zip(&forecast.steps)
        .map(|(step, ahead)| (ahead.point - daily(now + step)).abs())
        .sum::<f64>()
        / forecast.steps.len() as f64;
    // The noise is 5; the wave's mean deviation from its own mean is 32.
    assert!(error < 5.0, "{error}");
}

#[test]
fn bands_hold_what_they_promise() {
    let values = noisy(20 * WEEK, 5);
    let mut forecaster = new();
    let (mut inside, mut outside) = ([0_u32; 2], [0_u32; 2]);
    for (hour, &value) in (0_i64..).zip(&values) {
        forecaster.observe(time(hour), value);
        if hour < 4 * WEEK {
            continue;
        }
        let forecast = forecaster.forecast(time(hour), 24).expect("four weeks");
        for (i, step) in [6, 24].into_iter().enumerate() {
            let Some(&truth) = values.get(hour as usize + step) else {
                continue;
            };
            let ahead = forecast.steps[step - 1];
            if (ahead.quantile(0.1)..=ahead.quantile(0.9)).contains(&truth) {
                inside[i] += 1;
            } else {
                outside[i] += 1;
            }
        }
    }
    for (inside, outside) in inside.into_iter().zip(outside) {
        let share = f64::from(inside) / f64::from(inside + outside);
        assert!((0.77..=0.83).contains(&share), "{share}");
    }
}

#[test]
fn a_constant_series_stays_and_its_band_has_no_width() {
    let forecaster = seen(std::iter::repeat_n(7.0, 300));
    let forecast = forecaster.forecast(time(299), 24).expect("300 hours");
    for ahead in forecast.steps {
        assert_eq!(ahead.bounds, [7.0; LEVELS.len()]);
    }
}

#[test]
fn rates_are_not_forecast_below_zero() {
    let mut noise = Noise::new(6);
    let forecaster = seen((0..300).map(|_| if noise.even() < 0.7 { 0.0 } else { 20.0 }));
    let forecast = forecaster.forecast(time(299), 12).expect("300 hours");
    assert!(forecast.steps.iter().all(|ahead| ahead.bounds[0] >= 0.0));
}

#[test]
fn one_glitch_is_forgotten_within_a_day() {
    let mut values = noisy(4 * WEEK, 7);
    let glitch = 3 * WEEK as usize;
    values[glitch] *= 1e6;
    let forecaster = seen(values[..glitch + DAY as usize + 2].iter().copied());
    let now = glitch as i64 + DAY + 1;
    let forecast = forecaster.forecast(time(now), 12).expect("three weeks");
    for (step, ahead) in (1..).zip(&forecast.steps) {
        assert!(
            (ahead.point - daily(now + step)).abs() < 30.0,
            "{step}: {ahead:?}"
        );
    }
}

#[test]
fn what_was_stored_goes_on_as_if_it_had_not_been() {
    let values = noisy(3 * WEEK, 8);
    let mut forecaster = new();
    let mut loaded = forecaster.clone();
    for (hour, &value) in (0..).zip(&values) {
        forecaster.observe(time(hour), value);
        loaded.observe(time(hour), value);
        if hour % 50 == 0 {
            let text = serde_json::to_string(&loaded).expect("it serialises");
            loaded = serde_json::from_str(&text).expect("it was just stored");
            assert_eq!(serde_json::to_string(&loaded).expect("it serialises"), text);
        }
    }
    let now = time(3 * WEEK - 1);
    assert!(forecaster.forecast(now, 48).is_ok());
    assert_eq!(loaded.forecast(now, 48), forecaster.forecast(now, 48));
    assert_eq!(loaded, forecaster);
}

#[test]
fn a_changed_or_newer_stored_form_is_refused() {
    let stored = serde_json::to_value(seen(noisy(100, 9))).expect("it serialises");
    let check = |change: &dyn Fn(&mut serde_json::Value), expected: &str| {
        let mut stored = stored.clone();
        change(&mut stored);
        let error = serde_json::from_value::<Forecaster>(stored).expect_err("it was changed");
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(&|stored| stored["format"] = 2.into(), "format 2");
    check(&|stored| stored["step_s"] = 1_800.into(), "no samples lead");
    check(&|stored| stored["step_s"] = 7.into(), "a step of 7 s");
    let infinite = f64::INFINITY.to_bits();
    check(
        &|stored| stored["learned"]["history"]["values"][3] = infinite.into(),
        "no samples lead",
    );
    check(
        &|stored| stored["learned"]["history"]["last"] = i64::MAX.into(),
        "no samples lead",
    );
    check(
        &|stored| stored["learned"]["near"]["steps"] = serde_json::json!([]),
        "no samples lead",
    );
}

#[test]
fn memory_does_not_grow() {
    let first = seen([1.0]).bytes();
    assert_eq!(seen(noisy(5 * WEEK, 10)).bytes(), first);
    let mut finest = Forecaster::new(300).expect("five minutes are a step");
    finest.observe(time(0), 1.0);
    assert!(finest.bytes() <= 64 << 10, "{}", finest.bytes());
}

#[test]
fn little_data_tells_how_far_it_reaches() {
    assert_eq!(
        new().forecast(time(0), 1),
        Err(Withheld::TooLittle { ready: 0 })
    );
    let forecaster = seen(noisy(80, 11));
    let withheld = forecaster
        .forecast(time(79), 12)
        .expect_err("80 hours are little");
    let Withheld::TooLittle { ready } = withheld else {
        panic!("{withheld:?}");
    };
    assert!((1..12).contains(&ready), "{ready}");
    assert!(forecaster.forecast(time(79), ready).is_ok());
}

#[test]
fn an_old_newest_sample_is_stale() {
    let forecaster = seen(noisy(200, 12));
    let still = time(199 + STALE_STEPS);
    assert!(forecaster.forecast(still, 1).is_ok());
    let stale = forecaster.forecast(Timestamp(still.0 + 1), 1);
    assert_eq!(stale, Err(Withheld::Stale { last: time(199) }));
}

#[test]
fn after_a_long_gap_some_samples_are_awaited() {
    let mut forecaster = seen(noisy(400, 13));
    assert_eq!(
        forecaster.observe(time(430), daily(430)),
        Observed::AfterGap(30)
    );
    assert_eq!(
        forecaster.forecast(time(430), 1),
        Err(Withheld::Gap { missing: 11 })
    );
    for hour in 431..442 {
        assert_eq!(
            forecaster.observe(time(hour), daily(hour)),
            Observed::Learned
        );
    }
    let forecast = forecaster
        .forecast(time(441), 1)
        .expect("12 samples after the gap");
    assert!(
        (forecast.steps[0].point - daily(442)).abs() < 25.0,
        "{forecast:?}"
    );
}

/// What becomes of a sample after a hundred hours, and that it changed nothing when it was not learned from.
#[track_caller]
fn check_sample(hour: i64, value: f64, expected: Observed) {
    let mut forecaster = seen(noisy(100, 14));
    let before = forecaster.clone();
    assert_eq!(forecaster.observe(time(hour), value), expected);
    let now = time(99);
    if matches!(
        expected,
        Observed::Unusable | Observed::Repeated | Observed::Misplaced
    ) {
        assert_eq!(forecaster.forecast(now, 6), before.forecast(now, 6));
    }
}

#[test]
fn each_odd_sample_has_its_outcome() {
    check_sample(100, f64::NAN, Observed::Unusable);
    check_sample(100, f64::INFINITY, Observed::Unusable);
    check_sample(100, f64::NEG_INFINITY, Observed::Unusable);
    check_sample(100, 1e308, Observed::Unusable);
    check_sample(100, 1e99, Observed::Learned);
    check_sample(100, -0.0, Observed::Learned);
    check_sample(99, 1.0, Observed::Repeated);
    check_sample(50, 1.0, Observed::Misplaced);
    check_sample(99 + WEEK, 1.0, Observed::AfterGap(WEEK as usize - 1));
    check_sample(102 + WEEK, 1.0, Observed::Misplaced);
}

#[test]
fn a_clock_that_went_back_for_good_begins_anew() {
    let mut forecaster = seen(noisy(100, 15));
    let outcomes: Vec<Observed> = (0..40)
        .map(|hour| forecaster.observe(time(hour), 1.0))
        .collect();
    assert_eq!(outcomes[..35], [Observed::Misplaced; 35]);
    assert_eq!(outcomes[35..37], [Observed::Began, Observed::Learned]);
}

#[test]
fn a_step_must_divide_an_hour() {
    for step_s in [0, 60, 299, 7_200, 301, u32::MAX] {
        assert!(Forecaster::new(step_s).is_err(), "{step_s}");
    }
    for step_s in [300, 600, 900, 3_600] {
        assert!(Forecaster::new(step_s).is_ok(), "{step_s}");
    }
}

fn ahead(at: Timestamp, bounds: [f64; LEVELS.len()]) -> Ahead {
    Ahead {
        at,
        point: bounds[LEVELS.len() / 2],
        bounds,
    }
}

#[test]
fn quantiles_between_levels_are_interpolated_and_beyond_them_held() {
    let ahead = ahead(
        time(0),
        [1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0],
    );
    for level in [0.01, 0.05, 0.1, 0.2, 0.5, 0.8, 0.97, 0.99] {
        assert!(
            (ahead.quantile(level) - 100.0 * level).abs() < 1e-9,
            "{level}"
        );
    }
    for (level, expected) in [(-1.0, 1.0), (0.0, 1.0), (1.0, 99.0), (f64::NAN, 50.0)] {
        assert_eq!(ahead.quantile(level), expected, "{level}");
    }
}

#[track_caller]
fn check_hint(steps: usize, level: f64, load_per_replica: f64, expected: Option<(u32, i64)>) {
    let calm = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0];
    let forecast = Forecast {
        origin: time(0),
        step_s: STEP_S,
        season: Season::None,
        steps: vec![
            ahead(time(1), calm),
            ahead(time(2), calm.map(|bound| 3.0 * bound)),
            ahead(time(3), calm),
        ],
    };
    let hint = scale_hint(&forecast, steps, level, load_per_replica);
    let expected = expected.map(|(replicas, hour)| (replicas, time(hour)));
    assert_eq!(hint.map(|hint| (hint.replicas, hint.at)), expected);
}

#[test]
fn hints_carry_the_largest_load_of_the_steps_asked_for() {
    check_hint(1, 0.9, 25.0, Some((3, 1)));
    check_hint(3, 0.9, 25.0, Some((9, 2)));
    check_hint(99, 0.5, 25.0, Some((6, 2)));
    check_hint(3, 0.9, 1e-300, Some((super::HINT_REPLICAS_MAX, 2)));
    check_hint(3, 0.9, f64::INFINITY, Some((0, 2)));
    for nothing in [0.0, -1.0, f64::NAN] {
        check_hint(3, 0.9, nothing, None);
    }
    check_hint(0, 0.9, 25.0, None);
}

fn odd_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -10.0..1_000.0,
        1 => Just(0.0),
        1 => Just(f64::NAN),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(1e308),
        1 => Just(-1e100),
        1 => Just(1e100),
        1 => Just(f64::MIN_POSITIVE),
        1 => any::<f64>(),
    ]
}

/// What is stored of what was learned; small parts that much depends on are named beside the large ones.
const STORED_PARTS: [&str; 10] = [
    "",
    "/history",
    "/history/unit",
    "/history/negative",
    "/repeats",
    "/near/origins",
    "/near/unrest",
    "/near/steps/3/blend",
    "/near/steps/3/waiting",
    "/far/reaches/0/waiting",
];

fn odd_pause() -> impl Strategy<Value = i64> {
    prop_oneof![
        40 => Just(STEP_MS),
        2 => Just(0),
        2 => Just(-3 * STEP_MS),
        1 => 0..WEEK * STEP_MS,
        1 => any::<i64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_comes_forecasts_are_finite_and_in_order(
        samples in proptest::collection::vec((odd_pause(), odd_value()), 1..600),
        calm in 0_i64..600,
    ) {
        let mut forecaster = seen(noisy(calm, 16));
        let mut now = time(calm);
        for (pause, value) in samples {
            now.0 = now.0.saturating_add(pause);
            forecaster.observe(now, value);
            for steps in [1, 12, 40] {
                let Ok(forecast) = forecaster.forecast(now, steps) else { continue };
                for ahead in forecast.steps {
                    prop_assert!(ahead.bounds.iter().all(|bound| bound.is_finite()));
                    prop_assert!(ahead.bounds.is_sorted());
                    prop_assert!(ahead.bounds.contains(&ahead.point));
                }
            }
        }
        let text = serde_json::to_string(&forecaster).expect("it serialises");
        let loaded: Forecaster = serde_json::from_str(&text).expect("it was just stored");
        prop_assert_eq!(loaded, forecaster);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_changed_numbers_are_refused_or_lead_to_numbers(
        changes in proptest::collection::vec(
            (any::<proptest::sample::Index>(), odd_number()), 1..4,
        ),
        part in proptest::sample::select(STORED_PARTS.to_vec()),
    ) {
        let mut stored = serde_json::to_value(seen(noisy(2 * WEEK, 17))).expect("it serialises");
        let part = stored.pointer_mut(&format!("/learned{part}")).expect("it has this part");
        let mut numbers = numbers(part);
        for (place, number) in changes {
            let place = place.index(numbers.len());
            *numbers[place] = number;
        }
        let Ok(mut forecaster) = serde_json::from_value::<Forecaster>(stored) else {
            return Ok(());
        };
        for hour in 2 * WEEK..2 * WEEK + 60 {
            forecaster.observe(time(hour), daily(hour));
            let Ok(forecast) = forecaster.forecast(time(hour), 40) else { continue };
            for ahead in forecast.steps {
                prop_assert!(ahead.bounds.iter().all(|bound| bound.is_finite()), "{:?}", ahead);
                prop_assert!(ahead.bounds.is_sorted());
            }
        }
        let text = serde_json::to_string(&forecaster).expect("it serialises");
        prop_assert!(serde_json::from_str::<Forecaster>(&text).is_ok());
    }
}

/// Bits of finite numbers at all ends, and whole numbers.
fn odd_number() -> impl Strategy<Value = serde_json::Value> {
    let ends = vec![f64::MAX, f64::MIN, 1e300, -1e150, 5e-324, -1.0];
    prop_oneof![
        3 => proptest::sample::select(ends).prop_map(|number| number.to_bits().into()),
        1 => any::<f64>().prop_map(|number| number.to_bits().into()),
        1 => any::<i64>().prop_map(serde_json::Value::from),
        1 => (-2..3_i64).prop_map(serde_json::Value::from),
        1 => proptest::sample::select(vec![i64::MIN, i64::MAX]).prop_map(serde_json::Value::from),
    ]
}

#[test]
fn a_series_of_hardly_anything_that_was_and_becomes_huge_is_stored_whole() {
    let hardly = std::iter::once(1e100).chain(std::iter::repeat_n(1e-280, 72));
    let forecaster = seen(hardly.chain([1e100, 1e-280, -1e100, 1e100]));
    let text = serde_json::to_string(&forecaster).expect("it serialises");
    let loaded: Forecaster = serde_json::from_str(&text).expect("it was just stored");
    assert_eq!(loaded, forecaster);
}
