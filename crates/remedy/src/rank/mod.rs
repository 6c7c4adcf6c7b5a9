//! Which service an incident comes from, by its metrics, the calls between services, and recent changes.
//!
//! ```text
//! Input { windows, calls, changes, symptom }
//!   ── shift ──> how far each metric moved: beyond its unrest, since the incident began, unlike in other services
//!   ── weigh ──> strength for each kind (latency, cpu, ...): the logarithm, so that one wild metric is not all
//!   ── spread ─> handed along the calls to who explains it
//!   ──> Ranking { verdict, suspects with evidence for and against }
//! ```
//!
//! Expected flow: an incident opens; the edge reads a normal and an anomalous window of all services nearby; a person is
//! shown the ranking. Guarantees: the same input gives the same ranking on every platform; every service is ranked, also
//! when the verdict is unknown. Assumptions: metrics of one name mean the same in all services; counters come as rates.
//! Errors: none. What is missing or absurd counts as missing, and too little of it makes the verdict unknown.

mod input;
mod kind;
mod report;
mod shift;
mod spread;

pub use input::{Call, Input, Metric, RecentChange, Service, Symptom};
pub use kind::Kind;
pub use report::{Against, Evidence, Ranking, Reading, Suspect, Verdict, Why};

use shift::{NORMAL_SAMPLES, Shift, shifts};
use spread::{Graph, Outcome, Strengths, spread};

/// A shift up to this is usual: it is about three times the error of the median of six samples.
const USUAL_SHIFT: f64 = 1.5;
/// A shift beyond this counts no more: cpu that rises a thousandfold is no surer a cause than cpu that rises fiftyfold.
const FULL_SHIFT: f64 = 50.0;
/// Weight of what moves the good way: latency that falls may be work that is no longer done.
const RELIEF: f64 = 0.3;
/// Weight of what follows the load.
const LOAD: f64 = 0.5;
/// By how much a change at this moment raises a score. A change alone accuses nobody.
const CHANGED: f64 = 0.5;
/// Time that halves what a change raises, in seconds.
const CHANGE_HALF_S: f64 = 1800.0;
/// Changes before this are not told, in seconds.
const CHANGE_OLD_S: f64 = 6.0 * 3600.0;
/// Least score that names a cause: one kind at twice the usual shift (its logarithm).
const NEEDED: f64 = core::f64::consts::LN_2;
/// Lead over the second, as a share of the first, below which they count as equal.
const LEAD: f64 = 0.01;
/// Most metrics told for and against a suspect.
const TOLD: usize = 3;

/// Ranks all services, the likeliest cause first; equals by name.
#[must_use]
pub fn rank(input: &Input) -> Ranking {
    let shifts = shifts(input);
    let weighed: Vec<(f64, &Shift)> = shifts.iter().map(|shift| (weigh(shift), shift)).collect();
    let strengths = strengths(input.services.len(), &weighed);
    let outcomes = spread(&strengths, &Graph::of(input));
    let mut suspects: Vec<Suspect> = (0..input.services.len())
        .filter_map(|service| suspect(input, service, &weighed, &outcomes))
        .collect();
    suspects.sort_by(|one, other| {
        other
            .score
            .total_cmp(&one.score)
            .then_with(|| one.service.cmp(&other.service))
    });
    let verdict = match unknown(&shifts, &suspects) {
        Some(why) => Verdict::Unknown { why },
        None => Verdict::Named,
    };
    Ranking { verdict, suspects }
}

/// The logarithm of the shift in units of what is usual, between 0 and that of the full shift.
fn weigh(shift: &Shift) -> f64 {
    let times = (shift.own.abs() / USUAL_SHIFT).clamp(1.0, FULL_SHIFT / USUAL_SHIFT);
    let relief = if shift.own < 0.0 && shift.kind.hurts_rising() && shift.kind != Kind::Cpu {
        RELIEF
    } else {
        1.0
    };
    let load = if counts_as(shift).follows_load() {
        LOAD
    } else {
        1.0
    };
    libm::log(times) * relief * load
}

