//! Commands that only look.

use super::chain::VerifyArgs;
use super::listing::{self, Look};
use super::table::Width;
use super::{
    Exit, Failure, Format, Freshness, ListFormat, complain, output, overview, print, story,
};
use crate::client::Client;
use crate::clock;
use crate::document::{
    ApplicationDocument, ApplicationStory, ClusterDocument, ClusterStory, IncidentDocument,
    MemberDocument, StatusDocument, newest_first,
};
use clap::{Args, Subcommand, ValueEnum};
use regraft_model::incident::Incident;
use regraft_wire::admin::v1 as wire;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::IsTerminal as _;
use std::time::Duration;

/// How often `--watch` looks.
const WATCH_PERIOD: Duration = Duration::from_millis(500);
/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";
/// Entries of the audit shown unless asked otherwise.
const AUDIT_ENTRIES_DEFAULT: u32 = 50;

#[derive(Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    freshness: Freshness,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Args)]
pub(crate) struct GetArgs {
    /// What
    #[arg(value_enum)]
    kind: Kind,
    /// Only this one; `-o json` prints it alone, an application's targets as a list
    name: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: ListFormat,
    /// Print again whenever something changed, until interrupted
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    freshness: Freshness,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    #[value(alias = "application", alias = "apps", alias = "app")]
    Applications,
    #[value(alias = "cluster")]
    Clusters,
    #[value(alias = "incident")]
    Incidents,
    #[value(alias = "lock")]
    Locks,
    #[value(alias = "member")]
    Members,
    #[value(alias = "repository", alias = "repos", alias = "repo")]
    Repositories,
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::Applications => "applications",
            Self::Clusters => "clusters",
            Self::Incidents => "incidents",
            Self::Locks => "locks",
            Self::Members => "members",
            Self::Repositories => "repositories",
        }
    }

    fn singular(self) -> &'static str {
        match self {
            Self::Repositories => "repository",
            other => other.plural().trim_end_matches('s'),
        }
    }

    /// The field of its documents that names one.
    fn name_field(self) -> &'static str {
        match self {
            Self::Applications | Self::Clusters | Self::Repositories => "name",
            Self::Incidents | Self::Members => "id",
            Self::Locks => "incident",
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Describe {
    /// An incident: what was seen, what was thought of, what was done, what comes next
    Incident {
        /// Its id, as `regraft get incidents` shows it
        id: String,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
        #[command(flatten)]
        freshness: Freshness,
    },
    /// An application: where each of its clusters stands, and what is in the way
    #[command(alias = "app")]
    Application {
        /// Its name, as `regraft get applications` shows it
        name: String,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
        #[command(flatten)]
        freshness: Freshness,
    },
    /// A cluster: whether it is reached, and what is in it
    Cluster {
        /// Its name, as `regraft get clusters` shows it
        name: String,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
        #[command(flatten)]
        freshness: Freshness,
    },
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(super) what: Option<Audit>,
    /// The newest so many
    #[arg(long, default_value_t = AUDIT_ENTRIES_DEFAULT)]
    limit: u32,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    freshness: Freshness,
}

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Check that no entry was taken out or changed; exit code 1 when one was
    Verify(VerifyArgs),
}

pub(super) async fn status(mut client: Client, args: &StatusArgs) -> Result<(), Failure> {
    let document = status_document(&mut client, args.freshness).await?;
    print(&output::render(&document, args.output, |document| {
        Ok(overview::status(&read::<StatusDocument>(document)?, look()))
    })?)
}

pub(super) async fn get(mut client: Client, args: &GetArgs) -> Result<(), Failure> {
    let mut shown = None;
    let mut lost = false;
    loop {
        match listed(&mut client, args.kind, args.name.as_deref(), args.freshness).await {
            Ok(document) => {
                if std::mem::take(&mut lost) {
                    complain("the member answers again\n");
                }
                if shown.as_ref() != Some(&document) {
                    show(&mut client, args, &document).await?;
                    shown = Some(document);
                }
            }
            // Who watches wants to see the end of the outage too; it is said once.
            Err(failure)
                if shown.is_some() && matches!(failure.exit, Exit::Unreachable | Exit::Unknown) =>
            {
                if !std::mem::replace(&mut lost, true) {
                    complain(&failure.to_string());
                    complain("  it is asked again until you interrupt this\n");
                }
            }
            Err(failure) => return Err(failure),
        }
        if !args.watch {
            return Ok(());
        }
        clock::pause(WATCH_PERIOD).await;
    }
}

