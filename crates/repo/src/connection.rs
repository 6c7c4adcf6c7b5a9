//! One exchange with the remote: who we are, whom we trust, what went wrong in a word.

use crate::address::Address;
use crate::certificate;
use crate::config::{Config, Proxy};
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::known_hosts::{self, Offered};
use crate::store;
use crate::watch::{Abandoned, Beat, Wanted, watched};
use git2::cert::Cert;
use git2::{
    AutotagOption, CertificateCheckStatus, Cred, CredentialType, ErrorClass, ErrorCode,
    FetchOptions, Oid, ProxyOptions, PushOptions, RemoteCallbacks, RemoteRedirect,
};
use secrecy::{ExposeSecret, SecretString};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What a server says beside the protocol (`remote: ...`) is kept up to here.
const MAX_SAID_BYTES: usize = 4096;

/// A refspec that matches nothing: connecting with it lists the branches and downloads nothing.
const NOTHING: &str = "+refs/regraft/nothing:refs/regraft/nothing";

/// Where the branches that were asked for are; an absent one is missing.
pub(crate) type Heads = BTreeMap<String, Oid>;

/// A remote with everything needed to talk to it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) config: Config,
    pub(crate) address: Address,
    pub(crate) abandoned: Abandoned,
}

/// What to bring home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Download {
    /// Only where the branches are.
    Nothing,
    /// Their commits, unless we have them.
    Branches,
}

/// What is learnt during one exchange, for the words of its failure.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    failure: RefCell<Option<Failure>>,
    said: RefCell<Vec<u8>>,
    asked: Cell<u32>,
}

impl Connection {
    /// Lists branches and, if wanted, fetches them into the clone: one connection, and nothing is downloaded for a
    /// branch whose tip we have.
    pub(crate) fn heads(
        self: &Arc<Self>,
        folder: &Path,
        branches: &[&str],
        download: Download,
    ) -> Result<Heads, Failure> {
        let connection = Arc::clone(self);
        let folder = folder.to_owned();
        let branches: Vec<String> = branches.iter().map(|name| (*name).to_owned()).collect();
        self.run(move |beat| connection.heads_now(beat, &folder, &branches, download))
    }

