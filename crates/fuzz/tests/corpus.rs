//! Every input that is kept, and many like it, with the compiler of the product and without a fuzzer.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as it should be"
)]

use regraft_fuzz::{Check, TARGETS};
use regraft_wal::testing::Dice;
use std::path::PathBuf;

/// Inputs that are made of all that are kept of a target, for some seconds of a test.
const MUTATIONS: u64 = 3_000;
/// Changes of one of them.
const CHANGES_MAX: u64 = 4;
/// Bytes that one change takes out, or doubles.
const PIECE_BYTES_MAX: u64 = 64;

/// Tells the input that a promise was broken for.
struct Tried<'a> {
    what: &'a str,
    input: &'a [u8],
}

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let what = self.what;
            eprintln!("broken by {what}: {}", self.input.escape_ascii());
        }
    }
}

fn run(check: Check, what: &str, input: &[u8]) {
    let _tried = Tried { what, input };
    check(input);
}

/// The inputs that are kept of a target, by their names.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let files = std::fs::read_dir(folder.join(target)).unwrap();
    let mut kept: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read(file.path()).unwrap())
        })
        .collect();
    kept.sort();
    kept
}

/// Changes an input as damage would, or takes a piece of another one in.
fn mutate(dice: &mut Dice, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=dice.below(CHANGES_MAX) {
        let mut below = |end: usize| usize::try_from(dice.below(end as u64)).unwrap();
        let at = below(input.len().max(1));
        let end = input.len().min(at + 1 + below(PIECE_BYTES_MAX as usize));
        match below(6) {
            0 if at < input.len() => input[at] ^= 1 << below(8),
            1 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff, b'9'][below(6)],
            2 => drop(input.drain(at.min(end)..end)),
            3 => {
                let piece = input[at.min(end)..end].to_vec();
                input.splice(end..end, piece);
            }
            4 => {
                let from = below(other.len().max(1)).min(other.len());
                input.truncate(at);
                input.extend(&other[from..]);
            }
            _ => input.insert(at.min(input.len()), u8::try_from(below(256)).unwrap()),
        }
    }
}

fn check(target: &str) {
    let (_, check) = TARGETS
        .into_iter()
        .find(|(name, _)| *name == target)
        .unwrap();
    let kept = kept(target);
    assert!(kept.len() > 5, "{} inputs are kept of {target}", kept.len());
    run(check, "nothing", &[]);
    for (name, input) in &kept {
        run(check, name, input);
    }
    let mut dice = Dice::new(1);
    for _ in 0..MUTATIONS {
        let mut pick = || usize::try_from(dice.below(kept.len() as u64)).unwrap();
        let ((name, input), (_, other)) = (&kept[pick()], &kept[pick()]);
        let mut input = input.clone();
        mutate(&mut dice, &mut input, other);
        run(check, &format!("a change of {name}"), &input);
    }
}

#[test]
fn a_certificate_names_one_or_is_refused() {
    check("certificates");
}

#[test]
fn an_entry_of_the_log_is_applied_alike_or_halts_as_documented() {
    check("commands");
}

#[test]
fn a_request_of_a_program_never_halts_the_machine() {
    check("requests");
}

#[test]
fn a_stream_that_is_not_whole_is_no_snapshot() {
    check("snapshots");
}

#[test]
fn a_record_that_cannot_be_read_is_named() {
    check("stored");
}

#[test]
fn a_log_is_opened_as_it_was_written_or_its_damage_is_named() {
    check("wal");
}

#[test]
fn a_message_between_members_is_understood_as_it_was_meant() {
    check("wire");
}

#[test]
fn every_target_has_a_program_and_a_folder() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let names_in = |folder: &str| {
        let files = std::fs::read_dir(root.join(folder)).unwrap();
        let mut names: Vec<String> = files
            .map(|file| file.unwrap().path().file_stem().unwrap().to_owned())
            .map(|name| name.into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let names = TARGETS.map(|(name, _)| name);
    assert_eq!(names_in("corpus"), names);
    assert_eq!(names_in("fuzz_targets"), names);
}
