//! The one way a repair reaches a branch.
//!
//! Expected flow: fetch; look for the plan's key on the branch; compare the tip with the plan's parent; write the
//! commit; push by compare-and-swap.
//! Guarantees: the commit's parent is the plan's parent, and the branch was there when the server took it (I3). A
//! plan whose commit is on the branch is never committed again (I11), also when the answer to the push was lost. The
//! same request with the same time gives the same commit.
//! Assumptions: nobody else writes commits with our keys.
//! Errors: all of them end as [`CommitOutcome::Failed`], which may be asked again.

use crate::config::is_branch;
use crate::connection::{Connection, Download, Heads};
use crate::error::{Error, Failure, Operation};
use crate::history::MAX_WALKED_COMMITS;
use crate::message;
use crate::push::{Kind, Order, Permit, Pushed};
use crate::repository::{Repository, revision};
use crate::store;
use crate::view::View;
use git2::{ErrorCode, Oid};
use regraft_model::git::{CommitOutcome, CommitRequest, INSTALLATION_TRAILER, PLAN_TRAILER};
use regraft_model::{Revision, Timestamp};
use std::sync::Arc;

/// A commit that is written and waits to be pushed, or the reason why there is none.
#[derive(Debug)]
pub(crate) enum Prepared {
    Ready(Order),
    Settled(CommitOutcome),
}

impl Repository {
    /// Commits a repair and pushes it if the branch still is where it was planned, and `permit` still says yes then.
    pub fn commit(
        &mut self,
        request: &CommitRequest,
        committed_at: Timestamp,
        permit: &Permit,
    ) -> CommitOutcome {
        let outcome = self
            .prepare(request, committed_at)
            .and_then(|prepared| match prepared {
                Prepared::Settled(outcome) => Ok(outcome),
                Prepared::Ready(order) => self.deliver(request, &order, permit),
            });
        outcome.unwrap_or_else(|error| CommitOutcome::Failed {
            reason: error.chain(),
        })
    }

    /// Everything up to the push.
    pub(crate) fn prepare(
        &mut self,
        request: &CommitRequest,
        committed_at: Timestamp,
    ) -> Result<Prepared, Error> {
        self.check_request(request)?;
        let heads = self.sync(&[request.push_to.as_str()])?;
        let tip = self.tip(&heads)?;
        self.with_view(|view| {
            if let Some(found) = view.find_key(tip, Some(&request.search_from), request)? {
                return Ok(settled(CommitOutcome::AlreadyThere(revision(&found))));
            }
            if revision(&tip) != request.parent {
                return Ok(settled(CommitOutcome::Lost {
                    tip: revision(&tip),
                }));
            }
            let commit = view.write_commit(&self.connection, request, committed_at)?;
            view.destination(request, &heads, tip, commit)
        })
    }

    /// The push, and what its answer means.
    pub(crate) fn deliver(
        &mut self,
        request: &CommitRequest,
        order: &Order,
        permit: &Permit,
    ) -> Result<CommitOutcome, Error> {
        let connection = Arc::clone(&self.connection);
        let pushed = connection
            .push(self.store.folder(), order, permit)
            .map_err(|failure| self.remote(Operation::Push, failure))?;
        let refused = match pushed {
            Pushed::Accepted => {
                self.follow(order);
                return Ok(CommitOutcome::Committed(revision(&order.commit)));
            }
            Pushed::Unknown(source) => {
                return Err(Error::OutcomeUnknown {
                    revision: revision(&order.commit),
                    source,
                });
            }
            Pushed::Denied(reason) => return Ok(CommitOutcome::Failed { reason }),
            Pushed::Moved(_) => "the branch moved before the push".to_owned(),
            Pushed::Refused(words) => words,
        };
        // Why it did not go through matters less than where the branch is now: when it moved, the plan is void.
        let heads = connection
            .heads(
                self.store.folder(),
                &[request.branch.as_str()],
                Download::Nothing,
            )
            .map_err(|failure| self.remote(Operation::List, failure))?;
        let tip = self.tip(&heads)?;
        match revision(&tip) == request.parent {
            true => Err(self.remote(Operation::Push, Failure::Rejected(refused))),
            false => Ok(CommitOutcome::Lost {
                tip: revision(&tip),
            }),
        }
    }

    fn check_request(&self, request: &CommitRequest) -> Result<(), Error> {
        let config = self.config();
        let problem = if request.repository != config.name {
            format!("it is for repository {}", request.repository)
        } else if request.branch != config.branch {
            format!(
                "it is for branch `{}`, tracked is `{}`",
                request.branch, config.branch
            )
        } else if !is_branch(request.push_to.as_str()) {
            format!("`{}` is no valid name of a branch", request.push_to)
        } else if request.edits.is_empty() {
            "it changes nothing".to_owned()
        } else if request.key.trim().is_empty() {
            "its key is empty".to_owned()
        } else if request.message.contains('\0') {
            "its message holds a NUL character".to_owned()
        } else if let Some((name, value)) = missing_trailer(request) {
            format!("its message has no trailer `{name}: {value}`")
        } else {
            return Ok(());
        };
        Err(Error::Request { problem })
    }

