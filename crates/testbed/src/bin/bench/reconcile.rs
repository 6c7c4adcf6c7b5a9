//! Seconds, processor time, requests and memory of reconciling many small applications.
//!
//! Each step is measured from the moment its cause is there (the push has
//! returned, the edit is answered) until the API server shows the wished state,
//! so the poll interval of one second is part of the figure; the time from the
//! first write to the last is told beside it.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use regraft_testbed::{
    ApiClient, ApiRequests, Author, ControlPlane, GitServer, HttpOptions, Installation,
    InstallationOptions, StartOptions, Stopwatch, Usage, WorkClone, wait,
};
use serde_json::{Value, json};

use crate::figures::{median, peak_mib};
use crate::fleet::{self, CLUSTER, NAMESPACE};
use crate::idle;

const STEP_BOUND: Duration = Duration::from_secs(120);
const READY_BOUND: Duration = Duration::from_secs(60);
/// The shortest that a member accepts.
const POLL_INTERVAL_S: u64 = 1;
/// Where the API server is measured alone.
const ALONE: &str = "alone";
/// Requests under way at a time when it is; regraft has as many in each stage.
const ALONE_IN_FLIGHT: usize = 16;

const SERVER_ALONE: &str = "the API server alone";
const FIRST_APPLY: &str = "first apply";
const EVERY_IMAGE: &str = "every image changed";
const ONE_IMAGE: &str = "one image changed";
const BY_HAND: &str = "one edit by hand put back";

struct Bench {
    cluster: ControlPlane,
    git: GitServer,
    person: WorkClone,
    regraft: Installation,
}

/// What one step of a round took.
struct Figure {
    title: &'static str,
    seconds: f64,
    member_cpu_s: f64,
    api_cpu_s: f64,
}

/// What is counted from one moment to another.
struct Meter {
    watch: Stopwatch,
    mark: regraft_testbed::AuditMark,
    member: Usage,
    api: Usage,
}

/// Runs all steps as often as asked for, prints a line each, and then the medians.
pub(crate) fn reconcile(dir: &Path, apps: u32, rounds: u32) -> Result<()> {
    println!(
        "{apps} applications of a Deployment, ServiceAccount, Service and Ingress each; one member, poll interval {POLL_INTERVAL_S} s\n"
    );
    println!(
        "{:<28} {:>8} {:>11} {:>11} {:>9} {:>9}  requests",
        "step", "seconds", "first-last", "member CPU", "API CPU", "peak MiB"
    );
    let mut measured = Vec::new();
    for round in 1..=rounds {
        let dir = dir.join(format!("round-{round}"));
        std::fs::create_dir(&dir)?;
        let mut bench = Bench::start(&dir)?;
        measured.extend(bench.round(apps)?);
        if round == rounds {
            print_medians(&measured, rounds);
            bench.idle()?;
        }
    }
    Ok(())
}

impl Bench {
    fn round(&mut self, apps: u32) -> Result<[Figure; 5]> {
        let alone = self.server_alone(apps)?;
        fleet::write_applications(&self.person, apps, 1)?;
        let first = self.step(
            FIRST_APPLY,
            |bench| bench.push("Add the applications"),
            |bench| bench.wait_objects(apps),
        )?;
        fleet::write_applications(&self.person, apps, 2)?;
        let every = self.step(
            EVERY_IMAGE,
            |bench| bench.push("Upgrade all"),
            |bench| bench.wait_images(apps, 2),
        )?;
        fleet::write_manifests(&self.person, 1, 3)?;
        let one = self.step(
            ONE_IMAGE,
            |bench| bench.push("Upgrade one"),
            |bench| bench.wait_images(1, 3),
        )?;
        let by_hand = self.step(BY_HAND, Bench::edit_by_hand, |bench| {
            bench.wait_images(1, 3)
        })?;
        Ok([alone, first, every, one, by_hand])
    }

