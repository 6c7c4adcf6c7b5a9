//! An sshd for tests, without a service on the machine.
//!
//! Installing Debian's package would start a server that listens to the
//! network. The tests only need the program, so where the machine has none the
//! package is unpacked into the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::cache;
use crate::run;
use crate::say;
use crate::workspace::Workspace;

const INSTALLED: &str = "/usr/sbin/sshd";

/// Gives `REGRAFT_SSHD`, the program of the machine or of the cache.
pub(super) fn find(workspace: &Workspace) -> Result<Vec<(String, PathBuf)>> {
    let program = if Path::new(INSTALLED).exists() {
        PathBuf::from(INSTALLED)
    } else {
        unpack(workspace)?
    };
    make_user()?;
    Ok(vec![("REGRAFT_SSHD".to_owned(), program)])
}

/// Run by root, sshd gives its network half to a user of this name and refuses
/// to start without it; Debian's package makes the same one. Others need none.
fn make_user() -> Result<()> {
    let root = run::captured(Command::new("id").arg("-u"))?.trim() == "0";
    if !root || run::captured(Command::new("id").arg("sshd")).is_ok() {
        return Ok(());
    }
    let options = [
        "--system",
        "--no-create-home",
        "--home-dir",
        "/run/sshd",
        "--shell",
        "/usr/sbin/nologin",
        "sshd",
    ];
    run::captured(Command::new("useradd").args(options)).map(drop)
}

fn unpack(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.cache.join("sshd");
    let program = folder.join("usr/sbin/sshd");
    if program.exists() {
        return Ok(program);
    }
    let _lock = cache::lock(&workspace.cache, "sshd")?;
    if program.exists() {
        return Ok(program);
    }
    say::note("unpacking sshd from Debian's package (no service is installed)");
    let temporary = workspace.cache.join("sshd.new");
    cache::fresh(&temporary)?;
    run::captured(Command::new("apt-get").current_dir(&temporary).args([
        "download",
        "-q",
        "openssh-server",
    ]))?;
    let package = std::fs::read_dir(&temporary)
        .context("list the downloaded package")?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download openssh-server left no package")?;
    run::captured(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(&package)
            .arg(&temporary),
    )?;
    let missing = run::captured(Command::new("ldd").arg(temporary.join("usr/sbin/sshd")))?;
    if missing.contains("not found") {
        bail!("sshd misses libraries:\n{missing}");
    }
    cache::remove(&folder)?;
    std::fs::rename(&temporary, &folder)
        .with_context(|| format!("put {} in place", folder.display()))?;
    Ok(program)
}
