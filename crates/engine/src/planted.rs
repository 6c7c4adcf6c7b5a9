//! Known bugs that the simulation puts back, to prove that its checkers see them. Without the feature `planted` every
//! question about them is answered no at compile time.

use crate::Engine;
use regraft_model::Incident;
use regraft_model::git::History;
use regraft_model::id::IncidentId;
use regraft_remedy::INCIDENT_TRAILER;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A known bug of the stages.
#[cfg_attr(
    not(feature = "planted"),
    expect(unreachable_pub, reason = "only the simulation names it")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A render with problems prunes as if it were complete.
    PruneAfterProblems,
    /// Clusters that cannot be seen count as seen.
    ActOnUnknown,
    /// A commit that was under way when a member died is made again under a new key.
    DoubleRevertAfterCrash,
    /// A person's revert of ours is not remembered.
    VetoForgotten,
    /// The storm guard is skipped.
    StormIgnored,
    /// What is to be proposed is committed.
    ConsentIgnored,
}

impl Engine {
    /// Puts a bug back.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, bug: Bug) {
        self.planted.insert(bug);
    }

    #[cfg(feature = "planted")]
    pub(crate) fn is_planted(&self, bug: Bug) -> bool {
        self.planted.contains(&bug)
    }

    /// The history as the stages are told: a bug may hide our own commits in it.
    pub(crate) fn told<'h>(&self, incident: &Incident, history: &'h History) -> Cow<'h, History> {
        let all = self.is_planted(Bug::DoubleRevertAfterCrash);
        if !all && !self.is_planted(Bug::VetoForgotten) {
            return Cow::Borrowed(history);
        }
        let mut hidden = history.clone();
        for commit in &mut hidden.commits {
            let own = commit.trailer(INCIDENT_TRAILER) == Some(incident.id.as_str());
            if all || !own {
                commit.trailers.clear();
            }
        }
        Cow::Owned(hidden)
    }

    /// The incidents as the stages are told: a bug may hide what earlier ones were about.
    pub(crate) fn told_incidents(&self) -> Cow<'_, BTreeMap<IncidentId, Incident>> {
        if !self.is_planted(Bug::VetoForgotten) {
            return Cow::Borrowed(&self.view.incidents);
        }
        let mut incidents = self.view.incidents.clone();
        for plan in incidents.values_mut().filter_map(|it| it.plan.as_mut()) {
            plan.suspect_inputs.clear();
        }
        Cow::Owned(incidents)
    }

    #[cfg(not(feature = "planted"))]
    #[expect(
        clippy::unused_self,
        reason = "the same signature with and without the feature"
    )]
    pub(crate) const fn is_planted(&self, _bug: Bug) -> bool {
        false
    }
}
