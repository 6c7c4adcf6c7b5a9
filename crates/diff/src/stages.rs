//! Objects that need work, in stages: what the rest stands on first.

use crate::order::{is_early, rank};
use regraft_model::apply::{Stage, StageWait, StagedObject};

/// Splits and sorts by the order of application. Empty stages are left out.
pub(crate) fn stages(mut objects: Vec<StagedObject>) -> Vec<Stage> {
    objects.sort_by_cached_key(|staged| {
        let key = staged.object.key();
        (rank(&key), key)
    });
    let (early, late): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .partition(|staged| is_early(&staged.object.key()));
    [(early, StageWait::Established), (late, StageWait::Nothing)]
        .into_iter()
        .filter(|(objects, _)| !objects.is_empty())
        .map(|(objects, then)| Stage { objects, then })
        .collect()
}
