//! Log lines to standard error, for eyes or for collectors.

use crate::config::LogFormat;
use crate::failure::{Exit, Failure};
use tracing_subscriber::EnvFilter;

/// Crates that say more than an operator wants to read at the member's level. The builder of `kube_client` calls every
/// failed request an error and names no cluster, and its client warns of each watch that the server ended; openraft
/// warns of elections that take their normal course. What matters of both is told by our own lines.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,tower=warn,rustls=warn,openraft=error,kube=warn,kube_client=warn,kube_client::client=error,kube_client::client::builder=off,kube_runtime=warn";

/// The target of what a person has to look at. It stands under ours, so that `RUST_LOG=regraft=…` keeps it.
pub(crate) const PAGE: &str = "regraft::page";

/// What [`init`] tells to write instead of a filter that cannot be read.
const EXAMPLE: &str = "regraft=debug,openraft=info";

/// Sets the one subscriber of this process up. `RUST_LOG` wins over the level.
pub(crate) fn init(format: LogFormat, level: &str) -> Result<(), Failure> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(directives),
        _ => EnvFilter::try_new(format!("{level},{QUIET}")),
    };
    let filter = filter.map_err(|error| {
        Failure::of(
            Exit::Usage,
            "BadLogFilter",
            &error,
            format!("write RUST_LOG as `info` or `{EXAMPLE}`"),
        )
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Human => lines
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| {
        Failure::new(
            Exit::Failed,
            "LogFailed",
            error.to_string(),
            "please report this",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What a filter lets through of what is said.
    fn told(filter: &str, say: impl FnOnce()) -> String {
        let lines = Lines::default();
        let sink = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(filter).unwrap())
            .with_writer(move || sink.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, say);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn watches_that_a_server_ended_are_no_warning() {
        let text = told(&format!("info,{QUIET}"), || {
            tracing::warn!(target: "kube_client::client", "eof in poll: UnexpectedEof");
            tracing::error!(target: "kube_client::client", "worse");
            tracing::info!("ours");
        });
        assert!(!text.contains("eof"), "{text}");
        assert!(text.contains("worse") && text.contains("ours"), "{text}");
    }

    #[test]
    fn pages_are_told_with_the_filter_that_we_name_as_an_example() {
        let text = told(EXAMPLE, || tracing::error!(target: PAGE, "wake up"));
        assert!(text.contains("wake up"), "{text}");
    }
}
