//! Lists as tables.

use super::table::{Shown, Width, age, one_line, or_dash, table, table_where};
use crate::document::{
    ApplicationDocument, ClusterDocument, Contact, MemberDocument, RepositoryDocument, newest_first,
};
use regraft_model::incident::Incident;
use regraft_model::source::Revision;
use regraft_model::time::Timestamp;
use regraft_state::record::{AuditEntry, Lock};
use std::collections::BTreeMap;

/// A silence is told in milliseconds below this, and as an age from here on.
const LAST_CONTACT_MS_MAX: i64 = 1000;

/// When and how wide a table is looked at.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) now: Timestamp,
    /// [`Width::Full`] also shows the columns that are left out otherwise.
    pub(super) width: Width,
}

impl Look {
    pub(super) fn indented(self) -> Self {
        Self {
            width: self.width.indented(),
            ..self
        }
    }
}

pub(super) fn applications(rows: Vec<ApplicationDocument>, look: Look) -> String {
    let Look { now, width } = look;
    table_where(
        width,
        [
            "NAME",
            "CLUSTER",
            "MODE",
            "SYNC",
            "HEALTH",
            "AGE",
            "HEAD",
            "REVISION",
            "VERIFIED",
            "MEMBER",
            "INCIDENT",
            "REPOSITORY",
            "PATH",
            "MESSAGE",
        ],
        Shown {
            only_full: &["HEAD", "VERIFIED", "MEMBER", "REPOSITORY", "PATH"],
            give_way: &["REVISION", "MODE", "INCIDENT", "AGE"],
        },
        rows.into_iter().map(|row| {
            [
                row.name.to_string(),
                row.cluster.to_string(),
                row.mode.to_string(),
                row.sync.to_string(),
                row.health.to_string(),
                age(row.since, now),
                short(row.head.as_ref()),
                short(row.revision.as_ref()),
                short(row.verified.as_ref()),
                row.member.map_or_else(dash, |id| id.to_string()),
                row.incident.map_or_else(dash, |id| id.to_string()),
                row.repository.to_string(),
                row.path,
                row.message,
            ]
        }),
    )
}

/// A line for every repository whose newest configuration was refused.
pub(super) fn refused(rows: &[ApplicationDocument]) -> String {
    let refused: BTreeMap<_, _> = rows
        .iter()
        .filter_map(|row| Some((&row.repository, row.configuration.as_ref()?)))
        .collect();
    refused
        .into_iter()
        .map(|(repository, why)| {
            format!("! {repository}: the newest configuration was refused, the one before goes on: {why}\n")
        })
        .collect()
}

pub(super) fn repositories(rows: Vec<RepositoryDocument>, look: Look) -> String {
    table(
        look.width,
        ["NAME", "BRANCH", "HEAD", "AGE", "APPLICATIONS", "MESSAGE"],
        rows.into_iter().map(|row| {
            [
                row.name.to_string(),
                row.branch.to_string(),
                short(row.head.as_ref()),
                age(row.recorded_at.unwrap_or_default(), look.now),
                row.applications.to_string(),
                match row.frozen {
                    Some(why) => format!("healing is frozen: {why}"),
                    None => row.message,
                },
            ]
        }),
    )
}

pub(super) fn clusters(rows: Vec<ClusterDocument>, look: Look) -> String {
    table_where(
        look.width,
        [
            "NAME",
            "CONNECTION",
            "VERSION",
            "APPLICATIONS",
            "UID",
            "MESSAGE",
        ],
        Shown {
            only_full: &[],
            give_way: &["UID", "APPLICATIONS"],
        },
        rows.into_iter().map(|row| {
            [
                row.name.to_string(),
                match row.suspend {
                    true => "Suspended".to_owned(),
                    false => row.connection.to_string(),
                },
                or_dash(&row.version),
                row.applications.to_string(),
                row.uid.unwrap_or_else(dash),
                row.message,
            ]
        }),
    )
}

