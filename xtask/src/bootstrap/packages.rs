//! Debian packages: finds the missing ones and installs them as root or with sudo.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run;
use crate::say;

/// What building and testing need on Debian 12.
pub(super) const NEEDED: &[&str] = &[
    "g++",
    "git",
    "pkg-config",
    "libssl-dev",
    "zlib1g-dev",
    // bindgen loads libclang while RocksDB's bindings are made; its own headers come with -common.
    "libclang1-14",
    "libclang-common-14-dev",
    // setpriv: ties servers of tests to the process that started them.
    "util-linux",
    // Networks and disks of tortured members; unshare and nsenter are of util-linux.
    "e2fsprogs",
    "iproute2",
    "mount",
    "nftables",
    // A library of sshd.
    "libwrap0",
    "openssh-client",
];

/// Installs those that are missing. Other systems than Debian are left as they are:
/// there the build itself says what it misses.
pub(super) fn install_missing(needed: &[&'static str]) -> Result<()> {
    let Some(missing) = missing(needed)? else {
        say::note(&format!(
            "no dpkg here: taking it that what Debian calls {} is installed",
            needed.join(" ")
        ));
        return Ok(());
    };
    if missing.is_empty() {
        return Ok(());
    }
    say::note(&format!(
        "installing Debian packages: {}",
        missing.join(" ")
    ));
    apt(&["update", "-q"])?;
    let mut install = vec!["install", "-q", "-y", "--no-install-recommends"];
    install.extend(&missing);
    apt(&install)
}

fn missing(needed: &[&'static str]) -> Result<Option<Vec<&'static str>>> {
    if run::captured(Command::new("dpkg-query").arg("--version")).is_err() {
        return Ok(None);
    }
    let mut missing = Vec::new();
    for package in needed {
        // It fails for a package it has never heard of.
        let status = run::captured(Command::new("dpkg-query").args([
            "-W",
            "-f",
            "${db:Status-Status}",
            package,
        ]));
        if !status.is_ok_and(|status| status.trim() == "installed") {
            missing.push(*package);
        }
    }
    Ok(Some(missing))
}

fn apt(args: &[&str]) -> Result<()> {
    let root = run::captured(Command::new("id").arg("-u"))?.trim() == "0";
    let mut command = if root {
        Command::new("apt-get")
    } else {
        if run::captured(Command::new("sudo").args(["-n", "true"])).is_err() {
            bail!(
                "not root and no sudo without a password; run as root: apt-get {}",
                args.join(" ")
            );
        }
        let mut command = Command::new("sudo");
        command.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command
    };
    // apt's own lines go where progress goes; standard output is for results.
    let output = command
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(std::process::Stdio::null())
        .output()
        .context("start apt-get")?;
    if !output.status.success() {
        bail!(
            "apt-get {} failed: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
