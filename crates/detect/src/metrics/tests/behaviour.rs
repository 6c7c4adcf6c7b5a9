//! What the detector does with plain series.

use super::series::{DAY_MS, NOON_MS, Noise, letter, letters, minute, noisy, observe_all, watch};
use crate::metrics::{Feature, Learning, Settings, Threshold, Unknown, Verdict, Watch};
use regraft_model::Timestamp;

type Rows = Vec<(Timestamp, Vec<f64>)>;

/// Noise of four metrics; all of them are higher by so much in each range of samples.
fn raised(ranges: &[(std::ops::Range<usize>, f64)]) -> Rows {
    let mut rows = noisy(4, 1440, 1);
    for (range, by) in ranges {
        for value in rows[range.clone()].iter_mut().flat_map(|row| &mut row.1) {
            *value += by;
        }
    }
    rows
}

/// Expects one episode for each of these stretches (from, to): it begins with the first or the second sample of it, and
/// goes on after it for about as long as the hold-off.
#[track_caller]
fn check(ranges: &[(std::ops::Range<usize>, f64)], expected: &[[usize; 2]]) {
    let verdicts = observe_all(&mut watch(4), &raised(ranges));
    let said: Vec<char> = verdicts.iter().map(letter).collect();
    let begins = said
        .iter()
        .enumerate()
        .filter(|(_, letter)| **letter == 'B');
    let episodes: Vec<_> = begins
        .map(|(begin, _)| {
            let goes_on = said[begin + 1..].iter().take_while(|it| **it == 's');
            begin..begin + 1 + goes_on.count()
        })
        .collect();
    assert_eq!(episodes.len(), expected.len(), "{episodes:?}");
    for (episode, expected) in episodes.iter().zip(expected) {
        assert!(episode.start - expected[0] <= 1, "{episodes:?}");
        assert!(
            (5..20).contains(&(episode.end - expected[1])),
            "{episodes:?}"
        );
    }
}

#[test]
fn a_spike_begins_one_episode_which_ends_after_the_hold_off() {
    check(&[(1000..1003, 100.0)], &[[1000, 1003]]);
    check(&[(1000..1003, -100.0)], &[[1000, 1003]]);
    check(&[], &[]);
}

#[test]
fn spikes_within_the_hold_off_are_one_episode() {
    let first = (1000..1003, 100.0);
    check(&[first.clone(), (1009..1012, 100.0)], &[[1000, 1012]]);
    check(&[first, (1060..1063, 100.0)], &[[1000, 1003], [1060, 1063]]);
}

#[test]
fn what_is_learned_is_the_past_only() {
    let clean = observe_all(&mut watch(4), &raised(&[]));
    let spiked = observe_all(&mut watch(4), &raised(&[(1000..1003, 100.0)]));
    assert_eq!(clean[..1000], spiked[..1000]);
}

#[test]
fn evidence_reads_well() {
    let mut watch = watch(4);
    let mut rows = raised(&[]);
    for row in &mut rows[1000..1002] {
        row.1[2] = 260.0;
    }
    let said = observe_all(&mut watch, &rows[..1002]);
    let Some(Verdict::Strange(anomaly)) = said.last() else {
        panic!("{:?}", said.last());
    };
    insta::assert_snapshot!(anomaly);
}

#[test]
fn what_is_frozen_is_not_learned() {
    let rows = raised(&[(1000..1100, 100.0)]);
    let mut watch = watch(4);
    observe_all(&mut watch, &rows[..1000]);
    let before = watch.clone();
    for (at, values) in &rows[1000..1100] {
        let said = watch.observe(*at, values, Learning::Frozen);
        assert!(!matches!(said, Verdict::Unknown(_)), "{said:?}");
    }
    assert_eq!(watch.baselines, before.baselines);
    // Stored, they differ only in what follows the metrics: when the last sample came, and the open episode.
    let (now, then) = (watch.to_bytes(), before.to_bytes());
    let same = now.iter().zip(&then).take_while(|(now, then)| now == then);
    let metrics = postcard::to_extend(&before.baselines, Vec::new()).unwrap();
    assert!(same.count() > metrics.len());
    assert_ne!(now, then);
}

#[test]
fn an_incident_that_is_not_frozen_becomes_normal_and_a_frozen_one_does_not() {
    let rows = raised(&[(700..1440, 100.0)]);
    let lasts = |learning: Learning| {
        let mut watch = watch(4);
        observe_all(&mut watch, &rows[..700]);
        let said: Vec<Verdict> = rows[700..]
            .iter()
            .map(|(at, values)| watch.observe(*at, values, learning))
            .collect();
        let strange = said.iter().filter(|it| matches!(it, Verdict::Strange(_)));
        strange.count()
    };
    assert_eq!(lasts(Learning::Frozen), 739);
    assert!(lasts(Learning::On) < 400, "{}", lasts(Learning::On));
}

