//! A whole Kubernetes control plane with nodes that KWOK plays.
//!
//! Expected flow: `start` -> ready in about five seconds -> `api`, `kubectl`,
//! `kubeconfig` -> drop. `kill` and `restart` make a cluster die and come back
//! with its data; `freeze` and `thaw` make it hang.

mod audit;
mod flags;
mod stages;

use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};

pub use self::audit::{ApiRequests, AuditMark};
use self::flags::Numbers;
use crate::binaries::Binary;
use crate::error::Error;
use crate::https::ApiClient;
use crate::pki::{self, Authority, Identity};
use crate::ports::Port;
use crate::process::{self, Process, Program, Signal, Usage};
use crate::wait;

/// Four to five seconds alone on two cores; much more while compilers run beside it.
const READY_BOUND: Duration = Duration::from_secs(120);
/// The user of regraft's credentials: the name that `requests_of` filters by.
const REGRAFT_USER: &str = "regraft";

/// What to start.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// Name of the cluster, of its folder and of its kubeconfig's context.
    pub name: String,
    /// How many nodes it has.
    pub nodes: usize,
}

impl StartOptions {
    /// A cluster with three nodes.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            nodes: 3,
        }
    }
}

/// A running control plane. Dropping it ends all its servers.
#[derive(Debug)]
pub struct ControlPlane {
    name: String,
    dir: PathBuf,
    binary: PathBuf,
    api: ApiClient,
    servers: Vec<Server>,
    // Held so that a killed control plane finds its ports free at its restart.
    _ports: Vec<Port>,
}

#[derive(Debug)]
struct Server {
    name: &'static str,
    program: Program,
    process: Option<Process>,
}

/// Starts control planes side by side, in a folder each.
///
/// # Errors
/// The first one's that did not get ready.
pub fn start_fleet(dir: &Path, names: &[&str]) -> Result<Vec<ControlPlane>, Error> {
    std::thread::scope(|scope| {
        let starting: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(|| ControlPlane::start(dir, &StartOptions::named(name))))
            .collect();
        let started: Vec<_> = starting
            .into_iter()
            .map(|thread| thread.join().expect("starting does not panic"))
            .collect();
        started.into_iter().collect()
    })
}

impl ControlPlane {
    /// Starts one in a folder of its name below `dir`, and waits until its nodes are ready.
    ///
    /// # Errors
    /// `MissingBinary` before the bootstrap; `Ended` or `TimedOut` when a server does not get ready.
    pub fn start(dir: &Path, options: &StartOptions) -> Result<Self, Error> {
        let binary = Binary::ControlPlane.path()?;
        let kwok = Binary::Kwok.path()?;
        let dir = dir.join(&options.name);
        std::fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        let ports: Vec<Port> = (0..6).map(|_| Port::reserve()).collect::<Result<_, _>>()?;
        let numbers = Numbers {
            etcd: ports[0].number(),
            etcd_peers: ports[1].number(),
            api: ports[2].number(),
            controllers: ports[3].number(),
            scheduler: ports[4].number(),
            kwok: ports[5].number(),
        };
        let api = write_files(&dir, &options.name, numbers)?;
        let servers = [
            ("etcd", flags::etcd(&binary, &dir, numbers)),
            ("apiserver", flags::apiserver(&binary, &dir, numbers)),
            (
                "controller-manager",
                flags::controller_manager(&binary, &dir, numbers),
            ),
            ("scheduler", flags::scheduler(&binary, &dir, numbers)),
            ("kwok", flags::kwok(&kwok, &dir, numbers)),
        ];
        let servers = servers
            .into_iter()
            .map(|(name, program)| Server {
                name,
                program,
                process: None,
            })
            .collect();
        let mut plane = Self {
            name: options.name.clone(),
            dir,
            binary,
            api,
            servers,
            _ports: ports,
        };
        plane.restart()?;
        plane.create_nodes(options.nodes)?;
        Ok(plane)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Credentials of a person who may do everything.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// Credentials for regraft: a user of its own, so that its requests can be told apart.
    #[must_use]
    pub fn regraft_kubeconfig(&self) -> PathBuf {
        self.dir.join("regraft.kubeconfig")
    }

    /// Speaks to its API; these requests are not in the audit log.
    #[must_use]
    pub fn api(&self) -> &ApiClient {
        &self.api
    }

    /// Runs kubectl as the admin and gives what it prints.
    ///
    /// # Errors
    /// `Command` with its output when it fails.
    pub fn kubectl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String, Error> {
        let program = Program::new(&self.binary)
            .args([
                "kubectl".to_owned(),
                format!("--kubeconfig={}", self.kubeconfig().display()),
            ])
            .args(args)
            .env("KUBECACHEDIR", self.dir.join("kubectl-cache"));
        process::run(&program)
    }

    /// Where the audit log ends now.
    #[must_use]
    pub fn audit_mark(&self) -> AuditMark {
        audit::mark(&self.dir.join("audit.log"))
    }

    /// What `who` (a user, or the beginning of a user agent) asked for since `from`.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn requests_of(&self, who: &str, from: AuditMark) -> Result<ApiRequests, Error> {
        audit::requests(&self.dir.join("audit.log"), from, who)
    }