    fn start(dir: &Path) -> Result<Self> {
        let cluster = ControlPlane::start(dir, &StartOptions::named(CLUSTER))
            .context("start the control plane")?;
        cluster.api().create(
            "/api/v1/namespaces",
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        )?;
        let git = GitServer::http(dir, HttpOptions::default())?;
        let person = git.work_clone(&Author::named("Bench Example"))?;
        fleet::write_start(&person)?;
        person.commit("Begin with one application")?;
        person.push()?;
        let options = InstallationOptions {
            members: 1,
            repository: git.url(),
            credentials: None,
            poll_interval_s: POLL_INTERVAL_S,
            clusters: [(CLUSTER.to_owned(), cluster.regraft_kubeconfig())].into(),
            log_level: "info".to_owned(),
        };
        let mut regraft =
            Installation::start(&dir.join("regraft"), &options).context("start the member")?;
        regraft.wait_for("the first application is synced", READY_BOUND, |regraft| {
            let listed = regraft
                .json(&["get", "applications"])
                .map_err(|error| error.to_string())?;
            if listed[0]["sync"] == "Synced" {
                Ok(())
            } else {
                Err(listed.to_string())
            }
        })?;
        Ok(Self {
            cluster,
            git,
            person,
            regraft,
        })
    }

    fn step(
        &mut self,
        title: &'static str,
        cause: impl FnOnce(&mut Self) -> Result<()>,
        done: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Figure> {
        cause(self)?;
        let meter = self.meter()?;
        done(self).with_context(|| title.to_owned())?;
        let seconds = meter.watch.seconds();
        self.settle()?;
        self.print(title, seconds, &meter)
    }

    /// What the API server takes for the requests of a first apply when nobody has to decide on them.
    fn server_alone(&mut self, apps: u32) -> Result<Figure> {
        let api = self.cluster.api().clone();
        let named = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ALONE}});
        api.create("/api/v1/namespaces", &named)?;
        let meter = self.meter()?;
        let next = AtomicU32::new(1);
        let work = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number > apps {
                    return Ok(());
                }
                apply_alone(&api, number)?;
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..ALONE_IN_FLIGHT).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker ended")))
        })?;
        let seconds = meter.watch.seconds();
        let figure = self.print(SERVER_ALONE, seconds, &meter)?;
        self.wait_controllers()?;
        Ok(figure)
    }

    /// Waits until the cluster's own controllers have done all that the Deployments made there ask of them: they are
    /// slow on purpose, and would work beside the next step.
    fn wait_controllers(&mut self) -> Result<()> {
        let api = self.cluster.api();
        let list = format!("/apis/apps/v1/namespaces/{ALONE}/deployments");
        wait::until("the controllers have seen everything", STEP_BOUND, || {
            let found = api.get(&list).map_err(|error| format!("{error:?}"))?;
            let deployments = found["items"].as_array().into_iter().flatten();
            let waiting = deployments
                .filter(|it| it["status"]["observedGeneration"] != it["metadata"]["generation"]);
            match waiting.count() {
                0 => Ok(()),
                waiting => Err(format!("{waiting} Deployments are not")),
            }
        })?;
        Ok(())
    }

    fn push(&mut self, message: &str) -> Result<()> {
        self.person.publish(message)?;
        ensure!(
            self.git.repository().head()? == self.person.head()?,
            "the push did not arrive"
        );
        Ok(())
    }

    /// As a person would in a hurry.
    fn edit_by_hand(&mut self) -> Result<()> {
        let name = fleet::name(1);
        let image = format!("app={}", fleet::image(9));
        let deployment = format!("deployment/{name}");
        self.cluster.kubectl([
            "--namespace",
            NAMESPACE,
            "set",
            "image",
            &deployment,
            &image,
        ])?;
        Ok(())
    }

    /// Waits until the objects of all applications are there. Looking must not cost the API server what is measured: it
    /// is asked for counts, and for the names once they are there.
    fn wait_objects(&mut self, apps: u32) -> Result<()> {
        let lists = [
            format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments"),
            format!("/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses"),
            format!("/api/v1/namespaces/{NAMESPACE}/services"),
            format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"),
        ];
        let api = self.cluster.api();
        let wanted = usize::try_from(apps)?;
        for list in lists {
            wait::until(&format!("{apps} objects are at {list}"), STEP_BOUND, || {
                let first = api.get(&format!("{list}?limit=1"));
                let first = first.map_err(|error| format!("{error:?}"))?;
                let others = first["metadata"]["remainingItemCount"].as_u64();
                if others.unwrap_or_default() < u64::from(apps) {
                    return Err(format!("{others:?} besides the first"));
                }
                let found = api.get(&list).map_err(|error| format!("{error:?}"))?;
                let ours = names(&found)
                    .filter(|name| name.starts_with("app-") && **name != fleet::name(0))
                    .count();
                if ours == wanted {
                    Ok(())
                } else {
                    Err(format!("{ours} of {wanted}"))
                }
            })?;
        }
        Ok(())
    }

    /// Waits until the first `count` applications have the image of a version, one after the other: what has it once
    /// keeps it.
    fn wait_images(&mut self, count: u32, version: u32) -> Result<()> {
        let api = self.cluster.api();
        let image = fleet::image(version);
        for number in 1..=count {
            let name = fleet::name(number);
            let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}");
            wait::until(&format!("{name} has the image {image}"), STEP_BOUND, || {
                let found = api.get(&path).map_err(|error| format!("{error:?}"))?;
                match found["spec"]["template"]["spec"]["containers"][0]["image"] == *image {
                    true => Ok(()),
                    false => Err("not yet".to_owned()),
                }
            })?;
        }
        Ok(())
    }

    /// Waits until regraft itself says that all is synced: its last requests belong to the step.
    fn settle(&mut self) -> Result<()> {
        self.wait_for_all("sync", "Synced")
    }

    fn wait_for_all(&mut self, column: &str, value: &str) -> Result<()> {
        Ok(self.regraft.wait_for(
            &format!("all applications are {value}"),
            STEP_BOUND,
            |regraft| {
                let listed = regraft
                    .json(&["get", "applications"])
                    .map_err(|error| error.to_string())?;
                let waiting: Vec<_> = listed
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|target| target[column] != value)
                    .collect();
                match waiting.first() {
                    None => Ok(()),
                    Some(first) => Err(format!("{} are not, the first: {first}", waiting.len())),
                }
            },
        )?)
    }

    fn idle(&mut self) -> Result<()> {
        // The cluster's own controllers are still busy with the steps before.
        self.wait_for_all("health", "Healthy")?;
        let meter = self.meter()?;
        let member = self.regraft.member(1)?;
        let seconds = idle::a_minute(|| member.check())?;
        let (requests, member, _) = self.since(&meter)?;
        self.print("idle", seconds, &meter)?;
        println!("\nidle: {} writes", requests.writes);
        ensure!(
            requests.writes == 0,
            "regraft wrote while nothing was to do: {:?}",
            requests.written
        );
        idle::judge("the member", member.cpu_s, seconds)
    }

    fn meter(&mut self) -> Result<Meter> {
        let (member, api) = self.usage()?;
        Ok(Meter {
            watch: Stopwatch::start(),
            mark: self.cluster.audit_mark(),
            member,
            api,
        })
    }

    fn usage(&mut self) -> Result<(Usage, Usage)> {
        let member = self
            .regraft
            .member(1)?
            .usage()
            .context("the member ended")?;
        let servers = self.cluster.usage();
        let api = servers
            .iter()
            .find(|(name, _)| *name == "apiserver")
            .context("the API server ended")?;
        Ok((member, api.1))
    }

    /// Requests, and processor time of member and API server, since the meter's moment.
    fn since(&mut self, meter: &Meter) -> Result<(ApiRequests, Usage, Usage)> {
        let (mut member, mut api) = self.usage()?;
        member.cpu_s -= meter.member.cpu_s;
        api.cpu_s -= meter.api.cpu_s;
        Ok((self.cluster.regraft_requests(meter.mark)?, member, api))
    }

    fn print(&mut self, title: &'static str, seconds: f64, meter: &Meter) -> Result<Figure> {
        let (requests, member, api) = self.since(meter)?;
        let verbs: Vec<String> = requests
            .by_verb
            .iter()
            .map(|(verb, count)| format!("{verb} {count}"))
            .collect();
        let peak_mib = peak_mib(&member);
        println!(
            "{title:<28} {seconds:>8.2} {:>11.2} {:>11.2} {:>9.2} {peak_mib:>9.0}  {}",
            requests.writes_span_s,
            member.cpu_s,
            api.cpu_s,
            verbs.join(", ")
        );
        Ok(Figure {
            title,
            seconds,
            member_cpu_s: member.cpu_s,
            api_cpu_s: api.cpu_s,
        })
    }
}