async fn show(client: &mut Client, args: &GetArgs, document: &Value) -> Result<(), Failure> {
    let (text, notes) = match args.output {
        ListFormat::Json => (output::json(&alone(args, document))?, String::new()),
        ListFormat::Yaml => (output::yaml(&alone(args, document))?, String::new()),
        _ if document.as_array().is_some_and(Vec::is_empty) => {
            (String::new(), nothing(client, args).await)
        }
        ListFormat::Name => (names(args.kind, document), String::new()),
        ListFormat::Table => listing(args.kind, document, look())?,
        ListFormat::Wide => {
            let width = Width::Full;
            listing(args.kind, document, Look { width, ..look() })?
        }
    };
    let for_eyes = matches!(args.output, ListFormat::Table | ListFormat::Wide);
    if args.watch && for_eyes && std::io::stdout().is_terminal() {
        print(CLEAR)?;
    }
    print(&text)?;
    complain(&notes);
    warn_when_old(client, args.freshness).await;
    Ok(())
}

/// Says that what was shown may be old: only the status itself says so in its document.
pub(super) async fn warn_when_old(client: &mut Client, freshness: Freshness) {
    if !freshness.stale {
        return;
    }
    let status = status_document(client, freshness).await;
    match status.and_then(|document| read::<StatusDocument>(&document)) {
        Ok(status) if status.stale => {
            complain(&format!(
                "{}\n",
                overview::may_be_old(&status, clock::now())
            ));
        }
        // What was asked for is shown already.
        Ok(_) | Err(_) => {}
    }
}

/// What stands for an empty list, with why nothing is there when that is known.
async fn nothing(client: &mut Client, args: &GetArgs) -> String {
    let mut text = format!("No {} found.\n", args.kind.plural());
    if matches!(args.kind, Kind::Applications) {
        let status = status_document(client, args.freshness).await;
        let status = status.and_then(|document| read::<StatusDocument>(&document));
        let repositories = status.map(|status| status.repositories).unwrap_or_default();
        for repository in &repositories {
            text.push_str(&match repository.configured {
                false => format!(
                    "no configuration was read from {}: {}\n",
                    repository.name, repository.message
                ),
                true => format!(
                    "{} {} has no Application in `.regraft/`: README shows one to copy\n",
                    repository.name, repository.branch
                ),
            });
        }
    }
    text
}

/// The one that was named, without the list around it. An application is in several clusters, and stays a list.
fn alone(args: &GetArgs, document: &Value) -> Value {
    match (document.as_array().map(Vec::as_slice), &args.name) {
        (Some([one]), Some(_)) if !matches!(args.kind, Kind::Applications) => one.clone(),
        _ => document.clone(),
    }
}

fn names(kind: Kind, document: &Value) -> String {
    let rows = document.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut names: Vec<String> = rows
        .iter()
        .map(|row| match &row[kind.name_field()] {
            Value::String(name) => name.clone(),
            other => other.to_string(),
        })
        .map(|name| format!("{}/{name}\n", kind.singular()))
        .collect();
    names.dedup();
    names.concat()
}

