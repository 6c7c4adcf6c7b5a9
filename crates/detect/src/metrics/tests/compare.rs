//! Two groups of values.

use super::series::Noise;
use crate::metrics::compare::{Comparison, Groups, Limits, VALUES_MIN, one, several};
use proptest::prelude::*;

fn noise(count: usize, mean: f64, seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    (0..count).map(|_| mean + 10.0 * noise.normal()).collect()
}

/// `<` or `>` for the new group against the old one, `=` for no difference, `?` for too little data.
fn sign(comparison: &Comparison) -> char {
    match comparison {
        Comparison::TooLittleData { .. } => '?',
        Comparison::NoDifference(_) => '=',
        Comparison::Different(difference) if difference.effect > 0.0 => '>',
        Comparison::Different(_) => '<',
    }
}

#[track_caller]
fn check(old: &[f64], new: &[f64], expected: char) {
    let said = one(Groups { old, new }, &Limits::default());
    assert_eq!(sign(&said), expected, "{said:?}");
}

#[test]
fn groups_that_differ_are_told_apart_also_when_they_are_small() {
    check(&noise(200, 100.0, 1), &noise(20, 120.0, 2), '>');
    check(&noise(20, 100.0, 1), &noise(200, 80.0, 2), '<');
    check(&noise(8, 100.0, 1), &noise(8, 160.0, 2), '>');
    check(&noise(200, 100.0, 1), &noise(200, 100.0, 2), '=');
}

#[test]
fn too_few_numbers_say_nothing() {
    let few = noise(VALUES_MIN - 1, 1.0, 1);
    check(&noise(100, 900.0, 2), &few, '?');
    check(&few, &noise(100, 900.0, 2), '?');
    check(&[], &[], '?');
    let mut none = noise(VALUES_MIN, 1.0, 1);
    none[3] = f64::NAN;
    check(&none, &noise(100, 900.0, 2), '?');
}

#[test]
fn what_is_no_number_is_left_out() {
    let (old, new) = (noise(50, 100.0, 1), noise(50, 130.0, 2));
    let mut spoilt = old.clone();
    for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        spoilt.insert(20, none);
    }
    let limits = Limits::default();
    let expected = one(
        Groups {
            old: &old,
            new: &new,
        },
        &limits,
    );
    let said = one(
        Groups {
            old: &spoilt,
            new: &new,
        },
        &limits,
    );
    assert_eq!(said, expected);
}

#[test]
fn what_does_not_matter_is_no_difference_however_sure_it_is() {
    // One in 5000: beyond doubt, and nothing to anybody.
    let precise = |mean: f64, seed| -> Vec<f64> {
        let noise = noise(500, 0.0, seed);
        noise.iter().map(|it| mean + it / 1000.0).collect()
    };
    let (old, new) = (precise(100.0, 1), precise(100.02, 2));
    let said = one(
        Groups {
            old: &old,
            new: &new,
        },
        &Limits::default(),
    );
    let Comparison::NoDifference(difference) = said else {
        panic!("{said:?}");
    };
    assert!(difference.probability < 1e-9, "{difference:?}");
    assert!(difference.effect > 0.33, "{difference:?}");
    // A small effect, many values.
    check(&noise(2000, 100.0, 1), &noise(2000, 103.0, 2), '=');
}

#[test]
fn errors_that_are_mostly_zero_are_compared_though_both_medians_are() {
    let mut noise = Noise::new(1);
    let mut errors = |share: f64| -> Vec<f64> {
        let mut one = || if noise.even() < share { 3.0 } else { 0.0 };
        (0..100).map(|_| one()).collect()
    };
    let (old, new) = (errors(0.01), errors(0.45));
    check(&old, &new, '>');
}

#[test]
fn constant_groups_are_equal_or_not() {
    check(&[5.0; 30], &[5.0; 30], '=');
    check(&[5.0; 30], &[6.0; 30], '>');
    check(&[0.0; 30], &[-0.0; 30], '=');
    check(&[f64::MAX; 30], &[f64::MIN; 30], '<');
}

#[test]
fn neighbours_that_resemble_each_other_count_less() {
    // Two stretches of one slow wander: values are many, independent ones few.
    let mut alarms = 0;
    for seed in 0..100 {
        let mut noise = Noise::new(seed);
        let mut level = 0.0;
        let mut walk = || {
            level = 0.9 * level + noise.normal();
            100.0 + 10.0 * level
        };
        let old: Vec<f64> = (0..120).map(|_| walk()).collect();
        let new: Vec<f64> = (0..120).map(|_| walk()).collect();
        let said = one(
            Groups {
                old: &old,
                new: &new,
            },
            &Limits::default(),
        );
        alarms += usize::from(said.different().is_some());
    }
    // Without the correction, every third.
    assert!(alarms <= 5, "{alarms} of 100");
}

