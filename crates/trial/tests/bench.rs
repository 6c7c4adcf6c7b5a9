//! The bench itself: real members of both kinds answer, and what it prints can be read.

use std::process::Command;

#[test]
fn members_of_both_kinds_answer_every_load() {
    let output = Command::new(env!("CARGO_BIN_EXE_trial"))
        .args(["bench", "--clients=2", "--rounds=1", "--seconds=1"])
        .arg("--output=json")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["tls"], true);
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
