//! Counters as rates.

use super::series::minute;
use crate::metrics::Rate;
use proptest::prelude::*;
use regraft_model::Timestamp;

/// Gives (seconds, total) and expects the rates.
#[track_caller]
fn check(samples: &[(i64, f64)], expected: &[Option<f64>]) {
    let mut rate = Rate::default();
    let rates = samples
        .iter()
        .map(|(seconds, total)| rate.per_second(Timestamp(seconds * 1000), *total));
    assert_eq!(rates.collect::<Vec<_>>(), expected);
}

#[test]
fn a_rate_is_the_difference_by_time() {
    check(
        &[(0, 10.0), (10, 30.0), (15, 30.0), (35, 31.0)],
        &[None, Some(2.0), Some(0.0), Some(0.05)],
    );
}

#[test]
fn a_counter_that_falls_began_anew() {
    check(
        &[(0, 100.0), (10, 120.0), (20, 5.0), (30, 15.0)],
        &[None, Some(2.0), None, Some(1.0)],
    );
}

#[test]
fn what_is_no_total_or_came_late_is_as_if_it_had_not_come() {
    check(
        &[
            (0, 0.0),
            (10, f64::NAN),
            (10, f64::INFINITY),
            (10, -1.0),
            (20, 40.0),
            (20, 50.0),
            (5, 50.0),
            (30, 60.0),
        ],
        &[None, None, None, None, Some(2.0), None, None, Some(2.0)],
    );
}

#[test]
fn there_is_no_rate_over_a_gap() {
    check(
        &[(0, 0.0), (300, 300.0), (601, 600.0), (611, 610.0)],
        &[None, Some(1.0), None, Some(1.0)],
    );
}

#[test]
fn a_clock_set_back_for_long_counts_from_there() {
    let mut rate = Rate::default();
    rate.per_second(minute(10_000), 1e9);
    let rates: Vec<_> = (0..20)
        .map(|index| rate.per_second(minute(index), index as f64 * 60.0))
        .collect();
    assert_eq!(rates[..10], [None; 10]);
    assert_eq!(rates[10..], [Some(1.0); 10]);
}

proptest! {
    #[test]
    fn a_rate_is_finite_and_never_negative(
        samples in prop::collection::vec((any::<i64>(), prop::num::f64::ANY), 0..50),
    ) {
        let mut rate = Rate::default();
        for (at, total) in samples {
            let rate = rate.per_second(Timestamp(at), total);
            prop_assert!(rate.is_none_or(|rate| rate.is_finite() && rate >= 0.0));
        }
    }
}

#[test]
fn a_damaged_stored_form_goes_on() {
    let mut rate = Rate::default();
    rate.per_second(Timestamp(1000), 5.0);
    let mut stored = serde_json::to_value(rate).unwrap();
    stored["late"] = 255.into();
    let mut rate: Rate = serde_json::from_value(stored).unwrap();
    assert_eq!(rate.per_second(Timestamp(0), 1.0), None);
    assert_eq!(rate.per_second(Timestamp(1000), 3.0), Some(2.0));
}
