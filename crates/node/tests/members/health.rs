//! `regraft health` judges what a pipe brings.

use crate::support::{Answer, command, regraft};
use std::io::Write as _;
use std::process::Stdio;

const OBJECTS: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: waiting, namespace: shop}
status:
  phase: Pending
  containerStatuses:
    - name: main
      ready: false
      state: {waiting: {reason: CrashLoopBackOff, message: back-off 10s}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {}
";

fn health(arguments: &[&str], input: &str) -> Answer {
    let mut child = command()
        .args(["health", "-f", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn objects_from_a_pipe_are_judged_in_order_in_the_words_asked_for() {
    for (profile, words) in [
        ("regraft", ["Degraded", "Healthy"]),
        ("kstatus", ["InProgress", "Current"]),
        ("argo", ["Degraded", "Healthy"]),
    ] {
        let answer = health(&["-o", "json", "--profile", profile], OBJECTS);
        assert_eq!(answer.code, 0, "{}", answer.err);
        let lines: Vec<serde_json::Value> = answer
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let said: Vec<&str> = lines
            .iter()
            .map(|line| line["status"].as_str().unwrap())
            .collect();
        assert_eq!(said, words, "{profile}");
        assert!(lines.iter().all(|line| {
            line["reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty())
        }));
    }
}

#[test]
fn the_table_is_for_eyes() {
    insta::assert_snapshot!(health(&[], OBJECTS).out);
}

#[test]
fn bad_input_ends_with_code_2_and_says_why() {
    let cases = [
        health(&[], "kind: [Pod\n"),
        health(&[], "{\"kind\": \"Pod\""),
        regraft(&["health", "-f", "/nowhere/objects.yaml"]),
        health(&["--profile", "helm"], ""),
    ];
    let mut shown = String::new();
    for answer in cases {
        assert_eq!(answer.code, 2, "{}", answer.err);
        shown.push_str(answer.err.lines().next().unwrap_or_default());
        shown.push('\n');
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn input_without_objects_ends_with_code_2() {
    for text in ["just text\n", "", "[]"] {
        let answer = health(&["-o", "json"], text);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{text}");
        assert!(
            answer
                .err
                .starts_with("error: NoObjects: standard input holds no objects"),
            "{}",
            answer.err
        );
    }
}

#[test]
fn the_exit_code_gates_on_health_when_asked() {
    let healthy = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n";
    let missing = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 2}, spec: {replicas: 1}}\n";
    assert_eq!(health(&["--exit-code"], healthy).code, 0);
    let both = format!("{healthy}---\n{missing}");
    let answer = health(&["--exit-code", "-o", "yaml"], &both);
    assert_eq!(
        (answer.code, answer.err.as_str()),
        (1, ""),
        "{}",
        answer.out
    );
    assert!(answer.out.contains("status: "), "{}", answer.out);
    assert_eq!(health(&[], &both).code, 0);
}
