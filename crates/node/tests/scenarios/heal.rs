//! What healing does and does not do.

use crate::{CLUSTER, REPAIR_BOUND, SETTLE_BOUND, Stage};
use regraft_testbed::HoldPoint;
use regraft_testbed::fleet::{list, newest_incident};
use serde_json::Value;

impl Stage {
    pub(crate) fn a_veto_ends_a_proposal(&mut self) {
        self.fleet.wait_verified(SETTLE_BOUND).unwrap();
        let good = self.break_image("payments", "crash-on-purpose");
        let incident = self.wait_for_incident("payments", |it| it["phase"] == "Proposed");
        let head = self.fleet.git.repository().head().unwrap();
        let id = incident["id"].as_str().unwrap();
        let why = ["veto", id, "--reason", "on purpose"];
        self.fleet.ask(1, &why).unwrap();
        let incident = self.fleet.wait_ended("payments", REPAIR_BOUND).unwrap();
        assert_eq!(incident["outcome"]["kind"], "Vetoed", "{incident:#}");
        assert_eq!(self.fleet.git.repository().head().unwrap(), head);
        self.person
            .write("apps/payments/deployment.yaml", &good)
            .unwrap();
        self.person.publish("payments: enough").unwrap();
        self.fleet.wait_verified(SETTLE_BOUND).unwrap();
    }

    pub(crate) fn other_failures_that_a_commit_brings_are_reverted_as_well(&mut self) {
        let file = "apps/storefront/deployment.yaml";
        self.person.pull().unwrap();
        self.person
            .replace(
                file,
                "progressDeadlineSeconds: 120",
                "progressDeadlineSeconds: 8",
            )
            .unwrap();
        self.person.publish("storefront: notice sooner").unwrap();
        self.wait_for_head("Synced");
        for (tag, class) in [
            ("badconfig-1", "ContainerConfig"),
            ("slow-1", "ProgressDeadlineExceeded"),
        ] {
            self.fleet.wait_verified(SETTLE_BOUND).unwrap();
            let good = self.break_image("storefront", tag);
            let incident = self.wait_for_incident("storefront", |it| {
                it["class"] == class && it["phase"] == "Ended"
            });
            assert_eq!(incident["outcome"]["kind"], "Verified", "{incident:#}");
            assert_eq!(self.file("storefront"), good);
        }
    }

    pub(crate) fn observe_says_what_it_would_do_and_a_fix_supersedes(&mut self) {
        let good = self.break_image("catalog", "crash-observed");
        self.wait_for_incident("catalog", |it| {
            it["waitsFor"]
                .as_str()
                .is_some_and(|it| it.contains("would commit"))
        });
        let before = self.fleet.git.repository().head().unwrap();
        self.person
            .write("apps/catalog/deployment.yaml", &good)
            .unwrap();
        let fix = self.person.publish("catalog: fix it by hand").unwrap();
        assert_ne!(before, fix);
        let incident = self.fleet.wait_ended("catalog", REPAIR_BOUND).unwrap();
        assert_eq!(incident["outcome"]["kind"], "Superseded", "{incident:#}");
        assert_eq!(self.commits_of(&incident), 0, "shadow mode commits nothing");
    }

    pub(crate) fn a_proposal_waits_for_the_approval_of_its_diff(&mut self) {
        let good = self.break_image("payments", "nopull-1");
        let incident = self.wait_for_incident("payments", |it| it["phase"] == "Proposed");
        let (id, plan) = (incident["id"].as_str().unwrap(), &incident["plan"]);
        let branch = format!("regraft/{}", plan["id"].as_str().unwrap());
        assert!(
            self.fleet
                .git
                .repository()
                .branches()
                .unwrap()
                .contains(&branch),
            "{branch} is there to be reviewed"
        );
        assert_ne!(
            self.file("payments"),
            good,
            "the tracked branch is untouched"
        );
        let locks = self.fleet.ask_any(&["get", "locks"]).unwrap();
        assert_eq!(list(&locks).count(), 0, "a proposal holds no lock");

        let refused = self
            .fleet
            .ask(1, &["approve", id, "--diff", &"0".repeat(64)])
            .unwrap_err();
        assert!(refused.to_string().contains("diff"), "{refused}");
        self.fleet
            .ask(
                1,
                &["approve", id, "--diff", plan["diffHash"].as_str().unwrap()],
            )
            .unwrap();
        let incident = self.fleet.wait_ended("payments", REPAIR_BOUND).unwrap();
        assert_eq!(incident["outcome"]["kind"], "Verified", "{incident:#}");
        assert_eq!(self.file("payments"), good);
    }

