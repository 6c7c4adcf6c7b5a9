//! `cargo xtask fuzz`: libFuzzer gives every decoder any bytes, as `docs/fuzzing.md` tells.
//!
//! ```text
//! fuzz/fuzz_targets/T.rs --cargo-fuzz, the pinned compiler--> target/fuzz/.../T
//! fuzz/corpus/T (kept) + target/fuzz/corpus/T (found) ──────> T ──> table, target/fuzz/artifacts/T/crash-…
//!          ^── --keep: the few that reach most ────────────┘
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::bootstrap::{self, Parts, Prepared};
use crate::cargo;
use crate::figures;
use crate::metadata::PLATFORM;
use crate::progress::Progress;
use crate::run;
use crate::say;
use crate::workspace::Workspace;

/// An input longer than this is only slow: decoders see nothing new in it.
const INPUT_BYTES_MAX: u32 = 8_192;
/// An input that takes longer is a finding: most take less than a millisecond.
const INPUT_TIMEOUT_S: u32 = 10;
/// A program that takes more is a finding: none needs 100 MiB.
const MEMORY_MIB_MAX: u32 = 2_048;
/// The longest input that is kept in the sources.
const KEPT_BYTES_MAX: u32 = 4_096;
/// Inputs of a target that are kept besides those with names of their own: the first ones that are chosen reach most.
const KEPT_MAX: usize = 60;
/// How libFuzzer names what it found by itself: by the SHA-1 of it, in hex. Whatever else lies beside it has a name that
/// somebody gave it, and stays.
const FOUND_NAME_CHARS: usize = 40;

/// What is told of each target. A target ends with its first crash.
const COLUMNS: [&str; 6] = [
    "target",
    "executions",
    "per second",
    "corpus",
    "coverage",
    "crashes",
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Targets, as the files of fuzz/fuzz_targets are called [default: all]
    targets: Vec<String>,
    /// How long each is searched
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Keep the few inputs that reach most of all: they replace those in fuzz/corpus that have no name of their own
    #[arg(long)]
    keep: bool,
    /// Give one target this one input, and show what becomes of it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["minutes", "keep"])]
    input: Option<PathBuf>,
}

/// One target with its folders.
struct Target<'a> {
    name: &'a str,
    program: PathBuf,
    dictionary: PathBuf,
    /// In the sources.
    kept: PathBuf,
    /// Below the target folder.
    found: PathBuf,
    artifacts: PathBuf,
    log: PathBuf,
}

/// What a search came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    executions: u64,
    per_second: u64,
    corpus: u64,
    coverage: u64,
    crash: Option<PathBuf>,
}

pub(crate) fn fuzz(workspace: &Workspace, options: &Options) -> Result<()> {
    let all = names(workspace)?;
    let asked = match options.targets.as_slice() {
        [] => &all,
        targets => targets,
    };
    if let Some(unknown) = asked.iter().find(|name| !all.contains(name)) {
        bail!("there is no target {unknown}: {}", all.join(", "));
    }
    let prepared = bootstrap::prepare(workspace, Parts::Build)?;
    build(workspace, &prepared)?;
    let targets: Vec<Target<'_>> = asked.iter().map(|it| Target::new(workspace, it)).collect();
    match (&options.input, targets.as_slice()) {
        (None, _) => search(&targets, options),
        (Some(input), [target]) => {
            let input = std::path::absolute(input)
                .with_context(|| format!("look for {}", input.display()))?;
            run::shown(target.command().arg(input))
        }
        (Some(_), _) => bail!("name the one target that is to get the input"),
    }
}

fn names(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join("fuzz/fuzz_targets");
    let files = std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    let stem = |path: &Path| Some(path.file_stem()?.to_string_lossy().into_owned());
    let mut names: Vec<String> = files.flatten().filter_map(|it| stem(&it.path())).collect();
    names.sort();
    Ok(names)
}