    /// Runs an operation under the configured patience.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Beat) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        watched(self.config.patience, &self.abandoned, operation)
    }

    fn heads_now(
        &self,
        beat: &Beat,
        folder: &Path,
        branches: &[String],
        download: Download,
    ) -> Result<Heads, Failure> {
        let notes = Notes::default();
        let git = store::open_bare(folder).map_err(|error| Failure::Local(said(&error)))?;
        let mut remote = git
            .remote_anonymous(self.address.url())
            .map_err(|error| Failure::Local(said(&error)))?;
        let refspecs: Vec<String> = match download {
            Download::Nothing => vec![NOTHING.to_owned()],
            Download::Branches => branches
                .iter()
                .map(|name| format!("+refs/heads/{name}:{}", store::tracking(name)))
                .collect(),
        };
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(self.callbacks(beat, &notes))
            .proxy_options(self.proxy())
            .follow_redirects(self.redirects())
            .download_tags(AutotagOption::None)
            .update_fetchhead(false);
        if let Some(header) = self.bearer() {
            options.custom_headers(&[header.expose_secret()]);
        }
        remote
            .fetch(&refspecs, Some(&mut options), None)
            .map_err(|error| self.failure(&error, &notes))?;
        // The list outlives the connection it came with.
        let list = remote
            .list()
            .map_err(|error| self.failure(&error, &notes))?;
        Ok(branches
            .iter()
            .filter_map(|name| {
                let reference = format!("refs/heads/{name}");
                let head = list.iter().find(|head| head.name() == reference)?;
                Some((name.clone(), head.oid()))
            })
            .collect())
    }

    /// Options of a push, with callbacks that the caller completed.
    pub(crate) fn push_options<'a>(&'a self, callbacks: RemoteCallbacks<'a>) -> PushOptions<'a> {
        let mut options = PushOptions::new();
        options
            .remote_callbacks(callbacks)
            .proxy_options(self.proxy())
            .follow_redirects(self.redirects());
        if let Some(header) = self.bearer() {
            options.custom_headers(&[header.expose_secret()]);
        }
        options
    }

    /// Callbacks every exchange needs.
    pub(crate) fn callbacks<'a>(&'a self, beat: &'a Beat, notes: &'a Notes) -> RemoteCallbacks<'a> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks
            .credentials(move |url, user, allowed| {
                beat.mark();
                self.credentials(url, user, allowed, notes)
                    .map_err(|failure| notes.stop(failure))
            })
            .certificate_check(move |shown, host| {
                beat.mark();
                self.trust(shown, host)
                    .map_err(|failure| notes.stop(failure))
            })
            .transfer_progress(move |_| beat.mark() == Wanted::Yes)
            .sideband_progress(move |text| {
                notes.hear(text);
                beat.mark() == Wanted::Yes
            })
            .pack_progress(move |_, _, _| {
                beat.mark();
            })
            .push_transfer_progress(move |_, _, _| {
                beat.mark();
            });
        callbacks
    }

    fn credentials(
        &self,
        url: &str,
        user: Option<&str>,
        allowed: CredentialType,
        notes: &Notes,
    ) -> Result<Cred, Failure> {
        let no = |text: &str| Failure::Authentication(text.to_owned());
        let made = |cred: Result<Cred, git2::Error>| cred.map_err(|error| no(&said(&error)));
        if allowed.contains(CredentialType::USERNAME) {
            return made(Cred::username(self.ssh_user(user)));
        }
        // Asked once more after an answer means that the answer was refused.
        if notes.asked.replace(notes.asked.get() + 1) > 0 {
            return Err(no("the server refuses the credentials"));
        }
        match &self.config.credentials {
            Credentials::None => Err(no(
                "the server asks for credentials and none are configured",
            )),
            Credentials::Bearer { .. } => Err(no("the server refuses the token")),
            Credentials::Basic { .. } if !self.is_home(url) => Err(no(
                "the server redirects to another host, which does not get the credentials",
            )),
            Credentials::Basic { user, password }
                if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) =>
            {
                made(Cred::userpass_plaintext(user, password.expose_secret()))
            }
            Credentials::SshKey {
                private_key,
                passphrase,
                ..
            } if allowed.contains(CredentialType::SSH_KEY) => made(Cred::ssh_key(
                self.ssh_user(user),
                None,
                private_key,
                passphrase.as_ref().map(ExposeSecret::expose_secret),
            )),
            _ => Err(no("the server accepts none of the configured kind")),
        }
    }

    fn trust(&self, shown: &Cert<'_>, host: &str) -> Result<CertificateCheckStatus, Failure> {
        if let Some(key) = shown.as_hostkey() {
            let raw = key.hostkey().unwrap_or_default();
            let offered = Offered {
                key_type: key_type(raw),
                key: raw,
            };
            return self
                .trust_host_key(offered, host)
                .map(|()| CertificateCheckStatus::CertificateOk);
        }
        let (Some(authority), Some(certificate)) =
            (&self.config.certificate_authority, shown.as_x509())
        else {
            // The system's authorities decide, as libgit2 checked already.
            return Ok(CertificateCheckStatus::CertificatePassthrough);
        };
        certificate::check(authority, certificate.data(), host)
            .map(|()| CertificateCheckStatus::CertificateOk)
            .map_err(Failure::Certificate)
    }

    fn trust_host_key(&self, offered: Offered<'_>, host: &str) -> Result<(), Failure> {
        let Address::Ssh { port, .. } = &self.address else {
            return Err(Failure::Authentication(
                "a host key on a connection that is not ssh".to_owned(),
            ));
        };
        let Credentials::SshKey { known_hosts, .. } = &self.config.credentials else {
            return Err(Failure::Authentication(
                "ssh needs a private key and known_hosts, and none are configured".to_owned(),
            ));
        };
        known_hosts::check(known_hosts, host, *port, offered)
    }

    fn ssh_user<'a>(&'a self, asked: Option<&'a str>) -> &'a str {
        match &self.address {
            Address::Ssh { user, .. } => user,
            _ => asked.unwrap_or_default(),
        }
    }

    /// Whether a URL (after redirects) still is the configured host, and not less protected.
    fn is_home(&self, url: &str) -> bool {
        let authority = |url: &str| {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            let authority = rest.split('/').next().unwrap_or_default();
            authority.to_ascii_lowercase()
        };
        let home = self.address.url();
        authority(url) == authority(home)
            && (url.starts_with("https://") || home.starts_with("http://"))
    }

    fn redirects(&self) -> RemoteRedirect {
        match self.config.credentials {
            // The header would follow to any host.
            Credentials::Bearer { .. } => RemoteRedirect::None,
            _ => RemoteRedirect::Initial,
        }
    }

    fn proxy(&self) -> ProxyOptions<'_> {
        let mut options = ProxyOptions::new();
        match &self.config.proxy {
            Proxy::Environment => {
                options.auto();
            }
            Proxy::Direct => {}
        }
        options
    }

    fn bearer(&self) -> Option<SecretString> {
        match &self.config.credentials {
            Credentials::Bearer { token } => Some(SecretString::from(format!(
                "Authorization: Bearer {}",
                token.expose_secret()
            ))),
            _ => None,
        }
    }

    /// The failure of an exchange: what a callback found out, else what libgit2 says.
    pub(crate) fn failure(&self, error: &git2::Error, notes: &Notes) -> Failure {
        let failure = notes
            .failure
            .take()
            .unwrap_or_else(|| classify(error, &notes.said()));
        match failure {
            Failure::Authentication(text) => Failure::Authentication(self.scrub(text)),
            Failure::Unreachable(text) => Failure::Unreachable(self.scrub(text)),
            Failure::NotFound(text) => Failure::NotFound(self.scrub(text)),
            Failure::Rejected(text) => Failure::Rejected(self.scrub(text)),
            Failure::Local(text) => Failure::Local(self.scrub(text)),
            other => other,
        }
    }

    /// A server may repeat what it was sent; our secrets go no further.
    pub(crate) fn scrub(&self, text: String) -> String {
        let secret = match &self.config.credentials {
            Credentials::Basic { password, .. } => Some(password),
            Credentials::Bearer { token } => Some(token),
            Credentials::SshKey { passphrase, .. } => passphrase.as_ref(),
            Credentials::None => None,
        };
        match secret.map(ExposeSecret::expose_secret) {
            Some(secret) if text.contains(secret) => text.replace(secret, "[secret]"),
            _ => text,
        }
    }
}

