//! One connection to one API server: its client, what it knows about kinds, and its bounds.
//!
//! Expected flow: [`Connection::open`] until the server proved who it is; then requests through [`Connection::call`].
//! Guarantees: at most [`MAX_REQUESTS_IN_FLIGHT`] requests, each with a time-out, none after the breaker opened; after an
//! interruption nothing is written before the server proved again that it is the same, and not put back to an older state.
//! Assumptions: watches hold connections of their own and are not counted as requests in flight.
//! Errors: see [`Error`]; an answer of the server is never retried here.

use crate::digest::Digests;
use crate::discovery::Discovery;
use crate::error::{Error, chain};
use crate::inventory::Stored;
use crate::kubeconfig::from_file;
use crate::traffic::{Breaker, Meter, Traffic, Verb};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use kube::core::Status;
use regraft_model::id::ClusterName;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Most requests in flight to one cluster, watches aside: what an API server takes from one client without queueing.
pub(crate) const MAX_REQUESTS_IN_FLIGHT: usize = 32;
/// Time for one request, admission webhooks (10 s each by default, 30 s at most) included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for one look whether the server is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to open a TCP and TLS connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing was read for so long is dead: longer than the 290 s of a watch.
const READ_TIMEOUT: Duration = Duration::from_secs(310);

/// Which cluster, and how to get there.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's name, told with every event.
    pub name: ClusterName,
    /// Where its credentials are. They are read again at every connect.
    pub kubeconfig: KubeconfigSource,
}

/// Where credentials are.
#[derive(Clone, Debug)]
pub enum KubeconfigSource {
    /// A kubeconfig file.
    Path {
        /// Path of the file.
        path: PathBuf,
        /// The context, or the file's current one.
        context: Option<String>,
    },
    /// The service account of this pod.
    InCluster,
}

/// Who the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// UID of the `kube-system` namespace.
    pub(crate) uid: String,
    /// Server version.
    pub(crate) version: String,
}

/// What a server shows of itself.
struct Sign {
    /// UID of the `kube-system` namespace.
    uid: String,
    /// Resource version of the newest change to anything.
    version: u64,
}

/// One connection.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) discovery: Discovery,
    pub(crate) digests: Digests,
    pub(crate) stored: Stored,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) traffic: Arc<Traffic>,
    in_flight: Semaphore,
    /// UID of the cluster that was connected.
    uid: String,
    /// Newest resource version that the server told of all there is; it never goes back.
    newest: AtomicU64,
    /// Something was interrupted since the server last proved who it is.
    doubted: AtomicBool,
    /// Woken by a doubt.
    pub(crate) doubts: Notify,
}

