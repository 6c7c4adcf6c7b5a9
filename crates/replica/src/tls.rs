//! Mutual TLS 1.3: who we are, whom we trust, and whose connection this is.
//!
//! - Expected flow: [`Tls::load`] once; every new connection, in or out, asks for the configuration
//!   of the moment; [`Tls::reload`] after the files were replaced.
//! - Guarantees: TLS 1.3 only, one provider (aws-lc-rs), client certificates required, both sides
//!   verified against the cluster's authority. A connection that was accepted by a certificate which is not trusted any
//!   more after a reload ends with the next that is read from it: [`Accepted`].
//! - Assumptions: a verified name is not yet a permission: callers compare [`Peer`] with what was asked.
//! - Errors: [`Error`] names the file.

use crate::certs::Identity;
use crate::error::Error;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use tokio::net::TcpStream;

const ALPN_HTTP2: &[u8] = b"h2";

/// Files of one side of mutual TLS, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPaths {
    /// The cluster's authority.
    pub ca: PathBuf,
    /// The own certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The TLS configuration of the moment; replaced as a whole by [`Tls::reload`].
pub struct Tls {
    paths: TlsPaths,
    identity: Identity,
    material: RwLock<Material>,
    /// Counts reloads.
    generation: AtomicU64,
}

/// Whose connection this is: the verified certificate's name, or why it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer(pub Result<Identity, String>);

/// By what a connection was accepted, to be held against what is trusted later.
#[derive(Debug)]
pub(crate) struct Accepted {
    chain: Vec<CertificateDer<'static>>,
    /// Of the configuration it was last held against.
    generation: u64,
}

#[derive(Clone)]
struct Material {
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
    /// Judges who connects.
    verifier: Arc<dyn ClientCertVerifier>,
    /// When the own certificate, or the last authority, runs out; milliseconds since the epoch.
    expires_ms: i64,
}

impl Tls {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn load(paths: TlsPaths) -> Result<Self, Error> {
        let (material, identity) = read(&paths)?;
        Ok(Self {
            paths,
            identity,
            material: RwLock::new(material),
            generation: AtomicU64::new(0),
        })
    }

