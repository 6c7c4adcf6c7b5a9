//! False alarms on a generated month of 200 services in which nothing is wrong.

use std::sync::Mutex;

use anyhow::{Context as _, Result, anyhow};
use regraft_detect::metrics::{Learning, Settings, Watch};
use regraft_sim::metrics::{Metric, Month, Occurrence, Service};

use crate::alarms::Alarm;
use crate::{ad, parallel};

/// A deploy explains what follows it for so long: an alarm there is false, but a person sees why at once.
const EXPLAINED_MS: i64 = 30 * 60 * 1000;

/// Services with the most alarms that are named.
const WORST_SHOWN: usize = 5;

/// Alarms of one service.
#[derive(Clone, Copy, Debug, Default)]
struct Alarms {
    all: u32,
    /// Of these soon after a deploy or a restart.
    explained: u32,
}

/// Prints how many alarms there are for a service and month.
pub(crate) fn run(seed: u64) -> Result<()> {
    let month = Month::new(seed);
    let services: Vec<Service> = month.services().collect();
    let counted = Mutex::new(Vec::with_capacity(services.len()));
    parallel::each("month", &services, |service| {
        let alarms = alarms_of(service.clone())?;
        let mut counted = counted.lock().map_err(|_| anyhow!("a thread panicked"))?;
        counted.push((
            service.name().to_owned(),
            format!("{:?}", service.kind()),
            alarms,
        ));
        Ok(())
    })?;
    let mut counted = counted
        .into_inner()
        .map_err(|_| anyhow!("a thread panicked"))?;
    counted.sort_by(|one, other| other.2.all.cmp(&one.2.all).then(one.0.cmp(&other.0)));
    print(&month, &counted);
    Ok(())
}

fn alarms_of(service: Service) -> Result<Alarms> {
    let names = service
        .metrics()
        .iter()
        .map(|it: &Metric| it.name().to_owned())
        .collect();
    let mut watch = Watch::new(Settings::default(), names)
        .with_context(|| format!("watch {}", service.name()))?;
    let mut alarms = Alarms::default();
    let mut changed = None;
    for row in service {
        let deploys = row
            .occurrences
            .iter()
            .any(|it| matches!(it, Occurrence::Deploy | Occurrence::Restart));
        if deploys {
            changed = Some(row.at);
        }
        let verdict = watch.observe(row.at, &row.values, Learning::On);
        if ad::alarm(&verdict) == Alarm::Told {
            alarms.all += 1;
            let explained = changed.is_some_and(|at| row.at.millis_since(at) <= EXPLAINED_MS);
            alarms.explained += u32::from(explained);
        }
    }
    Ok(alarms)
}

fn print(month: &Month, counted: &[(String, String, Alarms)]) {
    let all: u32 = counted.iter().map(|it| it.2.all).sum();
    let explained: u32 = counted.iter().map(|it| it.2.explained).sum();
    let per_service =
        f64::from(all) / f64::from(month.services.max(1)) * 30.0 / f64::from(month.days.max(1));
    println!(
        "clean month, seed {}: {} services, {} days, a row every {} s",
        month.seed, month.services, month.days, month.step_s
    );
    println!(
        "false alarms: {all}, {per_service:.2} per service and month; {explained} of them within {} min of a deploy or a \
         restart",
        EXPLAINED_MS / 60_000
    );
    println!(
        "services without any: {}",
        counted.iter().filter(|it| it.2.all == 0).count()
    );
    for (name, kind, alarms) in counted.iter().take(WORST_SHOWN) {
        println!("  {name} ({kind}): {}", alarms.all);
    }
}
