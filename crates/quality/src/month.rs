//! False alarms, and suspicions, on a generated month of services in which nothing is wrong.

use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result, anyhow, ensure};
use regraft_detect::metrics::{Episode, Grade, Learning, Settings, Verdict, Watch};
use regraft_sim::metrics::{Metric, Month, Occurrence, Service};
use serde::Serialize;

use crate::parallel;

/// Services with the most alarms that are named.
const WORST_SHOWN: usize = 5;

/// What was told of one service.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    alarms: u32,
    /// Episodes that were never more than that.
    suspicions: u32,
}

/// The figures, a service and 30 days each.
#[derive(Serialize)]
struct Figures {
    false_alarms: f64,
    suspicions: f64,
}

/// Prints how many alarms there are for a service and month, and writes it where `json` says.
pub(crate) fn run(seed: u64, services: u32, days: u32, json: Option<&Path>) -> Result<()> {
    let month = Month {
        services,
        days,
        ..Month::new(seed)
    };
    // Before minutes of work, not after.
    if let Some(folder) = json.and_then(Path::parent)
        && !folder.as_os_str().is_empty()
    {
        let there = folder.is_dir();
        ensure!(there, "--json: there is no folder {}", folder.display());
    }
    let services: Vec<Service> = month.services().collect();
    let counted = Mutex::new(Vec::with_capacity(services.len()));
    parallel::each("month", &services, |service| {
        let told = told_of(service.clone())?;
        let mut counted = counted.lock().map_err(|_| anyhow!("a thread panicked"))?;
        counted.push((
            service.name().to_owned(),
            format!("{:?}", service.kind()),
            told,
        ));
        Ok(())
    })?;
    let mut counted = counted
        .into_inner()
        .map_err(|_| anyhow!("a thread panicked"))?;
    counted.sort_by(|one, other| other.2.alarms.cmp(&one.2.alarms).then(one.0.cmp(&other.0)));
    let figures = print(&month, &counted);
    let Some(path) = json else {
        return Ok(());
    };
    let text = serde_json::to_string(&figures).context("write the figures as JSON")?;
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn told_of(service: Service) -> Result<Told> {
    let names = service
        .metrics()
        .iter()
        .map(|it: &Metric| it.name().to_owned())
        .collect();
    let mut watch = Watch::new(Settings::default(), names)
        .with_context(|| format!("watch {}", service.name()))?;
    let mut told = Told::default();
    for row in service {
        let is_rollout = |it: &Occurrence| matches!(it, Occurrence::Deploy | Occurrence::Restart);
        if row.occurrences.iter().any(is_rollout) {
            watch.rolled_out(row.at);
        }
        if let Verdict::Strange(anomaly) = watch.observe(row.at, &row.values, Learning::On) {
            match (anomaly.episode, anomaly.grade) {
                (Episode::Begins, Grade::Suspicion) => told.suspicions += 1,
                (Episode::Begins, Grade::Alarm) => told.alarms += 1,
                (Episode::Rises, _) => {
                    told.suspicions = told.suspicions.saturating_sub(1);
                    told.alarms += 1;
                }
                (Episode::GoesOn, _) => {}
            }
        }
    }
    Ok(told)
}

fn print(month: &Month, counted: &[(String, String, Told)]) -> Figures {
    let alarms: u32 = counted.iter().map(|it| it.2.alarms).sum();
    let suspicions: u32 = counted.iter().map(|it| it.2.suspicions).sum();
    let months = f64::from(month.services.max(1)) * f64::from(month.days.max(1)) / 30.0;
    let figures = Figures {
        false_alarms: f64::from(alarms) / months,
        suspicions: f64::from(suspicions) / months,
    };
    println!(
        "clean month, seed {}: {} services, {} days, a row every {} s",
        month.seed, month.services, month.days, month.step_s
    );
    println!(
        "false alarms: {alarms}, {:.2} per service and month; suspicions that stayed ones: {suspicions}, {:.2}",
        figures.false_alarms, figures.suspicions,
    );
    println!(
        "services without an alarm: {}",
        counted.iter().filter(|it| it.2.alarms == 0).count()
    );
    for (name, kind, told) in counted.iter().take(WORST_SHOWN) {
        println!("  {name} ({kind}): {}", told.alarms);
    }
    figures
}
