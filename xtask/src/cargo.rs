//! Cargo as xtask starts it: always with the prebuilt parts and one target folder.

use std::process::Command;

use crate::bootstrap::Prepared;
use crate::workspace::Workspace;

/// `cargo ARGS...` in the root of the workspace.
pub(crate) fn command(workspace: &Workspace, prepared: &Prepared, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(&workspace.root)
        .args(args)
        .env("CARGO_TARGET_DIR", workspace.target_dir());
    command.envs(prepared.environment.iter().map(|(key, value)| (key, value)));
    command
}
