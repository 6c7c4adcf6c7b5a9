//! What reconciling does and does not do.

use crate::{APPLY_BOUND, CLUSTER, SETTLE_BOUND, Stage};
use regraft_testbed::fleet::list;
use serde_json::json;

impl Stage {
    pub(crate) fn deletions_beyond_the_cap_wait_for_a_person(&mut self) {
        let file = "apps/storefront/extra.yaml";
        let extra = |number| {
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: extra-{number}\n---\n")
        };
        self.person
            .write(file, &(1..=6).map(extra).collect::<String>())
            .unwrap();
        self.person.publish("Add six ConfigMaps").unwrap();
        self.fleet
            .ask(1, &["sync", "storefront", "--wait"])
            .unwrap();
        let path = "/api/v1/namespaces/storefront/configmaps/extra-6";
        self.fleet.cluster(CLUSTER).api().get(path).unwrap();
        let nothing = self
            .fleet
            .ask(1, &["confirm-delete", "storefront", "--yes"]);
        let nothing = nothing.unwrap_err().to_string();
        assert!(nothing.contains("NothingToConfirm"), "{nothing}");

        self.person.remove(file).unwrap();
        self.person.publish("Remove them again").unwrap();
        self.wait_for_head("Blocked");
        let refused = self
            .fleet
            .ask(1, &["sync", "storefront", "--wait"])
            .unwrap_err();
        assert!(refused.to_string().contains("confirm-delete"), "{refused}");
        self.fleet.cluster(CLUSTER).api().get(path).unwrap();
        self.fleet
            .ask(1, &["confirm-delete", "storefront", "--yes"])
            .unwrap();
        self.wait_for_head("Synced");
        assert!(self.fleet.cluster(CLUSTER).api().get(path).is_err());
    }

    pub(crate) fn drift_is_put_back_and_what_left_git_is_pruned(&mut self) {
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

    pub(crate) fn a_diff_tells_deletions_and_no_secrets(&mut self) {
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

    /// Of a kind that another application brings: nothing in the files says where its objects live.
    pub(crate) fn what_lives_outside_namespaces_is_kept_in_sync(&mut self) {
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
        // A kind takes all its objects with it, whoever made them.
        self.wait_for_applications("the kind waits for a person", |found| {
            list(found).any(|it| it["name"] == "catalog" && it["sync"] == "Blocked")
        });
        self.fleet
            .ask(1, &["confirm-delete", "catalog", "--yes"])
            .unwrap();
        self.fleet.wait_verified(SETTLE_BOUND).unwrap();
    }

    pub(crate) fn a_late_autoscaler_owns_the_replicas(&mut self) {
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

    pub(crate) fn nothing_is_written_while_everything_is_in_sync(&mut self) {
        let plane = self.fleet.cluster(CLUSTER);
        let mark = plane.audit_mark();
        self.person
            .write("NOTES.md", "nothing for a cluster\n")
            .unwrap();
        let head = self.person.publish("Write a note").unwrap();
        self.wait_for_applications("the head is recorded", |found| {
            list(found).all(|it| it["head"] == head.as_str() && it["sync"] == "Synced")
        });
        let requests = self.fleet.cluster(CLUSTER).regraft_requests(mark).unwrap();
        assert_eq!(requests.writes, 0, "{requests:?}");
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
