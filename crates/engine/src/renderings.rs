//! What the files of all applications ask for, found by application and by object.

use crate::source::Rendered;
use regraft_model::id::ApplicationName;
use regraft_model::object::{Object, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};

/// Rendered applications.
#[derive(Debug, Default)]
pub(crate) struct Renderings {
    by_application: BTreeMap<ApplicationName, Rendered>,
    /// Who asks for an object: whatever labels the live one has, it concerns them.
    wanted_by: BTreeMap<ObjectKey, BTreeSet<ApplicationName>>,
}

impl Renderings {
    pub(crate) fn get(&self, name: &ApplicationName) -> Option<&Rendered> {
        self.by_application.get(name)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Rendered> {
        self.by_application.values()
    }

    /// The applications that ask for an object.
    pub(crate) fn wanting(&self, key: &ObjectKey) -> impl Iterator<Item = &ApplicationName> {
        self.wanted_by.get(key).into_iter().flatten()
    }

    pub(crate) fn insert(&mut self, name: ApplicationName, rendered: Rendered) {
        self.remove(&name);
        for key in rendered.objects.iter().map(Object::key) {
            self.wanted_by.entry(key).or_default().insert(name.clone());
        }
        self.by_application.insert(name, rendered);
    }

    /// Forgets all but these.
    pub(crate) fn keep_only(&mut self, names: &BTreeSet<ApplicationName>) {
        let known = self.by_application.keys();
        let gone: Vec<_> = known.filter(|it| !names.contains(*it)).cloned().collect();
        for name in gone {
            self.remove(&name);
        }
    }

    fn remove(&mut self, name: &ApplicationName) {
        let Some(rendered) = self.by_application.remove(name) else {
            return;
        };
        for key in rendered.objects.iter().map(Object::key) {
            let Some(names) = self.wanted_by.get_mut(&key) else {
                continue;
            };
            names.remove(name);
            if names.is_empty() {
                self.wanted_by.remove(&key);
            }
        }
    }
}
