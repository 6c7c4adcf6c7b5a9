//! Edits: their identity, and what they make of a tree.

use data_encoding::HEXLOWER;
use regraft_model::source::FileMode;
use regraft_model::{BlobId, Edit, ObjectKey, Plan, SourceTree};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The identity of a repair: SHA-256 in hex over path, blob before and blob after of its edits. A veto names it.
pub fn fingerprint(edits: &[Edit]) -> String {
    hash("regraft repair 1", edits, |_| "")
}

/// SHA-256 in hex of all that the edits change, file modes included. An approval names it; it is the same on another
/// head as long as the files are.
pub fn diff_hash(edits: &[Edit]) -> String {
    hash("regraft diff 1", edits, |edit| match edit.mode {
        FileMode::Regular => "100644",
        FileMode::Executable => "100755",
        FileMode::Link => "120000",
    })
}

/// The tip with the edits made. What they put comes from `base`; an edit whose blob is not there changes nothing.
pub fn restored(tip: &SourceTree, base: &SourceTree, edits: &[Edit]) -> SourceTree {
    let mut tree = tip.clone();
    for edit in edits {
        match &edit.after {
            None => {
                tree.files.remove(&edit.path);
            }
            Some(blob) => {
                if let Some(file) = base.files.get(&edit.path).filter(|file| file.blob == *blob) {
                    tree.files.insert(edit.path.clone(), file.clone());
                }
            }
        }
    }
    tree
}

/// Whether somebody put back at `tip` what a plan of ours replaced, while our commit is in its history: a veto (I9).
/// `tip` holds the files below the application's path.
pub fn undone(plan: &Plan, tip: &SourceTree) -> bool {
    plan.edits.iter().any(|edit| {
        edit.before != edit.after
            && tip.files.get(&edit.path).map(|file| &file.blob) == edit.before.as_ref()
    })
}

/// Whether somebody gave back to the workloads that a plan of ours repaired what they failed with, whatever else
/// changed in their files, while our commit is in the history: a veto as well (I9). `inputs` are the digests of the
/// application's workloads by their keys.
pub fn inputs_are_back<'a>(
    plan: &Plan,
    inputs: impl IntoIterator<Item = (&'a ObjectKey, &'a String)>,
) -> bool {
    let inputs = inputs.into_iter();
    let now: BTreeMap<String, &String> = inputs
        .map(|(workload, digest)| (workload.to_string(), digest))
        .collect();
    let mut failed = plan.suspect_inputs.iter();
    !plan.suspect_inputs.is_empty()
        && failed.all(|(workload, digest)| now.get(workload) == Some(&digest))
}

fn hash(domain: &str, edits: &[Edit], mode: impl Fn(&Edit) -> &'static str) -> String {
    let mut sorted: Vec<_> = edits.iter().collect();
    sorted.sort();
    let mut hasher = Sha256::new();
    let mut feed = |text: &str| {
        // With its length, so that no two lists of parts read the same.
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    };
    feed(domain);
    for edit in sorted {
        feed(&edit.path);
        for blob in [&edit.before, &edit.after] {
            feed(blob.as_ref().map_or("absent", |BlobId(hex)| hex));
        }
        feed(mode(edit));
    }
    HEXLOWER.encode(&hasher.finalize())
}
