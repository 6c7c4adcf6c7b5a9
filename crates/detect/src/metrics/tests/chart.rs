//! A stretch of a metric as data for a picture.

use super::series::minute;
use crate::metrics::{
    Anomaly, Band, CHART_POINTS_MAX, CHART_TOLD_MAX, Chart, Episode, Grade, Verdict,
};
use regraft_model::Timestamp;

const USUAL: Verdict = Verdict::Usual { surprise: 1.0 };

fn strange(episode: Episode, grade: Grade) -> Verdict {
    Verdict::Strange(Box::new(Anomaly {
        episode,
        grade,
        restraint: None,
        since: Timestamp(0),
        at: Timestamp(0),
        surprise: 9.0,
        threshold: 8.0,
        metrics: Vec::new(),
    }))
}

/// A chart of so many samples, one a minute: a slow wave, with a peak, a dip, and hours without samples.
fn chart(count: usize, peak: usize, dip: usize, gap: usize) -> Chart {
    let mut chart = Chart::new("wave".to_owned());
    for index in 0..count {
        let late = if index >= gap { 120 } else { 0 };
        let value = match index {
            _ if index == peak => 50.0,
            _ if index == dip => -50.0,
            _ => libm::sin(index as f64 / 100.0),
        };
        chart.push(minute(index + late), value, None, &USUAL);
    }
    chart
}

/// Expects that extremes and gaps stay however many samples there are, in the order of time, evenly spread.
#[track_caller]
fn check(count: usize) {
    let (peak, dip, gap) = (count / 3, count / 3 + 1, count / 2);
    let chart = chart(count, peak, dip, gap);
    let points = chart.points();
    assert!(points.len() <= CHART_POINTS_MAX, "{}", points.len());
    assert!(
        points.len() >= count.min(CHART_POINTS_MAX / 2),
        "{}",
        points.len()
    );
    assert!(points.is_sorted_by(|one, other| one.at < other.at));
    let values: Vec<f64> = points.iter().map(|it| it.value).collect();
    assert!(values.contains(&50.0) && values.contains(&-50.0), "{count}");
    let gaps: Vec<usize> = (0..points.len())
        .filter(|index| points[*index].after_gap)
        .collect();
    let [first, second] = gaps[..] else {
        panic!("{count}: {gaps:?}");
    };
    assert_eq!(first, 0);
    assert!(
        points[second - 1].at < minute(gap) && points[second].at >= minute(gap + 120),
        "{count}"
    );
    // A pair stands for as long a stretch as every other: no distance but the gap is much longer than the mean.
    let mean_ms = minute(count).millis_since(minute(0)) as usize / points.len();
    let others = points
        .windows(2)
        .filter(|pair| !pair[1].after_gap)
        .map(|pair| pair[1].at.millis_since(pair[0].at) as usize);
    assert!(others.max().unwrap() <= 8 * mean_ms.max(60_000), "{count}");
}

#[test]
fn what_is_thinned_out_is_neither_an_extreme_nor_a_gap() {
    for count in [
        30, 511, 512, 513, 514, 1000, 1024, 1025, 2049, 10_007, 100_000,
    ] {
        check(count);
    }
}

#[test]
fn all_that_fits_is_kept() {
    let chart = chart(CHART_POINTS_MAX, 100, 200, 300);
    assert_eq!(chart.points().len(), CHART_POINTS_MAX);
}

#[test]
fn what_begins_or_rises_is_told_and_old_suspicions_give_way() {
    let mut chart = Chart::new(String::new());
    let said = [
        (Episode::Begins, Grade::Alarm),
        (Episode::Begins, Grade::Suspicion),
        (Episode::Rises, Grade::Alarm),
        (Episode::GoesOn, Grade::Alarm),
    ];
    for (index, (episode, grade)) in said.into_iter().enumerate() {
        // The service is told of also where this metric has no number.
        chart.push(minute(index), f64::NAN, None, &strange(episode, grade));
    }
    let told: Vec<_> = chart.told().iter().map(|it| it.grade).collect();
    assert_eq!(told, [Grade::Alarm, Grade::Suspicion, Grade::Alarm]);
    assert_eq!(chart.points(), []);
    let suspicion = strange(Episode::Begins, Grade::Suspicion);
    for index in 4..200 {
        chart.push(minute(index), 1.0, None, &suspicion);
    }
    let told = chart.told();
    assert_eq!(told.len(), CHART_TOLD_MAX);
    let alarms = told.iter().filter(|it| it.grade == Grade::Alarm).count();
    assert_eq!((alarms, told[CHART_TOLD_MAX - 1].at), (2, minute(199)));
}

#[test]
fn bad_samples_are_left_out_and_a_clock_set_back_begins_anew() {
    let mut chart = Chart::new(String::new());
    for index in 20..40 {
        chart.push(minute(index), 1.0, None, &USUAL);
    }
    let before = chart.points().to_vec();
    for value in [f64::NAN, f64::INFINITY, 1e308] {
        chart.push(minute(40), value, None, &USUAL);
    }
    chart.push(minute(39), 2.0, None, &USUAL);
    chart.push(minute(30), 2.0, None, &USUAL);
    assert_eq!(chart.points(), before);
    for index in 0..15 {
        chart.push(minute(index), 3.0, None, &USUAL);
    }
    let points = chart.points();
    assert!(points.iter().all(|it| it.value == 3.0), "{points:?}");
    assert!(points[0].after_gap);
}

#[test]
fn its_json_is_what_its_documentation_says() {
    let mut chart = Chart::new("shop latency".to_owned());
    let band = Band {
        low: 1.0,
        middle: 1.2,
        high: 1.6,
    };
    let alarm = strange(Episode::Begins, Grade::Alarm);
    chart.push(Timestamp(0), 1.5, None, &USUAL);
    chart.push(Timestamp(60_000), 2.5, Some(band), &alarm);
    insta::assert_snapshot!(serde_json::to_string(&chart).unwrap(), @r#"{"title":"shop latency","points":[{"at":0,"value":1.5,"band":null,"afterGap":true},{"at":60000,"value":2.5,"band":{"low":1.0,"middle":1.2,"high":1.6},"afterGap":false}],"told":[{"at":60000,"grade":"alarm"}]}"#);
}
