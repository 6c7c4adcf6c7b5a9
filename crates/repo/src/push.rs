//! Pushes one commit by compare-and-swap: a branch moves only from the tip the plan was made on.
//!
//! Expected flow: connect, compare the tip the remote shows with the expected one, send, hear the remote's answer.
//! Guarantees: nothing is sent before the permit was asked, after the remote showed its tip. Over http and ssh the
//! command carries the old tip, so the server itself refuses when the branch moved after we looked; over `file://` the
//! reference is written under its lock with the same comparison. libgit2 by itself only checks that a push is a
//! fast-forward, which a branch reset to an ancestor would pass.
//! Errors: before anything was sent a [`Failure`]; afterwards [`Pushed::Unknown`].

use crate::address::Address;
use crate::connection::{Connection, Notes, said};
use crate::error::Failure;
use crate::store;
use crate::watch::{Beat, Wanted};
use git2::{ErrorCode, ObjectType, Oid};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asked when the remote has shown its tip and nothing was sent yet: the last moment to say no, and why.
pub type Permit = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What to push where.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) commit: Oid,
    pub(crate) branch: String,
    /// The tip that must be there, `None` for no branch at all.
    pub(crate) expected: Option<Oid>,
    pub(crate) kind: Kind,
}

/// Whether our commit stands on the expected tip or takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// On top of it, or as a new branch.
    Forward,
    /// In its place: only for our own proposals.
    Replace,
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The branch is at our commit.
    Accepted,
    /// The branch was elsewhere; nothing was sent.
    Moved(Option<Oid>),
    /// Who asked for it wants it no more; nothing was sent.
    Denied(String),
    /// The server refused, in its own words.
    Refused(String),
    /// It was sent, and the answer did not arrive.
    Unknown(Failure),
}

impl Connection {
    /// Pushes from the clone in `folder`.
    pub(crate) fn push(
        self: &Arc<Self>,
        folder: &Path,
        order: &Order,
        permit: &Permit,
    ) -> Result<Pushed, Failure> {
        let (connection, folder, order) = (Arc::clone(self), folder.to_owned(), order.clone());
        let permit = Arc::clone(permit);
        // Shared with the operation's thread: when it is given up, this says whether the push was under way.
        let sent = Arc::new(AtomicBool::new(false));
        let its_sent = Arc::clone(&sent);
        let answer =
            self.run(move |beat| connection.push_now(beat, &folder, &order, &permit, &its_sent));
        match answer {
            Err(failure) if sent.load(Ordering::Acquire) => Ok(Pushed::Unknown(failure)),
            answer => answer,
        }
    }

    fn push_now(
        &self,
        beat: &Beat,
        folder: &Path,
        order: &Order,
        permit: &Permit,
        sent: &AtomicBool,
    ) -> Result<Pushed, Failure> {
        let git = store::open_bare(folder).map_err(|error| Failure::Local(said(&error)))?;
        if let Address::File { path, .. } = &self.address {
            return push_to_folder(&git, path, order, permit);
        }
        let notes = Notes::default();
        let mut remote = git
            .remote_anonymous(self.address.url())
            .map_err(|error| Failure::Local(said(&error)))?;
        let moved: Cell<Option<Option<Oid>>> = Cell::new(None);
        let denied: RefCell<Option<String>> = RefCell::new(None);
        let verdict: RefCell<Option<Result<(), String>>> = RefCell::new(None);
        let mut callbacks = self.callbacks(beat, &notes);
        callbacks
            .push_negotiation(|updates| {
                for update in updates {
                    let shown = Some(update.src()).filter(|id| !id.is_zero());
                    if shown != order.expected {
                        moved.set(Some(shown));
                        return Err(git2::Error::from_str("the branch moved"));
                    }
                }
                if let Err(reason) = permit() {
                    denied.replace(Some(reason));
                    return Err(git2::Error::from_str("the push is not wanted any more"));
                }
                if beat.mark() == Wanted::No {
                    return Err(git2::Error::from_str("nobody waits for this push any more"));
                }
                // From here on the server may have taken it, whatever else happens.
                sent.store(true, Ordering::Release);
                Ok(())
            })
            .push_update_reference(|_, refused| {
                beat.mark();
                verdict.replace(Some(match refused {
                    Some(words) => Err(words.to_owned()),
                    None => Ok(()),
                }));
                Ok(())
            });
        let result = remote.push(&[refspec(order)], Some(&mut self.push_options(callbacks)));
        if let Some(shown) = moved.get() {
            return Ok(Pushed::Moved(shown));
        }
        if let Some(reason) = denied.take() {
            return Ok(Pushed::Denied(reason));
        }
        match (verdict.take(), result) {
            (Some(Err(words)), _) => {
                let server = notes.said();
                Ok(Pushed::Refused(self.scrub(match server.is_empty() {
                    true => words,
                    false => format!("{words}; the server says: {server}"),
                })))
            }
            (Some(Ok(())), _) => Ok(Pushed::Accepted),
            (None, Ok(())) => Ok(Pushed::Unknown(Failure::Unreachable(
                "the server did not say what became of the branch".to_owned(),
            ))),
            (None, Err(error)) => Err(self.failure(&error, &notes)),
        }
    }
}

