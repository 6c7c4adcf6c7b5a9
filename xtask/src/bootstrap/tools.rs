//! The tools that a machine must bring along, and that Debian's packages cannot give.

use std::process::Command;

use anyhow::{Result, bail};

use crate::cargo::CLIPPY;
use crate::run;

/// The Go that Kubernetes 1.36 asks for.
const LEAST_GO: (u32, u32) = (1, 26);

/// Fails with everything that is missing, each with what to do.
pub(crate) fn check() -> Result<()> {
    let mut missing = Vec::new();
    if run::captured(Command::new("cargo").arg("--version")).is_err() {
        missing.push("cargo: install Rust (the version is in rust-toolchain.toml)".to_owned());
    }
    if run::captured(Command::new(CLIPPY).arg("--version")).is_err() {
        missing.push(format!(
            "{CLIPPY}: rustup component add clippy; it compiles and lints our crates"
        ));
    }
    match run::captured(Command::new("go").args(["env", "GOVERSION"])) {
        Err(_) => missing.push(
            "go: install Go 1.26 or newer; it builds the control plane of tests and demo"
                .to_owned(),
        ),
        Ok(version) => {
            if go_version(&version).is_none_or(|found| found < LEAST_GO) {
                missing.push(format!(
                    "go: found {}, Kubernetes 1.36 needs 1.26 or newer",
                    version.trim()
                ));
            }
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        bail!("tools are missing:\n  {}", missing.join("\n  "))
    }
}

fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text
        .trim()
        .strip_prefix("go")?
        .split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_compare_as_numbers() {
        assert_eq!(go_version("go1.26.8\n"), Some((1, 26)));
        assert_eq!(go_version("go1.27rc1"), Some((1, 27)));
        assert!(go_version("go1.9") < Some(LEAST_GO));
        assert_eq!(go_version("devel"), None);
    }
}
