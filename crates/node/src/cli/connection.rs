//! Which member a person talks to, and what to tell when no conversation begins.

use super::{Connection, Exit, Failure};
use crate::client::{self, Client};
use crate::config::{self, AdminAddress};
use crate::failure::root_cause;
use regraft_replica::{Tls, TlsPaths};
use regraft_wire::admin::v1 as wire;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a member of a package installation listens.
const SOCKET_DEFAULT: &str = "/var/lib/regraft/admin.sock";

/// Connects and runs one conversation.
pub(super) fn ask<F>(connection: &Connection, talk: F) -> Result<(), Failure>
where
    F: AsyncFnOnce(Client) -> Result<(), Failure>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::of(
                Exit::Failed,
                "NoRuntime",
                &error,
                "are there too many open files?",
            )
        })?;
    runtime.block_on(async {
        let client = match target(connection)? {
            Target::Unix(path) => {
                let shown = path.display().to_string();
                let client = client::unix(path).await;
                client.map_err(|error| unreachable(&shown, &error))?
            }
            Target::Tcp(address, paths) => {
                let ca = paths.ca.clone();
                let tls = Tls::load(paths).map_err(|error| {
                    Failure::of(
                        Exit::Usage,
                        "BadCertificate",
                        &error,
                        "make a client certificate with `regraft certs client NAME` and name it with --cert and --key",
                    )
                })?;
                let client = client::tcp(&address, Arc::new(tls)).await.map_err(|error| no_tls(&address, &ca, &error))?;
                accepted(&address, client).await?
            }
        };
        talk(client).await
    })
}

/// With TLS 1.3 a client is done with the handshake before the member has looked at its certificate: the refusal comes
/// with the first answer. It is asked for here by reading, so that a command is never said to have an unknown outcome
/// when nobody has read it.
async fn accepted(address: &str, mut client: Client) -> Result<Client, Failure> {
    let probe = wire::ListRequest {
        kind: wire::Kind::Members.into(),
        consistency: wire::Consistency::Stale.into(),
        ..wire::ListRequest::default()
    };
    let Err(status) = client.list(probe).await else {
        return Ok(client);
    };
    let source = std::error::Error::source(&status);
    match source.filter(|error| error.is::<tonic::transport::Error>()) {
        None => Ok(client),
        Some(error) => Err(Failure::new(
            Exit::Refused,
            "ConnectionRefused",
            format!(
                "{address} ends the connection without an answer: {}",
                root_cause(error)
            ),
            "is the certificate of this cluster's authority, and still valid? make one with `regraft certs client NAME`",
        )),
    }
}

enum Target {
    Unix(PathBuf),
    Tcp(String, TlsPaths),
}

fn target(connection: &Connection) -> Result<Target, Failure> {
    let configured = connection.config.as_deref().map(config::read).transpose();
    let configured = configured.map_err(|problems| Failure::problems(&problems))?;
    let address = match (&connection.address, &configured) {
        (Some(address), _) => address.clone(),
        (None, Some(config)) => match &config.admin {
            AdminAddress::Unix(path) => return Ok(Target::Unix(path.clone())),
            AdminAddress::Tcp(address) => address.to_string(),
        },
        (None, None) => SOCKET_DEFAULT.to_owned(),
    };
    if let Some(path) = address.strip_prefix("unix:") {
        return Ok(Target::Unix(
            Path::new(path.strip_prefix("//").unwrap_or(path)).to_owned(),
        ));
    }
    if address.starts_with(['/', '.']) {
        return Ok(Target::Unix(PathBuf::from(address)));
    }
    let address = address
        .strip_prefix("https://")
        .unwrap_or(&address)
        .trim_end_matches('/');
    if !address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    {
        return Err(Failure::new(
            Exit::Usage,
            "BadAddress",
            format!("`{address}` is no address of a member"),
            "write HOST:PORT, or unix:/path/admin.sock",
        ));
    }
    let ca = connection.ca.clone().or_else(|| Some(configured?.tls?.ca));
    match (ca, &connection.cert, &connection.key) {
        (Some(ca), Some(cert), Some(key)) => {
            let paths = TlsPaths {
                ca,
                cert: cert.clone(),
                key: key.clone(),
            };
            Ok(Target::Tcp(address.to_owned(), paths))
        }
        _ => Err(Failure::new(
            Exit::Usage,
            "NoCertificate",
            format!(
                "{address} asks for a client certificate, and --ca, --cert or --key is missing"
            ),
            "make one with `regraft certs client NAME`, and give all three (or REGRAFT_CA, REGRAFT_CERT, REGRAFT_KEY)",
        )),
    }
}

