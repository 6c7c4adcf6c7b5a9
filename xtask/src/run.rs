//! Runs programs: to the terminal, captured, or watched with their output in a log file.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::clock;
use crate::progress::Progress;

/// How often a watched program is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// How much of a failed program's log is shown.
const SHOWN_LOG_LINES: usize = 40;

/// Runs with the terminal's input and output; fails when the program does.
pub(crate) fn shown(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {}", text(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", text(command));
    }
    Ok(())
}

/// Runs and gives its standard output; fails when the program does.
pub(crate) fn captured(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", text(command)))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}: {}",
            text(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs with all output in `log` while `progress` tells how far it is.
pub(crate) fn watched(
    command: &mut Command,
    log: &Path,
    progress: &mut Progress,
    mut done: impl FnMut() -> Option<f64>,
) -> Result<()> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let errors = file
        .try_clone()
        .with_context(|| format!("open {} twice", log.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("start {}", text(command)))?;
    let status = loop {
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("wait for {}", text(command)))?
        {
            break status;
        }
        progress.tick(done());
        clock::pause(WATCH_INTERVAL);
    };
    if !status.success() {
        let shown = tail(&std::fs::read_to_string(log).unwrap_or_default());
        bail!(
            "{} ended with {status}; the end of {}:\n{shown}",
            text(command),
            log.display()
        );
    }
    Ok(())
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LOG_LINES)..].join("\n")
}

fn text(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| match word.to_string_lossy() {
        // A whole program as an argument hides what went wrong with it.
        word if word.contains('\n') => "…".to_owned(),
        word => word.into_owned(),
    }));
    words.join(" ")
}