#[test]
fn silence_is_stale() {
    let mut watch = watch(4);
    let rows = noisy(4, 600, 1);
    assert_eq!(watch.stale(minute(0)), Some(Unknown::Stale { last: None }));
    observe_all(&mut watch, &rows);
    assert_eq!(watch.stale(minute(602)), None);
    let last = Some(minute(599));
    assert_eq!(watch.stale(minute(603)), Some(Unknown::Stale { last }));
}

/// A daily wave under noise, every five minutes.
fn wave(days: usize, height: f64) -> Vec<(Timestamp, f64)> {
    let mut noise = Noise::new(1);
    let sample = |index: usize| {
        let at_ms = NOON_MS + index as i64 * 300_000;
        let angle = at_ms as f64 / DAY_MS as f64 * std::f64::consts::TAU;
        let value = noise.around_100() + height * libm::sin(angle);
        (Timestamp(at_ms), value)
    };
    (0..days * 288).map(sample).collect()
}

/// The features that an outlier is measured by after two weeks, and what was expected at that time.
#[track_caller]
fn check_season(height: f64, expected: bool) {
    let mut watch = watch(1);
    let mut rows = wave(14, height);
    let outliers = rows.len() - 2;
    let usual = rows[outliers + 1].1;
    rows[outliers..].iter_mut().for_each(|row| row.1 += 500.0);
    let mut last = None;
    for (at, value) in rows {
        last = Some(watch.observe(at, &[value], Learning::On));
    }
    let Some(Verdict::Strange(anomaly)) = last else {
        panic!("{last:?}");
    };
    let metric = &anomaly.metrics[0];
    let season = metric.features.iter().any(|it| it.0 == Feature::Season);
    assert_eq!(season, expected, "{metric:?}");
    if expected {
        assert!(
            (metric.band.middle - usual).abs() < 50.0,
            "{usual}: {metric:?}"
        );
    }
}

#[test]
fn a_day_is_discovered_in_a_wave_and_not_in_noise() {
    check_season(100.0, true);
    check_season(0.0, false);
}

#[test]
fn the_threshold_rises_as_fewer_false_alarms_are_bearable() {
    let month = 43_200.0;
    let threshold = |threshold: Threshold| {
        let history_days = 14.0;
        Settings {
            threshold,
            history_days,
        }
        .limits(month)
        .alarm
    };
    let alarms = [100.0, 10.0, 1.0, 0.1].map(|it| threshold(Threshold::FalseAlarmsAMonth(it)));
    assert!(alarms.is_sorted_by(|one, next| one < next), "{alarms:?}");
    let shares = [0.1, 0.01, 0.001].map(|it| threshold(Threshold::Contamination(it)));
    assert!(shares.is_sorted_by(|one, next| one < next), "{shares:?}");
    assert!((shares[1] - libm::log(100.0)).abs() < 1e-12);
    // More alarms than samples: everything is told, and nothing is below 0.
    assert_eq!(threshold(Threshold::FalseAlarmsAMonth(1e9)), 0.0);
}

#[test]
fn a_contamination_makes_about_that_share_strange() {
    let settings = Settings {
        threshold: Threshold::Contamination(0.02),
        ..Settings::default()
    };
    let mut watch = Watch::new(settings, vec!["a".to_owned()]).unwrap();
    let rows = noisy(1, 6000, 1);
    let said = observe_all(&mut watch, &rows);
    let begun = letters(&said).matches('B').count();
    // The mean of two samples is above the quantile of one less often than every fiftieth time.
    assert!((10..=120).contains(&begun), "{begun}");
    let few = letters(&observe_all(&mut super::series::watch(1), &rows));
    assert!(few.matches('B').count() < begun / 4, "{few}");
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let refused = |threshold: Threshold, history_days: f64| {
        let settings = Settings {
            threshold,
            history_days,
        };
        Watch::new(settings, vec!["a".to_owned()]).is_err()
    };
    let bad = [0.0, -1.0, f64::NAN, f64::INFINITY];
    assert!(
        bad.iter()
            .all(|it| refused(Threshold::FalseAlarmsAMonth(*it), 14.0))
    );
    assert!(
        bad.iter()
            .all(|it| refused(Threshold::Contamination(*it), 14.0))
    );
    assert!(
        bad.iter()
            .all(|it| refused(Threshold::Contamination(0.01), *it))
    );
    assert!(refused(Threshold::Contamination(1.0), 14.0));
    assert!(!refused(Threshold::Contamination(0.01), 14.0));
    assert!(Watch::new(Settings::default(), Vec::new()).is_err());
    assert!(Watch::new(Settings::default(), vec![String::new(); 257]).is_err());
}