    /// Reads the files again; connections made from now on use them, and those that were accepted by a certificate that
    /// is not trusted any more end.
    ///
    /// # Errors
    /// When a file cannot be read or used, ran out, or names somebody else than before: the old
    /// configuration stays.
    pub fn reload(&self) -> Result<(), Error> {
        let (material, identity) = read(&self.paths)?;
        if identity != self.identity {
            return Err(Error::WrongCertificate {
                path: self.paths.cert.clone(),
                expected: self.identity.to_string(),
                found: identity.to_string(),
            });
        }
        let now_ms = UnixTime::now().as_secs().saturating_mul(1_000);
        if material.expires_ms < i64::try_from(now_ms).unwrap_or(i64::MAX) {
            return Err(Error::ReadCertificate {
                path: self.paths.cert.clone(),
                reason: "it ran out, or every authority did".to_owned(),
            });
        }
        *self
            .material
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = material;
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// When the own certificate or every authority has run out, whichever is first; milliseconds since the epoch.
    #[must_use]
    pub fn expires_ms(&self) -> i64 {
        self.current().expires_ms
    }

    /// What an accepted connection is held against later.
    pub(crate) fn accepted(&self, connection: &rustls::ServerConnection) -> Accepted {
        let chain = connection.peer_certificates().unwrap_or_default();
        Accepted {
            chain: chain.iter().map(|it| it.clone().into_owned()).collect(),
            // The handshake may be older than a reload since: the next read finds out.
            generation: u64::MAX,
        }
    }

    /// Whether the connection may go on.
    ///
    /// # Errors
    /// When its certificate is not trusted any more.
    pub(crate) fn check(&self, accepted: &mut Accepted) -> std::io::Result<()> {
        let generation = self.generation.load(Ordering::Acquire);
        if accepted.generation == generation {
            return Ok(());
        }
        let verifier = self.current().verifier;
        let (leaf, between) = accepted.chain.split_first().ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::PermissionDenied, "no certificate")
        })?;
        // By the clock that rustls judges new connections by.
        verifier
            .verify_client_cert(leaf, between, UnixTime::now())
            .map_err(|error| {
                let text = format!("the certificate is not trusted any more: {error}");
                std::io::Error::new(std::io::ErrorKind::PermissionDenied, text)
            })?;
        accepted.generation = generation;
        Ok(())
    }

    /// Whom the own certificate names.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The file of the own certificate.
    #[must_use]
    pub fn certificate_file(&self) -> &Path {
        &self.paths.cert
    }

    /// For accepting connections.
    #[must_use]
    pub fn server_config(&self) -> Arc<rustls::ServerConfig> {
        self.current().server
    }

    /// For opening connections.
    #[must_use]
    pub fn client_config(&self) -> Arc<rustls::ClientConfig> {
        self.current().client
    }

    /// Opens a connection to `address` and verifies that `expected` answers.
    ///
    /// # Errors
    /// When nobody answers or somebody else does.
    pub async fn connect(
        &self,
        address: &str,
        expected: &Identity,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let name = ServerName::try_from(expected.dns_name())
            .map_err(|error| std::io::Error::other(format!("{expected}: {error}")))?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        tokio_rustls::TlsConnector::from(self.client_config())
            .connect(name, stream)
            .await
            .map_err(|error| {
                std::io::Error::new(
                    error.kind(),
                    format!("{address} does not prove to be {expected}: {error}"),
                )
            })
    }

    fn current(&self) -> Material {
        self.material
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("paths", &self.paths)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Peer {
    /// The peer at the other end of an accepted connection.
    pub(crate) fn of(connection: &rustls::ServerConnection) -> Self {
        let certificate = connection
            .peer_certificates()
            .and_then(|chain| chain.first());
        Self(match certificate {
            Some(certificate) => Identity::of_certificate(certificate),
            None => Err("there is no certificate".to_owned()),
        })
    }
}

/// The one provider of cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn read(paths: &TlsPaths) -> Result<(Material, Identity), Error> {
    let roots = read_roots(&paths.ca)?;
    let chain = read_chain(&paths.cert)?;
    let key = PrivateKeyDer::from_pem_file(&paths.key)
        .map_err(|error| unreadable(&paths.key, "private key", error))?;
    let leaf = chain.first().ok_or_else(|| Error::ReadCertificate {
        path: paths.cert.clone(),
        reason: "it holds no certificate".to_owned(),
    })?;
    let identity = Identity::of_certificate(leaf).map_err(|reason| Error::ReadCertificate {
        path: paths.cert.clone(),
        reason,
    })?;
    let authorities = read_chain(&paths.ca)?;
    let last = authorities.iter().map(expiry_ms).max();
    let expires_ms = expiry_ms(leaf).min(last.unwrap_or(i64::MAX));
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
        .build()
        .map_err(|error| Error::ReadCertificate {
            path: paths.ca.clone(),
            reason: error.to_string(),
        })?;
    let material = Material {
        server: Arc::new(server_config(paths, Arc::clone(&verifier), &chain, &key)?),
        client: Arc::new(client_config(paths, roots, chain, key)?),
        verifier,
        expires_ms,
    };
    Ok((material, identity))
}

fn server_config(
    paths: &TlsPaths,
    verifier: Arc<dyn ClientCertVerifier>,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<rustls::ServerConfig, Error> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| refused(paths, error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.to_vec(), key.clone_key())
        .map_err(|error| refused(paths, error))?;
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
    Ok(config)
}

fn client_config(
    paths: &TlsPaths,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<rustls::ClientConfig, Error> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| refused(paths, error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| refused(paths, error))?;
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
    Ok(config)
}

/// When it runs out, milliseconds since the epoch; what cannot be read never does, and is refused elsewhere.
fn expiry_ms(certificate: &CertificateDer<'_>) -> i64 {
    let parsed = x509_parser::parse_x509_certificate(certificate.as_ref());
    parsed.map_or(i64::MAX, |(_, parsed)| {
        parsed
            .validity()
            .not_after
            .timestamp()
            .saturating_mul(1_000)
    })
}

fn read_roots(path: &Path) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        roots
            .add(certificate)
            .map_err(|error| Error::ReadCertificate {
                path: path.to_owned(),
                reason: format!("it is not an authority: {error}"),
            })?;
    }
    if roots.is_empty() {
        return Err(Error::ReadCertificate {
            path: path.to_owned(),
            reason: "it holds no certificate".to_owned(),
        });
    }
    Ok(Arc::new(roots))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(path, "certificate", error))
}

fn unreadable(path: &Path, what: &str, error: rustls_pki_types::pem::Error) -> Error {
    match error {
        rustls_pki_types::pem::Error::Io(source) => Error::ReadFile {
            path: path.to_owned(),
            source,
        },
        other => Error::ReadCertificate {
            path: path.to_owned(),
            reason: format!("it holds no readable {what}: {other}"),
        },
    }
}

fn refused(paths: &TlsPaths, error: rustls::Error) -> Error {
    Error::Tls {
        path: paths.cert.clone(),
        source: error.into(),
    }
}
