//! One connection to one API server: its client, what it knows about kinds, and its bounds.
//!
//! Expected flow: [`Connection::open`] until the server proved who it is; then requests through [`Connection::call`].
//! Guarantees: at most [`MAX_REQUESTS_IN_FLIGHT`] requests, each with a time-out, none after the breaker opened; after
//! an interruption (of a watch, or a request that got no answer) nothing is written before the server proved again that
//! it is the same, and not put back to an older state; a proof is as old as its question.
//! Assumptions: watches hold connections of their own and are not counted as requests in flight.
//! Errors: see [`Error`]; an answer of the server is never retried here.

use crate::digest::Digests;
use crate::discovery::Discovery;
use crate::error::{Error, chain};
use crate::inventory::Stored;
use crate::kubeconfig::from_file;
use crate::plugin::Plugin;
use crate::traffic::{Breaker, Meter, Traffic, Verb};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use kube::core::Status;
use regraft_model::id::ClusterName;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tower::util::MapRequestLayer;

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
/// How often a write asks for a proof when another interruption comes while the server gives one.
const MAX_PROOFS: usize = 3;

/// Which cluster, and how to get there.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's name, told with every event.
    pub name: ClusterName,
    /// Where its credentials are. They are read again at every connect.
    pub kubeconfig: KubeconfigSource,
}

/// Where credentials are: a kubeconfig file.
#[derive(Clone, Debug)]
pub struct KubeconfigSource {
    /// Path of the file.
    pub path: PathBuf,
    /// The context, or the file's current one.
    pub context: Option<String>,
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
    /// Where the kubeconfig names one.
    pub(crate) plugin: Option<Arc<Plugin>>,
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
    /// How often something was interrupted.
    interruptions: AtomicU64,
    /// How many of them came before the server was last asked for the proof that it gave.
    cleared: AtomicU64,
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
        let (client, plugin) = client(&config.kubeconfig, &meter).await?;
        let mut connection = Connection {
            client,
            plugin,
            discovery: Discovery::default(),
            digests: Digests::default(),
            stored: Stored::default(),
            breaker,
            traffic: Arc::clone(traffic),
            in_flight: Semaphore::new(MAX_REQUESTS_IN_FLIGHT),
            uid: String::new(),
            newest: AtomicU64::new(0),
            interruptions: AtomicU64::new(0),
            cleared: AtomicU64::new(0),
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
        if verb.writes() {
            self.prove().await?;
        }
        let answer = self
            .call_within(REQUEST_TIMEOUT, verb, subject, request)
            .await;
        if answer.as_ref().is_err_and(Error::is_interruption) {
            self.doubts.notify_one();
        }
        answer
    }

    /// Something was interrupted: whoever answers next may be another cluster, or the same with an older state.
    pub(crate) fn doubt(&self) {
        self.interruptions.fetch_add(1, Ordering::AcqRel);
        self.doubts.notify_one();
    }

    /// Whether something was interrupted since the server was asked for its last proof.
    fn is_doubted(&self) -> bool {
        self.cleared.load(Ordering::Acquire) < self.interruptions.load(Ordering::Acquire)
    }

    /// Asks for a proof where there is a doubt.
    async fn prove(&self) -> Result<(), Error> {
        for _ in 0..MAX_PROOFS {
            if !self.is_doubted() {
                return Ok(());
            }
            self.probe().await?;
        }
        match self.is_doubted() {
            false => Ok(()),
            true => Err(Error::NotConnected {
                reason: "it is interrupted again and again".to_owned(),
            }),
        }
    }

    /// Reads a path.
    pub(crate) async fn get(&self, path: &str, subject: &str) -> Result<Value, Error> {
        let request = crate::request::get(path, subject)?;
        self.call(Verb::Get, subject, request).await
    }