/// The medians of all rounds, and how the first apply compares with the server alone in the same round.
fn print_medians(figures: &[Figure], rounds: u32) {
    println!(
        "\n{:<28} {:>8} {:>11} {:>11} {:>9}",
        format!("median of {rounds}"),
        "seconds",
        "worst",
        "member CPU",
        "API CPU"
    );
    for title in [SERVER_ALONE, FIRST_APPLY, EVERY_IMAGE, ONE_IMAGE, BY_HAND] {
        let of_all = |read: fn(&Figure) -> f64| -> Vec<f64> {
            let figures = figures.iter().filter(|figure| figure.title == title);
            figures.map(read).collect()
        };
        let seconds = of_all(|it| it.seconds);
        let worst = seconds.iter().copied().fold(0.0, f64::max);
        println!(
            "{title:<28} {:>8.2} {worst:>11.2} {:>11.2} {:>9.2}",
            median(seconds),
            median(of_all(|it| it.member_cpu_s)),
            median(of_all(|it| it.api_cpu_s)),
        );
    }
    let seconds = |title| {
        let figures = figures.iter().filter(move |figure| figure.title == title);
        figures.map(|figure| figure.seconds)
    };
    let ratios = seconds(FIRST_APPLY).zip(seconds(SERVER_ALONE));
    println!(
        "\nthe first apply took {:.2} times what the API server takes alone for its requests",
        median(ratios.map(|(first, alone)| first / alone).collect())
    );
}

