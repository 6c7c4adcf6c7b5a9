//! Commands that only look.

use super::connection::Client;
use super::table::{age, or_dash, table};
use super::{Exit, Failure, Format, Freshness, output, print, story};
use crate::clock;
use crate::document::{
    ApplicationDocument, ClusterDocument, IncidentDocument, MemberDocument, StatusDocument,
};
use clap::{Args, Subcommand, ValueEnum};
use regraft_model::incident::Incident;
use regraft_model::source::Revision;
use regraft_model::time::Timestamp;
use regraft_state::record::{AuditEntry, Lock};
use regraft_wire::admin::v1 as wire;
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
    /// Only this one
    name: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
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
}

#[derive(Args)]
pub(crate) struct DiffArgs {
    /// The application
    application: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Args)]
pub(crate) struct AuditArgs {
    /// The newest so many
    #[arg(long, default_value_t = AUDIT_ENTRIES_DEFAULT)]
    limit: u32,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    freshness: Freshness,
}

pub(super) async fn status(mut client: Client, args: &StatusArgs) -> Result<(), Failure> {
    let request = wire::StatusRequest {
        consistency: consistency(args.freshness),
    };
    let document = document(client.status(request).await)?;
    print(&output::render(&document, args.output, |document| {
        Ok(story::status(
            &read::<StatusDocument>(document)?,
            clock::now(),
        ))
    })?)
}

pub(super) async fn get(mut client: Client, args: &GetArgs) -> Result<(), Failure> {
    let mut shown = None;
    loop {
        let document = list(&mut client, args.kind, args.name.as_deref(), args.freshness).await?;
        if shown.as_ref() != Some(&document) {
            let text = output::render(&document, args.output, |document| {
                listing(args.kind, document)
            })?;
            let clear =
                args.watch && args.output == Format::Table && std::io::stdout().is_terminal();
            print(&format!("{}{text}", if clear { CLEAR } else { "" }))?;
            shown = Some(document);
        }
        if !args.watch {
            return Ok(());
        }
        clock::pause(WATCH_PERIOD).await;
    }
}

pub(super) async fn describe(mut client: Client, what: &Describe) -> Result<(), Failure> {
    let Describe::Incident {
        id,
        output,
        freshness,
    } = what;
    let request = wire::DescribeRequest {
        incident: id.clone(),
        consistency: consistency(*freshness),
    };
    let document = document(client.describe(request).await)?;
    print(&output::render(&document, *output, |document| {
        Ok(story::incident(
            &read::<IncidentDocument>(document)?,
            clock::now(),
        ))
    })?)
}

pub(super) async fn diff(mut client: Client, args: &DiffArgs) -> Result<(), Failure> {
    let request = wire::DiffRequest {
        application: args.application.clone(),
        reach: wire::Reach::All.into(),
    };
    let document = document(client.diff(request).await)?;
    print(&output::render(&document, args.output, |document| {
        Ok(story::differences(document))
    })?)
}

pub(super) async fn audit(mut client: Client, args: &AuditArgs) -> Result<(), Failure> {
    let request = wire::AuditRequest {
        limit: args.limit,
        consistency: consistency(args.freshness),
    };
    let document = document(client.audit(request).await)?;
    print(&output::render(&document, args.output, |document| {
        let entries: Vec<AuditEntry> = read(document)?;
        Ok(table(
            ["NUMBER", "AT", "ACTOR", "REASON", "SUBJECT", "MESSAGE"],
            entries.into_iter().map(|entry| {
                [
                    entry.number.to_string(),
                    entry.at.to_rfc3339(),
                    entry.actor,
                    entry.reason,
                    entry.subject,
                    entry.message,
                ]
            }),
        ))
    })?)
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

/// One incident, as it is now.
pub(super) async fn incident(client: &mut Client, id: &str) -> Result<Incident, Failure> {
    let request = wire::DescribeRequest {
        incident: id.to_owned(),
        consistency: wire::Consistency::Linearizable.into(),
    };
    let found: IncidentDocument = read(&document(client.describe(request).await)?)?;
    Ok(found.incident)
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
    };
    let request = wire::ListRequest {
        kind: kind.into(),
        name: name.unwrap_or_default().to_owned(),
        consistency: consistency(freshness),
    };
    document(client.list(request).await)
}

fn consistency(freshness: Freshness) -> i32 {
    match freshness.stale {
        true => wire::Consistency::Stale.into(),
        false => wire::Consistency::Linearizable.into(),
    }
}

