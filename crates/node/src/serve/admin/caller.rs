//! Who asks.

use super::refusal::Refusal;
use regraft_replica::Peer;
use regraft_replica::certs::Identity;
use tonic::transport::server::UdsConnectInfo;

/// Who asks, proved by a certificate or by the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A person or program, as the audit names it.
    Person(String),
    /// Another member.
    Member(u64),
}

impl Caller {
    /// The actor of a command; members do not act as people.
    pub(super) fn person(self) -> Result<String, Refusal> {
        match self {
            Caller::Person(actor) => Ok(actor),
            Caller::Member(id) => Err(Refusal::forbidden(
                format!("a member's certificate (of member {id}) speaks for no person"),
                "make a client certificate with `regraft certs client NAME`",
            )),
        }
    }
}

/// Reads the connection's proof.
pub(super) fn caller(extensions: &tonic::Extensions) -> Result<Caller, Refusal> {
    if let Some(Peer(peer)) = extensions.get::<Peer>() {
        return match peer {
            Ok(Identity::Client { name }) => Ok(Caller::Person(format!("user/{name}"))),
            Ok(Identity::Member { node_id, .. }) => Ok(Caller::Member(*node_id)),
            Err(reason) => Err(Refusal::forbidden(
                format!("the certificate is refused: {reason}"),
                "make a client certificate with `regraft certs client NAME`",
            )),
        };
    }
    let uid = extensions
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred)
        .map(|cred| cred.uid());
    match uid {
        Some(uid) => Ok(Caller::Person(format!("unix/{uid}"))),
        None => Err(Refusal::forbidden(
            "nobody knows who asks".to_owned(),
            "use the Unix socket or a client certificate",
        )),
    }
}
