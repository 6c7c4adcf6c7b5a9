//! Hands evidence along the calls to who explains it.
//!
//! Slow and failing answers come from the callee: a service keeps of its latency and failures what no callee shows
//! likewise. Waiting for answers points at everybody who is asked. Changed load comes from the caller.

use super::input::Input;
use super::kind::Kind;
use std::collections::BTreeSet;

/// Most steps that latency and failures travel; what is on its way then stays where it is. Longer chains of calls than
/// this are rare, and a cycle must end.
const STEPS: usize = 8;

/// For each kind (by [`Kind::ALL`]) the strength of the evidence of one service.
pub(super) type Strengths = [f64; Kind::ALL.len()];

/// Who asks and who answers, by index of the service.
pub(super) struct Graph {
    callees: Vec<BTreeSet<usize>>,
    callers: Vec<BTreeSet<usize>>,
}

/// What became of a service's evidence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    /// What it is left with, what it was handed included.
    pub(super) score: f64,
    /// Who explains most of its evidence, and the share that was handed on.
    pub(super) explained: Option<(usize, f64)>,
}

impl Graph {
    pub(super) fn of(input: &Input) -> Self {
        let count = input.services.len();
        let mut graph = Self {
            callees: vec![BTreeSet::new(); count],
            callers: vec![BTreeSet::new(); count],
        };
        let named = |name: &str| -> Vec<usize> {
            let services = input.services.iter().enumerate();
            services
                .filter(|(_, service)| service.is(name))
                .map(|(index, _)| index)
                .collect()
        };
        for call in &input.calls {
            for &caller in &named(&call.caller) {
                for &callee in &named(&call.callee) {
                    if caller != callee {
                        graph.callees[caller].insert(callee);
                        graph.callers[callee].insert(caller);
                    }
                }
            }
        }
        graph
    }
}

/// The evidence of all services after it was handed on.
pub(super) fn spread(strengths: &[Strengths], graph: &Graph) -> Vec<Outcome> {
    let mut outcomes = vec![Outcome::default(); strengths.len()];
    for (outcome, strengths) in outcomes.iter_mut().zip(strengths) {
        for kind in [
            Kind::Cpu,
            Kind::Memory,
            Kind::PacketRatio,
            Kind::Io,
            Kind::Other,
        ] {
            outcome.score += strengths[kind as usize];
        }
    }
    faults(strengths, graph, &mut outcomes);
    load(strengths, graph, &mut outcomes);
    waiting(strengths, graph, &mut outcomes);
    outcomes
}

/// Latency and failures go to the callees that show them too, in proportion.
fn faults(strengths: &[Strengths], graph: &Graph, outcomes: &mut [Outcome]) {
    let own: Vec<f64> = strengths
        .iter()
        .map(|of| of[Kind::Latency as usize] + of[Kind::Failure as usize])
        .collect();
    let mut moving = own.clone();
    for step in 0..STEPS {
        let mut next = vec![0.0; own.len()];
        for (service, callees) in graph.callees.iter().enumerate() {
            let shown: f64 = callees.iter().map(|&callee| own[callee]).sum();
            let most = callees
                .iter()
                .copied()
                .max_by(|&a, &b| own[a].total_cmp(&own[b]).then(b.cmp(&a)));
            let (true, true, Some(most)) = (own[service] > 0.0, shown > 0.0, most) else {
                outcomes[service].score += moving[service];
                continue;
            };
            let share = (own[most] / own[service]).min(1.0);
            outcomes[service].score += moving[service] * (1.0 - share);
            for &callee in callees {
                next[callee] += moving[service] * share * own[callee] / shown;
            }
            if step == 0 {
                outcomes[service].explained = Some((most, share));
            }
        }
        moving = next;
    }
    for (outcome, moving) in outcomes.iter_mut().zip(moving) {
        outcome.score += moving;
    }
}

/// A change of load goes to the callers, in equal parts.
fn load(strengths: &[Strengths], graph: &Graph, outcomes: &mut [Outcome]) {
    for (service, callers) in graph.callers.iter().enumerate() {
        let load =
            strengths[service][Kind::Traffic as usize] + strengths[service][Kind::Network as usize];
        if callers.is_empty() {
            outcomes[service].score += load;
            continue;
        }
        #[expect(clippy::cast_precision_loss, reason = "callers of a service")]
        let part = load / callers.len() as f64;
        for &caller in callers {
            outcomes[caller].score += part;
        }
        if load > 0.0 && outcomes[service].explained.is_none() {
            outcomes[service].explained = callers.first().map(|&caller| (caller, 1.0));
        }
    }
}

/// Waiting goes to every callee in full: more callers that wait make a callee likelier. A callee that waits itself is
/// excused by as much.
fn waiting(strengths: &[Strengths], graph: &Graph, outcomes: &mut [Outcome]) {
    let waits = |service: usize| strengths[service][Kind::ClientLatency as usize];
    for (service, callers) in graph.callers.iter().enumerate() {
        let asked: f64 = callers.iter().map(|&caller| waits(caller)).sum();
        if graph.callees[service].is_empty() {
            outcomes[service].score += waits(service) + asked;
        } else {
            outcomes[service].score += (asked - waits(service)).max(0.0);
        }
    }
}
