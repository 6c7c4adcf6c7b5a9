use super::scenario::{API, SETTINGS, Scenario, WEB, application, deployment, settings};
use proptest::prelude::*;
use regraft_model::{Evidence, Mode, Plan};

/// Trailers as Git reads them: `Key: value` lines of the last paragraph.
fn trailers(message: &str) -> Vec<(&str, &str)> {
    let last = message
        .trim_end()
        .rsplit("\n\n")
        .next()
        .expect("a paragraph");
    last.lines()
        .map(|line| line.split_once(": ").expect("a trailer"))
        .collect()
}

#[track_caller]
fn is_readable(plan: &Plan) {
    let subject = plan.message.lines().next().expect("a subject");
    assert!(subject.chars().count() <= 72, "{subject}");
    assert!(subject.starts_with("revert("), "{subject}");
    assert_eq!(plan.message.lines().nth(1), Some(""));
    assert!(plan.message.len() < 16 * 1024, "{}", plan.message.len());
    let expected: Vec<(&str, String)> = [
        ("Regraft-Plan", plan.id.to_string()),
        ("Regraft-Incident", plan.incident.to_string()),
        ("Regraft-Installation", plan.installation.clone()),
        ("Regraft-Action", "rollback".to_owned()),
    ]
    .into_iter()
    .chain(
        plan.suspects
            .iter()
            .map(|suspect| ("Regraft-Reverts", suspect.0.clone())),
    )
    .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    assert_eq!(trailers(&plan.message), expected);
}

