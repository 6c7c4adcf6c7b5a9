//! The credential plugin of a kubeconfig: a program that prints a token or a client certificate.
//!
//! kube would run it on the thread of whoever asks, more than once for each client, and wait for it without a bound; one
//! that hangs would take the member's threads away from all clusters. So it is run here.
//! Guarantees: it takes no thread; it is killed with all it started after [`ANSWER_WITHIN`], and when its connection
//! ends; one runs at a time for each connection. Assumptions: it needs no terminal. Errors: [`Error::Plugin`], never
//! with what the plugin printed; its standard error is the member's.

use crate::error::Error;
use crate::task::{locked, pause};
use crate::traffic::Breaker;
use data_encoding::BASE64;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::json;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

/// How long a plugin may take; shorter than connecting, so that its name is told.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Most bytes of its answer that are read: a token, or a certificate and its key.
const MAX_ANSWER_BYTES: u64 = 1024 * 1024;
/// How often it is looked whether what it gave ends.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// A token is asked for anew so long before it ends: a few looks, and the plugin's own time.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_secs(90);

/// A plugin, and what it gave last.
pub(crate) struct Plugin {
    exec: ExecConfig,
    given: Mutex<Given>,
}

/// What goes into requests, and until when. A certificate is part of the client instead.
struct Given {
    token: Option<HeaderValue>,
    ends: Option<Timestamp>,
}

/// What a plugin prints.
#[derive(Deserialize)]
struct Answer {
    status: Option<Credential>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

impl Plugin {
    /// Asks the plugin where there is one, and takes its place in `auth`: kube finds only what it gave. Like kubectl,
    /// it is not asked where the kubeconfig itself holds a credential.
    pub(crate) async fn replace(auth: &mut AuthInfo) -> Result<Option<Plugin>, Error> {
        let provider = auth.auth_provider.as_ref();
        if provider.is_some_and(|it| it.config.contains_key("cmd-path")) {
            let reason = "an auth-provider with a cmd-path is not run; use `exec` instead";
            return Err(failed("of the kubeconfig", reason));
        }
        let has_password = auth.username.is_some() && auth.password.is_some();
        let has_token = auth.token.is_some() || auth.token_file.is_some();
        let Some(exec) = auth.exec.take() else {
            return Ok(None);
        };
        if provider.is_some() || has_password || has_token {
            return Ok(None);
        }
        let credential = ask(&exec).await?;
        if let (Some(certificate), Some(key)) = (
            &credential.client_certificate_data,
            &credential.client_key_data,
        ) {
            auth.client_certificate_data = Some(BASE64.encode(certificate.as_bytes()));
            auth.client_key_data = Some(BASE64.encode(key.as_bytes()).into());
        }
        let given = Mutex::new(Given::of(&exec, &credential)?);
        Ok(Some(Plugin { exec, given }))
    }

    /// Puts the token into a request.
    pub(crate) fn sign(&self, mut request: http::Request<Body>) -> http::Request<Body> {
        if let Some(token) = &locked(&self.given).token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        request
    }

    /// Asks again before a token ends, for ever. A certificate cannot be exchanged in a connection, so that a new
    /// connection is made when one has ended.
    pub(crate) async fn keep_fresh(&self, breaker: &Breaker) {
        loop {
            pause(LOOK_EVERY).await;
            self.look(Timestamp::now(), breaker).await;
        }
    }

