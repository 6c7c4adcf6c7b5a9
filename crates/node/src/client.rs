//! The client of the admin service: over a member's Unix socket, or over mutual TLS.

use hyper_util::rt::TokioIo;
use regraft_replica::Tls;
use regraft_wire::admin::v1::admin_client::AdminClient;
use rustls::pki_types::ServerName;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint, Error};

/// How long to wait for a connection: a member on the other side of the world answers in less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer: longer than a proposal is tried again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest document: an incident or a list of thousands of applications.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connected client.
pub(crate) type Client = AdminClient<Channel>;

/// Connects to `address` (`HOST:PORT`) with mutual TLS; the certificate must name the host.
pub(crate) async fn tcp(address: &str, tls: Arc<Tls>) -> Result<Client, Error> {
    // The URI only names the authority of the requests; the connector decides where to and how.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT);
    let address: Arc<str> = Arc::from(address);
    let channel = endpoint
        .connect_with_connector(tower::service_fn(move |_: tonic::transport::Uri| {
            let (address, tls) = (Arc::clone(&address), Arc::clone(&tls));
            async move {
                let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
                let host = host
                    .trim_start_matches('[')
                    .trim_end_matches(']')
                    .to_owned();
                let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
                let stream = TcpStream::connect(&*address).await?;
                stream.set_nodelay(true)?;
                let connector = tokio_rustls::TlsConnector::from(tls.client_config());
                connector.connect(name, stream).await.map(TokioIo::new)
            }
        }))
        .await?;
    Ok(client(channel))
}

/// Connects to the socket of a member on this machine.
pub(crate) async fn unix(path: PathBuf) -> Result<Client, Error> {
    let endpoint = Endpoint::from_static("http://localhost")
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT);
    let channel = endpoint
        .connect_with_connector(tower::service_fn(move |_: tonic::transport::Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await?;
    Ok(client(channel))
}

fn client(channel: Channel) -> Client {
    AdminClient::new(channel).max_decoding_message_size(DOCUMENT_BYTES_MAX)
}