#[test]
fn noise_is_called_different_less_often_than_the_level() {
    let everything = Limits {
        level: 0.05,
        effect_min: 0.0,
        shift_min: 0.0,
    };
    for (olds, news) in [(8, 8), (10, 40), (60, 60)] {
        let mut alarms = 0;
        for seed in 0..2000 {
            let (old, new) = (noise(olds, 1.0, 2 * seed), noise(news, 1.0, 2 * seed + 1));
            let said = one(
                Groups {
                    old: &old,
                    new: &new,
                },
                &everything,
            );
            alarms += usize::from(said.different().is_some());
        }
        // 100 are expected at most; their deviation is 10.
        assert!(alarms <= 120, "{alarms} of 2000 with {olds} and {news}");
        assert!(
            alarms >= 30,
            "{alarms} of 2000: it would never say anything"
        );
    }
}

#[test]
fn many_metrics_at_once_are_not_more_often_called_different() {
    let everything = Limits {
        level: 0.05,
        effect_min: 0.0,
        shift_min: 0.0,
    };
    let (mut families, mut alone) = (0, 0);
    for seed in 0..200 {
        let values: Vec<_> = (0..40).map(|it| noise(20, 1.0, seed * 40 + it)).collect();
        let metrics: Vec<_> = values
            .chunks(2)
            .map(|pair| Groups {
                old: &pair[0],
                new: &pair[1],
            })
            .collect();
        let different = |said: &[Comparison]| said.iter().any(|it| it.different().is_some());
        families += usize::from(different(&several(&metrics, &everything)));
        let each: Vec<_> = metrics.iter().map(|it| one(*it, &everything)).collect();
        alone += usize::from(different(&each));
    }
    assert!(families <= 20, "{families} of 200");
    assert!(alone > 80, "{alone} of 200: there is nothing to correct");
}

#[test]
fn one_bad_metric_among_many_is_found_and_keeps_its_place() {
    let (same, other) = (noise(60, 100.0, 1), noise(60, 100.0, 2));
    let (worse, few) = (noise(60, 140.0, 3), noise(3, 1.0, 4));
    let mut metrics = vec![
        Groups {
            old: &same,
            new: &other
        };
        5
    ];
    metrics[1].new = &worse;
    metrics[3].new = &few;
    let said = several(&metrics, &Limits::default());
    assert_eq!(said.iter().map(sign).collect::<String>(), "=>=?=");
    assert_eq!(several(&[], &Limits::default()), []);
}

#[test]
fn a_difference_reads_well() {
    let (old, new) = (noise(60, 100.0, 1), noise(60, 115.0, 2));
    let said = one(
        Groups {
            old: &old,
            new: &new,
        },
        &Limits::default(),
    );
    insta::assert_snapshot!(said.different().unwrap());
}

fn group() -> impl Strategy<Value = Vec<f64>> {
    // Few different values, so that there are ties.
    prop::collection::vec((-20_i32..20).prop_map(|it| f64::from(it) / 2.0), 8..60)
}

proptest! {
    #[test]
    fn the_other_way_round_it_is_the_other_way_round(old in group(), new in group()) {
        let limits = Limits::default();
        let there = one(Groups { old: &old, new: &new }, &limits);
        let back = one(Groups { old: &new, new: &old }, &limits);
        match (there, back) {
            (Comparison::Different(one), Comparison::Different(other))
            | (Comparison::NoDifference(one), Comparison::NoDifference(other)) => {
                prop_assert!((one.effect + other.effect).abs() < 1e-12);
                prop_assert!((one.probability - other.probability).abs() < 1e-9);
                prop_assert_eq!(one.medians[0], other.medians[1]);
            }
            _ => prop_assert!(false, "{there:?} but {back:?}"),
        }
    }

    #[test]
    fn a_group_does_not_differ_from_itself(group in group()) {
        let said = one(Groups { old: &group, new: &group }, &Limits::default());
        prop_assert_eq!(sign(&said), '=');
    }

    #[test]
    fn only_the_order_of_values_counts(old in group(), new in group()) {
        let stretched = |values: &[f64]| values.iter().map(|it| libm::exp(it / 3.0)).collect();
        let (far_old, far_new): (Vec<f64>, Vec<f64>) = (stretched(&old), stretched(&new));
        let limits = Limits { shift_min: 0.0, ..Limits::default() };
        let near = one(Groups { old: &old, new: &new }, &limits);
        let far = one(Groups { old: &far_old, new: &far_new }, &limits);
        match (near, far) {
            (Comparison::Different(near), Comparison::Different(far))
            | (Comparison::NoDifference(near), Comparison::NoDifference(far)) => {
                prop_assert_eq!((near.effect, near.probability), (far.effect, far.probability));
            }
            _ => prop_assert!(false, "{near:?} but {far:?}"),
        }
    }

    #[test]
    fn any_numbers_give_a_probability_and_an_effect(
        old in prop::collection::vec(prop::num::f64::ANY, 0..60),
        new in prop::collection::vec(prop::num::f64::ANY, 0..60),
    ) {
        let said = one(Groups { old: &old, new: &new }, &Limits::default());
        if let Comparison::Different(difference) | Comparison::NoDifference(difference) = said {
            prop_assert!((0.0..=1.0).contains(&difference.probability));
            prop_assert!((-1.0..=1.0).contains(&difference.effect));
            prop_assert!(difference.medians.iter().all(|it| it.is_finite()));
        }
    }
}
