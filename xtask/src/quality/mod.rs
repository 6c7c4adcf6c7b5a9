//! `cargo xtask quality`: how good the judgement is, on series of other people.
//!
//! ```text
//! suite ─> quality (ours, reads no labels) ─> predictions ─┐
//!   └──────────────── labels ──────────────────────────────┴─> scorer (not ours) ─> tables, JSON ─> floors and bars
//!          quality month (generated, nothing is wrong in it) ─> false alarms, JSON ───────────────────┘
//! ```

mod bars;
mod cold;
mod scores;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::bootstrap::{self, Parts, Prepared, python};
use crate::cargo;
use crate::drive::{self, Profile};
use crate::figures;
use crate::progress::Progress;
use crate::run;
use crate::say;
use crate::workspace::Workspace;

/// The scorer in the folder that `REGRAFT_DATA` names.
const SCORER: &str = "adbench/score.py";
/// Scoring of a part.
const USUAL_TIME: Duration = Duration::from_secs(5);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Task {
    /// Anomalies of series with one or many columns
    Ad,
    /// Slow leaks
    Leak,
    /// Forecasts
    Fc,
    /// Root causes
    Rca,
    /// Anomalies in the first two days of a cluster that is new: alone, with peers, and as if it had always run
    Cold,
    /// False alarms on a generated month in which nothing is wrong; needs no suite
    Month,
}

impl Task {
    /// The part of the suite whose folder it needs.
    fn part(self) -> Option<Part> {
        match self {
            Self::Ad | Self::Cold => Some(Part::Ad),
            Self::Leak => Some(Part::Leak),
            Self::Fc => Some(Part::Fc),
            Self::Rca => Some(Part::Rca),
            Self::Month => None,
        }
    }
}

/// From which grade on an anomaly counts in predictions of anomalies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Grade {
    /// Suspicions and alarms: what the bars are about
    #[default]
    Suspicion,
    /// Alarms only: how much of it would be found by them alone
    Alarm,
}

impl Grade {
    /// Its word on command lines.
    fn name(self) -> &'static str {
        match self {
            Self::Suspicion => "suspicion",
            Self::Alarm => "alarm",
        }
    }
}

/// A part of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Ad,
    Leak,
    Fc,
    Rca,
}

impl Part {
    /// Its folder, and its word on command lines.
    fn name(self) -> &'static str {
        match self {
            Self::Ad => "ad",
            Self::Leak => "leak",
            Self::Fc => "fc",
            Self::Rca => "rca",
        }
    }

    /// What the scorer calls it.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Ad => &["ad"],
            Self::Leak => &["ad", "--root", "leak"],
            Self::Fc => &["fc"],
            Self::Rca => &["rca"],
        }
    }

    /// The file that says what was to be found. Of a forecast the rest of its series does.
    fn labels(self) -> Option<&'static str> {
        match self {
            Self::Ad | Self::Leak => Some("labels.csv"),
            Self::Fc => None,
            Self::Rca => Some("truth.json"),
        }
    }

    /// The file that makes a folder a series or a case.
    fn about(self) -> &'static str {
        match self {
            Self::Rca => "case.json",
            _ => "meta.json",
        }
    }
}

/// What the command was asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Folder with `ad`, `leak`, `fc` and `rca`; what it lacks is left out. Only `--only month` needs none
    #[arg(long, value_name = "DIR")]
    suite: Option<PathBuf>,
    /// Folder that predictions and scores are written to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Task>,
    /// From which grade on an anomaly counts
    #[arg(long, value_enum, default_value_t)]
    grade: Grade,
    /// Which build judges: release builds what it needs, dev the whole workspace as tests do
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// The scorer [default: adbench/score.py in the folder that REGRAFT_DATA names]
    #[arg(long, value_name = "FILE")]
    scorer: Option<PathBuf>,
}

/// Where things are, and how they are judged.
struct Place<'a> {
    workspace: &'a Workspace,
    program: PathBuf,
    /// Empty when nothing of a suite is judged.
    suite: PathBuf,
    out: PathBuf,
    grade: Grade,
    scorer: Option<PathBuf>,
}

/// What is told in the end.
#[derive(Default)]
struct Told {
    figures: Vec<scores::Figure>,
    remarks: Vec<String>,
}