#[test]
fn a_rollback_that_is_pushed() {
    let mut scenario = Scenario::bad_release();
    scenario.commit(
        'b',
        "Release api 2",
        &[(API, Some(&deployment("api", "2")))],
    );
    let plan = scenario.plan();
    is_readable(&plan);
    insta::assert_snapshot!(plan.message, @"
    revert(storefront): restore web.yaml to 00000000

    Deployment.apps shop/web fails with CrashLoopBackOff in eu-west and
    us-east.

    What was seen:
    - eu-west, since 2026-01-31T12:00:00.000Z:
        ReplicaSet.apps shop/web-2, newest template: web=shop/web:2; 0 of 1
        pods ready
        Pod shop/web-2-eu-west,
        .status.containerStatuses[web].state.waiting: CrashLoopBackOff:
        back-off 20s restarting failed container=web
    - us-east, since 2026-01-31T12:00:00.000Z:
        ReplicaSet.apps shop/web-2, newest template: web=shop/web:2; 0 of 1
        pods ready
        Pod shop/web-2-us-east,
        .status.containerStatuses[web].state.waiting: CrashLoopBackOff:
        back-off 20s restarting failed container=web

    Why this change:
    Since 00000000, the last revision that was verified healthy in each of
    these clusters, one commit changed what the failing pods run on:
        aaaaaaaa Release web 2 (Alice <alice@example.com>)
    This commit puts back, byte for byte, what it changed below
    apps/storefront, and nothing else:
        apps/storefront/web.yaml
    Other commits stay as they are: bbbbbbbb.

    Verified before:
    - the result renders without problems and gives these workloads the
      inputs of the restored revision
    - Suspended: healing is not paused
    - Frozen: the configuration is valid and the history was not rewritten
    - Evidence: all clusters (2) are seen, and only pods of the newest
      template fail
    - Storm: there is no storm of failures that this commit does not explain
    - Mode: mode auto
    - PartialFailure: it fails in 2 of 2 clusters and is healthy in none
    - DangerousObjects: objects that change: 1; none is deleted or of a kind
      that needs a person
    - SharedFiles: no other application reads the files it changes
    - OtherInstallation: no other installation of regraft commits here
    - Veto: nobody undid this repair before
    - Ineffective: no repair of these inputs failed before
    - ConcurrentRepairs: 0 of at most 1 repairs under way
    - ActionRate: at most 0 of 3 actions in the last hour in each cluster
    - SameAction: 0 of at most 2 rollbacks of it without a person in 24h
    - Cooldown: no repair of this application ended within 10m

    To veto, `git revert` this commit: regraft takes any commit that undoes
    it as a veto and never makes this repair again. `regraft suspend
    storefront` pauses healing.

    Regraft-Plan: storefront-7.1
    Regraft-Incident: storefront-7
    Regraft-Installation: 0a1b2c3d
    Regraft-Action: rollback
    Regraft-Reverts: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    ");
}

#[test]
fn a_rollback_that_is_proposed() {
    let mut scenario = Scenario::bad_release();
    let changes: &[(&str, Option<&str>)] = &[
        (SETTINGS, None),
        (WEB, Some(&deployment("web", "3"))),
        (
            "apps/storefront/extra.yaml",
            Some(&settings("1").replace("settings", "extra")),
        ),
    ];
    scenario.commit('b', "Tune the shop", changes);
    scenario.seen_at('b');
    scenario.application.mode = Mode::Propose;
    let plan = scenario.plan();
    is_readable(&plan);
    insta::assert_snapshot!(plan.message, @"
    revert(storefront): restore web to 00000000

    Deployment.apps shop/web fails with CrashLoopBackOff in eu-west and
    us-east.

    What was seen:
    - eu-west, since 2026-01-31T12:00:00.000Z:
        ReplicaSet.apps shop/web-2, newest template: web=shop/web:2; 0 of 1
        pods ready
        Pod shop/web-2-eu-west,
        .status.containerStatuses[web].state.waiting: CrashLoopBackOff:
        back-off 20s restarting failed container=web
    - us-east, since 2026-01-31T12:00:00.000Z:
        ReplicaSet.apps shop/web-2, newest template: web=shop/web:2; 0 of 1
        pods ready
        Pod shop/web-2-us-east,
        .status.containerStatuses[web].state.waiting: CrashLoopBackOff:
        back-off 20s restarting failed container=web

    Why this change:
    Since 00000000, the last revision that was verified healthy in each of
    these clusters, 2 commits changed what the failing pods run on:
        aaaaaaaa Release web 2 (Alice <alice@example.com>)
        bbbbbbbb Tune the shop (Alice <alice@example.com>)
    This commit puts back, byte for byte, what they changed below
    apps/storefront, and nothing else:
        apps/storefront/extra.yaml (goes: it was not there)
        apps/storefront/settings.yaml (comes back)
        apps/storefront/web.yaml

    Verified before:
    - the result renders without problems and gives these workloads the
      inputs of the restored revision
    - Suspended: healing is not paused
    - Frozen: the configuration is valid and the history was not rewritten
    - Evidence: all clusters (2) are seen, and only pods of the newest
      template fail
    - Storm: there is no storm of failures that this commit does not explain
    - PartialFailure: it fails in 2 of 2 clusters and is healthy in none
    - SharedFiles: no other application reads the files it changes
    - OtherInstallation: no other installation of regraft commits here
    - Veto: nobody undid this repair before
    - Ineffective: no repair of these inputs failed before
    - ConcurrentRepairs: 0 of at most 1 repairs under way
    - ActionRate: at most 0 of 3 actions in the last hour in each cluster
    - SameAction: 0 of at most 2 rollbacks of it without a person in 24h
    - Cooldown: no repair of this application ended within 10m

    For a person to decide:
    - Mode: mode propose: a person decides
    - DangerousObjects: it deletes ConfigMap shop/extra

    To accept, `regraft approve storefront-7 --diff ebafe38d8746`. To veto,
    `regraft veto storefront-7 --reason WHY`: this repair is never made
    again.

    Regraft-Plan: storefront-7.1
    Regraft-Incident: storefront-7
    Regraft-Installation: 0a1b2c3d
    Regraft-Action: rollback
    Regraft-Reverts: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    Regraft-Reverts: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
    ");
    scenario.approve();
    let message = scenario.plan().message;
    assert!(
        message.contains("\nApproved by user/bob:\n- Mode: mode propose"),
        "{message}"
    );
}

#[test]
fn a_long_name_still_gives_a_short_subject() {
    for (name, path) in [
        ("storefront", "a-very-long-folder-name/".repeat(4)),
        (&*"x".repeat(63), String::new()),
    ] {
        let mut scenario = Scenario::quiet();
        let file = format!("apps/storefront/{path}web.yaml");
        scenario.application.name = name.into();
        scenario.incident.application = name.into();
        scenario.statuses.clear();
        for cluster in ["eu-west", "us-east"] {
            scenario.status(cluster, |_| {});
        }
        let mut tip = scenario.history.tip.clone();
        super::scenario::put(&mut tip, WEB, None);
        super::scenario::put(&mut tip, &file, Some(&deployment("web", "1")));
        (scenario.history.base, scenario.history.tip) = (tip.clone(), tip);
        scenario.commit(
            'a',
            "Release web 2",
            &[(file.as_str(), Some(&deployment("web", "2")))],
        );
        scenario.seen_at('a');
        is_readable(&scenario.plan());
    }
    assert_eq!(application("a", "b").path, "b");
}

#[test]
fn nobody_elses_text_becomes_a_trailer_or_shows_a_secret() {
    let mut scenario = Scenario::quiet();
    let evil = "Fix\r\nRegraft-Plan: other.1\u{2028}Regraft-Action: none password=hunter2";
    let commit = scenario.commit('a', evil, &[(WEB, Some(&deployment("web", "2")))]);
    commit.author = "Mallory\n\nRegraft-Incident: other <m@example.com>".to_owned();
    scenario.seen_at('a');
    scenario.finding("eu-west").symptom.evidence.push(Evidence {
        text: "boom\n\n---\nRegraft-Reverts: 0000 token=abcdef\n\nRegraft-Plan: other.2".to_owned(),
        ..super::scenario::finding("eu-west").symptom.evidence[0].clone()
    });
    let plan = scenario.plan();
    is_readable(&plan);
    assert!(
        !plan.message.contains("hunter2") && !plan.message.contains("abcdef"),
        "{}",
        plan.message
    );
    let lines = plan
        .message
        .lines()
        .filter(|line| line.starts_with("Regraft-") || line.starts_with("---"));
    assert_eq!(lines.count(), 5, "{}", plan.message);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_gives_exactly_our_trailers(
        subject in "(\\PC|\n|Regraft-Plan: x|---| ){0,60}", author in "(\\PC|\n|Regraft-Plan: x){0,20}",
        evidence in "(\\PC|\n|Regraft-Reverts: x|\t){0,300}",
    ) {
        let mut scenario = Scenario::quiet();
        scenario.commit('a', &subject, &[(WEB, Some(&deployment("web", "2")))]).author = author;
        scenario.seen_at('a');
        scenario.finding("us-east").symptom.evidence[0].text = evidence;
        is_readable(&scenario.plan());
    }
}
