//! The words every part of regraft shares: identifiers, objects, revisions, configuration, health, findings,
//! plans, incidents and the invariants.
//!
//! ```text
//! source (Git)  ->  config + Object  ->  Health + Finding  ->  Plan  ->  Incident
//! ```
//!
//! Only data, its plain accessors and what makes a foreign text fit to be kept live here: nothing decides, nothing
//! touches the outside.

pub mod apply;
pub mod config;
pub mod finding;
pub mod git;
pub mod health;
pub mod id;
pub mod incident;
pub mod invariant;
pub mod object;
pub mod plan;
pub mod problem;
pub mod source;
pub mod text;
pub mod time;
mod words;

pub use config::{Application, ClusterSpec, Fleet, Mode, Policy};
pub use finding::{Evidence, FailureClass, Finding, Symptom};
pub use health::{Health, Verdict};
pub use id::{
    ApplicationName, BranchName, ClusterName, Fence, IncidentId, LockScope, MemberId, PlanId,
    RepositoryName, TargetKey,
};
pub use incident::{Incident, Outcome, Phase, Step};
pub use invariant::InvariantId;
pub use object::{Object, ObjectKey};
pub use plan::{Edit, Guard, GuardResult, Plan};
pub use problem::{Location, Problem, Severity};
pub use source::{BlobId, Commit, Revision, SourceFile, SourceTree, TreeId};
pub use time::{Seconds, Timestamp};
