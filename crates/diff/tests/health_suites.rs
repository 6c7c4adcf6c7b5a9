//! Verdicts of peers on real objects, measured. The cases are other people's and not part of this repository:
//! `REGRAFT_DATA` says where they are.

#![expect(
    clippy::print_stdout,
    reason = "the percentages are what this is run for"
)]

use regraft_diff::health::{Profile, judge, status_word};
use regraft_model::{Object, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// 2026-01-01, later than every object of the suites.
const NOW: Timestamp = Timestamp(1_767_225_600_000);

struct Score {
    right: usize,
    total: usize,
}

fn measure(file: &str, profile: Profile) -> Option<Score> {
    let Some(data) = std::env::var_os("REGRAFT_DATA").filter(|data| !data.is_empty()) else {
        println!("skipped {file}: REGRAFT_DATA is not set");
        return None;
    };
    let path = PathBuf::from(data).join("health").join(file);
    let text = std::fs::read_to_string(&path).expect("REGRAFT_DATA holds the suites");
    let (mut score, mut wrong) = (Score { right: 0, total: 0 }, BTreeMap::<_, Vec<_>>::new());
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("a case per line");
        let verdict = judge(&Object(case["object"].clone()), profile, NOW);
        let word = status_word(profile, &verdict);
        score.total += 1;
        if case["expected"] == word.as_str() {
            score.right += 1;
        } else {
            let name = format!("{} {} ({})", case["group"], case["case"], verdict.reason);
            wrong
                .entry(format!("{} judged {word}", case["expected"]))
                .or_default()
                .push(name);
        }
    }
    println!(
        "{file}: {} of {} ({:.1} %)",
        score.right,
        score.total,
        100.0 * score.right as f64 / score.total as f64
    );
    for (how, names) in wrong {
        println!("  {how}: {}", names.len());
        for name in names {
            println!("    {name}");
        }
    }
    Some(score)
}

#[test]
fn kstatus_agrees_with_kstatus() {
    if let Some(score) = measure("kstatus.jsonl", Profile::Kstatus) {
        assert_eq!(score.right, score.total);
    }
}

#[test]
fn argo_agrees_with_the_built_in_assessments_of_argo_cd() {
    if let Some(score) = measure("argo-builtin-health.jsonl", Profile::Argo) {
        assert!(score.right * 10 >= score.total * 9, "at least nine of ten");
    }
}

#[test]
fn argo_is_measured_on_custom_kinds() {
    if let Some(score) = measure("argo-custom-health.jsonl", Profile::Argo) {
        assert!(score.right * 100 >= score.total * 77, "as many as ever");
    }
}
