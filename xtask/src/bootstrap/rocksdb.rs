//! RocksDB as a static library, built once per machine and version.
//!
//! It is most of a cold build. A throw-away cargo project with the same locked
//! versions and features compiles it; the archive is copied into the cache, and
//! every later build links that one (`ROCKSDB_LIB_DIR`, `ROCKSDB_STATIC`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::cache;
use crate::progress::Progress;
use crate::run;
use crate::workspace::Workspace;

const USUAL_TIME: Duration = Duration::from_secs(14 * 60);
/// Object files in a whole archive of RocksDB 11, for the progress bar.
const USUAL_OBJECTS: f64 = 345.0;
/// A whole archive is well above this; a cut copy is not.
const LEAST_ARCHIVE_BYTES: u64 = 4 * 1024 * 1024;
const ARCHIVE: &str = "librocksdb.a";

/// Opens a database with the compressions we use: proves the archive before it is kept.
const PROBE: &str = r#"
fn main() -> Result<(), rocksdb::Error> {
    let folder = std::env::args().nth(1).expect("the folder is the first argument");
    for kind in [rocksdb::DBCompressionType::Lz4, rocksdb::DBCompressionType::Zstd] {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.set_compression_type(kind);
        let db = rocksdb::DB::open(&options, &folder)?;
        db.put(b"key", vec![7; 4096])?;
        db.flush()?;
        db.compact_range(None::<&[u8]>, None::<&[u8]>);
        assert_eq!(db.get(b"key")?.map(|value| value.len()), Some(4096));
    }
    Ok(())
}
"#;

/// Gives the environment that makes librocksdb-sys link the cached archive.
pub(super) fn build(workspace: &Workspace) -> Result<Vec<(String, PathBuf)>> {
    let parts = workspace.cache.join("rocksdb");
    std::fs::create_dir_all(&parts).with_context(|| format!("create {}", parts.display()))?;
    let folder = parts.join(workspace.locked_version("librocksdb-sys")?);
    if !is_whole(&folder.join(ARCHIVE)) {
        let _lock = cache::lock(&workspace.cache, "rocksdb")?;
        // Another run may have built it while this one waited for the lock.
        if !is_whole(&folder.join(ARCHIVE)) {
            compile(workspace, &folder)?;
        }
    }
    Ok(vec![
        ("ROCKSDB_LIB_DIR".to_owned(), folder),
        ("ROCKSDB_STATIC".to_owned(), PathBuf::from("1")),
    ])
}

fn is_whole(archive: &Path) -> bool {
    std::fs::metadata(archive).is_ok_and(|file| file.len() >= LEAST_ARCHIVE_BYTES)
}

fn compile(workspace: &Workspace, folder: &Path) -> Result<()> {
    let project = workspace.cache.join("rocksdb/build");
    cache::fresh(&project)?;
    write_project(workspace, &project)?;
    let target = project.join("target");
    let mut progress = Progress::start("RocksDB (once per machine)", USUAL_TIME);
    let mut command = Command::new("cargo");
    command
        .current_dir(&project)
        .args(["run", "--release", "--"])
        .arg(project.join("database"))
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        // Half the compile time of level 3. This archive serves development, tests and demo,
        // whose state is small; a release build without it compiles RocksDB at its own level.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        // A workspace's or a person's settings must not choose another library.
        .env_remove("ROCKSDB_LIB_DIR")
        .env_remove("ROCKSDB_STATIC");
    let log = workspace.cache.join("logs/rocksdb.log");
    run::watched(&mut command, &log, &mut progress, || {
        #[expect(clippy::cast_precision_loss, reason = "a few hundred files")]
        output_folder(&target).map(|output| count_objects(&output) as f64 / USUAL_OBJECTS)
    })?;
    let output = output_folder(&target).context("librocksdb-sys left no output folder")?;
    let built = output.join(ARCHIVE);
    if !is_whole(&built) {
        bail!(
            "{} is missing or too small after its build",
            built.display()
        );
    }
    let temporary = workspace.cache.join("rocksdb/new");
    cache::fresh(&temporary)?;
    std::fs::copy(&built, temporary.join(ARCHIVE))
        .with_context(|| format!("copy {}", built.display()))?;
    cache::remove(folder)?;
    std::fs::rename(&temporary, folder)
        .with_context(|| format!("put {} in place", folder.display()))?;
    cache::remove(&project)?;
    progress.finish();
    Ok(())
}

/// A package with our versions (by our lock file) and our features of rocksdb.
fn write_project(workspace: &Workspace, project: &Path) -> Result<()> {
    let root =
        std::fs::read_to_string(workspace.root.join("Cargo.toml")).context("read Cargo.toml")?;
    let dependency = root
        .lines()
        .find(|line| line.starts_with("rocksdb = {"))
        .context("the root Cargo.toml has no line `rocksdb = { ... }`")?;
    let manifest = format!(
        "[package]\nname = \"rocksdb-probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{dependency}\n"
    );
    std::fs::create_dir_all(project.join("src"))
        .with_context(|| format!("create {}/src", project.display()))?;
    std::fs::write(project.join("Cargo.toml"), manifest).context("write the probe's manifest")?;
    std::fs::write(project.join("src/main.rs"), PROBE).context("write the probe")?;
    std::fs::copy(
        workspace.root.join("Cargo.lock"),
        project.join("Cargo.lock"),
    )
    .context("copy Cargo.lock")?;
    std::fs::copy(
        workspace.root.join("rust-toolchain.toml"),
        project.join("rust-toolchain.toml"),
    )
    .context("copy rust-toolchain.toml")?;
    Ok(())
}

/// `OUT_DIR` of librocksdb-sys, once its build script has put something there.
fn output_folder(target: &Path) -> Option<PathBuf> {
    let packages = std::fs::read_dir(target.join("release/build")).ok()?;
    packages
        .flatten()
        .filter(|package| {
            package
                .file_name()
                .to_string_lossy()
                .starts_with("librocksdb-sys-")
        })
        .map(|package| package.path().join("out"))
        .find(|output| output.join("bindings.rs").exists())
}

fn count_objects(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count_objects(&entry.path()),
            _ => usize::from(
                entry
                    .path()
                    .extension()
                    .is_some_and(|extension| extension == "o"),
            ),
        })
        .sum()
}