/// Writes predictions over a suite, and tells how good they are where a scorer and labels are at hand.
pub(crate) fn quality(workspace: &Workspace, options: &Options) -> Result<()> {
    // Cargo runs in the root of the workspace; people stand where they like.
    let absolute =
        |path: &Path| std::path::absolute(path).with_context(|| format!("find {}", path.display()));
    let suite = options.suite.as_deref().map(absolute).transpose()?;
    let tasks = tasks(suite.as_deref(), &options.only)?;
    let data = std::env::var_os("REGRAFT_DATA").filter(|data| !data.is_empty());
    let scorer = scorer(options.scorer.as_deref(), data.as_deref().map(Path::new))?;
    let out = absolute(&options.out)?;
    // Before minutes of work whose results could not be kept.
    std::fs::create_dir_all(&out)
        .with_context(|| format!("--out: {} cannot be a folder; name another", out.display()))?;
    let place = Place {
        workspace,
        program: build(workspace, options.profile)?,
        suite: suite.unwrap_or_default(),
        out,
        grade: options.grade,
        scorer: scorer.as_deref().map(absolute).transpose()?,
    };
    let mut told = Told::default();
    let has = |task| tasks.contains(&task);
    let parts: Vec<Part> = tasks
        .iter()
        .filter(|task| **task != Task::Cold)
        .filter_map(|task| task.part())
        .collect();
    let done = [
        (!parts.is_empty()).then(|| judge_suite(&place, &parts, &mut told)),
        has(Task::Cold).then(|| cold::judge(&place, &mut told)),
        has(Task::Month).then(|| judge_month(&place, &mut told)),
    ];
    tell(&place, told);
    // A series that cannot be judged hinders no other, and no score of the others.
    let failed: Vec<String> = done
        .into_iter()
        .flatten()
        .filter_map(|done| done.err().map(|error| format!("{error:#}")))
        .collect();
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

fn judge_suite(place: &Place<'_>, parts: &[Part], told: &mut Told) -> Result<()> {
    forget(&place.suite, &place.out, parts)?;
    let mut command = Command::new(&place.program);
    command.arg("suite").arg("--suite").arg(&place.suite);
    command.arg("--out").arg(&place.out);
    command.args(["--grade", place.grade.name()]);
    for part in parts {
        command.args(["--only", part.name()]);
    }
    let predicted = run::shown(&mut command);
    match (predicted, tell_scores(place, parts, told)) {
        (Err(failed), Err(unscored)) => bail!("{failed:#}; {unscored:#}"),
        (predicted, scored) => predicted.and(scored),
    }
}

fn judge_month(place: &Place<'_>, told: &mut Told) -> Result<()> {
    let folder = place.out.join("scores");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let json = folder.join("month.json");
    let mut command = Command::new(&place.program);
    run::shown(command.arg("month").arg("--json").arg(&json))?;
    let figures = scores::clean_month(&read(&json)?);
    let figures = figures.with_context(|| format!("read {}", json.display()))?;
    told.figures.extend(figures);
    Ok(())
}

fn tell(place: &Place<'_>, told: Told) {
    say::line(&format!(
        "\npredictions and scores are in {}",
        place.out.display()
    ));
    if !told.figures.is_empty() {
        say::line("");
        for line in figures::lines(&scores::table(&told.figures)) {
            say::line(&line);
        }
    }
    for remark in told.remarks {
        say::line(&remark);
    }
    if place.scorer.is_none() {
        say::line(&format!(
            "no prediction is scored: give --scorer FILE, or set REGRAFT_DATA to the folder that holds {SCORER}"
        ));
    }
}

/// Removes what an earlier run said of the same series: where this one fails, that would be scored in its place.
fn forget(suite: &Path, out: &Path, parts: &[Part]) -> Result<()> {
    for part in parts {
        for folder in series(&suite.join(part.name()), *part)? {
            let old = predictions(suite, out, &folder)?;
            match std::fs::remove_file(&old) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("remove {}", old.display()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Where the predictions of a series or a case are.
fn predictions(suite: &Path, out: &Path, folder: &Path) -> Result<PathBuf> {
    let place = folder
        .strip_prefix(suite)
        .with_context(|| format!("find {} in the suite", folder.display()))?;
    let mut name = out.join(place).into_os_string();
    name.push(".csv");
    Ok(name.into())
}

/// What is measured: what is asked for, or all, as far as the suite has it.
fn tasks(suite: Option<&Path>, only: &[Task]) -> Result<Vec<Task>> {
    let Some(suite) = suite else {
        if only.is_empty() || only.iter().any(|task| task.part().is_some()) {
            bail!(
                "--suite: name the folder of a suite; without one only --only month can be measured"
            );
        }
        return Ok(vec![Task::Month]);
    };
    if !suite.is_dir() {
        bail!(
            "--suite: there is no folder {}; name that of a suite",
            suite.display()
        );
    }
    let has = |part: Part| suite.join(part.name()).is_dir();
    let lacks = only.iter().filter_map(|task| task.part());
    if let Some(part) = lacks.into_iter().find(|part| !has(*part)) {
        bail!(
            "--only: {} has no folder {}; leave that out, or name another --suite",
            suite.display(),
            part.name()
        );
    }
    let all = <Task as clap::ValueEnum>::value_variants().iter().copied();
    let tasks: Vec<Task> = all
        .filter(|task| task.part().is_none_or(has))
        .filter(|task| only.is_empty() || only.contains(task))
        .collect();
    if only.is_empty() && tasks == [Task::Month] {
        bail!(
            "--suite: {} has no folder ad, leak, fc or rca; name a folder that has one",
            suite.display()
        );
    }
    Ok(tasks)
}

/// The scorer that is named, or the one of the data. Without one there are predictions and no scores: that is no mistake,
/// unless it was named.
fn scorer(named: Option<&Path>, data: Option<&Path>) -> Result<Option<PathBuf>> {
    match (named, data.map(|data| data.join(SCORER))) {
        (Some(named), _) if !named.is_file() => {
            bail!("--scorer: there is no file {}", named.display())
        }
        (Some(named), _) => Ok(Some(named.to_path_buf())),
        (None, found) => Ok(found.filter(|found| found.is_file())),
    }
}

/// Builds the program: as a release with what it needs only, without RocksDB; as tests do with everything, for the reason
/// that [`drive::build`] says.
fn build(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let name = "quality";
    if profile == Profile::Dev {
        let prepared = bootstrap::prepare(workspace, Parts::Build)?;
        return Ok(drive::build(workspace, &prepared, profile)?.join(name));
    }
    let build = [
        "build",
        "--release",
        "--locked",
        "--package",
        "regraft-quality",
        "--bin",
        name,
    ];
    run::shown(&mut cargo::command(workspace, &Prepared::default(), &build))?;
    Ok(workspace.target_dir().join("release").join(name))
}

fn tell_scores(place: &Place<'_>, parts: &[Part], told: &mut Told) -> Result<()> {
    let Some(scorer) = &place.scorer else {
        return Ok(());
    };
    for part in parts {
        let there = series(&place.suite.join(part.name()), *part)?;
        if let Some(why) = unscored(*part, &there) {
            told.remarks.push(why);
            continue;
        }
        // Nothing of it could be judged, which is told already.
        if !place.out.join(part.name()).is_dir() {
            continue;
        }
        let python = python::find(place.workspace, &python::SCORER)?;
        let asked = Asked {
            title: part.name(),
            suite: &place.suite,
            predictions: &place.out,
            part: *part,
        };
        let json = score(&python, scorer, &place.out, &asked)?;
        let scores = scores::read(*part, &json)
            .with_context(|| format!("read the scores of {}", part.name()))?;
        let left_out = left_out(*part, &there, &scores.scored);
        told.remarks.extend(left_out);
        told.figures.extend(scores.figures);
    }
    Ok(())
}

/// The folders of series or cases: below the part, or below its sets.
fn series(folder: &Path, part: Part) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        if folder.join(part.about()).is_file() {
            found.push(folder);
            continue;
        }
        let look = || format!("look into {}", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(look)? {
            let path = entry.with_context(look)?.path();
            if path.is_dir() {
                waiting.push(path);
            }
        }
    }
    Ok(found)
}

/// Why a part is not scored.
fn unscored(part: Part, series: &[PathBuf]) -> Option<String> {
    if series.is_empty() {
        let (part, about) = (part.name(), part.about());
        return Some(format!("{part} is not scored: no folder has a {about}"));
    }
    let labels = part.labels()?;
    let labelled = series.iter().filter(|it| it.join(labels).is_file()).count();
    match labelled {
        _ if labelled == series.len() => None,
        0 => Some(format!(
            "{} is not scored: there are no labels",
            part.name()
        )),
        _ => Some(format!(
            "{} is not scored: only {labelled} of {} have a {labels}",
            part.name(),
            series.len()
        )),
    }
}

/// What the scorer passed over because there was no prediction: figures of the rest would look better than they are.
fn left_out(part: Part, series: &[PathBuf], scored: &BTreeMap<String, usize>) -> Vec<String> {
    let mut there: BTreeMap<String, usize> = BTreeMap::new();
    for folder in series {
        let set = match part {
            Part::Ad | Part::Rca => folder.parent().and_then(Path::file_name),
            Part::Leak | Part::Fc => None,
        };
        let set = set.map_or(part.name().into(), |set| set.to_string_lossy());
        *there.entry(set.into_owned()).or_default() += 1;
    }
    let missing = there.iter().filter_map(|(set, all)| {
        let scored = scored.get(set).copied().unwrap_or_default();
        let part = part.name();
        (scored < *all).then(|| {
            format!("{part}: only {scored} of {all} in {set} have predictions; the others are not scored")
        })
    });
    missing.collect()
}

/// What a scorer is asked.
struct Asked<'a> {
    /// Names its files.
    title: &'a str,
    suite: &'a Path,
    predictions: &'a Path,
    part: Part,
}

/// Asks the scorer, shows its tables, and gives its JSON.
fn score(python: &Path, scorer: &Path, out: &Path, asked: &Asked<'_>) -> Result<String> {
    let folder = out.join("scores");
    let json = folder.join(format!("{}.json", asked.title));
    let text = folder.join(format!("{}.txt", asked.title));
    let mut command = Command::new(python);
    // What numpy warns of is the scorer's own business.
    command
        .args(["-W", "ignore"])
        .arg(scorer)
        .args(asked.part.words());
    command
        .arg("--suite")
        .arg(asked.suite)
        .arg("--pred")
        .arg(asked.predictions)
        .arg("--json")
        .arg(&json);
    let title = format!("scoring {}", asked.title);
    let mut progress = Progress::start(&title, USUAL_TIME);
    run::watched(&mut command, &text, &mut progress, || None)?;
    progress.finish();
    say::line(&format!("\nscores of {}", asked.title));
    say::line(read(&text)?.trim_end());
    read(&json)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_are_where_the_series_is_in_the_suite() {
        let [suite, out] = ["/suite", "/out"].map(Path::new);
        let found = predictions(suite, out, Path::new("/suite/ad/set/one.two"));
        let found = found.expect("it is in the suite");
        assert_eq!(found, Path::new("/out/ad/set/one.two.csv"));
    }

    #[test]
    fn only_the_month_needs_no_suite() {
        let month = tasks(None, &[Task::Month]);
        assert_eq!(month.expect("it needs none"), [Task::Month]);
        for only in [&[][..], &[Task::Month, Task::Cold]] {
            let error = tasks(None, only).expect_err("there is no suite");
            assert_eq!(
                error.to_string(),
                "--suite: name the folder of a suite; without one only --only month can be measured"
            );
        }
    }

    #[test]
    fn only_a_scorer_that_is_named_has_to_be_there() {
        let nowhere = Path::new("/nowhere");
        let found = |data| scorer(None, data).expect("none has to be there");
        assert_eq!((found(None), found(Some(nowhere))), (None, None));
        let error = scorer(Some(Path::new("/gone.py")), Some(nowhere)).expect_err("it is gone");
        assert_eq!(error.to_string(), "--scorer: there is no file /gone.py");
    }

    #[test]
    fn what_nothing_is_said_about_is_not_scored() {
        assert_eq!(
            unscored(Part::Leak, &[]).as_deref(),
            Some("leak is not scored: no folder has a meta.json")
        );
    }

    #[test]
    fn what_had_no_prediction_is_told() {
        let series = ["/s/ad/nab/a", "/s/ad/nab/b", "/s/ad/wsd/c"].map(PathBuf::from);
        let scored = BTreeMap::from([("nab".to_owned(), 1), ("wsd".to_owned(), 1)]);
        assert_eq!(
            left_out(Part::Ad, &series, &scored),
            ["ad: only 1 of 2 in nab have predictions; the others are not scored"]
        );
        let series = ["/s/leak/a", "/s/leak/b"].map(PathBuf::from);
        assert_eq!(
            left_out(Part::Leak, &series, &BTreeMap::new()),
            ["leak: only 0 of 2 in leak have predictions; the others are not scored"]
        );
    }
}
