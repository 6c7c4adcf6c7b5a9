//! What is asked before acting. Each guard is a pure function of the case and the draft; each answers with its figures.

mod approval;
mod dangerous;
mod evidence;
mod partial;
mod rates;
mod shared;
mod standing;

pub(crate) use approval::is_approved;
pub(crate) use shared::is_below;

use crate::case::Case;
use crate::draft::Draft;
use crate::line::Line;
use regraft_model::plan::Answer;
use regraft_model::{Guard, GuardResult, Seconds, Timestamp};

/// How soon to ask again where no better moment is known.
const ASK_AGAIN: Seconds = Seconds(10);

/// Asked before anything else: did a person, or the history, take healing away?
pub(crate) fn before_blame(case: &Case<'_>) -> Vec<GuardResult> {
    vec![standing::suspended(case), standing::frozen(case)]
}

/// Asked once a commit may be to blame.
pub(crate) fn before_plan(case: &Case<'_>) -> Vec<GuardResult> {
    vec![evidence::evidence(case), standing::storm(case)]
}

/// Asked of the drafted repair.
pub(crate) fn of_draft(case: &Case<'_>, line: &Line<'_>, draft: &Draft<'_>) -> Vec<GuardResult> {
    vec![
        standing::mode(case),
        partial::partial_failure(case, line, draft),
        dangerous::dangerous_objects(draft),
        shared::shared_files(case, draft),
        standing::other_installation(case),
        standing::veto(case, line, draft),
        standing::ineffective(case),
        rates::concurrent_repairs(case),
        rates::action_rate(case),
        rates::same_action(case),
        rates::cooldown(case),
    ]
}

/// Whether every answer lets the repair go on, if only to a person.
pub(crate) fn let_on(results: &[GuardResult]) -> bool {
    results
        .iter()
        .all(|result| matches!(result.answer, Answer::Passed | Answer::Propose))
}

fn passed(guard: Guard, message: impl Into<String>) -> GuardResult {
    result(guard, Answer::Passed, message)
}

fn propose(guard: Guard, message: impl Into<String>) -> GuardResult {
    result(guard, Answer::Propose, message)
}

fn refused(guard: Guard, message: impl Into<String>) -> GuardResult {
    result(guard, Answer::Refused, message)
}

/// Waits until a moment, which always is later than now.
fn wait(guard: Guard, now: Timestamp, until: Timestamp, message: impl Into<String>) -> GuardResult {
    let until = if until > now {
        until
    } else {
        now.plus(ASK_AGAIN)
    };
    result(guard, Answer::Wait(until), message)
}

fn result(guard: Guard, answer: Answer, message: impl Into<String>) -> GuardResult {
    GuardResult {
        guard,
        answer,
        message: message.into(),
    }
}
