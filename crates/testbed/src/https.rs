//! A small blocking client of the Kubernetes API, for tests and measurements.
//!
//! One connection per request and no watches: cheap enough to poll with, where
//! starting kubectl would cost a third of a second of processor time each.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::error::Error;
use crate::pki::{Authority, Identity};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A request that takes longer is a hanging server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A list of all pods of a large test is a few MiB.
const LARGEST_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// Speaks to one API server as one user.
#[derive(Clone, Debug)]
pub struct ApiClient {
    address: SocketAddr,
    config: Arc<ClientConfig>,
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
        let failed = |source| Error::Tls {
            server: format!("127.0.0.1:{port}"),
            source,
        };
        let mut roots = RootCertStore::empty();
        roots
            .add(authority.certificate_der.clone())
            .map_err(failed)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![client.certificate_der.clone()], client.key_der())
            .map_err(failed)?;
        Ok(Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            config: Arc::new(config),
        })
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
    /// `Request` where the server cannot be reached, `Unreadable` for an answer that is not HTTP.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Response, Error> {
        let failed = |source| Error::Request {
            method: method.to_owned(),
            path: path.to_owned(),
            source,
        };
        let answer = self.exchange(method, path, body).map_err(failed)?;
        parse(&answer).ok_or_else(|| Error::Unreadable {
            what: format!("the answer to {method} {path}"),
            detail: String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned(),
        })
    }

    fn json(&self, method: &str, path: &str, body: Option<(&str, &Value)>) -> Result<Value, Error> {
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
        body: Option<(&str, &Value)>,
    ) -> io::Result<Vec<u8>> {
        let socket = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        socket.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let connection =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        let (kind, content) = match body {
            Some((kind, value)) => (kind, value.to_string()),
            None => ("application/json", String::new()),
        };
        // HTTP/1.0: the answer ends with the connection and is never chunked.
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nUser-Agent: testbed\r\nAccept: application/json\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{content}",
            content.len()
        )?;
        stream.flush()?;
        let mut answer = Vec::new();
        match stream.take(LARGEST_ANSWER_BYTES).read_to_end(&mut answer) {
            // Some servers close the connection without TLS's goodbye.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(answer),
        }
    }
}

fn parse(answer: &[u8]) -> Option<Response> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Response {
        status,
        body: body.to_owned(),
    })
}
