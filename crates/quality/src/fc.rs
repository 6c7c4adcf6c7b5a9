//! To be written.

use std::path::Path;

use anyhow::Result;

pub(crate) fn run(_suite: &Path, _out: &Path) -> Result<()> {
    Ok(())
}
