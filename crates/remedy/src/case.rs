//! What a decision is made from, and what it can be.

use crate::storm::Storm;
use regraft_model::finding::TargetStatus;
use regraft_model::git::History;
use regraft_model::plan::Rejected;
use regraft_model::{
    Application, ApplicationName, Fleet, GuardResult, Incident, Plan, PlanId, Revision, TargetKey,
    Timestamp, TreeId,
};
use std::collections::{BTreeMap, BTreeSet};

/// Everything a decision about one incident depends on.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// Now.
    pub now: Timestamp,
    /// Id of this installation.
    pub installation: &'a str,
    /// The incident.
    pub incident: &'a Incident,
    /// Its application.
    pub application: &'a Application,
    /// The configuration of the application's repository.
    pub fleet: &'a Fleet,
    /// What happened below the application's path from the last revision that was verified in every target of the
    /// incident to the current head.
    pub history: &'a History,
    /// Where every target of the whole fleet stands.
    pub statuses: &'a BTreeMap<TargetKey, TargetStatus>,
    /// All incidents that are known, also ended ones.
    pub incidents: &'a [&'a Incident],
    /// Fingerprints of repairs that a person undid or forbade.
    pub vetoes: &'a BTreeSet<String>,
    /// Inputs whose repair did not help; closed until a person commits others.
    pub closed: &'a BTreeSet<(ApplicationName, TreeId)>,
    /// Why healing is paused by a person.
    pub suspended: Option<&'a str>,
    /// Why healing of the repository is frozen: rewritten history, broken configuration.
    pub frozen: Option<&'a str>,
    /// The storm, when there is one.
    pub storm: Option<&'a Storm>,
}

impl Case<'_> {
    /// The id of the incident's plan; planning again on another head keeps it. An incident has one repair: one that
    /// does not help is left to a person.
    pub(crate) fn plan_id(&self) -> PlanId {
        PlanId(format!("{}.1", self.incident.id))
    }

    /// When waiting for other clusters ends.
    pub(crate) fn rollout_deadline(&self) -> Timestamp {
        self.incident
            .opened_at
            .plus(self.application.policy.rollout_wait)
    }
}

/// What to do about an incident now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Carry out the plan, as far as its delivery says.
    Act(Box<Plan>),
    /// Ask again at this moment, or when the world changed.
    Wait {
        /// The moment.
        until: Timestamp,
        /// What it waits for.
        message: String,
        /// The guards that were asked.
        guards: Vec<GuardResult>,
    },
    /// Our commit is on the branch already, though nobody recorded it (I11).
    AlreadyCommitted {
        /// The commit.
        revision: Revision,
    },
    /// A commit by somebody else came first.
    Superseded {
        /// That commit.
        by: Revision,
        /// Why it supersedes the incident.
        message: String,
    },
    /// A person must take over.
    Escalate {
        /// Stable word.
        reason: String,
        /// For people: what is known, and the next action.
        message: String,
        /// The guards that were asked.
        guards: Vec<GuardResult>,
        /// What was thought of, and why not.
        rejected: Vec<Rejected>,
    },
}

/// A stop on the way to a plan, before guards are added to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Superseded {
        by: Revision,
        message: String,
    },
    Escalate {
        reason: &'static str,
        message: String,
    },
}

impl Stop {
    pub(crate) fn escalate(reason: &'static str, message: impl Into<String>) -> Self {
        Stop::Escalate {
            reason,
            message: message.into(),
        }
    }
}