    /// One small read that shows whether the server is there, and still is who it was. A connection to another one, or
    /// to one that was put back to an older state, is lost: what was seen there is not what is there.
    pub(crate) async fn probe(&self) -> Result<(), Error> {
        let known = self.newest.load(Ordering::Acquire);
        // The proof is as old as the question: what is interrupted from here on is not cleared by it.
        let before = self.interruptions.load(Ordering::Acquire);
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
            self.cleared.fetch_max(before, Ordering::AcqRel);
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
        let answer = match self.breaker.opened().run_until_cancelled(exchange).await {
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
        };
        if answer.as_ref().is_err_and(Error::is_interruption) {
            self.interruptions.fetch_add(1, Ordering::AcqRel);
        }
        answer
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

async fn client(
    source: &KubeconfigSource,
    meter: &Meter,
) -> Result<(Client, Option<Arc<Plugin>>), Error> {
    let mut config = from_file(&source.path, source.context.as_deref()).await?;
    let plugin = Plugin::replace(&mut config.auth_info).await?.map(Arc::new);
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
    let signer = plugin.clone();
    let signing = MapRequestLayer::new(move |request| match &signer {
        Some(plugin) => plugin.sign(request),
        None => request,
    });
    let client = builder.with_layer(&signing).with_layer(meter).build();
    Ok((client, plugin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Answer, Server};
    use serde_json::json;
    use std::sync::Mutex;

    #[test]
    fn a_page_of_a_proxy_becomes_a_short_status() {
        let status = status(502, "<html>bad gateway".repeat(100).as_bytes());
        assert_eq!(status.code, 502);
        assert_eq!(status.message.chars().count(), MAX_FOREIGN_TEXT_CHARS);
    }

    /// A server that shows a UID and a resource version, and what may be told to show another one.
    fn showing(sign: (&'static str, u64)) -> (Server, Arc<Mutex<(&'static str, u64)>>) {
        let shows = Arc::new(Mutex::new(sign));
        let shown = Arc::clone(&shows);
        let server = Server::start(move |asked| {
            let (uid, version) = *shown.lock().unwrap();
            fake::basics(asked, uid, version)
        });
        (server, shows)
    }

    #[tokio::test]
    async fn every_request_carries_the_token_of_the_credential_plugin() {
        let script = r#"echo '{"kind": "ExecCredential", "status": {"token": "t"}}'"#;
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script]});
        let server = Server::start_for(&json!({"exec": exec}), |asked| {
            match asked.authorization.as_deref() {
                Some("bearer t") => fake::basics(asked, "one", 1),
                other => fake::refusal(401, &format!("{other:?}")),
            }
        });
        patch(&server.connect().await).await.unwrap();
    }

    async fn patch(connection: &Connection) -> Result<Value, Error> {
        let request = crate::request::merge("/x", "regraft", &json!({})).unwrap();
        connection.call(Verb::Patch, "x", request).await
    }

    #[tokio::test]
    async fn a_connection_to_what_is_another_cluster_now_is_lost() {
        let (server, shown) = showing(("one", 100));
        for (shows, reason) in [
            (("one", 101), None),
            (("two", 102), Some("another cluster answers")),
            (("one", 99), Some("put back to an older state")),
        ] {
            *shown.lock().unwrap() = ("one", 100);
            let connection = server.connect().await;
            *shown.lock().unwrap() = shows;
            assert_eq!(connection.probe().await.is_err(), reason.is_some());
            let lost = connection.breaker.opened().is_cancelled();
            assert_eq!(lost, reason.is_some());
            let told = connection.breaker.reason();
            assert!(reason.is_none_or(|it| told.contains(it)), "{told}");
        }
    }

    #[tokio::test]
    async fn after_an_interruption_nothing_is_written_before_the_server_proved_who_it_is() {
        let (server, shown) = showing(("one", 100));
        let connection = server.connect().await;
        *shown.lock().unwrap() = ("two", 200);
        connection.doubt();
        let refused = patch(&connection).await.unwrap_err();
        assert!(refused.to_string().contains("another cluster"), "{refused}");
        assert_eq!(server.asked("PATCH"), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_proof_that_was_asked_for_before_an_interruption_does_not_clear_it() {
        let connected: Arc<Mutex<Option<Arc<Connection>>>> = Arc::default();
        let interrupted = Arc::clone(&connected);
        let server = Server::start(move |asked| {
            // The question came, the answer is not out yet.
            if asked.is_sign()
                && let Some(connection) = interrupted.lock().unwrap().take()
            {
                connection.doubt();
            }
            fake::basics(asked, "one", 100)
        });
        let connection = Arc::new(server.connect().await);
        *connected.lock().unwrap() = Some(Arc::clone(&connection));
        connection.probe().await.unwrap();
        assert!(connection.is_doubted());
        connection.probe().await.unwrap();
        assert!(!connection.is_doubted());
    }

    #[tokio::test]
    async fn after_a_write_that_got_no_answer_the_next_one_waits_for_a_proof() {
        let mut cuts = 1;
        let server = Server::start(move |asked| {
            if asked.line.starts_with("PATCH") && cuts > 0 {
                cuts -= 1;
                return Answer::HangUp;
            }
            fake::basics(asked, "one", 100)
        });
        let connection = server.connect().await;
        let lost = patch(&connection).await.unwrap_err();
        assert!(matches!(lost, Error::Unreachable { .. }), "{lost}");
        patch(&connection).await.unwrap();
        let asked = server.asked("");
        let verbs: Vec<_> = asked[asked.len() - 3..]
            .iter()
            .map(|line| line.split(['?', ' ']).take(2).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(verbs, ["PATCH /x", "GET /api/v1/namespaces", "PATCH /x"]);
    }
}
