//! What stands at the axes: round values and times that people know.

use regraft_model::Timestamp;

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 3600;
const DAY_S: i64 = 86_400;
/// Distances of times.
const STEPS_S: [i64; 15] = [
    MINUTE_S,
    5 * MINUTE_S,
    15 * MINUTE_S,
    30 * MINUTE_S,
    HOUR_S,
    3 * HOUR_S,
    6 * HOUR_S,
    12 * HOUR_S,
    DAY_S,
    2 * DAY_S,
    4 * DAY_S,
    7 * DAY_S,
    14 * DAY_S,
    28 * DAY_S,
    91 * DAY_S,
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// Sizes from which a value is written with a letter.
const PREFIXES: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")];
/// Values that are further from 1 than this are written with an exponent.
const PLAIN: std::ops::Range<f64> = 1e-4..1e15;

/// Round values between two, about so many, with what is written at them.
pub(super) fn values(low: f64, high: f64, about: usize) -> Vec<(f64, String)> {
    let wanted = (high - low) / about as f64;
    let magnitude = 10_f64.powf(wanted.log10().floor());
    let round = [1.0, 2.0, 5.0].map(|it| it * magnitude);
    let step = round.into_iter().find(|it| *it >= wanted);
    let step = step.unwrap_or(10.0 * magnitude);
    let first = (low / step).ceil();
    let largest = low.abs().max(high.abs());
    (0..=2 * about)
        .map(|index| (first + index as f64) * step)
        .take_while(|value| *value <= high)
        .map(|value| (value, value_text(value, step, largest)))
        .collect()
}

fn value_text(value: f64, step: f64, largest: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !PLAIN.contains(&largest) {
        return format!("{value:.1e}");
    }
    let prefix = PREFIXES.into_iter().find(|(from, _)| largest >= *from);
    let (unit, letter) = match prefix {
        Some((_, "k")) => (1e3, "k"),
        Some(prefix) => prefix,
        None => (1.0, ""),
    };
    let digits = (-(step / unit).log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{:.digits$}{letter}", value / unit)
}

/// Round times from one to another, at most so many, with what is written at them.
pub(super) fn times(first: Timestamp, last: Timestamp, most: usize) -> Vec<(Timestamp, String)> {
    let wanted_s = last.millis_since(first) / 1000 / most.max(1) as i64 + 1;
    let step_s = STEPS_S.into_iter().find(|step_s| *step_s >= wanted_s);
    let step_ms = step_s.unwrap_or(wanted_s).saturating_mul(1000);
    let begin = first.0.div_euclid(step_ms) + i64::from(first.0.rem_euclid(step_ms) > 0);
    (0..=most as i64)
        .map(|index| Timestamp((begin + index).saturating_mul(step_ms)))
        .take_while(|at| *at <= last)
        .map(|at| {
            let day = day(at);
            let text = match step_ms < DAY_S * 1000 {
                true => format!("{day} {}", at.to_rfc3339().get(11..16).unwrap_or_default()),
                false => day,
            };
            (at, text)
        })
        .collect()
}

/// A day with its year.
pub(super) fn date(at: Timestamp) -> String {
    let text = at.to_rfc3339();
    format!("{} {}", day(at), text.get(..4).unwrap_or_default())
}

/// A day of a month.
fn day(at: Timestamp) -> String {
    let text = at.to_rfc3339();
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<usize>().ok();
    let month = number(5..7).and_then(|month| MONTHS.get(month.checked_sub(1)?));
    match (month, number(8..10)) {
        (Some(month), Some(day)) => format!("{day} {month}"),
        // A year with more than four digits.
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_values(low: f64, high: f64, expected: &str) {
        let labels = values(low, high, 5).into_iter().map(|it| it.1);
        assert_eq!(labels.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn values_are_round() {
        check_values(28.4, 53.9, "30 40 50");
        check_values(-2.2, 2.2, "-2 -1 0 1 2");
        check_values(0.0, 1.9, "0 0.5 1.0 1.5");
        check_values(-3000.0, 43_000.0, "0 10k 20k 30k 40k");
        check_values(1.2e9, 2.9e9, "1.5G 2.0G 2.5G");
        check_values(1e-9, 2e-9, "1.0e-9 1.2e-9 1.4e-9 1.6e-9 1.8e-9 2.0e-9");
    }

    #[track_caller]
    fn check_times(first_s: i64, length_s: i64, expected: &str) {
        let [first, last] = [first_s, first_s + length_s].map(|it| Timestamp(it * 1000));
        let labels = times(first, last, 4).into_iter().map(|it| it.1);
        assert_eq!(labels.collect::<Vec<_>>().join(", "), expected);
    }

    #[test]
    fn times_are_those_of_clocks_and_calendars() {
        check_times(1_700_000_000, HOUR_S, "14 Nov 22:30, 14 Nov 23:00");
        check_times(1_700_000_000, DAY_S, "15 Nov 00:00, 15 Nov 12:00");
        check_times(1_700_000_000, 5 * DAY_S, "15 Nov, 17 Nov, 19 Nov");
        check_times(1_700_000_000, 0, "");
    }
}