    async fn look(&self, now: Timestamp, breaker: &Breaker) {
        let (is_token, left) = {
            let given = locked(&self.given);
            let Some(ends) = given.ends else { return };
            (given.token.is_some(), ends.duration_since(now))
        };
        if !is_token && left <= SignedDuration::ZERO {
            let reason = "the client certificate that the credential plugin gave has ended";
            breaker.trip_for(reason.to_owned());
        }
        if is_token && left <= RENEW_BEFORE {
            let asked = ask(&self.exec).await;
            match asked.and_then(|credential| Given::of(&self.exec, &credential)) {
                Ok(given) => *locked(&self.given) = given,
                Err(error) => {
                    tracing::warn!(%error, "no new token; the old one is used, and it is tried again by itself");
                }
            }
        }
    }
}

impl Given {
    fn of(exec: &ExecConfig, credential: &Credential) -> Result<Given, Error> {
        let unusable = |what: &str| failed(name(exec), format!("its {what} cannot be used"));
        let token = match &credential.token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                    .map_err(|_| unusable("token"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let ends = match &credential.expiration_timestamp {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| unusable("expirationTimestamp"))?),
        };
        Ok(Given { token, ends })
    }
}

/// A process that is killed with all it started unless it ended before.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Without an id it has ended and was waited for.
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn ask(exec: &ExecConfig) -> Result<Credential, Error> {
    let failed = |reason: String| failed(name(exec), reason);
    let answer = tokio::time::timeout(ANSWER_WITHIN, output(command(exec)?))
        .await
        .map_err(|_elapsed| failed(format!("no answer within {} s", ANSWER_WITHIN.as_secs())))?
        .map_err(|error| failed(format!("cannot run: {error}")))?;
    let (status, bytes) = answer;
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    let nothing = || failed("its answer is no ExecCredential with a status".to_owned());
    let answer: Answer = serde_saphyr::from_slice(&bytes).map_err(|_| nothing())?;
    answer.status.ok_or_else(nothing)
}

async fn output(mut command: Command) -> std::io::Result<(std::process::ExitStatus, Vec<u8>)> {
    let mut running = Running(command.spawn()?);
    let mut bytes = Vec::new();
    if let Some(stdout) = running.0.stdout.take() {
        let mut bounded = stdout.take(MAX_ANSWER_BYTES);
        bounded.read_to_end(&mut bytes).await?;
    }
    Ok((running.0.wait().await?, bytes))
}

fn command(exec: &ExecConfig) -> Result<Command, Error> {
    if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
        return Err(failed(name(exec), "it needs a terminal, a member has none"));
    }
    let program = exec.command.as_ref();
    let mut command =
        Command::new(program.ok_or_else(|| failed("of the kubeconfig", "no command"))?);
    command.args(exec.args.iter().flatten());
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    let mut spec = json!({"interactive": false});
    if let Some(cluster) = &exec.cluster {
        spec["cluster"] = serde_json::to_value(cluster)
            .map_err(|error| failed(name(exec), format!("cannot tell it the cluster: {error}")))?;
    }
    let info = json!({"apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec});
    command
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    Ok(command)
}

fn name(exec: &ExecConfig) -> &str {
    exec.command.as_deref().unwrap_or("of the kubeconfig")
}

fn failed(plugin: &str, reason: impl Into<String>) -> Error {
    Error::Plugin {
        plugin: plugin.to_owned(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn auth(script: &str) -> AuthInfo {
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
            "env": [{"name": "HIDDEN", "value": "hunter2"}], "interactiveMode": "IfAvailable"});
        serde_json::from_value(json!({"exec": exec})).unwrap()
    }

    fn printing(status: &serde_json::Value) -> String {
        format!(
            "echo '{}'",
            json!({"kind": "ExecCredential", "status": status})
        )
    }

    fn token(plugin: &Plugin) -> Option<String> {
        let request = plugin.sign(http::Request::new(Body::empty()));
        let header = request.headers().get(AUTHORIZATION)?;
        Some(header.to_str().unwrap().to_owned())
    }

    async fn refused(script: &str) -> String {
        let replaced = Plugin::replace(&mut auth(script)).await;
        replaced.map(|_| ()).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_token_goes_into_requests_and_is_asked_for_anew_before_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("token");
        let ends: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let say = |token: &str| {
            let status = json!({"token": token, "expirationTimestamp": ends.to_string()});
            std::fs::write(&script, printing(&status)).unwrap();
        };
        say("one");
        let mut auth = auth(&format!(". {}", script.display()));
        let plugin = Plugin::replace(&mut auth).await.unwrap().unwrap();
        assert!(auth.exec.is_none());
        assert_eq!(token(&plugin).as_deref(), Some("Bearer one"));
        let breaker = Breaker::default();
        for (said, before_s, holds) in [
            ("two", 100, "Bearer one"),
            ("three", 80, "Bearer three"),
            ("not\\u0000usable", 80, "Bearer three"),
        ] {
            say(said);
            plugin
                .look(ends - SignedDuration::from_secs(before_s), &breaker)
                .await;
            assert_eq!(token(&plugin).as_deref(), Some(holds));
        }
        assert!(!breaker.opened().is_cancelled());
    }

    #[tokio::test]
    async fn a_certificate_becomes_part_of_the_client_and_costs_the_connection_when_it_ends() {
        let ends: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let mut auth = auth(&printing(
            &json!({"clientCertificateData": "CERT", "clientKeyData": "KEY",
            "expirationTimestamp": ends.to_string()}),
        ));
        let plugin = Plugin::replace(&mut auth).await.unwrap().unwrap();
        assert_eq!(auth.client_certificate_data.as_deref(), Some("Q0VSVA=="));
        assert!(auth.client_key_data.is_some());
        assert_eq!(token(&plugin), None);
        let breaker = Breaker::default();
        plugin
            .look(ends - SignedDuration::from_secs(1), &breaker)
            .await;
        assert!(!breaker.opened().is_cancelled());
        plugin.look(ends, &breaker).await;
        assert!(breaker.opened().is_cancelled());
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_without_what_the_plugin_printed_or_was_given() {
        insta::assert_snapshot!(refused("echo hunter2; exit 3").await, @"credential plugin sh: exit status: 3");
        insta::assert_snapshot!(refused("echo hunter2").await, @"credential plugin sh: its answer is no ExecCredential with a status");
        let mut missing = auth("");
        missing.exec.as_mut().unwrap().command = Some("/nowhere/plugin".to_owned());
        let error = Plugin::replace(&mut missing).await.map(|_| ()).unwrap_err();
        insta::assert_snapshot!(error, @"credential plugin /nowhere/plugin: cannot run: No such file or directory (os error 2)");
    }

    #[tokio::test]
    async fn a_plugin_is_not_asked_where_the_kubeconfig_holds_a_token() {
        let mut auth = auth("exit 1");
        auth.token = Some("static".to_owned().into());
        assert!(Plugin::replace(&mut auth).await.unwrap().is_none());
    }

    /// Whether the process whose id a script wrote is there.
    fn runs(file: &Path) -> Option<bool> {
        let id = std::fs::read_to_string(file).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{}/stat", id.trim()));
        Some(status.is_ok_and(|it| !it.contains(") Z ")))
    }

    async fn until(is_so: impl Fn() -> bool) {
        let looking = async {
            while !is_so() {
                pause(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(ANSWER_WITHIN, looking).await.unwrap();
    }

    #[tokio::test]
    async fn a_plugin_that_hangs_holds_no_thread_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let mut auth = auth(&script);
        let asking = Plugin::replace(&mut auth);
        // The one thread of this test is free for all this while the plugin hangs.
        tokio::select! {
            _ = asking => panic!("it answered"),
            () = until(|| runs(&file) == Some(true)) => {}
        }
        // What was asked is dropped by now.
        until(|| runs(&file) != Some(true)).await;
    }
}
