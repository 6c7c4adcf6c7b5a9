//! The bench itself: real members of both kinds answer, and what it prints can be read.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::Value;
use std::process::Command;

/// What the trial reports of this, as a program reads it.
fn report_of(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_trial"))
        .args(arguments)
        .arg("--output=json")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn members_of_both_kinds_answer_every_load() {
    let report = report_of(&["bench", "--clients=2", "--rounds=1", "--seconds=1"]);
    let rows = report["rows"].as_array().unwrap();
    let loads: Vec<&str> = rows
        .iter()
        .map(|row| row["load"].as_str().unwrap())
        .collect();
    assert_eq!(loads, ["put", "get", "lock", "mixed"]);
    for row in rows {
        for kind in ["regraft", "etcd"] {
            let figures = &row[kind][0];
            for figure in ["perS", "p50Us", "p99Us", "cpuUs"] {
                assert!(figures[figure].as_f64().unwrap() > 0.0, "{kind}: {row}");
            }
        }
    }
}

#[test]
fn members_of_both_kinds_start_again_and_one_joins() {
    let report = report_of(&["size", "--records=500", "--mib=1", "--rounds=1"]);
    for (at, kind) in ["regraft", "etcd"].into_iter().enumerate() {
        let figures = &report[at];
        assert_eq!(figures["kind"], kind);
        for figure in ["leaderResidentBytes", "dataBytes"] {
            assert!(figures[figure].as_u64().unwrap() > 1 << 20, "{figures}");
        }
        assert!(figures["startsMs"][0].as_u64().unwrap() > 0, "{figures}");
    }
    let join = &report[0]["join"];
    assert!(join["putsPerSMeanwhile"].as_f64().unwrap() > 0.0, "{join}");
}
