//! Cargo as xtask starts it: always with the prebuilt parts, one target folder, and clippy as the compiler of our crates.

use std::process::Command;

use crate::bootstrap::Prepared;
use crate::workspace::Workspace;

/// rustc with clippy's lints.
pub(crate) const CLIPPY: &str = "clippy-driver";

/// Makes clippy the compiler of our crates: what it compiles is linted and built at once, where `cargo clippy` would
/// have every dependency checked a second time. The words around `-D` and `warnings` are how `cargo clippy` itself tells
/// its driver arguments.
pub(crate) const LINTING: [(&str, &str); 2] = [
    ("RUSTC_WORKSPACE_WRAPPER", CLIPPY),
    (
        "CLIPPY_ARGS",
        "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__",
    ),
];

/// `cargo ARGS...` in the root of the workspace.
pub(crate) fn command(workspace: &Workspace, prepared: &Prepared, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(&workspace.root)
        .args(args)
        .env("CARGO_TARGET_DIR", workspace.target_dir())
        .envs(LINTING);
    command.envs(prepared.environment.iter().map(|(key, value)| (key, value)));
    command
}
