//! What healing does and does not do, on a real control plane with one member: modes, vetoes, a person's fix, faults
//! that no commit explains, drift, prune, and a cluster that dies.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it should be"
)]

use regraft_testbed::fleet::{list, newest_incident};
use regraft_testbed::{Author, Fleet, FleetOptions, HoldPoint, WorkClone};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Until a repair is over.
const REPAIR_BOUND: Duration = Duration::from_secs(90);
/// Until everything is applied, healthy and verified.
const SETTLE_BOUND: Duration = Duration::from_secs(90);
/// Until one commit is applied, or one edit put back.
const APPLY_BOUND: Duration = Duration::from_secs(30);
const CLUSTER: &str = "eu-west";

struct Stage {
    fleet: Fleet,
    person: WorkClone,
}

#[test]
fn healing_does_what_its_mode_says_and_no_more() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gitops-examples");
    let options = FleetOptions {
        clusters: &[CLUSTER],
        members: 1,
        repository: &examples,
    };
    let fleet = Fleet::start("scenarios", &options).unwrap();
    let person = fleet.git.work_clone(&Author::named("alice")).unwrap();
    let mut stage = Stage { fleet, person };
    stage.only_one_cluster_and_three_modes();
    stage.fleet.wait_verified(SETTLE_BOUND).unwrap();

    stage.drift_is_put_back_and_what_left_git_is_pruned();
    stage.a_diff_tells_deletions_and_no_secrets();
    stage.what_lives_outside_namespaces_is_kept_in_sync();
    stage.a_late_autoscaler_owns_the_replicas();
    stage.observe_says_what_it_would_do_and_a_fix_supersedes();
    stage.a_proposal_waits_for_the_approval_of_its_diff();
    stage.a_suspension_is_heard_until_the_push();
    stage.a_revert_of_our_commit_is_a_veto();
    stage.a_fault_without_a_commit_is_handed_to_a_person();
    stage.nothing_is_written_while_everything_is_in_sync();
}

impl Stage {
    fn only_one_cluster_and_three_modes(&self) {
        let file = ".regraft/applications.yaml";
        let text = self
            .person
            .read(file)
            .unwrap()
            .replace("[eu-west, us-east, ap-south]", "[eu-west]");
        let text = with_mode(
            &with_mode(&text, "catalog", "observe"),
            "payments",
            "propose",
        );
        self.person.write(file, &text).unwrap();
        let limits = "maxActionsPerHour: 50\n  maxSameActionPerDay: 50\n  cooldown: 0s";
        self.person
            .replace(".regraft/policies.yaml", "cooldown: 10s", limits)
            .unwrap();
        self.person.publish("One cluster, three modes").unwrap();
    }