pub(super) async fn describe(mut client: Client, what: &Describe) -> Result<(), Failure> {
    let (text, freshness) = match what {
        Describe::Incident {
            id,
            output,
            freshness,
        } => {
            let request = wire::DescribeRequest {
                incident: id.clone(),
                consistency: consistency(*freshness),
            };
            let document = document(client.describe(request).await)?;
            let text = output::render(&document, *output, |document| {
                Ok(story::incident(
                    &read::<IncidentDocument>(document)?,
                    clock::now(),
                ))
            });
            (text?, freshness)
        }
        Describe::Application {
            name,
            output,
            freshness,
        } => {
            // Asked by name, so that the member says why there is none.
            let targets = list(&mut client, Kind::Applications, Some(name), *freshness).await?;
            let status = read(&status_document(&mut client, *freshness).await?)?;
            let story = application_story(read(&targets)?, status);
            let text = output::render(&written(&story)?, *output, |_| {
                Ok(overview::application(&story, look()))
            });
            (text?, freshness)
        }
        Describe::Cluster {
            name,
            output,
            freshness,
        } => {
            let status = read(&status_document(&mut client, *freshness).await?)?;
            let story = cluster_story(name, status).ok_or_else(|| missing(Kind::Clusters, name))?;
            let text = output::render(&written(&story)?, *output, |_| {
                Ok(overview::cluster(&story, look()))
            });
            (text?, freshness)
        }
    };
    print(&text)?;
    warn_when_old(&mut client, *freshness).await;
    Ok(())
}

pub(super) fn application_story(
    targets: Vec<ApplicationDocument>,
    status: StatusDocument,
) -> ApplicationStory {
    let name = targets
        .first()
        .map(|it| it.name.clone())
        .unwrap_or_default();
    let report = status.report.unwrap_or_default();
    let problems = targets.first().map(|target| {
        let folder = format!("{}/", target.path.trim_end_matches('/'));
        let all = report.problems.get(&target.repository);
        let all = all.into_iter().flatten();
        all.filter(|problem| problem.location.file.starts_with(&folder))
            .cloned()
            .collect()
    });
    let mut incidents: Vec<Incident> = status
        .incidents
        .into_iter()
        .filter(|incident| incident.application == name)
        .collect();
    newest_first(&mut incidents);
    ApplicationStory {
        name,
        targets,
        incidents,
        problems: problems.unwrap_or_default(),
    }
}

pub(super) fn cluster_story(name: &str, status: StatusDocument) -> Option<ClusterStory> {
    let cluster = status
        .clusters
        .into_iter()
        .find(|cluster| cluster.name.as_str() == name)?;
    let mut incidents: Vec<Incident> = status
        .incidents
        .into_iter()
        .filter(|incident| incident.targets.contains_key(&cluster.name))
        .collect();
    newest_first(&mut incidents);
    let targets = status.applications.into_iter();
    Some(ClusterStory {
        targets: targets.filter(|row| row.cluster == cluster.name).collect(),
        cluster,
        incidents,
    })
}

pub(super) async fn audit(mut client: Client, args: &AuditArgs) -> Result<(), Failure> {
    let request = wire::AuditRequest {
        limit: args.limit,
        consistency: consistency(args.freshness),
    };
    let document = document(client.audit(request).await)?;
    print(&output::render(&document, args.output, |document| {
        Ok(listing::audit(read(document)?))
    })?)?;
    warn_when_old(&mut client, args.freshness).await;
    Ok(())
}

/// The targets of one application.
pub(super) async fn targets(
    client: &mut Client,
    application: &str,
) -> Result<Vec<ApplicationDocument>, Failure> {
    read(
        &list(
            client,
            Kind::Applications,
            Some(application),
            Freshness { stale: false },
        )
        .await?,
    )
}

/// A cluster, as it is known now.
pub(super) async fn cluster(client: &mut Client, name: &str) -> Result<ClusterDocument, Failure> {
    let freshness = Freshness { stale: false };
    let found: Vec<ClusterDocument> =
        read(&list(client, Kind::Clusters, Some(name), freshness).await?)?;
    found
        .into_iter()
        .next()
        .ok_or_else(|| missing(Kind::Clusters, name))
}

/// One incident, as it is now.
pub(super) async fn incident(client: &mut Client, id: &str) -> Result<Incident, Failure> {
    let request = wire::DescribeRequest {
        incident: id.to_owned(),
        consistency: wire::Consistency::Linearizable.into(),
    };
    let found: IncidentDocument = read(&document(client.describe(request).await)?)?;
    Ok(found.incident)
}

