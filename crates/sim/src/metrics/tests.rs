use super::*;
use std::collections::BTreeSet;

fn month(seed: u64) -> Month {
    Month {
        services: 20,
        days: 14,
        step_s: 300,
        ..Month::new(seed)
    }
}

fn text(seed: u64) -> String {
    let services = Month {
        days: 2,
        ..month(seed)
    };
    services
        .services()
        .flat_map(|service| service.map(|row| format!("{row:?}\n")))
        .collect()
}

/// The values of a metric of all services of a kind, with their times in hours, missing ones left out.
fn values(kind: Kind, metric: Metric) -> Vec<Vec<(f64, f64)>> {
    let month = month(7);
    let of_kind = month.services().filter(|service| service.kind() == kind);
    of_kind
        .filter_map(|service| {
            let place = service.metrics().iter().position(|m| *m == metric)?;
            let rows = service.map(|row| {
                let hours = (row.at.0 - month.start.0) as f64 / 3_600_000.0;
                (hours, row.values[place])
            });
            Some(rows.filter(|(_, value)| value.is_finite()).collect())
        })
        .collect()
}

/// Correlation of a series' hourly means with themselves so many hours later.
fn correlation(series: &[(f64, f64)], lag: usize) -> f64 {
    let mut hours = vec![(0.0, 0.0); 14 * 24];
    for (hour, value) in series {
        let (sum, number) = &mut hours[*hour as usize];
        (*sum, *number) = (*sum + value, *number + 1.0);
    }
    let pairs: Vec<_> = (0..hours.len() - lag)
        .map(|hour| (hours[hour], hours[hour + lag]))
        .filter(|(a, b)| a.1 > 0.0 && b.1 > 0.0)
        .map(|(a, b)| (a.0 / a.1, b.0 / b.1))
        .collect();
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
    let (x, y) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let sum = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
    let shared = sum(&|(a, b)| (a - x) * (b - y));
    let spread = sum(&|(a, _)| (a - x) * (a - x)) * sum(&|(_, b)| (b - y) * (b - y));
    shared / spread.sqrt()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn services_do_not_depend_on_each_other() {
    let all: Vec<_> = month(3).services().collect();
    let last = all.into_iter().next_back().unwrap();
    let alone = month(3).services().nth(19).unwrap();
    assert!(last.take(500).eq(alone.take(500)));
}

#[test]
fn what_people_use_has_a_day_and_a_week() {
    for series in values(Kind::Public, Metric::RequestRate) {
        assert!(correlation(&series, 24) > 0.7);
        assert!(correlation(&series, 12) < 0.3);
    }
    for series in values(Kind::Office, Metric::RequestRate) {
        assert!(correlation(&series, 168) > correlation(&series, 96));
    }
}

#[test]
fn small_services_count_in_whole_requests_and_often_none() {
    for series in values(Kind::Small, Metric::RequestRate) {
        assert!(
            series
                .iter()
                .all(|(_, rate)| (rate * 300.0).fract().abs() < 1e-6)
        );
    }
    let nightly = values(Kind::Nightly, Metric::RequestRate).concat();
    let idle = nightly.iter().filter(|(_, rate)| *rate == 0.0).count();
    assert!(idle * 3 > nightly.len(), "{idle} of {}", nightly.len());
}

#[test]
fn jobs_come_at_the_same_minute_each_day() {
    for series in values(Kind::Nightly, Metric::Cpu) {
        assert!(correlation(&series, 24) > 0.8);
    }
}

#[test]
fn there_are_gaps_deploys_restarts_and_scaling_and_single_values_are_missing() {
    let month = month(7);
    let (mut steps, mut missing, mut kinds) = (BTreeSet::new(), 0, [0; 3]);
    for service in month.services() {
        let mut last = None;
        for row in service {
            if let Some(last) = last.replace(row.at) {
                steps.insert((row.at.0 - last.0) / 300_000);
            }
            missing += row.values.iter().filter(|value| value.is_nan()).count();
            for occurrence in row.occurrences {
                kinds[match occurrence {
                    Occurrence::Deploy => 0,
                    Occurrence::Restart => 1,
                    Occurrence::Scaled { .. } => 2,
                }] += 1;
            }
        }
    }
    assert!(
        steps.contains(&2) && steps.iter().any(|step| *step > 12),
        "{steps:?}"
    );
    assert!(missing > 0);
    assert!(
        kinds[0] > 10 && kinds[0] < 200 && kinds[1] > 3 && kinds[2] > 100,
        "{kinds:?}"
    );
}

#[test]
fn memory_falls_with_a_deploy_and_stays_below_its_limit() {
    let (mut falls, mut deploys) = (0, 0);
    for service in month(7).services() {
        let limit = service.memory_limit_bytes();
        let place = service
            .metrics()
            .iter()
            .position(|m| *m == Metric::Memory)
            .unwrap();
        let mut last = f64::NAN;
        for row in service {
            let memory = row.values[place];
            assert!(memory.is_nan() || memory <= limit, "{memory} of {limit}");
            if row.occurrences.contains(&Occurrence::Deploy) && last.is_finite() {
                deploys += 1;
                falls += usize::from(memory < 0.98 * last);
            }
            last = memory;
        }
    }
    assert!(falls * 10 > deploys * 7, "{falls} of {deploys}");
}

#[test]
fn every_value_is_a_number_that_is_not_negative_or_missing() {
    for service in month(9).services() {
        for row in service {
            assert!(
                row.values
                    .iter()
                    .all(|value| value.is_nan() || *value >= 0.0)
            );
            assert!(row.values.iter().all(|value| !value.is_infinite()));
        }
    }
}