    /// What regraft asked for since `from`, with the credentials of `regraft_kubeconfig`.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn regraft_requests(&self, from: AuditMark) -> Result<ApiRequests, Error> {
        self.requests_of(REGRAFT_USER, from)
    }

    /// Kills all servers at once, as a lost region does.
    pub fn kill(&mut self) {
        for server in &mut self.servers {
            server.process = None;
        }
    }

    /// Starts all servers that do not run, on the data and ports they had, and waits until they are ready.
    ///
    /// # Errors
    /// `Ended` or `TimedOut` when a server does not get ready.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.start_servers(&["etcd", "apiserver"])?;
        self.wait_ready()?;
        self.start_servers(&["controller-manager", "scheduler", "kwok"])
    }

    /// Makes the API server hang: connections open, nothing answers.
    pub fn freeze(&self) {
        self.signal("apiserver", Signal::Freeze);
    }

    /// Ends the hanging.
    pub fn thaw(&self) {
        self.signal("apiserver", Signal::Thaw);
    }

    /// Memory and processor time of each running server.
    #[must_use]
    pub fn usage(&self) -> Vec<(&'static str, Usage)> {
        let of = |server: &Server| Some((server.name, server.process.as_ref()?.usage()?));
        self.servers.iter().filter_map(of).collect()
    }

    /// Process ids of its servers.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.servers
            .iter()
            .filter_map(|server| server.process.as_ref())
            .map(Process::pid)
            .collect()
    }

    fn start_servers(&mut self, names: &[&str]) -> Result<(), Error> {
        for server in self
            .servers
            .iter_mut()
            .filter(|server| names.contains(&server.name))
        {
            if server.process.is_none() {
                let log = self.dir.join(format!("{}.log", server.name));
                server.process = Some(Process::start(server.name, &server.program, &log)?);
            }
        }
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<(), Error> {
        let Self {
            api, servers, name, ..
        } = self;
        let mut ended = None;
        wait::until(
            &format!("the API server of {name} is ready"),
            READY_BOUND,
            || {
                for process in servers
                    .iter_mut()
                    .filter_map(|server| server.process.as_mut())
                {
                    if let Err(error) = process.check() {
                        ended = Some(error);
                        return Ok(());
                    }
                }
                match api.request("GET", "/readyz", None) {
                    Ok(answer) if answer.status == 200 => Ok(()),
                    Ok(answer) => Err(answer.body),
                    Err(error) => Err(format!("{error:?}")),
                }
            },
        )?;
        ended.map_or(Ok(()), Err)
    }

    fn create_nodes(&self, count: usize) -> Result<(), Error> {
        for number in 1..=count {
            self.api
                .create("/api/v1/nodes", &node(&format!("node-{number}")))?;
        }
        wait::until(
            &format!("the nodes of {} are ready", self.name),
            READY_BOUND,
            || {
                let nodes = self
                    .api
                    .get("/api/v1/nodes")
                    .map_err(|error| error.to_string())?;
                let ready = nodes["items"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|node| is_ready(node))
                    .count();
                if ready == count {
                    Ok(())
                } else {
                    Err(format!("{ready} of {count} nodes are ready"))
                }
            },
        )
    }

    fn signal(&self, name: &str, signal: Signal) {
        for server in self.servers.iter().filter(|server| server.name == name) {
            if let Some(process) = &server.process {
                process.signal(signal);
            }
        }
    }
}

fn node(name: &str) -> Value {
    let resources = json!({"cpu": "64", "memory": "256Gi", "pods": "1000"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
        },
        "status": {"allocatable": resources, "capacity": resources},
    })
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    // A node that the scheduler still avoids is of no use yet.
    let tainted = node["spec"]["taints"]
        .as_array()
        .is_some_and(|taints| !taints.is_empty());
    !tainted
        && conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn write_files(dir: &Path, name: &str, ports: Numbers) -> Result<ApiClient, Error> {
    let write = |file: &str, text: &str| {
        let path = dir.join(file);
        std::fs::write(&path, text).map_err(Error::file("write", &path))
    };
    let authority = Authority::new(&format!("{name} authority"))?;
    let server = authority.server(
        "kube-apiserver",
        &[
            "127.0.0.1",
            "10.96.0.1",
            "localhost",
            "kubernetes.default.svc",
        ],
    )?;
    let (token_key, token_public) = pki::token_key()?;
    write("ca.crt", &authority.certificate_pem)?;
    write("ca.key", &authority.key_pem)?;
    write("server.crt", &server.certificate_pem)?;
    write("server.key", &server.key_pem)?;
    write("tokens.key", &token_key)?;
    write("tokens.pub", &token_public)?;
    write("audit-policy.yaml", flags::AUDIT_POLICY)?;
    write("stages.yaml", &stages::configuration())?;
    let masters = Some("system:masters");
    let users = [
        ("admin", "admin", masters),
        ("regraft", REGRAFT_USER, masters),
        ("kwok", "kwok", masters),
        ("controller-manager", "system:kube-controller-manager", None),
        ("scheduler", "system:kube-scheduler", None),
    ];
    for (file, user, group) in users {
        let identity = authority.client(user, group)?;
        write(
            &format!("{file}.kubeconfig"),
            &kubeconfig(name, ports.api, &authority, &identity),
        )?;
    }
    ApiClient::new(
        ports.api,
        &authority,
        &authority.client("testbed", masters)?,
    )
}

/// A kubeconfig that holds its certificates itself, so that it can be copied.
fn kubeconfig(name: &str, port: u16, authority: &Authority, identity: &Identity) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority-data": BASE64.encode(authority.certificate_pem.as_bytes()),
        }}],
        "users": [{"name": "user", "user": {
            "client-certificate-data": BASE64.encode(identity.certificate_pem.as_bytes()),
            "client-key-data": BASE64.encode(identity.key_pem.as_bytes()),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "user"}}],
        "current-context": name,
    })
    .to_string()
}
