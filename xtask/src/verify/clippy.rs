//! Clippy compiles our crates, so that silence could also mean that it was not asked: here it has to speak.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::cargo::{CLIPPY, LINTING};
use crate::workspace::Workspace;

/// What clippy warns of and rustc does not.
const SUSPECT: &str = "pub fn none(bytes: &[u8]) -> bool { bytes.len() == 0 }";
/// The lint that it has to name.
const LINT: &str = "clippy::len-zero";

pub(super) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let output = workspace.target_dir();
    std::fs::create_dir_all(&output).with_context(|| format!("create {}", output.display()))?;
    // As cargo calls a wrapper: the compiler that it stands for comes first.
    let mut compiler = Command::new(CLIPPY)
        .args(["rustc", "--crate-type=lib", "--emit=metadata", "--out-dir"])
        .arg(output)
        .arg("-")
        .envs(LINTING)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {CLIPPY}"))?;
    let mut source = compiler.stdin.take().context("its input is a pipe")?;
    source
        .write_all(SUSPECT.as_bytes())
        .with_context(|| format!("give {CLIPPY} a source"))?;
    drop(source);
    let output = compiler
        .wait_with_output()
        .with_context(|| format!("wait for {CLIPPY}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && told.contains(LINT) {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "{CLIPPY} let pass what {LINT} forbids; it ended with {} and said: {}",
        output.status,
        told.trim()
    )])
}