impl Notes {
    /// Keeps the typed failure and gives libgit2 an error to stop with.
    fn stop(&self, failure: Failure) -> git2::Error {
        let text = failure.to_string();
        self.failure.replace(Some(failure));
        git2::Error::new(ErrorCode::User, ErrorClass::Callback, text)
    }

    fn hear(&self, text: &[u8]) {
        let mut said = self.said.borrow_mut();
        let room = MAX_SAID_BYTES.saturating_sub(said.len());
        said.extend_from_slice(&text[..text.len().min(room)]);
    }

    /// What the server said to people, on one line, without its progress reports.
    pub(crate) fn said(&self) -> String {
        let bytes = self.said.borrow();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text
            .split(['\n', '\r'])
            .map(str::trim)
            .filter(|line| !line.is_empty() && !is_progress(line))
            .collect();
        lines.join("; ")
    }
}

fn is_progress(line: &str) -> bool {
    [
        "Enumerating objects",
        "Counting objects",
        "Compressing objects",
        "Resolving deltas",
        "Total ",
    ]
    .iter()
    .any(|start| line.starts_with(start))
}

/// libgit2's words as one failure. The server's own words come after them.
fn classify(error: &git2::Error, server: &str) -> Failure {
    let mut text = said(error);
    if !server.is_empty() {
        text = format!("{text}; the server says: {server}");
    }
    let message = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    match (error.code(), error.class()) {
        (ErrorCode::Auth, _) => Failure::Authentication(text),
        (ErrorCode::Certificate, _) => Failure::Certificate(text),
        (ErrorCode::Owner | ErrorCode::BareRepo, _) => Failure::Rejected(text),
        (ErrorCode::Timeout, _) => Failure::Unreachable(text),
        (_, ErrorClass::Http | ErrorClass::Ssl) if has(&["certificate"]) => {
            Failure::Certificate(text)
        }
        (_, ErrorClass::Http) if has(&["status code: 401", "status code: 403"]) => {
            Failure::Authentication(text)
        }
        (_, ErrorClass::Http) if has(&["status code: 404", "status code: 410"]) => {
            Failure::NotFound(text)
        }
        (_, ErrorClass::Ssh)
            if has(&["authenticat", "private key", "public key", "passphrase"]) =>
        {
            Failure::Authentication(text)
        }
        _ if has(&[
            "not found",
            "does not exist",
            "does not appear to be a git repository",
            "could not find repository",
            "failed to resolve path",
        ]) =>
        {
            Failure::NotFound(text)
        }
        (
            _,
            ErrorClass::Odb
            | ErrorClass::Zlib
            | ErrorClass::Indexer
            | ErrorClass::Object
            | ErrorClass::Reference
            | ErrorClass::Filesystem
            | ErrorClass::Config,
        ) => Failure::Local(text),
        _ => Failure::Unreachable(text),
    }
}

/// The message of an error; its code and class say nothing to people.
pub(crate) fn said(error: &git2::Error) -> String {
    error.message().trim().to_owned()
}

/// The type a key in wire format names itself: a string with its length in four bytes before it. libgit2's own
/// field is wrong for nistp521.
fn key_type(raw: &[u8]) -> &str {
    raw.split_first_chunk::<4>()
        .and_then(|(length, rest)| {
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            std::str::from_utf8(rest.get(..length)?).ok()
        })
        .unwrap_or("unknown")
}