    pub(crate) fn a_suspension_is_heard_until_the_push(&mut self) {
        self.fleet.wait_verified(SETTLE_BOUND).unwrap();
        self.fleet.git.hold_pushes(HoldPoint::BeforeTip);
        let head = {
            self.break_image("storefront", "crash-suspended");
            self.fleet.git.repository().head().unwrap()
        };
        self.fleet.git.wait_held(REPAIR_BOUND).unwrap();
        let why = ["suspend", "--all", "--reason", "a drill"];
        self.fleet.ask(1, &why).unwrap();
        self.fleet.git.release();
        let incident = self.wait_for_incident("storefront", |it| {
            let waits = it["waitsFor"].as_str().unwrap_or_default();
            it["phase"] == "Ended" || waits.contains("a drill")
        });
        assert_eq!(self.commits_of(&incident), 0, "{incident:#}");
        assert_eq!(self.fleet.git.repository().head().unwrap(), head);
        self.fleet.ask(1, &["resume", "--all"]).unwrap();
        let incident = self.wait_for_incident("storefront", |it| it["phase"] == "Ended");
        assert_eq!(incident["outcome"]["kind"], "Verified", "{incident:#}");
        assert_eq!(self.commits_of(&incident), 1, "{incident:#}");
    }

    pub(crate) fn a_revert_of_our_commit_is_a_veto(&mut self) {
        self.fleet.wait_verified(SETTLE_BOUND).unwrap();
        let good = self.break_image("storefront", "crash-vetoed");
        let incident = self.wait_for_incident("storefront", |it| it["phase"] == "Ended");
        assert_eq!(incident["outcome"]["kind"], "Verified", "{incident:#}");
        assert_eq!(self.file("storefront"), good);

        self.person.pull().unwrap();
        self.person
            .revert(incident["committed"].as_str().unwrap())
            .unwrap();
        self.person.push().unwrap();
        let bad = self.file("storefront");
        assert!(bad.contains("crash-vetoed"));
        let first = incident["id"].clone();
        let second = self.wait_for_incident("storefront", |it| {
            it["id"] != first && it["phase"] == "Ended"
        });
        assert_eq!(second["outcome"]["kind"], "Escalated", "{second:#}");
        assert!(
            second["outcome"]["message"]
                .as_str()
                .unwrap()
                .contains("Veto"),
            "{second:#}"
        );
        assert_eq!(self.commits_of(&second), 0);
        assert_eq!(self.file("storefront"), bad, "what a person decided stays");

        self.person
            .write("apps/storefront/deployment.yaml", &good)
            .unwrap();
        self.person
            .publish("storefront: back to the good image")
            .unwrap();
        self.fleet.wait_verified(SETTLE_BOUND).unwrap();
    }

    pub(crate) fn a_fault_without_a_commit_is_handed_to_a_person(&mut self) {
        let plane = self.fleet.cluster(CLUSTER);
        plane
            .kubectl([
                "-n",
                "cart",
                "annotate",
                "pods",
                "--all",
                "testbed.regraft.dev/fault=crash",
                "--overwrite",
            ])
            .unwrap();
        let head = self.fleet.git.repository().head().unwrap();
        let incident = self.fleet.wait_ended("cart", REPAIR_BOUND).unwrap();
        assert_eq!(incident["outcome"]["kind"], "Escalated", "{incident:#}");
        assert!(
            incident["outcome"]["message"]
                .as_str()
                .unwrap()
                .contains("NoCommitToBlame"),
            "{incident:#}"
        );
        assert_eq!(
            self.fleet.git.repository().head().unwrap(),
            head,
            "nothing is reverted"
        );
        let plane = self.fleet.cluster(CLUSTER);
        plane
            .kubectl([
                "-n",
                "cart",
                "delete",
                "pods",
                "--all",
                "--grace-period",
                "0",
                "--force",
            ])
            .unwrap();
        self.fleet.wait_verified(SETTLE_BOUND).unwrap();
    }

    /// Publishes a broken image; gives the manifest as it was.
    fn break_image(&self, application: &str, tag: &str) -> String {
        self.person.pull().unwrap();
        let file = format!("apps/{application}/deployment.yaml");
        let good = self.person.read(&file).unwrap();
        let line = good
            .lines()
            .find(|line| line.trim_start().starts_with("image: "))
            .unwrap();
        let indent = &line[..line.len() - line.trim_start().len()];
        let bad = good.replace(
            line,
            &format!("{indent}image: registry.example.com/shop/{application}:{tag}"),
        );
        self.person.write(&file, &bad).unwrap();
        self.person
            .publish(&format!("{application}: try {tag}"))
            .unwrap();
        good
    }

    fn file(&self, application: &str) -> String {
        self.fleet
            .git
            .repository()
            .file_at("main", &format!("apps/{application}/deployment.yaml"))
            .unwrap()
    }

    fn commits_of(&self, incident: &Value) -> usize {
        let id = incident["id"].as_str().unwrap();
        self.fleet
            .git
            .repository()
            .commits_with_trailer("Regraft-Incident", id)
            .unwrap()
            .len()
    }

    /// The incident of what was pushed last, once it is as wanted.
    fn wait_for_incident(&self, application: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let pushed = self.person.head().unwrap();
        self.fleet
            .wait_for(
                "the incident gets there",
                REPAIR_BOUND,
                &["get", "incidents"],
                |incidents| {
                    let newest = newest_incident(incidents, application).ok_or("no incident")?;
                    if newest["seenAt"] == pushed.as_str() && is_it(newest) {
                        Ok(newest.clone())
                    } else {
                        Err(format!("{newest:#}"))
                    }
                },
            )
            .unwrap()
    }
}
