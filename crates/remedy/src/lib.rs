//! Symptoms and history to diagnosis, plan, guards and the commit message.
//!
//! ```text
//! Case { incident, history, statuses, ... }
//!   ── blame ──> failing workloads that a commit changed
//!   ── line ───> what each commit made of their inputs
//!   ── draft ──> suspects, edits that restore their files, objects touched
//!   ── guards ─> Passed | Wait | Propose | Refused, each with its figures
//!   ── check ──> every promise of a plan, derived again
//!   ──> Decision
//! ```
//!
//! It restores bytes that Git already holds and writes no others. It never destroys a later change by somebody else,
//! never plans from unknown or stale evidence (I7), never repeats what a person undid (I9), and carries nothing out.

mod blame;
mod case;
mod check;
mod decide;
mod draft;
mod edit;
mod guards;
mod line;
mod message;
pub mod rank;
mod storm;
#[cfg(test)]
mod tests;

pub use case::{Case, Decision};
pub use check::{Violation, check};
pub use decide::decide;
pub use edit::{diff_hash, fingerprint, inputs_are_back, restored, undone};
pub use regraft_model::git::{INCIDENT_TRAILER, PLAN_TRAILER};
pub use storm::{Storm, storm};
