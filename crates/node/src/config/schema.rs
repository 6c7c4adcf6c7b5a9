//! The file as it is written; only types are checked here.

use regraft_model::time::Seconds;
use serde::Deserialize;
use serde_saphyr::Spanned;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    pub(super) member: Member,
    pub(super) cluster: Spanned<String>,
    pub(super) data_dir: Spanned<String>,
    #[serde(default)]
    pub(super) listen: Listen,
    #[serde(default)]
    pub(super) peers: Vec<Peer>,
    pub(super) tls: Option<Tls>,
    #[serde(default)]
    pub(super) repositories: Vec<Repository>,
    #[serde(default)]
    pub(super) clusters: Vec<Kubeconfig>,
    #[serde(default)]
    pub(super) log: Log,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Member {
    pub(super) id: Spanned<u64>,
    pub(super) name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Listen {
    pub(super) raft: Option<Spanned<String>>,
    pub(super) admin: Option<Spanned<String>>,
    pub(super) store: Option<Spanned<String>>,
    pub(super) http: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Peer {
    pub(super) id: Spanned<u64>,
    pub(super) raft: Spanned<String>,
    pub(super) admin: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) ca: Spanned<String>,
    pub(super) cert: Spanned<String>,
    pub(super) key: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Repository {
    pub(super) name: Spanned<String>,
    pub(super) url: Spanned<String>,
    pub(super) branch: Spanned<String>,
    pub(super) poll_interval: Option<Spanned<Seconds>>,
    #[serde(default)]
    pub(super) credentials: Credentials,
    pub(super) author: Option<Author>,
}

/// Who our commits are by.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Author {
    pub(super) name: String,
    pub(super) mail: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Credentials {
    pub(super) username: Option<String>,
    pub(super) password_file: Option<Spanned<String>>,
    pub(super) password_env: Option<Spanned<String>>,
    pub(super) token_file: Option<Spanned<String>>,
    pub(super) token_env: Option<Spanned<String>>,
    pub(super) ssh_key_file: Option<Spanned<String>>,
    pub(super) passphrase_file: Option<Spanned<String>>,
    pub(super) passphrase_env: Option<Spanned<String>>,
    pub(super) known_hosts_file: Option<Spanned<String>>,
    pub(super) ca_file: Option<Spanned<String>>,
}

impl Credentials {
    /// Where a secret is named.
    pub(super) fn secret(&self) -> Option<&Spanned<String>> {
        [
            &self.password_file,
            &self.password_env,
            &self.token_file,
            &self.token_env,
            &self.passphrase_file,
            &self.passphrase_env,
            &self.ssh_key_file,
        ]
        .into_iter()
        .find_map(Option::as_ref)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Kubeconfig {
    pub(super) name: Spanned<String>,
    pub(super) kubeconfig: Spanned<String>,
    pub(super) context: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Log {
    #[serde(default)]
    pub(super) format: LogFormat,
    pub(super) level: Option<Spanned<String>>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) enum LogFormat {
    /// For eyes.
    #[default]
    Human,
    /// For collectors.
    Json,
}