/// Compiles all targets for libFuzzer, by the compiler of the workspace. Without a sanitizer: none of our code is unsafe,
/// the archive of RocksDB has none, and a search is faster by a multiple.
fn build(workspace: &Workspace, prepared: &Prepared) -> Result<()> {
    let mut command = Command::new(bootstrap::cargo_fuzz(workspace)?);
    command
        .current_dir(&workspace.root)
        .args(["build", "--fuzz-dir", "fuzz", "--target", PLATFORM])
        .args(["--sanitizer", "none", "--strip-dead-code", "--target-dir"])
        .arg(folder(workspace))
        .env_remove("CARGO_TARGET_DIR");
    for (variable, _) in cargo::LINTING {
        command.env_remove(variable);
    }
    command.envs(prepared.environment.iter().map(|(key, value)| (key, value)));
    run::shown(&mut command)
}

/// Where everything of fuzzing goes that is not in the sources.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target_dir().join("fuzz")
}

fn search(targets: &[Target<'_>], options: &Options) -> Result<()> {
    let mut outcomes = Vec::new();
    for target in targets {
        outcomes.push((target, target.search(options.minutes)?));
    }
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    rows.extend(outcomes.iter().map(|(target, outcome)| {
        let mut row = vec![target.name.to_owned()];
        let crashes = u64::from(outcome.crash.is_some());
        let figures = [
            outcome.executions,
            outcome.per_second,
            outcome.corpus,
            outcome.coverage,
            crashes,
        ];
        row.extend(figures.map(|figure| figure.to_string()));
        row
    }));
    for line in figures::lines(&rows) {
        say::line(&line);
    }
    let crashes: Vec<_> = outcomes
        .iter()
        .filter_map(|(target, outcome)| Some((target.name, outcome.crash.as_ref()?)))
        .collect();
    for (target, file) in &crashes {
        let file = file.display();
        say::line(&format!(
            "{target} broke a promise, to be seen by: cargo xtask fuzz {target} --input {file}"
        ));
    }
    if !crashes.is_empty() {
        bail!(
            "{} of {} targets broke a promise",
            crashes.len(),
            targets.len()
        );
    }
    if options.keep {
        for target in targets {
            target.keep()?;
        }
    }
    Ok(())
}

impl<'a> Target<'a> {
    fn new(workspace: &Workspace, name: &'a str) -> Self {
        let (sources, own) = (workspace.root.join("fuzz"), folder(workspace));
        Self {
            name,
            program: own.join(PLATFORM).join("release").join(name),
            dictionary: sources.join(format!("dictionaries/{name}.dict")),
            kept: sources.join("corpus").join(name),
            found: own.join("corpus").join(name),
            artifacts: own.join("artifacts").join(name),
            log: own.join(format!("logs/{name}.log")),
        }
    }

    /// The program with what holds for each input.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(format!("-timeout={INPUT_TIMEOUT_S}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .arg(format!("-artifact_prefix={}/", self.artifacts.display()));
        command
    }

    fn search(&self, minutes: u64) -> Result<Outcome> {
        for folder in [&self.found, &self.artifacts] {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("create {}", folder.display()))?;
        }
        let time = Duration::from_secs(minutes * 60);
        let mut progress = Progress::start(&format!("fuzzing {}", self.name), time);
        let mut command = self.command();
        command
            .arg(format!("-max_total_time={}", time.as_secs()))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg("-print_final_stats=1");
        if self.dictionary.exists() {
            command.arg(format!("-dict={}", self.dictionary.display()));
        }
        command.arg(&self.found).arg(&self.kept);
        let ended = run::watched(&mut command, &self.log, &mut progress, || None);
        progress.finish();
        let log =
            std::fs::read(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        let outcome = Outcome::read(&String::from_utf8_lossy(&log));
        match (&outcome.crash, ended) {
            (None, Err(error)) => Err(error),
            _ => Ok(outcome),
        }
    }

    /// Puts the few inputs into the sources that reach most of what is reached by all.
    fn keep(&self) -> Result<()> {
        let fewest = self.found.with_extension("fewest");
        if fewest.exists() {
            std::fs::remove_dir_all(&fewest)
                .with_context(|| format!("remove {}", fewest.display()))?;
        }
        std::fs::create_dir_all(&fewest).with_context(|| format!("create {}", fewest.display()))?;
        let mut merge = self.command();
        merge
            .args(["-set_cover_merge=1", "-use_counters=0"])
            .arg(format!("-max_len={KEPT_BYTES_MAX}"))
            .args([&fewest, &self.kept, &self.found]);
        let mut progress = Progress::start(
            &format!("choosing what to keep of {}", self.name),
            Duration::from_secs(60),
        );
        let log = self.log.with_extension("merge.log");
        run::watched(&mut merge, &log, &mut progress, || None)?;
        progress.finish();
        let mut known = Vec::new();
        for path in files_of(&self.kept)? {
            match is_found(&path) {
                true => std::fs::remove_file(&path)
                    .with_context(|| format!("remove {}", path.display()))?,
                false => known.push(read(&path)?),
            }
        }
        let mut chosen = files_of(&fewest)?;
        // As they were chosen: those that reach most first.
        chosen.sort_by_cached_key(|path| path.metadata().and_then(|file| file.modified()).ok());
        for path in chosen.into_iter().take(KEPT_MAX) {
            let (bytes, name) = (read(&path)?, path.file_name().unwrap_or_default());
            if !known.contains(&bytes) {
                let to = self.kept.join(name);
                std::fs::write(&to, bytes).with_context(|| format!("write {}", to.display()))?;
            }
        }
        let count = files_of(&self.kept)?.len();
        say::line(&format!("{count} inputs are kept of {}", self.name));
        Ok(())
    }
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// Whether libFuzzer named it.
fn is_found(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.len() == FOUND_NAME_CHARS && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Outcome {
    /// Reads what libFuzzer told.
    fn read(log: &str) -> Self {
        let mut outcome = Self::default();
        for line in log.lines() {
            if let Some((_, path)) = line.split_once("Test unit written to ") {
                outcome.crash = Some(path.trim().into());
            } else if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
                outcome.executions = number.trim().parse().unwrap_or_default();
            } else if let Some(number) = line.strip_prefix("stat::average_exec_per_sec:") {
                outcome.per_second = number.trim().parse().unwrap_or_default();
            } else if line.starts_with('#') {
                let after = |word: &str| {
                    let (_, rest) = line.split_once(word)?;
                    let end = rest.find(|c: char| !c.is_ascii_digit());
                    rest[..end.unwrap_or(rest.len())].parse().ok()
                };
                outcome.coverage = after(" cov: ").unwrap_or(outcome.coverage);
                outcome.corpus = after(" corp: ").unwrap_or(outcome.corpus);
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_fuzzer_tells_is_read() {
        let log = "INFO: Seed: 1\n\
            #2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 30Mb\n\
            #559070\tDONE   cov: 577 ft: 1261 corp: 302/42Kb lim: 2424 exec/s: 34941 rss: 31Mb\n\
            stat::number_of_executed_units: 559070\n\
            stat::average_exec_per_sec:     34941\n";
        let mut expected = Outcome {
            executions: 559_070,
            per_second: 34_941,
            corpus: 302,
            coverage: 577,
            crash: None,
        };
        assert_eq!(Outcome::read(log), expected);
        let crashed = format!("{log}artifact_prefix='/a/'; Test unit written to /a/crash-1\n");
        expected.crash = Some("/a/crash-1".into());
        assert_eq!(Outcome::read(&crashed), expected);
    }

    #[test]
    fn what_has_a_name_of_its_own_stays() {
        assert!(is_found(Path::new(
            "c/da39a3ee5e6b4b0d3255bfef95601890afd80709"
        )));
        assert!(!is_found(Path::new("c/seed-log-1")));
        assert!(!is_found(Path::new(
            "c/a-name-of-as-many-letters-as-a-sum-has-00"
        )));
    }
}
