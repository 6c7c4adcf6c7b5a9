//! Does the repair touch what it must not touch by itself?

use super::{passed, propose};
use crate::draft::Draft;
use regraft_model::config::CONFIG_FOLDER;
use regraft_model::plan::{Touch, Touched};
use regraft_model::{Guard, GuardResult, Object};

/// Most objects and files named in the answer.
const MAX_NAMED: usize = 5;

/// Deleting objects, changing what holds data, access or other objects, and changing regraft's own configuration are
/// for a person to decide.
pub(super) fn dangerous_objects(draft: &Draft<'_>) -> GuardResult {
    let mut dangers: Vec<String> = draft
        .touched
        .iter()
        .filter_map(|touched| danger(draft, touched))
        .collect();
    dangers.extend(
        draft
            .edits
            .iter()
            .filter(|edit| is_configuration(&edit.path))
            .map(|edit| format!("changes {}", edit.path)),
    );
    if dangers.is_empty() {
        return passed(
            Guard::DangerousObjects,
            format!(
                "objects that change: {}; none is deleted or of a kind that needs a person",
                draft.touched.len()
            ),
        );
    }
    let more = dangers.len().saturating_sub(MAX_NAMED);
    dangers.truncate(MAX_NAMED);
    let mut reason = format!("it {}", dangers.join(", "));
    if more > 0 {
        reason.push_str(&format!(" and {more} more"));
    }
    propose(Guard::DangerousObjects, reason)
}

fn danger(draft: &Draft<'_>, touched: &Touched) -> Option<String> {
    let key = &touched.key;
    let verb = match touched.how {
        Touch::Deletes => return Some(format!("deletes {key}")),
        Touch::Creates => "creates",
        Touch::Changes => "changes",
    };
    let is_delicate = match (key.group.as_str(), key.kind.as_str()) {
        ("", "Secret" | "Namespace" | "PersistentVolumeClaim" | "PersistentVolume") => true,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => true,
        ("rbac.authorization.k8s.io", _) => true,
        ("apps", "StatefulSet") => volume_templates_differ(draft, touched),
        _ => false,
    };
    is_delicate.then(|| format!("{verb} {key}"))
}

fn volume_templates_differ(draft: &Draft<'_>, touched: &Touched) -> bool {
    let Some((before, after)) = draft.objects.get(&touched.key) else {
        return false;
    };
    let templates = |object: &Option<Object>| {
        object
            .as_ref()
            .map(|o| o.list("/spec/volumeClaimTemplates").to_vec())
    };
    before.is_some() && templates(before) != templates(after)
}

fn is_configuration(path: &str) -> bool {
    path.split('/').next() == Some(CONFIG_FOLDER)
}