/// What a kind lists. Repositories are told by the status alone.
async fn listed(
    client: &mut Client,
    kind: Kind,
    name: Option<&str>,
    freshness: Freshness,
) -> Result<Value, Failure> {
    if !matches!(kind, Kind::Repositories) {
        return list(client, kind, name, freshness).await;
    }
    let mut status: StatusDocument = read(&status_document(client, freshness).await?)?;
    if let Some(name) = name {
        status.repositories.retain(|it| it.name.as_str() == name);
        if status.repositories.is_empty() {
            return Err(missing(kind, name));
        }
    }
    written(&status.repositories)
}

async fn status_document(client: &mut Client, freshness: Freshness) -> Result<Value, Failure> {
    let request = wire::StatusRequest {
        consistency: consistency(freshness),
    };
    document(client.status(request).await)
}

fn missing(kind: Kind, name: &str) -> Failure {
    Failure::new(
        Exit::NotFound,
        "NotFound",
        format!("there is no {} `{name}`", kind.singular()),
        format!("see `regraft get {}`", kind.plural()),
    )
}

/// The members as the majority knows them.
pub(super) async fn members(client: &mut Client) -> Result<Vec<MemberDocument>, Failure> {
    let freshness = Freshness { stale: false };
    read(&list(client, Kind::Members, None, freshness).await?)
}

async fn list(
    client: &mut Client,
    kind: Kind,
    name: Option<&str>,
    freshness: Freshness,
) -> Result<Value, Failure> {
    let kind = match kind {
        Kind::Applications => wire::Kind::Applications,
        Kind::Clusters => wire::Kind::Clusters,
        Kind::Incidents => wire::Kind::Incidents,
        Kind::Locks => wire::Kind::Locks,
        Kind::Members => wire::Kind::Members,
        Kind::Repositories => wire::Kind::Unspecified,
    };
    let request = wire::ListRequest {
        kind: kind.into(),
        name: name.unwrap_or_default().to_owned(),
        consistency: consistency(freshness),
    };
    document(client.list(request).await)
}

pub(super) fn consistency(freshness: Freshness) -> i32 {
    match freshness.stale {
        true => wire::Consistency::Stale.into(),
        false => wire::Consistency::Linearizable.into(),
    }
}

pub(super) fn document(
    answer: Result<tonic::Response<wire::Document>, tonic::Status>,
) -> Result<Value, Failure> {
    let answer = answer
        .map_err(|status| Failure::of_status(&status))?
        .into_inner();
    serde_json::from_slice(&answer.json).map_err(|error| misread(&error))
}

pub(super) fn read<T: DeserializeOwned>(document: &Value) -> Result<T, Failure> {
    T::deserialize(document).map_err(|error| misread(&error))
}

fn misread(error: &dyn std::error::Error) -> Failure {
    Failure::of(
        Exit::Failed,
        "UnknownDocument",
        error,
        "the member speaks another version: use the same one, or -o json",
    )
}

fn written(document: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(document).map_err(|error| misread(&error))
}

fn look() -> Look {
    Look {
        now: clock::now(),
        width: Width::of_stdout(),
    }
}

/// A table, and what has to be said about it.
fn listing(kind: Kind, document: &Value, look: Look) -> Result<(String, String), Failure> {
    let text = match kind {
        Kind::Applications => {
            let rows: Vec<ApplicationDocument> = read(document)?;
            let notes = listing::refused(&rows);
            return Ok((listing::applications(rows, look), notes));
        }
        Kind::Clusters => listing::clusters(read(document)?, look),
        Kind::Incidents => listing::incidents(read(document)?, look),
        Kind::Locks => listing::locks(read(document)?, look),
        Kind::Members => {
            let rows: Vec<MemberDocument> = read(document)?;
            let notes = listing::full_disks(&rows);
            return Ok((listing::members(rows, look), notes));
        }
        Kind::Repositories => listing::repositories(read(document)?, look),
    };
    Ok((text, String::new()))
}