fn unreachable(address: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(
        Exit::Unreachable,
        "Unreachable",
        format!("no member answers at {address}: {}", root_cause(error)),
        "is the member running (`regraft serve`)? name another with --address or REGRAFT_ADDRESS",
    )
}

/// Why no conversation over TLS begins. A wrong authority or port stays wrong: it is not said to try again.
fn no_tls(address: &str, ca: &Path, error: &(dyn std::error::Error + 'static)) -> Failure {
    use rustls::{CertificateError as Bad, Error as Tls};
    let refused = |reason: &str, message: String, action: String| {
        Failure::new(Exit::Refused, reason, message, action)
    };
    match tls_error(error) {
        Some(Tls::InvalidCertificate(
            Bad::UnknownIssuer | Bad::BadSignature | Bad::InvalidPurpose,
        )) => refused(
            "UnknownAuthority",
            format!(
                "the certificate of {address} is not signed by {}",
                ca.display()
            ),
            "name the authority of this cluster with --ca or REGRAFT_CA".to_owned(),
        ),
        Some(Tls::InvalidCertificate(
            Bad::NotValidForName | Bad::NotValidForNameContext { .. },
        )) => refused(
            "WrongHost",
            format!("the certificate of {address} names other hosts"),
            "use a name that it names, or make one with `regraft certs member ID --host HOST`"
                .to_owned(),
        ),
        Some(Tls::InvalidCertificate(why)) => refused(
            "BadCertificate",
            format!("the certificate of {address} is not valid: {why}"),
            "make the member a new one with `regraft certs member ID --force`".to_owned(),
        ),
        Some(Tls::InvalidMessage(_)) => refused(
            "NotTls",
            format!("{address} speaks no TLS: is it the http listener?"),
            "name the member's `listen.admin`".to_owned(),
        ),
        Some(other) => refused(
            "TlsFailed",
            format!("no TLS connection to {address}: {other}"),
            "compare --ca, --cert and --key with what the member uses".to_owned(),
        ),
        None => unreachable(address, error),
    }
}

/// What TLS said, from under the wrappers of the transport.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<std::io::Error>();
        let inner = wrapped.and_then(std::io::Error::get_ref);
        // An I/O error's source is that of what it wraps, not what it wraps.
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{CertificateError, InvalidMessage};

    fn told(error: rustls::Error) -> String {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        no_tls("eu-1:7201", Path::new("ca.pem"), &error).to_string()
    }

    #[test]
    fn a_wrong_authority_and_a_wrong_port_are_not_an_outage() {
        let shown = [
            told(CertificateError::UnknownIssuer.into()),
            told(CertificateError::NotValidForName.into()),
            told(CertificateError::Expired.into()),
            told(InvalidMessage::InvalidContentType.into()),
        ]
        .concat();
        insta::assert_snapshot!(shown, @r"
        error: UnknownAuthority: the certificate of eu-1:7201 is not signed by ca.pem
          next: name the authority of this cluster with --ca or REGRAFT_CA
        error: WrongHost: the certificate of eu-1:7201 names other hosts
          next: use a name that it names, or make one with `regraft certs member ID --host HOST`
        error: BadCertificate: the certificate of eu-1:7201 is not valid: Expired
          next: make the member a new one with `regraft certs member ID --force`
        error: NotTls: eu-1:7201 speaks no TLS: is it the http listener?
          next: name the member's `listen.admin`
        ");
    }

    #[test]
    fn a_refused_connection_is_an_outage() {
        let error = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let failure = no_tls("eu-1:7201", Path::new("ca.pem"), &error);
        assert_eq!(failure.exit, Exit::Unreachable);
    }
}
