//! The parts of the demo: three clusters, a Git server, three members.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use regraft_testbed::{
    AuditMark, Author, ControlPlane, GitServer, HttpOptions, Installation, InstallationOptions,
    WorkClone, start_fleet,
};
use serde_json::Value;

use crate::facts::{Api, Facts, MemberUse};
use crate::story::Story;

/// The clusters of `gitops-examples`.
const CLUSTERS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
const MEMBERS: u64 = 3;
/// A new trio elects in well under two seconds; the rest is for a busy machine.
const LEADER_BOUND: Duration = Duration::from_secs(60);
/// The shortest that a member accepts: the demo has no webhook.
const POLL_INTERVAL_S: u64 = 1;
const MIB: f64 = 1024.0 * 1024.0;

/// Everything that runs. Members end first, clusters last.
pub(crate) struct World {
    pub(crate) regraft: Installation,
    pub(crate) git: GitServer,
    pub(crate) person: WorkClone,
    pub(crate) clusters: Vec<ControlPlane>,
}

impl World {
    /// Starts it all.
    pub(crate) fn start(dir: &Path, story: &Story, facts: &mut Facts) -> Result<Self> {
        story.act("Three clusters, a Git repository, three members");
        let clusters = start_fleet(dir, &CLUSTERS).context("start the control planes")?;
        facts.start.clusters_ready_s = story.seconds();
        story.tell(&format!(
            "{} are ready: etcd, API server, controller manager, scheduler and three nodes each",
            CLUSTERS.join(", ")
        ));
        let git = GitServer::http(dir, HttpOptions::default()).context("start the Git server")?;
        git.seed(&examples()?)
            .context("fill the repository from gitops-examples")?;
        let person = git.work_clone(&Author::named("Dana Developer"))?;
        story.tell(&format!(
            "Git serves {} with the shop of gitops-examples/",
            git.url()
        ));
        let options = InstallationOptions {
            members: MEMBERS,
            repository: git.url(),
            credentials: None,
            poll_interval_s: POLL_INTERVAL_S,
            clusters: clusters
                .iter()
                .map(|it| (it.name().to_owned(), it.regraft_kubeconfig()))
                .collect(),
            log_level: "info".to_owned(),
        };
        let mut regraft =
            Installation::start(&dir.join("regraft"), &options).context("start the members")?;
        let leader = regraft.wait_leader(LEADER_BOUND)?;
        facts.start.leader_elected_s = story.seconds();
        story.tell(&format!(
            "three members speak mTLS on loopback; member {leader} leads"
        ));
        Ok(Self {
            regraft,
            git,
            person,
            clusters,
        })
    }

    /// The application's documents, one per cluster.
    pub(crate) fn targets(
        regraft: &Installation,
        application: Option<&str>,
    ) -> Result<Vec<Value>, String> {
        let mut args = vec!["get", "applications"];
        args.extend(application);
        let listed = regraft.json(&args).map_err(|error| error.to_string())?;
        Ok(listed.as_array().cloned().unwrap_or_default())
    }

    /// Clusters whose Deployment has this image, and how many there are.
    pub(crate) fn clusters_with_image(&self, application: &str, image: &str) -> usize {
        let path = format!("/apis/apps/v1/namespaces/{application}/deployments/{application}");
        let has = |cluster: &&ControlPlane| {
            cluster.api().get(&path).is_ok_and(|deployment| {
                deployment["spec"]["template"]["spec"]["containers"][0]["image"] == *image
            })
        };
        self.clusters.iter().filter(has).count()
    }

    /// The first waiting reason among the application's containers, in any cluster.
    pub(crate) fn visible_fault(&self, application: &str) -> Option<(String, String)> {
        let path = format!("/api/v1/namespaces/{application}/pods");
        self.clusters.iter().find_map(|cluster| {
            let pods = cluster.api().get(&path).ok()?;
            let reason = pods["items"].as_array()?.iter().find_map(|pod| {
                pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
                    .as_str()
                    .map(str::to_owned)
            })?;
            Some((cluster.name().to_owned(), reason))
        })
    }

    /// What the API servers and members counted.
    pub(crate) fn measure(&self, facts: &mut Facts) -> Result<()> {
        for cluster in &self.clusters {
            let requests = cluster.regraft_requests(AuditMark::default())?;
            let api = Api {
                writes: requests.writes,
                requests_by_verb: requests.by_verb,
            };
            facts.api.insert(cluster.name().to_owned(), api);
        }
        for member in self.regraft.members() {
            let Some(usage) = member.usage() else {
                bail!("{} does not run at the end", member.name())
            };
            #[expect(clippy::cast_precision_loss, reason = "a few MiB")]
            let resident_mib = usage.resident_bytes as f64 / MIB;
            facts.members.push(MemberUse {
                name: member.name().to_owned(),
                resident_mib,
                cpu_s: usage.cpu_s,
            });
        }
        facts.log = self.git.repository().log("%h %an: %s")?;
        Ok(())
    }

    /// Kubeconfigs of a person, by cluster.
    pub(crate) fn kubeconfigs(&self) -> BTreeMap<&str, PathBuf> {
        self.clusters
            .iter()
            .map(|cluster| (cluster.name(), cluster.kubeconfig()))
            .collect()
    }
}

/// Of the checkout the demo runs in.
fn examples() -> Result<PathBuf> {
    Path::new("gitops-examples")
        .canonicalize()
        .context("find gitops-examples: start the demo in a checkout, as `cargo xtask demo`")
}
