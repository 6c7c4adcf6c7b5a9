//! A small HTTP server that answers as a test wants, in place of an API server.

use crate::connection::{Config, Connection, KubeconfigSource};
use crate::traffic::Traffic;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One request.
pub(crate) struct Asked {
    /// `GET /version HTTP/1.1`.
    pub(crate) line: String,
    /// Its `Authorization` header, in small letters.
    pub(crate) authorization: Option<String>,
    /// Its body, or null.
    pub(crate) body: Value,
}

impl Asked {
    /// Whether it asks who the server is.
    pub(crate) fn is_sign(&self) -> bool {
        self.line.starts_with("GET /api/v1/namespaces?")
    }
}

/// What comes back.
pub(crate) enum Answer {
    /// A status code and an object.
    Json(u16, Value),
    /// The connection is closed instead.
    HangUp,
}

/// The server, and what it was asked for.
pub(crate) struct Server {
    asked: Arc<Mutex<Vec<String>>>,
    config: Config,
    _dir: tempfile::TempDir,
}

impl Server {
    /// The kubeconfig has a user without credentials.
    pub(crate) fn start(answer: impl FnMut(&Asked) -> Answer + Send + 'static) -> Self {
        Self::start_for(&json!({}), answer)
    }

    pub(crate) fn start_for(
        user: &Value,
        mut answer: impl FnMut(&Asked) -> Answer + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::Builder::new()
            .spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let Some(request) = read(&stream) else {
                        continue;
                    };
                    noted.lock().unwrap().push(request.line.clone());
                    if let Answer::Json(code, object) = answer(&request) {
                        let text = object.to_string();
                        let head = format!(
                            "HTTP/1.1 {code} Said\r\nContent-Type: application/json\r\nConnection: close"
                        );
                        let length = text.len();
                        // The client may have gone.
                        let _ = write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{text}");
                    }
                }
            })
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        let kubeconfig = json!({
            "clusters": [{"name": "a", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
            "users": [{"name": "a", "user": user}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "current-context": "a",
        });
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        let kubeconfig = KubeconfigSource {
            path,
            context: None,
        };
        Self {
            asked,
            config: Config {
                name: "a".into(),
                kubeconfig,
            },
            _dir: dir,
        }
    }

    pub(crate) fn config(&self) -> Config {
        self.config.clone()
    }

    pub(crate) async fn connect(&self) -> Connection {
        let traffic = Arc::new(Traffic::default());
        Connection::open(&self.config, &traffic).await.unwrap().0
    }

    /// The requests so far that begin like this.
    pub(crate) fn asked(&self, start: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let fits = asked.iter().filter(|line| line.starts_with(start));
        fits.cloned().collect()
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if let Some(value) = header.strip_prefix("authorization:") {
            authorization = Some(value.trim().to_owned());
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let line = line.trim().to_owned();
    (!line.is_empty()).then(|| Asked {
        line,
        authorization,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

/// Who the server is, and its kinds: namespaces, ConfigMaps and `Widget` in `example.com/v2`. Anything else is an
/// object.
pub(crate) fn basics(asked: &Asked, uid: &str, version: u64) -> Answer {
    let line = asked.line.as_str();
    let answer = if asked.is_sign() {
        let items = json!([{"metadata": {"uid": uid}}]);
        json!({"metadata": {"resourceVersion": version.to_string()}, "items": items})
    } else if line.starts_with("GET /version ") {
        json!({"gitVersion": "v1.36.0"})
    } else if line.starts_with("GET /api ") || line.starts_with("GET /apis ") {
        json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": [
            group("", "v1", &[("Namespace", "namespaces", "Cluster"), ("ConfigMap", "configmaps", "Namespaced")]),
            group("example.com", "v2", &[("Widget", "widgets", "Namespaced")]),
        ]})
    } else {
        json!({})
    };
    Answer::Json(200, answer)
}

fn group(name: &str, version: &str, kinds: &[(&str, &str, &str)]) -> Value {
    let resources: Vec<_> = kinds
        .iter()
        .map(|(kind, plural, scope)| {
            json!({"resource": plural, "scope": scope, "verbs": ["get", "patch"],
                "responseKind": {"group": name, "version": version, "kind": kind}})
        })
        .collect();
    json!({"metadata": {"name": name}, "versions": [{"version": version, "resources": resources}]})
}

/// A refusal in the words of an API server.
pub(crate) fn refusal(code: u16, message: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message});
    Answer::Json(code, status)
}
