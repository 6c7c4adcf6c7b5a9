//! Log lines to standard error, for eyes or for collectors.

use crate::cli::{Exit, Failure};
use crate::config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Crates that say more than an operator wants to read at the member's level. The builder of `kube_client` calls every
/// failed request an error and names no cluster; openraft warns of elections that take their normal course. What matters
/// of both is told by our own lines.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,tower=warn,rustls=warn,openraft=error,kube=warn,kube_client=warn,kube_client::client::builder=off,kube_runtime=warn";

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
            "write RUST_LOG as `info` or `regraft=debug,openraft=info`",
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
