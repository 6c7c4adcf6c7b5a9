//! The cache folder: a lock per part, and files that appear whole.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::say;

/// Held while a part is built; the system releases it when the process ends.
pub(super) struct Lock(#[expect(dead_code, reason = "holding it is its use")] File);

/// Takes the lock of a part, waiting for another run that builds it.
pub(super) fn lock(cache: &Path, part: &str) -> Result<Lock> {
    let path = cache.join(format!("{part}.lock"));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say::note(&format!("another run prepares {part}; waiting for it"));
            file.lock()
                .with_context(|| format!("lock {}", path.display()))?;
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock {}", path.display()));
        }
    }
    Ok(Lock(file))
}

/// Writes a file so that a reader sees the old or the new one, never a part.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    std::fs::write(&temporary, text).with_context(|| format!("write {}", temporary.display()))?;
    std::fs::rename(&temporary, path).with_context(|| format!("put {} in place", path.display()))
}

/// Makes or replaces a symbolic link in one step.
pub(super) fn link(path: &Path, target: &Path) -> Result<()> {
    if std::fs::read_link(path).is_ok_and(|current| current == target) {
        return Ok(());
    }
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    std::os::unix::fs::symlink(target, &temporary)
        .with_context(|| format!("link {}", temporary.display()))?;
    std::fs::rename(&temporary, path).with_context(|| format!("put {} in place", path.display()))
}

/// Removes a folder and what is in it; fine when it is not there.
pub(super) fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Makes an empty folder, removing what a cut run left there.
pub(super) fn fresh(folder: &Path) -> Result<()> {
    remove(folder)?;
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

/// A short name for some content (FNV-1a, 64 bit): tells versions apart, protects nothing.
pub(super) fn fingerprint<'a>(contents: impl IntoIterator<Item = &'a [u8]>) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut hash = OFFSET;
    for content in contents {
        for byte in content.iter().chain(&[0]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
    format!("{hash:016x}")
}
