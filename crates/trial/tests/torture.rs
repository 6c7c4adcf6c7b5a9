//! The torture itself: real members suffer real faults, and what it prints can be read.

use std::process::Command;

#[test]
fn members_that_are_killed_keep_what_they_promised() {
    let output = Command::new(env!("CARGO_BIN_EXE_trial"))
        .args(["torture", "--minutes=0.3", "--seed=1", "--clients=6"])
        .args(["--faults=kill,clock-jump", "--output=json"])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["violationCount"], 0, "{report}");
    let kinds: Vec<&str> = report["faults"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["kill", "clockJump"], "{report}");
    for asked in ["put", "compare and swap", "delete", "get", "stale get"] {
        let done = &report["operations"][asked]["done"];
        assert!(done.as_u64().unwrap_or_default() > 0, "{asked}: {report}");
    }
    assert!(report["locks"]["granted"].as_u64().unwrap() > 0, "{report}");
}