/// Less cpu is less work.
fn counts_as(shift: &Shift) -> Kind {
    if shift.kind == Kind::Cpu && shift.own < 0.0 {
        Kind::Traffic
    } else {
        shift.kind
    }
}

/// The strongest metric of each kind: several that show the same are not more evidence.
fn strengths(services: usize, weighed: &[(f64, &Shift)]) -> Vec<Strengths> {
    let mut strengths = vec![Strengths::default(); services];
    for (strength, shift) in weighed {
        let most = &mut strengths[shift.service][counts_as(shift) as usize];
        *most = most.max(*strength);
    }
    strengths
}

fn suspect(
    input: &Input,
    service: usize,
    weighed: &[(f64, &Shift)],
    outcomes: &[Outcome],
) -> Option<Suspect> {
    let about = input.services.get(service)?;
    let outcome = outcomes.get(service)?;
    let name = |index: usize| input.services.get(index).map(|other| other.name.clone());
    let changed_ago_s = input
        .changes
        .iter()
        .filter(|change| about.is(&change.service))
        .map(|change| change.ago_s)
        .filter(|ago_s| (-CHANGE_OLD_S..=CHANGE_OLD_S).contains(ago_s))
        .min_by(f64::total_cmp);
    let raised = match changed_ago_s {
        Some(ago_s) if ago_s >= 0.0 => CHANGED * libm::exp2(-ago_s / CHANGE_HALF_S),
        _ => 0.0,
    };
    let mut own: Vec<&(f64, &Shift)> = weighed
        .iter()
        .filter(|(_, shift)| shift.service == service)
        .collect();
    own.sort_by(|one, other| other.0.total_cmp(&one.0));
    let explained = outcome.explained.and_then(|(by, share)| {
        Some(Against::Explained {
            by: name(by)?,
            share,
        })
    });
    Some(Suspect {
        service: about.name.clone(),
        score: outcome.score * (1.0 + raised),
        evidence: evidence(&own),
        explains: outcomes
            .iter()
            .enumerate()
            .filter(|(_, other)| other.explained.is_some_and(|(by, _)| by == service))
            .filter_map(|(other, _)| name(other))
            .collect(),
        changed_ago_s: changed_ago_s.filter(|&ago_s| ago_s >= 0.0),
        against: explained.into_iter().chain(excuses(&own)).collect(),
    })
}

fn evidence(own: &[&(f64, &Shift)]) -> Vec<Evidence> {
    own.iter()
        .filter(|(strength, _)| *strength > 0.0)
        .take(TOLD)
        .map(|(strength, shift)| Evidence {
            metric: shift.metric.clone(),
            kind: shift.kind,
            reading: shift.reading,
            normal: shift.normal,
            anomalous: shift.anomalous,
            shift: shift.own,
            strength: *strength,
        })
        .collect()
}

/// Metrics that would be evidence, had they not been so before or moved everywhere.
fn excuses(own: &[&(f64, &Shift)]) -> Vec<Against> {
    own.iter()
        .filter(|(strength, _)| *strength <= 0.0)
        .filter_map(|(_, shift)| {
            let metric = shift.metric.clone();
            let was_so = shift.raw.abs() > 2.0 * USUAL_SHIFT && shift.fresh.abs() <= USUAL_SHIFT;
            let common = shift.fresh.abs() > 2.0 * USUAL_SHIFT;
            if was_so && shift.reading != Reading::PerReceived {
                Some(Against::WasSoBefore { metric })
            } else {
                common.then_some(Against::HappensToMost { metric })
            }
        })
        .take(TOLD)
        .collect()
}

fn unknown(shifts: &[Shift], suspects: &[Suspect]) -> Option<Why> {
    if shifts.is_empty() {
        return Some(Why::TooFewSamples {
            normal: NORMAL_SAMPLES,
        });
    }
    let first = suspects.first().map_or(0.0, |suspect| suspect.score);
    if first < NEEDED {
        return Some(Why::NothingStandsOut {
            score: first,
            needed: NEEDED,
        });
    }
    let second = suspects.get(1).map_or(0.0, |suspect| suspect.score);
    (second > first * (1.0 - LEAD)).then_some(Why::CannotTellApart { first, second })
}