/// Dry-runs and applies the objects of one application, and creates a ConfigMap beside them.
fn apply_alone(api: &ApiClient, number: u32) -> Result<()> {
    const PATHS: [&str; 4] = [
        "/api/v1/namespaces/alone/serviceaccounts",
        "/api/v1/namespaces/alone/services",
        "/apis/apps/v1/namespaces/alone/deployments",
        "/apis/networking.k8s.io/v1/namespaces/alone/ingresses",
    ];
    let name = fleet::name(number);
    let manifests = fleet::manifests(&name, &fleet::image(1));
    for effect in ["&dryRun=All", ""] {
        for (path, manifest) in PATHS.iter().zip(manifests.split("---\n")) {
            let path = format!("{path}/{name}?fieldManager=alone&fieldValidation=Strict{effect}");
            let answer = api.request(
                "PATCH",
                &path,
                Some(("application/apply-patch+yaml", manifest)),
            )?;
            ensure!(
                answer.status < 300,
                "{path}: {} {}",
                answer.status,
                answer.body
            );
        }
    }
    let inventory = json!({"metadata": {"name": name}, "data": {"entries": manifests}});
    api.create("/api/v1/namespaces/alone/configmaps", &inventory)?;
    Ok(())
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["metadata"]["name"].as_str())
}
