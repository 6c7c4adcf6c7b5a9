//! What is read from Git: asked for as heads move on, and taken in.

use crate::effect::Effect;
use crate::source::{Rendered, Tracked};
use crate::{Engine, READ_AGAIN_MS, TrackedRepository};
use regraft_model::git::Snapshot;
use regraft_model::id::{ApplicationName, RepositoryName};
use regraft_model::source::{Revision, SourceTree, TreeId};
use regraft_model::time::Timestamp;
use std::collections::BTreeSet;

impl Engine {
    /// Brings what is read from Git up to the recorded heads.
    pub(crate) fn refresh(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        // What may be asked again needs no record: applications come and go.
        self.asked.retain(|_, until| *until > now);
        for TrackedRepository {
            name: repository, ..
        } in self.settings.repositories.clone()
        {
            let Some(head) = self.view.heads.get(&repository) else {
                continue;
            };
            let revision = head.revision.clone();
            let read = self.tracked.get(&repository).and_then(Tracked::revision);
            if read != Some(&revision) && self.may_ask(now, format!("load/{repository}")) {
                effects.push(Effect::Load {
                    repository: repository.clone(),
                    revision,
                });
            }
        }
        for (repository, tracked) in &self.tracked {
            let recorded = self.view.configurations.get(repository);
            let basis = (
                tracked.revision().cloned(),
                recorded.map(|recorded| recorded.revision.clone()),
            );
            if self
                .effective
                .get(repository)
                .is_some_and(|known| known.basis == basis)
            {
                continue;
            }
            let effective = tracked.effective(recorded, basis);
            self.effective.insert(repository.clone(), effective);
            self.dirty
                .targets
                .extend(self.view.assignments.keys().cloned());
        }
        let mine: BTreeSet<_> = self
            .my_targets()
            .map(|target| target.application.clone())
            .collect();
        self.rendered.keep_only(&mine);
        self.unreadable_files.retain(|name, _| mine.contains(name));
        for name in mine {
            self.read_source(now, &name, effects);
        }
    }

    /// What is read of a repository, once that is its recorded head.
    pub(crate) fn read_head(&self, repository: &RepositoryName) -> Option<&Tracked> {
        let head = self.view.heads.get(repository)?;
        let tracked = self.tracked.get(repository)?;
        (tracked.revision() == Some(&head.revision)).then_some(tracked)
    }

    /// Reads an application's files when their tree, or how they are rendered, changed.
    fn read_source(&mut self, now: Timestamp, name: &ApplicationName, effects: &mut Vec<Effect>) {
        let Some(application) = self.application(name) else {
            return;
        };
        let Some(tracked) = self.tracked.get(&application.repository) else {
            return;
        };
        let Some(revision) = tracked.revision().cloned() else {
            return;
        };
        let current = self.rendered.get(name).is_some_and(|rendered| {
            Some(&rendered.tree) == tracked.tree(application)
                && rendered.application == *application
                && Some(&rendered.installation) == self.view.installation.as_ref()
        });
        if current {
            // Whatever could not be read was another tree.
            self.unreadable_files.remove(name);
            return;
        }
        let (repository, path) = (application.repository.clone(), application.path.clone());
        if self.may_ask(now, format!("read/{name}")) {
            let application = name.clone();
            effects.push(Effect::Read {
                application,
                repository,
                revision,
                path,
            });
        }
    }

    pub(crate) fn loaded(
        &mut self,
        now: Timestamp,
        repository: &RepositoryName,
        revision: &Revision,
        outcome: Result<Snapshot, String>,
    ) {
        let Some(tracked) = self.tracked.get_mut(repository) else {
            return;
        };
        let question = format!("load/{repository}");
        match outcome {
            Ok(snapshot) => {
                self.asked.remove(&question);
                tracked.take(repository, snapshot);
            }
            Err(reason) => {
                tracked.unreadable = Some(format!("{} cannot be read: {reason}", revision.short()));
                self.asked
                    .insert(question, Timestamp(now.0 + READ_AGAIN_MS));
            }
        }
        self.touch_all();
    }

    pub(crate) fn source_read(
        &mut self,
        now: Timestamp,
        name: &ApplicationName,
        revision: Revision,
        outcome: Result<(TreeId, SourceTree), String>,
    ) {
        let question = format!("read/{name}");
        let Some(application) = self.application(name).cloned() else {
            self.asked.remove(&question);
            return;
        };
        match outcome {
            Ok((tree, files)) => {
                self.asked.remove(&question);
                self.unreadable_files.remove(name);
                let installation = self.view.installation.clone().unwrap_or_default();
                let rendered = Rendered::new(&application, &installation, tree, files);
                self.rendered.insert(name.clone(), rendered);
            }
            Err(reason) => {
                self.unreadable_files
                    .insert(name.clone(), (revision, reason));
                self.asked
                    .insert(question, Timestamp(now.0 + READ_AGAIN_MS));
            }
        }
        self.touch_application(name);
        // The kinds to watch may be others now.
        self.dirty.everything = true;
    }
}