impl Connection {
    /// Connects and asks the server who it is and what it serves.
    pub(crate) async fn open(
        config: &Config,
        traffic: &Arc<Traffic>,
    ) -> Result<(Connection, Identity), Error> {
        let breaker = Arc::new(Breaker::default());
        let meter = Meter {
            traffic: Arc::clone(traffic),
            breaker: Arc::clone(&breaker),
        };
        let client = client(&config.kubeconfig, &meter).await?;
        let mut connection = Connection {
            client,
            discovery: Discovery::default(),
            digests: Digests::default(),
            stored: Stored::default(),
            breaker,
            traffic: Arc::clone(traffic),
            in_flight: Semaphore::new(MAX_REQUESTS_IN_FLIGHT),
            uid: String::new(),
            newest: AtomicU64::new(0),
            doubted: AtomicBool::new(false),
            doubts: Notify::new(),
        };
        let version = connection.get("/version", "the server's version").await?;
        let sign = connection.sign().await?;
        connection.uid.clone_from(&sign.uid);
        connection.newest.store(sign.version, Ordering::Relaxed);
        connection.discovery.refresh(&connection).await?;
        let identity = Identity {
            uid: sign.uid,
            version: version["gitVersion"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        };
        Ok((connection, identity))
    }

    /// Sends one request and reads its answer as JSON.
    pub(crate) async fn call(
        &self,
        verb: Verb,
        subject: &str,
        request: http::Request<Body>,
    ) -> Result<Value, Error> {
        if verb.writes() && self.doubted.load(Ordering::Acquire) {
            self.probe().await?;
        }
        self.call_within(REQUEST_TIMEOUT, verb, subject, request)
            .await
    }

    /// Something was interrupted: whoever answers next may be another cluster, or the same with an older state.
    pub(crate) fn doubt(&self) {
        self.doubted.store(true, Ordering::Release);
        self.doubts.notify_one();
    }

    /// Reads a path.
    pub(crate) async fn get(&self, path: &str, subject: &str) -> Result<Value, Error> {
        let request = crate::request::get(path, subject)?;
        self.call(Verb::Get, subject, request).await
    }

    /// One small read that shows whether the server is there, and still is who it was. A connection to another one, or to
    /// one that was put back to an older state, is lost: what was seen there is not what is there.
    pub(crate) async fn probe(&self) -> Result<(), Error> {
        let known = self.newest.load(Ordering::Acquire);
        let sign = self.sign().await?;
        let reason = if sign.uid != self.uid {
            format!(
                "another cluster answers: the UID of kube-system was {}, now it is {}",
                self.uid, sign.uid
            )
        } else if sign.version < known {
            format!(
                "the cluster was put back to an older state: its resource version was {known}, now it is {}",
                sign.version
            )
        } else {
            self.newest.fetch_max(sign.version, Ordering::AcqRel);
            self.doubted.store(false, Ordering::Release);
            return Ok(());
        };
        self.breaker.trip_for(reason.clone());
        Err(Error::NotConnected { reason })
    }

    /// Who answers, and up to where its state goes: one list of one namespace tells both.
    async fn sign(&self) -> Result<Sign, Error> {
        let subject = "namespace kube-system";
        let path = "/api/v1/namespaces?fieldSelector=metadata.name%3Dkube-system";
        let request = crate::request::get(path, subject)?;
        let list = self
            .call_within(PROBE_TIMEOUT, Verb::List, subject, request)
            .await?;
        let text = |pointer: &str| {
            list.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        Ok(Sign {
            uid: text("/items/0/metadata/uid").to_owned(),
            // Numbers everywhere, and promised since Kubernetes 1.35; what is none tells nothing.
            version: text("/metadata/resourceVersion")
                .parse()
                .unwrap_or(u64::MAX),
        })
    }

    async fn call_within(
        &self,
        bound: Duration,
        verb: Verb,
        subject: &str,
        mut request: http::Request<Body>,
    ) -> Result<Value, Error> {
        request.extensions_mut().insert(verb);
        let exchange = async {
            let _permit = self.in_flight.acquire().await;
            tokio::time::timeout(bound, self.exchange(verb, subject, request)).await
        };
        let away = || Error::NotConnected {
            reason: self.breaker.reason(),
        };
        match self.breaker.opened().run_until_cancelled(exchange).await {
            None => Err(away()),
            Some(Ok(answer)) => answer,
            Some(Err(_elapsed)) => {
                let error = Error::TimedOut {
                    verb: verb.word(),
                    subject: subject.to_owned(),
                    after_s: bound.as_secs(),
                };
                self.breaker.failed(|| error.to_string());
                Err(error)
            }
        }
    }

    async fn exchange(
        &self,
        verb: Verb,
        subject: &str,
        request: http::Request<Body>,
    ) -> Result<Value, Error> {
        let failed = |error| Error::request(verb.word(), subject.to_owned(), error);
        let answer = self.client.send(request).await.map_err(failed)?;
        let code = answer.status();
        let bytes = answer.into_body().collect_bytes().await.map_err(failed)?;
        if code.is_client_error() || code.is_server_error() {
            return Err(Error::Refused {
                verb: verb.word(),
                subject: subject.to_owned(),
                status: Box::new(status(code.as_u16(), &bytes)),
            });
        }
        serde_json::from_slice(&bytes).map_err(|source| Error::Malformed {
            verb: verb.word(),
            subject: subject.to_owned(),
            source,
        })
    }
}

/// Most characters of an answer that is no Status (a proxy's page) that are told.
const MAX_FOREIGN_TEXT_CHARS: usize = 200;

/// The server's Status; proxies and unknown paths answer plain text.
fn status(code: u16, bytes: &[u8]) -> Status {
    match serde_json::from_slice::<Status>(bytes) {
        Ok(status) if status.code != 0 => status,
        Ok(status) => status.with_code(code),
        Err(_) => {
            let text = String::from_utf8_lossy(bytes);
            let text: String = text.trim().chars().take(MAX_FOREIGN_TEXT_CHARS).collect();
            Status::failure(&text, "").with_code(code)
        }
    }
}

async fn client(source: &KubeconfigSource, meter: &Meter) -> Result<Client, Error> {
    let mut config = match source {
        KubeconfigSource::Path { path, context } => from_file(path, context.as_deref()).await?,
        KubeconfigSource::InCluster => {
            kube::Config::incluster().map_err(|error| Error::InCluster {
                reason: chain(&error),
            })?
        }
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    // Refusals are told as they are: the caller knows what can wait.
    config.default_retry = false;
    // On loopback compressing costs both sides more than it saves.
    config.disable_compression |= matches!(
        config.cluster_url.host(),
        Some("127.0.0.1" | "localhost" | "[::1]")
    );
    config.headers.push((
        http::header::USER_AGENT,
        http::HeaderValue::from_static(concat!("regraft/", env!("CARGO_PKG_VERSION"))),
    ));
    let builder = ClientBuilder::try_from(config).map_err(|error| Error::Client {
        reason: chain(&error),
    })?;
    Ok(builder.with_layer(meter).build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::sync::Mutex;

    #[test]
    fn a_page_of_a_proxy_becomes_a_short_status() {
        let status = status(502, "<html>bad gateway".repeat(100).as_bytes());
        assert_eq!(status.code, 502);
        assert_eq!(status.message.chars().count(), MAX_FOREIGN_TEXT_CHARS);
    }

    /// A server that shows what it is told to, and what it was asked for.
    struct Server {
        shows: Arc<Mutex<(&'static str, u64)>>,
        asked: Arc<Mutex<Vec<String>>>,
        config: Config,
        _dir: tempfile::TempDir,
    }

    impl Server {
        fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let shows = Arc::new(Mutex::new(("one", 100)));
            let asked = Arc::new(Mutex::new(Vec::new()));
            let (shown, noted) = (Arc::clone(&shows), Arc::clone(&asked));
            std::thread::Builder::new()
                .spawn(move || {
                    for stream in listener.incoming() {
                        let mut stream = stream.unwrap();
                        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                        let Some(Ok(first)) = lines.next() else {
                            continue;
                        };
                        let _ = lines.find(|line| line.as_ref().is_ok_and(String::is_empty));
                        let answer = answer(&first, *shown.lock().unwrap()).to_string();
                        noted.lock().unwrap().push(first);
                        let length = answer.len();
                        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
                        write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{answer}").unwrap();
                    }
                })
                .unwrap();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("kubeconfig");
            let kubeconfig = json!({
                "clusters": [{"name": "a", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
                "users": [{"name": "a", "user": {}}],
                "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                "current-context": "a",
            });
            std::fs::write(&path, kubeconfig.to_string()).unwrap();
            Self {
                shows,
                asked,
                config: Config {
                    name: "a".into(),
                    kubeconfig: KubeconfigSource::Path {
                        path,
                        context: None,
                    },
                },
                _dir: dir,
            }
        }

        async fn connect(&self) -> Connection {
            let traffic = Arc::new(Traffic::default());
            Connection::open(&self.config, &traffic).await.unwrap().0
        }
    }

    fn answer(request: &str, (uid, version): (&str, u64)) -> Value {
        if request.contains("/namespaces") {
            let items = json!([{"metadata": {"uid": uid}}]);
            json!({"metadata": {"resourceVersion": version.to_string()}, "items": items})
        } else if request.contains("/version") {
            json!({"gitVersion": "v1.36.0"})
        } else {
            let kind = json!({"group": "", "version": "v1", "kind": "Namespace"});
            let resource = json!({"resource": "namespaces", "responseKind": kind, "scope": "Cluster", "verbs": ["get", "patch"]});
            let group = json!({"metadata": {"name": ""}, "versions": [{"version": "v1", "resources": [resource]}]});
            json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": [group]})
        }
    }

    #[tokio::test]
    async fn a_connection_to_what_is_another_cluster_now_is_lost() {
        let server = Server::start();
        for (shows, reason) in [
            (("one", 101), None),
            (("two", 102), Some("another cluster answers")),
            (("one", 99), Some("put back to an older state")),
        ] {
            *server.shows.lock().unwrap() = ("one", 100);
            let connection = server.connect().await;
            *server.shows.lock().unwrap() = shows;
            assert_eq!(connection.probe().await.is_err(), reason.is_some());
            let lost = connection.breaker.opened().is_cancelled();
            assert_eq!(lost, reason.is_some());
            let told = connection.breaker.reason();
            assert!(reason.is_none_or(|it| told.contains(it)), "{told}");
        }
    }

    #[tokio::test]
    async fn after_an_interruption_nothing_is_written_before_the_server_proved_who_it_is() {
        let server = Server::start();
        let connection = server.connect().await;
        *server.shows.lock().unwrap() = ("two", 200);
        connection.doubt();
        let request = crate::request::merge("/x", "regraft", &json!({})).unwrap();
        let refused = connection
            .call(Verb::Patch, "x", request)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("another cluster"), "{refused}");
        let asked = server.asked.lock().unwrap();
        assert!(
            !asked.iter().any(|line| line.starts_with("PATCH")),
            "{asked:?}"
        );
    }
}
