//! What is an alarm and what stays a suspicion.

use super::series::{DAY_MS, NOON_MS, Noise, minute, noisy, observe_all, watch};
use crate::metrics::{Episode, Grade, Learning, Restraint, Verdict};
use regraft_model::Timestamp;

type Told = Option<(Episode, Grade, Option<Restraint>)>;

fn told(verdict: &Verdict) -> Told {
    match verdict {
        Verdict::Strange(it) => Some((it.episode, it.grade, it.restraint)),
        Verdict::Usual { .. } | Verdict::Unknown(_) => None,
    }
}

/// How much of noise around 100 is suspicious, and how much an alarm.
const SUSPICIOUS: f64 = 90.0;
const ALARMING: f64 = 300.0;

/// How two samples are graded that are higher than a day of noise by so much.
#[track_caller]
fn check(by: f64, expected: Option<Grade>) {
    let mut rows = noisy(1, 1442, 1);
    rows[1440..].iter_mut().for_each(|row| row.1[0] += by);
    let said = observe_all(&mut watch(1), &rows);
    let grade = told(&said[1441]).map(|it| it.1);
    assert_eq!(grade, expected, "{:?}", &said[1440..]);
}

#[test]
fn the_stranger_the_surer() {
    check(0.0, None);
    check(SUSPICIOUS, Some(Grade::Suspicion));
    check(ALARMING, Some(Grade::Alarm));
}

#[test]
fn a_suspicion_rises_to_an_alarm_once_and_stays_one() {
    let mut rows = noisy(1, 1450, 1);
    let high = rows[1440..].iter_mut();
    for (row, by) in high.zip([1, 1, 2, 2, 1, 0, 0, 0, 2, 2]) {
        row.1[0] += [0.0, SUSPICIOUS, ALARMING][by];
    }
    let said = observe_all(&mut watch(1), &rows);
    let told: Vec<_> = said.iter().filter_map(told).collect();
    let suspected = (Episode::Begins, Grade::Suspicion, None);
    let rose = (Episode::Rises, Grade::Alarm, None);
    assert_eq!(told[0], suspected, "{told:?}");
    let rises = told.iter().filter(|it| **it == rose).count();
    assert_eq!(rises, 1, "{told:?}");
    assert_eq!(
        told.last(),
        Some(&(Episode::GoesOn, Grade::Alarm, None)),
        "{told:?}"
    );
}

/// The highest grade of each day, of noise with a job of ten minutes at half past three on some of them; with what
/// restrained it at last.
fn with_job(days: &[usize], length: usize) -> Vec<(Option<Grade>, Option<Restraint>)> {
    let mut noise = Noise::new(1);
    let mut watch = watch(1);
    let mut highest = vec![(None, None); length];
    for minute in 0..length * 1440 {
        let at = Timestamp(NOON_MS.div_euclid(DAY_MS) * DAY_MS + minute as i64 * 60_000);
        let (day, of_day) = (minute / 1440, minute % 1440);
        let runs = days.contains(&day) && (210..220).contains(&of_day);
        let value = noise.around_100() + if runs { 200.0 } else { 0.0 };
        let verdict = watch.observe(at, &[value], Learning::On);
        if let Some((_, grade, restraint)) = told(&verdict).filter(|_| runs) {
            let before = highest[day];
            highest[day] = (before.0.max(Some(grade)), restraint.or(before.1));
        }
    }
    highest
}

#[test]
fn what_recurs_at_its_time_is_no_alarm_any_more() {
    let alarm = (Some(Grade::Alarm), None);
    let suspicion = (Some(Grade::Suspicion), Some(Restraint::Recurs));
    let none = (None, None);
    assert_eq!(
        with_job(&[2, 3, 4, 5], 6),
        [none, none, alarm, alarm, suspicion, suspicion]
    );
}

/// What is told of high samples, so many minutes after a rollout.
#[track_caller]
fn check_rollout(minutes: usize, expected: Told) {
    let mut watch = watch(1);
    let mut rows = noisy(1, 1500, 1);
    let high = 1440 + minutes;
    rows[high..high + 2]
        .iter_mut()
        .for_each(|row| row.1[0] += ALARMING);
    observe_all(&mut watch, &rows[..1440]);
    watch.rolled_out(minute(1440));
    let said = observe_all(&mut watch, &rows[1440..high + 2]);
    assert_eq!(said.last().and_then(told), expected);
}

#[test]
fn what_follows_a_rollout_is_no_alarm_for_half_an_hour() {
    let restrained = (
        Episode::GoesOn,
        Grade::Suspicion,
        Some(Restraint::RolledOut),
    );
    check_rollout(0, Some(restrained));
    check_rollout(28, Some(restrained));
    check_rollout(30, Some((Episode::Rises, Grade::Alarm, None)));
}

#[test]
fn a_level_that_was_always_zero_is_left() {
    let mut watch = watch(1);
    let mut noise = Noise::new(1);
    for index in 0..3000 {
        watch.observe(minute(index), &[0.0], Learning::On);
    }
    for index in 3000..4440 {
        let value = 3.0 + 0.1 * noise.normal();
        watch.observe(minute(index), &[value], Learning::On);
    }
    let band = watch.band(0, minute(4440)).unwrap();
    assert!((band.middle - 3.0).abs() < 0.5, "{band:?}");
}

#[test]
fn noise_with_a_memory_is_no_season() {
    let mut watch = watch(1);
    let mut noise = Noise::new(1);
    let (mut level, mut seasonal, mut asked) = (0.0, 0, 0);
    for index in 0..4 * 8640 {
        let at = Timestamp(NOON_MS + index * 10_000);
        // A memory of two hours, far shorter than a day.
        level += -level / 720.0 + 0.05 * noise.normal();
        watch.observe(at, &[100.0 + 10.0 * level], Learning::On);
        if index > 2 * 8640 {
            asked += 1;
            seasonal += u32::from(watch.baselines[0].has_season(at.0));
        }
    }
    assert!(seasonal * 20 < asked, "{seasonal} of {asked}");
}