fn refspec(order: &Order) -> String {
    let force = match order.kind {
        Kind::Forward => "",
        Kind::Replace => "+",
    };
    format!("{force}{}:refs/heads/{}", order.commit, order.branch)
}

/// libgit2 writes to a local repository without comparing under the lock, so this is done here: objects first, then
/// the reference. Hooks of the repository are not run.
fn push_to_folder(
    git: &git2::Repository,
    path: &Path,
    order: &Order,
    permit: &Permit,
) -> Result<Pushed, Failure> {
    let local = |error: git2::Error| Failure::Local(said(&error));
    let there = git2::Repository::open(path).map_err(|error| match error.code() {
        ErrorCode::NotFound => Failure::NotFound(said(&error)),
        _ => Failure::Rejected(said(&error)),
    })?;
    let name = format!("refs/heads/{}", order.branch);
    let checked_out = || {
        there
            .head()
            .is_ok_and(|head| head.name_bytes() == name.as_bytes())
    };
    if !there.is_bare() && checked_out() {
        return Ok(Pushed::Refused(
            "the branch is checked out in a repository that is not bare".to_owned(),
        ));
    }
    let shown = there.refname_to_id(&name).ok();
    if shown != order.expected {
        return Ok(Pushed::Moved(shown));
    }
    copy(git, &there, order.commit, order.expected).map_err(local)?;
    if let Err(reason) = permit() {
        return Ok(Pushed::Denied(reason));
    }
    let message = "push by regraft";
    let written = match order.expected {
        Some(old) => there.reference_matching(&name, order.commit, true, old, message),
        None => there.reference(&name, order.commit, false, message),
    };
    match written {
        Ok(_) => Ok(Pushed::Accepted),
        Err(error)
            if matches!(
                error.code(),
                ErrorCode::Modified | ErrorCode::Exists | ErrorCode::NotFound | ErrorCode::Locked
            ) =>
        {
            Ok(Pushed::Moved(there.refname_to_id(&name).ok()))
        }
        Err(error) => Ok(Pushed::Refused(said(&error))),
    }
}

/// Copies a commit with what it needs; what the other side has ends the walk.
fn copy(
    git: &git2::Repository,
    there: &git2::Repository,
    commit: Oid,
    expected: Option<Oid>,
) -> Result<(), git2::Error> {
    let (from, to) = (git.odb()?, there.odb()?);
    let mut commits = git.revwalk()?;
    commits.push(commit)?;
    if let Some(known) = expected {
        commits.hide(known)?;
    }
    let mut order = Vec::new();
    for id in commits {
        let id = id?;
        if to.exists(id) {
            break;
        }
        let mut waiting = vec![id, git.find_commit(id)?.tree_id()];
        while let Some(id) = waiting.pop() {
            if to.exists(id) {
                continue;
            }
            order.push(id);
            if from.read_header(id)?.1 == ObjectType::Tree {
                let tree = git.find_tree(id)?;
                let inner = tree
                    .iter()
                    .filter(|entry| entry.kind() != Some(ObjectType::Commit));
                waiting.extend(inner.map(|entry| entry.id()));
            }
        }
    }
    // What is named comes before what names it, so that a crash leaves no commit without its tree.
    for id in order.into_iter().rev() {
        let object = from.read(id)?;
        to.write(object.kind(), object.data())?;
    }
    Ok(())
}
