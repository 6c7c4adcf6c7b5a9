//! RocksDB as a static library, built once per machine and version.
//!
//! It is most of a cold build when cargo compiles it: 340 files that read the
//! same headers again and again. Here the sources of the locked
//! `librocksdb-sys`, with the definitions of its build script, are compiled in
//! groups of about fifteen (RocksDB's own "unity" build does it with all at
//! once), which takes a third of the time. Every later build links the archive
//! (`ROCKSDB_LIB_DIR`, `ROCKSDB_STATIC`).
//!
//! Guarantee: an archive is kept only after a program that is linked with it
//! has written and read a database, and nothing but the compression libraries,
//! which their own packages bring, was missing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::cache;
use super::{Prepared, cxx};
use crate::clock;
use crate::metadata::Metadata;
use crate::progress::Progress;
use crate::run;
use crate::workspace::Workspace;

const USUAL_TIME: Duration = Duration::from_secs(6 * 60);
/// A whole archive is well above this; a cut copy is not.
const LEAST_ARCHIVE_BYTES: u64 = 4 * 1024 * 1024;
const ARCHIVE: &str = "librocksdb.a";
/// Enough that every core has work to the end, few enough that headers are read rarely; one takes 1.3 GB at most.
const GROUPS: usize = 24;
/// How often progress is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// Symbols of the compression libraries, which are linked later.
const LINKED_LATER: [&str; 3] = ["LZ4_", "ZSTD_", "ZDICT_"];
/// Listed, but librocksdb-sys brings its own.
const REPLACED: &str = "util/build_version.cc";

/// What the build script of librocksdb-sys defines on Linux with our features.
///
/// Level 1 halves the time of level 3. This archive serves development, tests
/// and demo, whose state is small. Release builds link it too; what a higher
/// level would gain them is not measured.
const FLAGS: [&str; 18] = [
    "-O1",
    "-std=c++20",
    "-fPIC",
    "-ffunction-sections",
    "-fdata-sections",
    "-w",
    "-include",
    "cstdint",
    "-DLZ4=1",
    "-DZSTD=1",
    "-DNDEBUG=1",
    "-DHAVE_ALIGNED_NEW",
    "-DHAVE_UINT128_EXTENSION",
    "-DOS_LINUX",
    "-DROCKSDB_PLATFORM_POSIX",
    "-DROCKSDB_LIB_IO_POSIX",
    "-DROCKSDB_FALLOCATE_PRESENT",
    "-DROCKSDB_RANGESYNC_PRESENT",
];
const MORE_FLAGS: [&str; 2] = [
    "-DROCKSDB_SCHED_GETCPU_PRESENT",
    "-DROCKSDB_AUXV_GETAUXVAL_PRESENT",
];

/// Writes a key, flushes, and reads it back from the file.
const PROBE: &str = r#"
#include <rocksdb/c.h>
#include <cstring>
int main(int, char** arguments) {
  char* error = nullptr;
  auto* options = rocksdb_options_create();
  rocksdb_options_set_create_if_missing(options, 1);
  rocksdb_options_set_compression(options, rocksdb_no_compression);
  auto* db = rocksdb_open(options, arguments[1], &error);
  if (error) return 2;
  rocksdb_put(db, rocksdb_writeoptions_create(), "key", 3, "value", 5, &error);
  if (error) return 3;
  rocksdb_flush(db, rocksdb_flushoptions_create(), &error);
  if (error) return 4;
  size_t length = 0;
  char* value = rocksdb_get(db, rocksdb_readoptions_create(), "key", 3, &length, &error);
  if (error || length != 5 || std::memcmp(value, "value", 5) != 0) return 5;
  rocksdb_close(db);
  return 0;
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
    let mut progress = Progress::start("RocksDB (once per machine)", USUAL_TIME);
    let sources = Sources::find(workspace)?;
    let work = workspace.cache.join("rocksdb/build");
    cache::fresh(&work)?;
    let objects = compile_groups(&sources, &work, &mut progress)?;
    let temporary = workspace.cache.join("rocksdb/new");
    cache::fresh(&temporary)?;
    let archive = temporary.join(ARCHIVE);
    run::captured(Command::new("ar").arg("crs").arg(&archive).args(&objects))?;
    if !is_whole(&archive) {
        bail!("{} is too small after its build", archive.display());
    }
    probe(&sources, &archive, &work)?;
    cache::remove(folder)?;
    std::fs::rename(&temporary, folder)
        .with_context(|| format!("put {} in place", folder.display()))?;
    cache::remove(&work)?;
    progress.finish();
    Ok(())
}

/// Files to compile, and where they find their headers.
struct Sources {
    files: Vec<PathBuf>,
    includes: Vec<PathBuf>,
}