fn document(
    answer: Result<tonic::Response<wire::Document>, tonic::Status>,
) -> Result<Value, Failure> {
    let answer = answer
        .map_err(|status| Failure::of_status(&status))?
        .into_inner();
    serde_json::from_slice(&answer.json).map_err(|error| misread(&error))
}

fn read<T: DeserializeOwned>(document: &Value) -> Result<T, Failure> {
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

fn listing(kind: Kind, document: &Value) -> Result<String, Failure> {
    let now = clock::now();
    Ok(match kind {
        Kind::Applications => applications(read(document)?, now),
        Kind::Clusters => clusters(read(document)?),
        Kind::Incidents => incidents(read(document)?, now),
        Kind::Locks => locks(read(document)?, now),
        Kind::Members => members(read(document)?),
    })
}

pub(super) fn applications(rows: Vec<ApplicationDocument>, now: Timestamp) -> String {
    table(
        [
            "NAME", "CLUSTER", "SYNC", "HEALTH", "AGE", "REVISION", "VERIFIED", "MEMBER", "MESSAGE",
        ],
        rows.into_iter().map(|row| {
            [
                row.name.to_string(),
                row.cluster.to_string(),
                row.sync.to_string(),
                row.health.to_string(),
                age(row.since, now),
                short(row.revision.as_ref()),
                short(row.verified.as_ref()),
                row.member
                    .map_or_else(|| "-".to_owned(), |id| id.to_string()),
                row.message,
            ]
        }),
    )
}

pub(super) fn clusters(rows: Vec<ClusterDocument>) -> String {
    table(
        [
            "NAME",
            "CONNECTION",
            "VERSION",
            "APPLICATIONS",
            "UID",
            "MESSAGE",
        ],
        rows.into_iter().map(|row| {
            [
                row.name.to_string(),
                match row.suspend {
                    true => "Suspended".to_owned(),
                    false => format!("{:?}", row.connection),
                },
                or_dash(&row.version),
                row.applications.to_string(),
                row.uid.unwrap_or_else(|| "-".to_owned()),
                row.message,
            ]
        }),
    )
}

pub(super) fn incidents(mut rows: Vec<Incident>, now: Timestamp) -> String {
    rows.sort_by_key(|row| std::cmp::Reverse(row.opened_at));
    table(
        [
            "ID",
            "CLASS",
            "PHASE",
            "OUTCOME",
            "AGE",
            "CLUSTERS",
            "EXECUTOR",
            "COMMIT",
            "WAITS FOR",
        ],
        rows.into_iter().map(|row| {
            let clusters: Vec<&str> = row.targets.keys().map(|name| name.as_str()).collect();
            [
                row.id.to_string(),
                row.class.to_string(),
                row.phase.to_string(),
                row.outcome
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |outcome| outcome.kind.to_string()),
                age(row.opened_at, now),
                clusters.join(","),
                row.executor.to_string(),
                short(row.committed.as_ref()),
                match &row.outcome {
                    Some(outcome) => outcome.reason.clone(),
                    None => row.waits_for,
                },
            ]
        }),
    )
}

pub(super) fn locks(rows: Vec<Lock>, now: Timestamp) -> String {
    table(
        ["SCOPE", "FENCE", "INCIDENT", "PLAN", "AGE", "EXPIRES IN"],
        rows.into_iter().map(|row| {
            [
                row.scope.to_string(),
                row.fence.to_string(),
                row.incident.to_string(),
                row.plan.to_string(),
                age(row.granted_at, now),
                match now < row.expires_at {
                    true => age(now, row.expires_at),
                    false => "expired".to_owned(),
                },
            ]
        }),
    )
}

pub(super) fn members(rows: Vec<MemberDocument>) -> String {
    table(
        ["ID", "ROLE", "ADDRESS", "ADMIN", "APPLIED", "LAST CONTACT"],
        rows.into_iter().map(|row| {
            [
                format!("{}{}", row.id, if row.answering { "*" } else { "" }),
                format!("{:?}", row.role).to_lowercase(),
                row.address,
                row.admin.unwrap_or_else(|| "-".to_owned()),
                row.applied
                    .map_or_else(|| "-".to_owned(), |index| index.to_string()),
                row.last_contact_ms
                    .map_or_else(|| "-".to_owned(), |ms| format!("{ms}ms")),
            ]
        }),
    )
}

fn short(revision: Option<&Revision>) -> String {
    revision.map_or_else(|| "-".to_owned(), |revision| revision.short().to_owned())
}
