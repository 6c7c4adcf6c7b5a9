//! What can go wrong at this edge. Texts name the operation and its subject, never a credential.

use kube::core::Status;
use regraft_model::text::redact;
use std::error::Error as StdError;
use std::path::PathBuf;
use thiserror::Error;

/// Most links of an error chain that are told; deeper ones repeat themselves.
const MAX_CHAIN_LINKS: usize = 8;

/// What went wrong, and with which subject.
#[derive(Debug, Error)]
pub enum Error {
    /// The kubeconfig cannot be used.
    #[error("cannot use kubeconfig {}: {reason}", path.display())]
    Kubeconfig {
        /// Its path.
        path: PathBuf,
        /// Why, without its content.
        reason: String,
    },
    /// The credential plugin of the kubeconfig gave nothing that can be used.
    #[error("credential plugin {plugin}: {reason}")]
    Plugin {
        /// Its command.
        plugin: String,
        /// Why, without what it printed.
        reason: String,
    },
    /// The client could not be built from the configuration.
    #[error("cannot build a client: {reason}")]
    Client {
        /// Why.
        reason: String,
    },
    /// No connection at the moment.
    #[error("cluster is not connected: {reason}")]
    NotConnected {
        /// Why it is away.
        reason: String,
    },
    /// The server answered no.
    #[error("cannot {verb} {subject}: {}", status_text(status))]
    Refused {
        /// Operation.
        verb: &'static str,
        /// What it was about.
        subject: String,
        /// The server's words.
        status: Box<Status>,
    },
    /// The request did not reach the server or its answer did not come back.
    #[error("cannot {verb} {subject}: {reason}")]
    Unreachable {
        /// Operation.
        verb: &'static str,
        /// What it was about.
        subject: String,
        /// The chain of causes.
        reason: String,
    },
    /// No answer in time.
    #[error("cannot {verb} {subject}: no answer within {after_s} s")]
    TimedOut {
        /// Operation.
        verb: &'static str,
        /// What it was about.
        subject: String,
        /// The bound.
        after_s: u64,
    },
    /// The answer is no JSON.
    #[error("cannot read the answer to {verb} {subject}")]
    Malformed {
        /// Operation.
        verb: &'static str,
        /// What it was about.
        subject: String,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// The server knows no such kind.
    #[error("the server knows no kind {kind} in {api_version}")]
    NoSuchKind {
        /// `apps/v1`.
        api_version: String,
        /// Kind.
        kind: String,
    },
    /// The server is older than 1.26 or hides `/apis`.
    #[error("the server does not offer aggregated discovery (Kubernetes 1.26 or later is needed)")]
    NoDiscovery,
    /// The object cannot be addressed.
    #[error("{subject} cannot be addressed: {what}")]
    BadName {
        /// The object.
        subject: String,
        /// What is wrong with its name.
        what: String,
    },
    /// The inventory does not fit into a ConfigMap.
    #[error("the inventory of {application} takes {bytes} bytes, more than {limit} fit")]
    InventoryTooLarge {
        /// Application.
        application: String,
        /// Its size.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// The stored inventory cannot be read.
    #[error("ConfigMap {name} cannot be read as an inventory: {what}")]
    InventoryMalformed {
        /// Namespace and name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// The inventory belongs to another installation.
    #[error("ConfigMap {name} belongs to installation {owner}")]
    InventoryNotOurs {
        /// Namespace and name.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// The stored inventory is not what this connection knows of it.
    #[error("ConfigMap {name} {what}; reading all anew")]
    InventoryDiffers {
        /// Namespace and name.
        name: String,
        /// What was found.
        what: &'static str,
    },
}

impl Error {
    /// From the client's error, without credentials.
    pub(crate) fn request(verb: &'static str, subject: String, error: kube::Error) -> Error {
        match error {
            kube::Error::Api(status) => Error::Refused {
                verb,
                subject,
                status,
            },
            other => Error::Unreachable {
                verb,
                subject,
                reason: chain(&other),
            },
        }
    }

    /// Whether the server said that the object or kind is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Error::Refused { status, .. } if status.code == 404)
    }

    /// Whether no answer came although a connection was there: the next one may go to somebody else.
    pub(crate) fn is_interruption(&self) -> bool {
        matches!(self, Error::Unreachable { .. } | Error::TimedOut { .. })
    }

    /// Whether another one holds what was asked for.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Error::Refused { status, .. } if status.code == 409)
    }
}

/// The links of an error chain, each once, innermost last. Texts of kube repeat their source.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut links: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let (Some(link), true) = (next, links.len() < MAX_CHAIN_LINKS) {
        if let Some(text) = redacted(link) {
            links.push(text);
            break;
        }
        // A wrapper that only repeats its source says nothing of its own.
        let text = link.to_string();
        let repeats = link
            .source()
            .is_some_and(|source| text.contains(&source.to_string()));
        if !repeats && !links.contains(&text) {
            links.push(text);
        }
        next = link.source();
    }
    links.join(": ")
}

/// A fixed text for errors whose own text could show a credential or the content of a kubeconfig.
fn redacted(error: &(dyn StdError + 'static)) -> Option<String> {
    use kube::client::AuthError;
    use kube::config::KubeconfigError;
    let text = if let Some(auth) = error.downcast_ref::<AuthError>() {
        match auth {
            AuthError::ReadTokenFile(source, path) => {
                format!("cannot read token file {}: {source}", path.display())
            }
            _ => "credentials cannot be used".to_owned(),
        }
    } else if let Some(KubeconfigError::Parse(_)) = error.downcast_ref::<KubeconfigError>() {
        "it is not valid YAML of a kubeconfig".to_owned()
    } else if let Some(KubeconfigError::ReadConfig(source, _)) =
        error.downcast_ref::<KubeconfigError>()
    {
        source.to_string()
    } else {
        return None;
    };
    Some(text)
}

/// The message of a status without secrets, or its reason when it has none.
fn status_text(status: &Status) -> String {
    match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("HTTP {}", status.code),
        ("", reason) => format!("{reason} (HTTP {})", status.code),
        (message, _) => redact(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_tells_each_cause_once() {
        let inner = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "refused");
        let middle = kube::Error::ReadEvents(inner);
        assert_eq!(chain(&middle), "refused");
    }
}