pub(super) fn incidents(mut rows: Vec<Incident>, look: Look) -> String {
    newest_first(&mut rows);
    table_where(
        look.width,
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
        Shown {
            only_full: &[],
            give_way: &["EXECUTOR", "COMMIT", "AGE"],
        },
        rows.into_iter().map(|row| {
            let clusters: Vec<&str> = row.targets.keys().map(|name| name.as_str()).collect();
            [
                row.id.to_string(),
                row.class.to_string(),
                row.phase.to_string(),
                row.outcome
                    .as_ref()
                    .map_or_else(dash, |outcome| outcome.kind.to_string()),
                age(row.opened_at, look.now),
                clusters.join(","),
                row.executor.to_string(),
                short(row.committed.as_ref()),
                match row.outcome {
                    // What ended waits for nothing.
                    Some(_) => String::new(),
                    None => row.waits_for,
                },
            ]
        }),
    )
}

pub(super) fn locks(rows: Vec<Lock>, look: Look) -> String {
    table(
        look.width,
        ["SCOPE", "FENCE", "INCIDENT", "PLAN", "AGE", "EXPIRES IN"],
        rows.into_iter().map(|row| {
            [
                row.scope.to_string(),
                row.fence.to_string(),
                row.incident.to_string(),
                row.plan.to_string(),
                age(row.granted_at, look.now),
                match look.now < row.expires_at {
                    true => age(look.now, row.expires_at),
                    false => "expired".to_owned(),
                },
            ]
        }),
    )
}

pub(super) fn members(rows: Vec<MemberDocument>, look: Look) -> String {
    let troubles = rows.iter().filter_map(|row| {
        let trouble = row.trouble.as_deref()?;
        Some(format!("member {}: {}\n", row.id, one_line(trouble)))
    });
    let troubles: String = troubles.collect();
    let table = members_table(rows, look);
    format!("{table}{troubles}")
}

fn members_table(rows: Vec<MemberDocument>, look: Look) -> String {
    table_where(
        look.width,
        [
            "ID",
            "ROLE",
            "CONTACT",
            "ADDRESS",
            "ADMIN",
            "APPLIED",
            "BEHIND",
            "LAST CONTACT",
        ],
        Shown {
            only_full: &[],
            give_way: &["BEHIND", "ADMIN", "APPLIED"],
        },
        rows.into_iter().map(|row| {
            [
                format!("{}{}", row.id, if row.answering { "*" } else { "" }),
                row.role.to_string(),
                row.contact.to_string(),
                row.address,
                row.admin.unwrap_or_else(dash),
                row.applied.map_or_else(dash, |index| index.to_string()),
                row.behind.map_or_else(dash, |behind| behind.to_string()),
                last_contact(row.contact, row.last_contact_ms),
            ]
        }),
    )
}

/// What is above all to be known of members.
pub(super) fn full_disks(rows: &[MemberDocument]) -> String {
    rows.iter()
        .filter_map(|row| Some((row.id, row.full_disk.as_ref()?)))
        .map(|(id, why)| {
            format!("! the disk of member {id} is full: {why}; it accepts nothing until there is room, then it goes on by itself\n")
        })
        .collect()
}

fn last_contact(contact: Contact, ms: Option<u64>) -> String {
    match (contact, ms.and_then(|ms| i64::try_from(ms).ok())) {
        (_, Some(ms)) if ms < LAST_CONTACT_MS_MAX => format!("{ms}ms"),
        (_, Some(ms)) => age(Timestamp(1), Timestamp(1 + ms)),
        (Contact::Unreachable, None) => "never".to_owned(),
        (Contact::Reachable | Contact::Unknown, None) => dash(),
    }
}

fn dash() -> String {
    "-".to_owned()
}

pub(super) fn short(revision: Option<&Revision>) -> String {
    revision.map_or_else(dash, |revision| revision.short().to_owned())
}

/// Never cut: who reads a chronicle wants all of it.
pub(super) fn audit(entries: Vec<AuditEntry>) -> String {
    table(
        Width::Endless,
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
    )
}