    fn drift_is_put_back_and_what_left_git_is_pruned(&mut self) {
        let plane = self.fleet.cluster(CLUSTER);
        let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "storefront", "image": "by/hand:1"}]}}}});
        let patch = image.to_string();
        plane
            .kubectl([
                "-n",
                "storefront",
                "patch",
                "deployment",
                "storefront",
                "-p",
                &patch,
                "--field-manager",
                "hand",
            ])
            .unwrap();
        self.wait_for_image("storefront", "registry.example.com");

        let file = "apps/storefront/extra.yaml";
        let extra =
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: extra\ndata:\n  key: value\n";
        self.person.write(file, extra).unwrap();
        self.person.publish("Add a ConfigMap").unwrap();
        self.wait_for_configmap("extra", "value");
        self.person.remove(file).unwrap();
        self.person.publish("Remove it again").unwrap();
        self.wait_for_configmap("extra", "");
    }

    fn a_diff_tells_deletions_and_no_secrets(&mut self) {
        let file = "apps/storefront/extra.yaml";
        let extra =
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: extra\ndata:\n  key: value\n";
        let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: login\nstringData:\n  password: from-git\n";
        self.person
            .write(file, &format!("{extra}---\n{secret}"))
            .unwrap();
        self.person.publish("Add a ConfigMap and a Secret").unwrap();
        self.wait_for_head("Synced");
        self.fleet.ask(1, &["suspend", "storefront"]).unwrap();
        let plane = self.fleet.cluster(CLUSTER);
        let by_hand = json!({"stringData": {"password": "by-hand"}}).to_string();
        plane
            .kubectl([
                "-n",
                "storefront",
                "patch",
                "secret",
                "login",
                "-p",
                &by_hand,
            ])
            .unwrap();
        self.person.write(file, secret).unwrap();
        self.person.publish("Remove the ConfigMap").unwrap();
        self.wait_for_head("Suspended");

        let diff = self.fleet.ask(1, &["diff", "storefront"]).unwrap_err();
        let diff = diff.to_string();
        assert!(diff.contains("2 of 6 objects differ"), "{diff}");
        assert!(
            diff.contains("deletes ConfigMap storefront/extra"),
            "{diff}"
        );
        assert!(diff.contains("+  password: (hidden, differs)"), "{diff}");
        for value in ["from-git", "by-hand", "ZnJvbS1naXQ=", "YnktaGFuZA=="] {
            assert!(!diff.contains(value), "{diff}");
        }
        self.fleet.ask(1, &["resume", "storefront"]).unwrap();
        self.wait_for_configmap("extra", "");
        self.person.remove(file).unwrap();
        self.person.publish("Remove the Secret").unwrap();
        self.wait_for_head("Synced");
    }

    /// Waits until the newest commit is recorded, and storefront is in this state at it.
    fn wait_for_head(&self, sync: &str) {
        let head = self.person.head().unwrap();
        self.fleet
            .wait_for(
                "the head is recorded",
                APPLY_BOUND,
                &["get", "applications"],
                |found| {
                    let mut all = list(found);
                    let storefront = all.find(|it| it["name"] == "storefront");
                    let storefront = storefront.ok_or("there is no storefront")?;
                    match storefront["head"] == head.as_str() && storefront["sync"] == sync {
                        true => Ok(()),
                        false => Err(storefront.to_string()),
                    }
                },
            )
            .unwrap();
    }

    /// Of a kind that another application brings: nothing in the files says where its objects live.
    fn what_lives_outside_namespaces_is_kept_in_sync(&mut self) {
        let kind = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: tiers.shop.example.com
spec:
  group: shop.example.com
  scope: Cluster
  names: {kind: Tier, plural: tiers, singular: tier}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";
        let object = "\
apiVersion: shop.example.com/v1
kind: Tier
metadata:
  name: gold
spec: {discount: 5}
";
        let path = "/apis/shop.example.com/v1/tiers/gold";
        self.person.write("apps/catalog/tiers.yaml", kind).unwrap();
        self.person
            .write("apps/storefront/gold.yaml", object)
            .unwrap();
        self.person.publish("Add a tier and its kind").unwrap();
        self.wait_for_head("Synced");
        let live = self.fleet.cluster(CLUSTER).api().get(path).unwrap();
        assert_eq!(live["spec"]["discount"], 5);

        self.person.remove("apps/storefront/gold.yaml").unwrap();
        self.person.publish("Remove the tier").unwrap();
        self.wait_for_head("Synced");
        let gone = self.fleet.cluster(CLUSTER).api().get(path);
        assert!(gone.is_err(), "what left Git is pruned");
        self.person.remove("apps/catalog/tiers.yaml").unwrap();
        self.person.publish("Remove its kind").unwrap();
        self.wait_for_head("Synced");
    }

    fn a_late_autoscaler_owns_the_replicas(&mut self) {
        let path = "/apis/apps/v1/namespaces/catalog/deployments/catalog";
        let head = self.fleet.git.repository().head().unwrap();
        let plane = self.fleet.cluster(CLUSTER);
        let replicas = |plane: &regraft_testbed::ControlPlane| {
            plane.api().get(path).unwrap()["spec"]["replicas"].clone()
        };
        let before = replicas(plane);
        let name = ["-n", "catalog", "deployment/catalog"];
        plane
            .kubectl(
                ["autoscale", "--min", "1", "--max", "9"]
                    .into_iter()
                    .chain(name),
            )
            .unwrap();
        self.commit_annotation("first");
        assert_eq!(
            replicas(self.fleet.cluster(CLUSTER)),
            before,
            "until somebody scales, nothing falls to a default"
        );
        let plane = self.fleet.cluster(CLUSTER);
        plane
            .kubectl(["scale", "--replicas", "7"].into_iter().chain(name))
            .unwrap();
        self.commit_annotation("second");
        let plane = self.fleet.cluster(CLUSTER);
        assert_eq!(replicas(plane), 7, "who scales keeps its replicas");
        plane
            .kubectl(["-n", "catalog", "delete", "hpa", "catalog"])
            .unwrap();
        assert_ne!(head, self.fleet.git.repository().head().unwrap());
        self.fleet.wait_verified(SETTLE_BOUND).unwrap();
        let plane = self.fleet.cluster(CLUSTER);
        assert_eq!(
            replicas(plane),
            before,
            "without an autoscaler Git says how many"
        );
    }

    /// Publishes another annotation on catalog's Deployment, and waits until it is live.
    fn commit_annotation(&mut self, value: &str) {
        let file = "apps/catalog/deployment.yaml";
        self.person.pull().unwrap();
        let text = self.person.read(file).unwrap();
        let text: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("example.com/note") && line.trim() != "annotations:")
            .collect();
        let noted = text.join("\n").replacen(
            "metadata:\n",
            &format!("metadata:\n  annotations:\n    example.com/note: {value}\n"),
            1,
        );
        self.person.write(file, &format!("{noted}\n")).unwrap();
        self.person
            .publish(&format!("catalog: note {value}"))
            .unwrap();
        let plane = self.fleet.cluster(CLUSTER);
        let path = "/apis/apps/v1/namespaces/catalog/deployments/catalog";
        regraft_testbed::wait::until("the note is live", APPLY_BOUND, || {
            let live = plane.api().get(path).map_err(|error| error.to_string())?;
            match &live["metadata"]["annotations"]["example.com/note"] {
                note if note == value => Ok(()),
                note => Err(note.to_string()),
            }
        })
        .unwrap();
    }

    fn observe_says_what_it_would_do_and_a_fix_supersedes(&mut self) {
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

    fn a_proposal_waits_for_the_approval_of_its_diff(&mut self) {
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

    fn a_suspension_is_heard_until_the_push(&mut self) {
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
        let incident = self.fleet.wait_ended("storefront", REPAIR_BOUND).unwrap();
        assert_eq!(incident["outcome"]["kind"], "Verified", "{incident:#}");
        assert_eq!(self.commits_of(&incident), 1, "{incident:#}");
    }

    fn a_revert_of_our_commit_is_a_veto(&mut self) {
        self.fleet.wait_verified(SETTLE_BOUND).unwrap();
        let good = self.break_image("storefront", "crash-vetoed");
        let incident = self.fleet.wait_ended("storefront", REPAIR_BOUND).unwrap();
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
            second["outcome"]["reason"]
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

    fn a_fault_without_a_commit_is_handed_to_a_person(&mut self) {
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
            incident["outcome"]["reason"]
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

    fn nothing_is_written_while_everything_is_in_sync(&mut self) {
        let plane = self.fleet.cluster(CLUSTER);
        let mark = plane.audit_mark();
        self.person
            .write("NOTES.md", "nothing for a cluster\n")
            .unwrap();
        let head = self.person.publish("Write a note").unwrap();
        self.fleet
            .wait_for(
                "the head is recorded",
                APPLY_BOUND,
                &["get", "applications"],
                |found| {
                    let all =
                        list(found).all(|it| it["head"] == head.as_str() && it["sync"] == "Synced");
                    if all { Ok(()) } else { Err(found.to_string()) }
                },
            )
            .unwrap();
        let requests = self.fleet.cluster(CLUSTER).regraft_requests(mark).unwrap();
        assert_eq!(requests.writes, 0, "{requests:?}");
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

    fn wait_for_incident(&self, application: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.fleet
            .wait_for(
                "the incident gets there",
                REPAIR_BOUND,
                &["get", "incidents"],
                |incidents| {
                    let newest = newest_incident(incidents, application).ok_or("no incident")?;
                    if is_it(newest) {
                        Ok(newest.clone())
                    } else {
                        Err(format!("{newest:#}"))
                    }
                },
            )
            .unwrap()
    }

    fn wait_for_image(&mut self, application: &str, expected: &str) {
        let plane = self.fleet.cluster(CLUSTER);
        let path = format!("/apis/apps/v1/namespaces/{application}/deployments/{application}");
        regraft_testbed::wait::until("the image is put back", APPLY_BOUND, || {
            let live = plane.api().get(&path).map_err(|error| error.to_string())?;
            let image = live["spec"]["template"]["spec"]["containers"][0]["image"]
                .as_str()
                .unwrap_or_default();
            if image.starts_with(expected) {
                Ok(())
            } else {
                Err(image.to_owned())
            }
        })
        .unwrap();
    }

    fn wait_for_configmap(&mut self, name: &str, expected: &str) {
        let plane = self.fleet.cluster(CLUSTER);
        let path = format!("/api/v1/namespaces/storefront/configmaps/{name}");
        regraft_testbed::wait::until("the ConfigMap is as in Git", APPLY_BOUND, || {
            let value = plane
                .api()
                .get(&path)
                .map(|live| live["data"]["key"].as_str().unwrap_or_default().to_owned());
            let value = value.unwrap_or_default();
            if value == expected {
                Ok(())
            } else {
                Err(format!("`{value}`"))
            }
        })
        .unwrap();
    }
}

fn with_mode(text: &str, application: &str, mode: &str) -> String {
    let start = text.find(&format!("name: {application}")).unwrap();
    let (head, tail) = text.split_at(start);
    format!(
        "{head}{}",
        tail.replacen("mode: auto", &format!("mode: {mode}"), 1)
    )
}
