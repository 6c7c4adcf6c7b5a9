//! Since when the level is another.

use super::series::{Noise, minute};
use crate::metrics::change_point::{SIDE_MIN, Shift, WINDOW_MAX, find};
use crate::metrics::compare::Limits;
use proptest::prelude::*;
use regraft_model::Timestamp;

type Samples = Vec<(Timestamp, f64)>;

/// Noise of deviation 10 around 100, raised by `shift` from an index on.
fn stepped(count: usize, from: usize, shift: f64, seed: u64) -> Samples {
    let mut noise = Noise::new(seed);
    let mut value = |index| noise.around_100() + if index < from { 0.0 } else { shift };
    (0..count)
        .map(|index| (minute(index), value(index)))
        .collect()
}

/// Expects a change within so many samples of where it is.
#[track_caller]
fn check(samples: &[(Timestamp, f64)], expected: usize, within: usize) {
    let said = find(samples, &Limits::default());
    let Shift::Shifted(found) = said else {
        panic!("{said:?}");
    };
    assert!(found.index.abs_diff(expected) <= within, "{found:?}");
    assert_eq!(found.since, samples[found.index].0);
    assert!(found.not_yet < found.since);
    let [before, after] = found.difference.medians;
    let rises = found.difference.effect > 0.0;
    assert_eq!(rises, after > before);
}

#[test]
fn a_step_is_found_where_it_is() {
    for seed in 0..20 {
        check(&stepped(200, 120, 40.0, seed), 120, 2);
        check(&stepped(200, 120, -40.0, seed), 120, 2);
        check(&stepped(500, 50, 20.0, seed), 50, 6);
        check(&stepped(60, 60 - SIDE_MIN, 60.0, seed), 60 - SIDE_MIN, 1);
    }
}

#[test]
fn outliers_are_no_step() {
    let mut samples = stepped(200, 120, 40.0, 1);
    for index in [10, 60, 61, 150] {
        samples[index].1 = 1e9;
    }
    check(&samples, 120, 2);
    let mut samples = stepped(200, 200, 0.0, 1);
    samples[100].1 = 1e9;
    assert_eq!(find(&samples, &Limits::default()), Shift::None);
}

#[test]
fn what_is_no_number_is_left_out_and_indices_stay() {
    let mut samples = stepped(200, 120, 60.0, 1);
    for index in (0..200).step_by(3) {
        samples[index].1 = f64::NAN;
    }
    // The 120th is none: the first number of the new level is the next one.
    check(&samples, 121, 0);
}

#[test]
fn only_the_newest_are_looked_at() {
    let samples = stepped(WINDOW_MAX + 100, 80, 40.0, 1);
    assert_eq!(find(&samples, &Limits::default()), Shift::None);
    let at = WINDOW_MAX - 30;
    check(&stepped(WINDOW_MAX + 100, at, 40.0, 1), at, 1);
}

#[test]
fn too_few_say_nothing() {
    let need = 2 * SIDE_MIN;
    for have in [0, 1, need - 1] {
        let said = find(&stepped(have, 3, 90.0, 1), &Limits::default());
        assert_eq!(said, Shift::TooLittleData { have, need });
    }
    let mut spoilt = stepped(need, SIDE_MIN, 90.0, 1);
    check(&spoilt, SIDE_MIN, 0);
    spoilt[0].1 = f64::INFINITY;
    let have = need - 1;
    assert_eq!(
        find(&spoilt, &Limits::default()),
        Shift::TooLittleData { have, need }
    );
}

#[test]
fn a_constant_has_no_change_and_a_step_of_constants_has() {
    let level = |index: usize| if index < 40 { 1.0 } else { 2.0 };
    let samples: Samples = (0..100)
        .map(|index| (minute(index), level(index)))
        .collect();
    check(&samples, 40, 0);
    let samples: Samples = (0..100).map(|index| (minute(index), 7.0)).collect();
    assert_eq!(find(&samples, &Limits::default()), Shift::None);
}

#[test]
fn noise_changes_less_often_than_the_level() {
    let everything = Limits {
        level: 0.05,
        effect_min: 0.0,
        shift_min: 0.0,
    };
    for count in [16, 60, 300] {
        let mut alarms = 0;
        for seed in 0..1000 {
            let samples = stepped(count, count, 0.0, seed);
            alarms += usize::from(find(&samples, &everything) != Shift::None);
        }
        assert!(alarms <= 50, "{alarms} of 1000 with {count}");
    }
}

#[test]
fn a_wander_is_no_step() {
    let mut alarms = 0;
    for seed in 0..100 {
        let mut noise = Noise::new(seed);
        let mut level = 0.0;
        let mut value = |_| {
            level = 0.9 * level + noise.normal();
            100.0 + 10.0 * level
        };
        let samples: Samples = (0..300)
            .map(|index| (minute(index), value(index)))
            .collect();
        alarms += usize::from(find(&samples, &Limits::default()) != Shift::None);
    }
    // Without the correction for neighbours, most of them.
    assert!(alarms <= 10, "{alarms} of 100");
}

proptest! {
    #[test]
    fn any_numbers_give_an_answer_within_the_window(
        values in prop::collection::vec(prop::num::f64::ANY, 0..700),
    ) {
        let samples: Samples = values.iter().enumerate().map(|(index, value)| (minute(index), *value)).collect();
        if let Shift::Shifted(found) = find(&samples, &Limits::default()) {
            prop_assert!(found.index < samples.len());
            prop_assert!(found.index + WINDOW_MAX >= samples.len());
            prop_assert!((0.0..=1.0).contains(&found.difference.probability));
        }
    }

    #[test]
    fn that_there_was_a_change_depends_on_the_order_of_values_only(
        values in prop::collection::vec(-20_i32..20, 16..100), step in 0_i32..30,
    ) {
        let half = values.len() / 2;
        let level = |index: usize, value: i32| f64::from(value + if index < half { 0 } else { step });
        let near = |(index, value): (usize, &i32)| (minute(index), level(index, *value));
        let far = |sample: &(Timestamp, f64)| (sample.0, libm::exp(sample.1 / 5.0));
        let near_samples: Samples = values.iter().enumerate().map(near).collect();
        let far_samples: Samples = near_samples.iter().map(far).collect();
        let limits = Limits { shift_min: 0.0, ..Limits::default() };
        let (near, far) = (find(&near_samples, &limits), find(&far_samples, &limits));
        if let (Shift::Shifted(near), Shift::Shifted(far)) = (near, far) {
            prop_assert_eq!(near.difference.probability, far.difference.probability);
        }
        // Where it was depends on more, and by that, in a close case, whether the effect is large enough.
        let limits = Limits { effect_min: 0.0, ..limits };
        let there = |samples: &Samples| matches!(find(samples, &limits), Shift::Shifted(_));
        prop_assert_eq!(there(&near_samples), there(&far_samples));
    }
}
