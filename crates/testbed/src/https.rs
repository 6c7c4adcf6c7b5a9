//! The Kubernetes API for tests and measurements: blocking, one connection that is kept, no watches. Starting kubectl
//! for each look would cost a third of a second of processor time, and a connection for each look a good part of what
//! the server needs to answer it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::error::Error;
use crate::pki::{Authority, Identity};

/// As many as look or write at the same time.
const IDLE_CONNECTIONS: usize = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A request that takes longer is a hanging server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A list of all pods of a large test is a few MiB.
const LARGEST_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// Speaks to one API server as one user.
#[derive(Clone, Debug)]
pub struct ApiClient {
    server: String,
    agent: ureq::Agent,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl ApiClient {
    pub(crate) fn new(port: u16, authority: &Authority, client: &Identity) -> Result<Self, Error> {
        let server = format!("https://127.0.0.1:{port}");
        let failed = |source| Error::Tls {
            server: server.clone(),
            source: Box::new(source),
        };
        let root = Certificate::from_pem(authority.certificate_pem.as_bytes()).map_err(failed)?;
        let own = Certificate::from_pem(client.certificate_pem.as_bytes()).map_err(failed)?;
        let key = PrivateKey::from_pem(client.key_pem.as_bytes()).map_err(failed)?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from([root]))
            .client_cert(Some(ClientCert::new_with_certs(&[own], key)))
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .user_agent("testbed")
            .accept("application/json")
            .http_status_as_error(false)
            .max_idle_connections_per_host(IDLE_CONNECTIONS)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build()
            .new_agent();
        Ok(Self { server, agent })
    }

    /// Reads an object or list.
    ///
    /// # Errors
    /// `Refused` for any status but 200, `Request` where the server cannot be reached.
    pub fn get(&self, path: &str) -> Result<Value, Error> {
        self.json("GET", path, None)
    }

    /// Creates an object.
    ///
    /// # Errors
    /// As `get`.
    pub fn create(&self, path: &str, object: &Value) -> Result<Value, Error> {
        self.json("POST", path, Some(("application/json", object)))
    }

    /// Changes an object by a JSON merge patch.
    ///
    /// # Errors
    /// As `get`.
    pub fn merge(&self, path: &str, patch: &Value) -> Result<Value, Error> {
        self.json("PATCH", path, Some(("application/merge-patch+json", patch)))
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// As `get`.
    pub fn delete(&self, path: &str) -> Result<Value, Error> {
        self.json("DELETE", path, None)
    }

    /// Sends any request and gives whatever answer comes.
    ///
    /// # Errors
    /// `Request` where the server cannot be reached, or its answer is not HTTP.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, &str)>,
    ) -> Result<Response, Error> {
        self.exchange(method, path, body)
            .map_err(|source| Error::Request {
                method: method.to_owned(),
                path: path.to_owned(),
                source: io::Error::other(source),
            })
    }

    fn json(&self, method: &str, path: &str, body: Option<(&str, &Value)>) -> Result<Value, Error> {
        let text = body.map(|(kind, value)| (kind, value.to_string()));
        let body = text.as_ref().map(|(kind, text)| (*kind, text.as_str()));
        let response = self.request(method, path, body)?;
        if !(200..300).contains(&response.status) {
            return Err(Error::Refused {
                method: method.to_owned(),
                path: path.to_owned(),
                status: response.status,
                body: response.body,
            });
        }
        serde_json::from_str(&response.body).map_err(|error| Error::Unreadable {
            what: format!("{method} {path}"),
            detail: error.to_string(),
        })
    }

    fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, &str)>,
    ) -> Result<Response, ureq::Error> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server));
        let mut answer = match body {
            Some((kind, value)) => {
                let request = request.header("Content-Type", kind);
                self.agent.run(request.body(value)?)?
            }
            None => self.agent.run(request.body(())?)?,
        };
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config();
        let body = body.limit(LARGEST_ANSWER_BYTES).read_to_string()?;
        Ok(Response { status, body })
    }
}