impl Sources {
    fn find(workspace: &Workspace) -> Result<Self> {
        let metadata = Metadata::read(workspace, &Prepared::default())?;
        let rocksdb = metadata.folder_of("librocksdb-sys")?;
        let list = rocksdb.join("rocksdb_lib_sources.txt");
        let list =
            std::fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
        let listed = list.lines().map(str::trim);
        let mut files: Vec<PathBuf> = listed
            .filter(|file| !file.is_empty() && *file != REPLACED)
            .map(|file| rocksdb.join("rocksdb").join(file))
            .collect();
        files.push(rocksdb.join("build_version.cc"));
        let includes = vec![
            rocksdb.join("rocksdb/include"),
            rocksdb.join("rocksdb"),
            rocksdb,
            metadata.folder_of("lz4-sys")?.join("liblz4/lib"),
            metadata.folder_of("zstd-sys")?.join("zstd/lib"),
        ];
        Ok(Self { files, includes })
    }

    fn compiler(&self) -> Command {
        let mut command = cxx();
        command.args(FLAGS).args(MORE_FLAGS);
        for include in &self.includes {
            command.arg("-I").arg(include);
        }
        command
    }
}

/// Compiles all groups, as many at a time as there are cores.
fn compile_groups(sources: &Sources, work: &Path, progress: &mut Progress) -> Result<Vec<PathBuf>> {
    let groups: Vec<&[PathBuf]> = sources
        .files
        .chunks(sources.files.len().div_ceil(GROUPS))
        .collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let worker = || {
        while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            let number = done.fetch_add(1, Ordering::Relaxed);
            let result = compile_group(sources, group, &work.join(format!("group-{number}.cc")));
            let failed = result.is_err();
            if let Ok(mut results) = results.lock() {
                results.push(result);
            }
            if failed {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            let finished = results.lock().map_or(0, |results| results.len());
            #[expect(clippy::cast_precision_loss, reason = "a few groups")]
            progress.tick(Some(finished as f64 / groups.len() as f64));
            clock::pause(WATCH_INTERVAL);
        }
    });
    let results = results.into_inner().unwrap_or_default();
    let objects: Vec<Vec<PathBuf>> = results.into_iter().collect::<Result<_>>()?;
    Ok(objects.concat())
}

/// One object for the whole group; one per file, should files of it not go together.
fn compile_group(sources: &Sources, group: &[PathBuf], unit: &Path) -> Result<Vec<PathBuf>> {
    let text: String = group
        .iter()
        .map(|file| format!("#include \"{}\"\n", file.display()))
        .collect();
    std::fs::write(unit, text).with_context(|| format!("write {}", unit.display()))?;
    let object = unit.with_extension("o");
    if run::captured(
        sources
            .compiler()
            .arg("-c")
            .arg(unit)
            .arg("-o")
            .arg(&object),
    )
    .is_ok()
    {
        return Ok(vec![object]);
    }
    group
        .iter()
        .enumerate()
        .map(|(number, file)| {
            let object = unit.with_extension(format!("{number}.o"));
            run::captured(
                sources
                    .compiler()
                    .arg("-c")
                    .arg(file)
                    .arg("-o")
                    .arg(&object),
            )?;
            Ok(object)
        })
        .collect()
}

/// Links a program with the archive, with stubs in the place of the compression libraries, and runs it.
fn probe(sources: &Sources, archive: &Path, work: &Path) -> Result<()> {
    let (source, program) = (work.join("probe.cc"), work.join("probe"));
    std::fs::write(&source, PROBE).with_context(|| format!("write {}", source.display()))?;
    let link = |more: &[&Path]| {
        let mut command = sources.compiler();
        command.arg(&source).args(more).arg(archive);
        command.args(["-pthread", "-ldl", "-o"]).arg(&program);
        command
            .env("LC_ALL", "C")
            .output()
            .context("link the probe of RocksDB")
    };
    let words = String::from_utf8_lossy(&link(&[])?.stderr).into_owned();
    let missing: BTreeSet<&str> = words
        .lines()
        .filter_map(|line| line.split_once("undefined reference to `"))
        .map(|(_, symbol)| symbol.trim_end_matches('\''))
        .collect();
    let comes_later = |symbol: &&str| {
        LINKED_LATER
            .iter()
            .any(|library| symbol.starts_with(library))
    };
    if missing.is_empty() || !missing.iter().all(comes_later) {
        bail!("the archive of RocksDB is not what was expected: {words}");
    }
    let stubs = work.join("stubs.cc");
    let text: String = missing
        .iter()
        .map(|symbol| format!("extern \"C\" void {symbol}() {{}}\n"))
        .collect();
    std::fs::write(&stubs, text).with_context(|| format!("write {}", stubs.display()))?;
    let output = link(&[&stubs])?;
    if !output.status.success() {
        bail!(
            "the archive of RocksDB cannot be linked: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    run::captured(Command::new(&program).arg(work.join("database")))
        .map(drop)
        .context("write and read a database with the new RocksDB")
}