    /// Remembers where the branch is now. A failure costs nothing: the next fetch tells again.
    fn follow(&self, order: &Order) {
        let followed = self.with_view(|view| {
            let name = store::tracking(&order.branch);
            view.git
                .reference(&name, order.commit, true, "pushed")
                .map(drop)
                .map_err(|error| view.damaged(&error))
        });
        if let Err(error) = followed {
            tracing::debug!(error = %error.chain(), "cannot note the pushed branch");
        }
    }
}

/// A trailer that a message lacks; without it, nothing would stop the same repair from being committed twice.
fn missing_trailer(request: &CommitRequest) -> Option<(&'static str, &str)> {
    let trailers = message::trailers(&request.message);
    [
        (PLAN_TRAILER, request.key.as_str()),
        (INSTALLATION_TRAILER, request.installation.as_str()),
    ]
    .into_iter()
    .find(|(wanted, as_is)| {
        !trailers
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case(wanted) && value == as_is)
    })
}

impl View<'_> {
    /// The commit that carries a key, between a tip and a revision (exclusive).
    fn find_key(
        &self,
        tip: Oid,
        back_to: Option<&Revision>,
        request: &CommitRequest,
    ) -> Result<Option<Oid>, Error> {
        let key = &request.key;
        let damaged = |error: git2::Error| self.damaged(&error);
        let mut walk = self.git.revwalk().map_err(damaged)?;
        walk.push(tip).map_err(damaged)?;
        if let Some(back_to) = back_to {
            match self.commit(back_to) {
                Ok(commit) => walk.hide(commit.id()).map_err(damaged)?,
                // Rewritten away: search as far as the bound lets us.
                Err(Error::RevisionMissing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for (walked, id) in walk.enumerate() {
            if walked == MAX_WALKED_COMMITS {
                return Err(Error::TooLarge {
                    what: format!("the number of commits searched for `{key}`"),
                    limit: MAX_WALKED_COMMITS.to_string(),
                });
            }
            let id = id.map_err(damaged)?;
            let commit = self.git.find_commit(id).map_err(damaged)?;
            let message = String::from_utf8_lossy(commit.message_bytes());
            if message::carries_key(&message, key, &request.installation) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    fn write_commit(
        &self,
        connection: &Connection,
        request: &CommitRequest,
        committed_at: Timestamp,
    ) -> Result<Oid, Error> {
        let parent = self.commit(&request.parent)?;
        let tree = self.tree(self.edited(&parent, &request.edits)?)?;
        if tree.id() == parent.tree_id() {
            return Err(Error::Request {
                problem: "it changes nothing".to_owned(),
            });
        }
        let time = git2::Time::new(committed_at.0.div_euclid(1000), 0);
        let author = &connection.config.author;
        git2::Signature::new(&author.name, &author.mail, &time)
            .and_then(|signature| {
                self.git.commit(
                    None,
                    &signature,
                    &signature,
                    &request.message,
                    &tree,
                    &[&parent],
                )
            })
            .map_err(|error| self.damaged(&error))
    }

    /// Where the commit goes. A proposal's branch is made, or taken over if all it holds is an older version of the
    /// same proposal; a person's commits on it are left alone.
    fn destination(
        &self,
        request: &CommitRequest,
        heads: &Heads,
        tip: Oid,
        commit: Oid,
    ) -> Result<Prepared, Error> {
        let order = |expected, kind| {
            Prepared::Ready(Order {
                commit,
                branch: request.push_to.as_str().to_owned(),
                expected,
                kind,
            })
        };
        if request.push_to == request.branch {
            return Ok(order(Some(tip), Kind::Forward));
        }
        let Some(proposal) = heads.get(request.push_to.as_str()).copied() else {
            return Ok(order(None, Kind::Forward));
        };
        let found = self
            .find_key(proposal, Some(&revision(&tip)), request)?
            .ok_or_else(|| Error::BranchTaken {
                branch: request.push_to.as_str().to_owned(),
            })?;
        let there = self.commit(&revision(&found))?;
        let same = there.parent_id(0).ok() == Some(tip)
            && there.tree_id() == self.commit(&revision(&commit))?.tree_id();
        let ours_alone = found == proposal
            && match there.parent_id(0) {
                Ok(parent) => parent == tip || self.is_behind(parent, tip)?,
                Err(_) => false,
            };
        Ok(match !same && ours_alone {
            true => order(Some(proposal), Kind::Replace),
            false => settled(CommitOutcome::AlreadyThere(revision(&found))),
        })
    }

    fn is_behind(&self, ancestor: Oid, tip: Oid) -> Result<bool, Error> {
        match self.git.graph_descendant_of(tip, ancestor) {
            Ok(answer) => Ok(answer),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
            Err(error) => Err(self.damaged(&error)),
        }
    }
}

fn settled(outcome: CommitOutcome) -> Prepared {
    Prepared::Settled(outcome)
}
