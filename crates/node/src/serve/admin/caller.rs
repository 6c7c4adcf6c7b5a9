//! Who asks.

use super::refusal::Refusal;
use regraft_replica::Peer;
use regraft_replica::certs::{ClientRole, Identity};
use tonic::transport::server::UdsConnectInfo;

/// Who asks, proved by a certificate or by the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A person or program.
    Person {
        /// As the audit names it.
        actor: String,
        /// What it may do.
        role: ClientRole,
    },
    /// Another member.
    Member(u64),
}

impl Caller {
    /// The actor of a command about what regraft looks after.
    pub(super) fn operator(self) -> Result<String, Refusal> {
        self.at_least(ClientRole::Operator)
    }

    /// The actor of a change of the trio itself.
    pub(super) fn admin(self) -> Result<String, Refusal> {
        self.at_least(ClientRole::Admin)
    }

    /// Members do not act as people.
    fn at_least(self, needed: ClientRole) -> Result<String, Refusal> {
        match self {
            Self::Person { actor, role } if role >= needed => Ok(actor),
            Self::Person { actor, role } => Err(Refusal::forbidden(
                format!("{actor} is {role} and may not do that: it takes the role {needed}"),
                format!("make a certificate with `regraft certs client NAME --role {needed}`"),
            )),
            Self::Member(id) => Err(Refusal::forbidden(
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
            Ok(Identity::Client { name, role }) => Ok(Caller::Person {
                actor: format!("user/{name}"),
                role: *role,
            }),
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
        // Who may open the socket may also read the data folder.
        Some(uid) => Ok(Caller::Person {
            actor: format!("unix/{uid}"),
            role: ClientRole::Admin,
        }),
        None => Err(Refusal::forbidden(
            "nobody knows who asks".to_owned(),
            "use the Unix socket or a client certificate",
        )),
    }
}
