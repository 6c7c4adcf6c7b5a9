//! Replicated records and what this member knows, as the documents people read.

use super::git::Asks;
use super::member::Member;
use super::waits;
use crate::document::{
    ApplicationDocument, ClusterDocument, ConnectionState, Contact, IncidentDocument,
    MemberDocument, MemberRole, ProblemDocument, ReportDocument, RepositoryDocument,
    StatusDocument, newest_first,
};
use regraft_engine::CONFIRMED_MS;
use regraft_model::config::Application;
use regraft_model::finding::{SyncState, SyncStatus, TargetStatus};
use regraft_model::health::Health;
use regraft_model::id::{ApplicationName, ClusterName, MemberId, RepositoryName, TargetKey};
use regraft_model::incident::{Incident, OutcomeKind};
use regraft_replica::{Role, Status};
use regraft_state::view::View;
use std::collections::{BTreeMap, BTreeSet};

/// One document for each application and cluster, those that left Git and are being cleared included.
pub(super) fn applications(view: &View) -> Vec<ApplicationDocument> {
    let configured = view
        .configurations
        .values()
        .flat_map(|it| it.fleet.applications.values());
    let configured = configured.flat_map(|application| {
        application
            .clusters
            .iter()
            .map(move |cluster| (application, cluster))
    });
    let retiring = view.retiring.values().flat_map(|it| {
        it.clusters
            .iter()
            .map(move |cluster| (&it.application, cluster))
    });
    let mut found: BTreeMap<TargetKey, ApplicationDocument> = BTreeMap::new();
    for (application, cluster) in retiring.chain(configured) {
        let key = TargetKey {
            application: application.name.clone(),
            cluster: cluster.clone(),
        };
        found.insert(key.clone(), target(view, application, &key));
    }
    found.into_values().collect()
}

/// Every cluster that is configured, known or connected.
pub(super) fn clusters(view: &View, member: &Member) -> Vec<ClusterDocument> {
    let standings = member.clusters.standings();
    let configured = view
        .configurations
        .values()
        .flat_map(|it| &it.fleet.clusters);
    let suspended: BTreeMap<&ClusterName, bool> = configured
        .map(|(name, spec)| (name, spec.suspend))
        .collect();
    let mut names: Vec<&ClusterName> = suspended
        .keys()
        .copied()
        .chain(view.clusters.keys())
        .chain(standings.keys())
        .collect();
    names.sort();
    names.dedup();
    let rows = applications(view);
    let changed = |name: &ClusterName| {
        let mut rows = rows.iter();
        rows.find(|row| row.cluster == *name && row.reason == "ClusterChanged")
    };
    names
        .into_iter()
        .map(|name| {
            let standing = standings.get(name).cloned().unwrap_or_default();
            let identity = view.clusters.get(name);
            ClusterDocument {
                name: name.clone(),
                uid: identity.map(|it| it.uid.clone()),
                known_since: identity.map(|it| it.since),
                connection: standing.state,
                message: match (standing.state, changed(name)) {
                    (ConnectionState::Unknown, _) => {
                        "not needed by the answering member".to_owned()
                    }
                    (ConnectionState::Ready, Some(row)) => row.message.clone(),
                    _ => standing.message,
                },
                version: standing.version,
                suspend: suspended.get(name).copied().unwrap_or_default(),
                applications: rows.iter().filter(|row| row.cluster == *name).count(),
                member: member.config.member,
            }
        })
        .collect()
}

/// Said of who is in the configuration of the answering member only.
const NO_MEMBER: &str =
    "it is no member: take it out of `peers`, or take it in with `regraft members add`";

/// Every member of the configuration, and those of the trio besides.
pub(super) fn members(member: &Member, asked: Asked) -> Vec<MemberDocument> {
    let status = member.replica.status();
    let mut ids: Vec<u64> = member
        .config
        .members
        .iter()
        .map(|peer| peer.id.0)
        .chain(status.members.keys().copied())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let proof = proof(member, asked);
    ids.into_iter()
        .map(|id| {
            let peer = member.config.members.iter().find(|peer| peer.id.0 == id);
            let (is_member, contact) = (is_member(&status, id), contact(&status, proof, id));
            MemberDocument {
                id: MemberId(id),
                role: role(&status, contact, id),
                address: peer
                    .map(|peer| &peer.raft)
                    .or_else(|| status.members.get(&id))
                    .cloned()
                    .unwrap_or_default(),
                admin: peer.and_then(|peer| peer.admin.clone()),
                behind: status.behind.get(&id).copied(),
                applied: (id == status.node_id).then_some(status.applied),
                contact,
                last_contact_ms: match id == status.node_id {
                    true => Some(0),
                    false => status.contact_ms.get(&id).copied().flatten(),
                },
                trouble: match is_member {
                    true => trouble_with(&status, proof, contact, id),
                    false => Some(NO_MEMBER.to_owned()),
                },
                answering: id == status.node_id,
                full_disk: status.full_disk.clone().filter(|_| id == status.node_id),
            }
        })
        .collect()
}

/// Before it knows its members, a member believes its configuration.
fn is_member(status: &Status, id: u64) -> bool {
    status.members.is_empty() || status.members.contains_key(&id)
}

/// Who follows seldom tries to reach who follows beside it: with proof that there is a majority, an old trouble tells nothing.
fn trouble_with(status: &Status, proof: Proof, contact: Contact, id: u64) -> Option<String> {
    let is_old = contact == Contact::Unknown && proof == Proof::Fresh;
    status.troubles.get(&id).filter(|_| !is_old).cloned()
}

/// How fresh an answer was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// With proof that it is the majority's.
    WithProof,
    /// What the member has.
    AsItIs,
}

/// Whether this member has proof that its state is the majority's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    Fresh,
    Old,
}

/// An answer that was asked for with proof has just had it.
fn proof(member: &Member, asked: Asked) -> Proof {
    let now = crate::clock::now();
    let age_ms = member.confirmed_at().map(|at| now.millis_since(at));
    match asked == Asked::WithProof || age_ms.is_some_and(|age_ms| age_ms <= CONFIRMED_MS) {
        true => Proof::Fresh,
        false => Proof::Old,
    }
}

/// What the answering member hears of a member.
fn contact(status: &Status, proof: Proof, id: u64) -> Contact {
    if id == status.node_id {
        return Contact::Reachable;
    }
    if !is_member(status, id) {
        return Contact::Unknown;
    }
    if status.role == Role::Leader {
        let silent_ms = status.contact_ms.get(&id).copied().flatten();
        let silent_ms = silent_ms.and_then(|ms| i64::try_from(ms).ok());
        return match silent_ms.is_some_and(|ms| ms <= CONFIRMED_MS) {
            true => Contact::Reachable,
            false => Contact::Unreachable,
        };
    }
    // Proof comes by way of the leader.
    match proof == Proof::Fresh && status.leader == Some(id) {
        true => Contact::Reachable,
        false => Contact::Unknown,
    }
}

/// What a member is, as far as it is heard of.
fn role(status: &Status, contact: Contact, id: u64) -> MemberRole {
    match contact {
        _ if !is_member(status, id) => MemberRole::None,
        _ if status.members.contains_key(&id) && !status.voters.contains(&id) => {
            MemberRole::Learner
        }
        Contact::Reachable if status.leader == Some(id) => MemberRole::Leader,
        Contact::Reachable => MemberRole::Follower,
        Contact::Unreachable | Contact::Unknown => MemberRole::Unknown,
    }
}

/// Every repository of the member's configuration, and why it cannot be read just now.
pub(super) fn obstacles(
    member: &Member,
) -> impl Iterator<Item = (&RepositoryName, Option<ProblemDocument>)> {
    let status = member.replica.status();
    let asks = match status.leader == Some(status.node_id) {
        true => Asks::Remotes,
        false => Asks::Nobody,
    };
    member.config.repositories.iter().map(move |repository| {
        let git = member.git.get(&repository.name);
        (&repository.name, git.and_then(|git| git.problem(asks)))
    })
}

/// Every repository of the member's configuration.
pub(super) fn repositories(
    view: &View,
    member: &Member,
    report: Option<&ReportDocument>,
) -> Vec<RepositoryDocument> {
    let configured = member.config.repositories.iter();
    configured
        .zip(obstacles(member))
        .map(|(repository, (name, problem))| {
            let head = view.heads.get(name);
            let configuration = view.configurations.get(name);
            let trouble = report.and_then(|report| trouble(report, name));
            let message = match (&problem, trouble, configuration) {
                (Some(problem), _, _) => format!("{}; next: {}", problem.message, problem.action),
                (None, Some(trouble), _) => trouble,
                (None, None, None) => "its configuration is not read yet".to_owned(),
                (None, None, Some(_)) => String::new(),
            };
            RepositoryDocument {
                name: name.clone(),
                url: repository.url.clone(),
                branch: repository.branch.clone(),
                head: head.map(|head| head.revision.clone()),
                recorded_at: head.map(|head| head.recorded_at),
                applications: configuration.map_or(0, |it| it.fleet.applications.len()),
                configured: configuration.is_some(),
                frozen: head.and_then(|head| head.frozen.clone()),
                problem,
                message,
            }
        })
        .collect()
}

/// What is in the way of a repository's newest configuration.
fn trouble(report: &ReportDocument, repository: &RepositoryName) -> Option<String> {
    let unreadable = report.unreadable.get(repository).cloned();
    unreadable.or_else(|| report.refused(repository))
}

/// Everything at a glance.
pub(super) fn status(
    view: &View,
    member: &Member,
    asked: Asked,
    report: Option<ReportDocument>,
) -> StatusDocument {
    let status = member.replica.status();
    let mut applications = applications(view);
    refused(&mut applications, report.as_ref());
    StatusDocument {
        installation: view.installation.clone(),
        member: member.config.member,
        name: member.config.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: member.started_at,
        leader: status.leader.map(MemberId),
        term: status.term,
        applied: status.applied,
        confirmed_at: member.confirmed_at(),
        stale: proof(member, asked) == Proof::Old,
        heads: view.heads.values().cloned().collect(),
        members: members(member, asked),
        clusters: clusters(view, member),
        applications,
        repositories: repositories(view, member, report.as_ref()),
        incidents: incidents(view),
        suspensions: view.suspensions.values().cloned().collect(),
        report,
    }
}

/// Every incident with what it waits for, newest first.
pub(super) fn incidents(view: &View) -> Vec<Incident> {
    let incidents = view.incidents.values();
    let mut rows: Vec<Incident> = incidents.map(|it| waits::told(view, it)).collect();
    newest_first(&mut rows);
    rows
}

/// Says of every application whose newest configuration was refused why.
pub(super) fn refused(rows: &mut [ApplicationDocument], report: Option<&ReportDocument>) {
    for row in rows {
        row.configuration = report.and_then(|report| report.refused(&row.repository));
    }
}

/// An incident and what explains it; `diff` is added by who can read the files.
pub(super) fn incident(view: &View, incident: &Incident, diff: String) -> IncidentDocument {
    let application = view.application(&incident.application);
    IncidentDocument {
        mode: match incident.is_open() {
            true => application.map(|application| application.mode),
            // The application's mode of today says nothing of what was decided then.
            false => incident.plan.as_ref().map(|plan| plan.mode),
        },
        lock: view.locks.get(&incident.id).cloned(),
        suspended: application.and_then(|it| Some(waits::suspended(view, it)?.why)),
        targets: applications(view)
            .into_iter()
            .filter(|row| row.name == incident.application)
            .collect(),
        diff,
        incident: waits::told(view, incident),
    }
}

fn target(view: &View, application: &Application, key: &TargetKey) -> ApplicationDocument {
    let status = view
        .statuses
        .get(key)
        .cloned()
        .unwrap_or_else(|| TargetStatus {
            health: Health::Unknown,
            sync: SyncStatus {
                state: SyncState::Unknown,
                reason: "NotReported".to_owned(),
                message: match view.assignments.contains_key(key) {
                    true => "no member reported it yet".to_owned(),
                    false => "no member works on it yet".to_owned(),
                },
            },
            ..TargetStatus::default()
        });
    let message = match status.sync.state {
        SyncState::Synced => status.health_message,
        _ => status.sync.message,
    };
    ApplicationDocument {
        name: key.application.clone(),
        cluster: key.cluster.clone(),
        repository: application.repository.clone(),
        path: application.path.clone(),
        mode: application.mode,
        member: view
            .assignments
            .get(key)
            .map(|assignment| assignment.member),
        head: view
            .heads
            .get(&application.repository)
            .map(|head| head.revision.clone()),
        revision: status
            .applied
            .as_ref()
            .map(|applied| applied.revision.clone()),
        sync: status.sync.state,
        reason: status.sync.reason,
        message,
        health: status.health,
        since: status.health_since,
        applied_at: status.applied.map(|applied| applied.at),
        verified_at: status.verified.as_ref().map(|verified| verified.at),
        verified: status.verified.map(|verified| verified.revision),
        workloads: status.workloads,
        failures: status
            .findings
            .iter()
            .map(|finding| format!("{}: {}", finding.symptom.workload, finding.symptom.class))
            .collect(),
        incident: view
            .open_incident(&key.application)
            .map(|incident| incident.id.clone()),
        suspended: waits::suspended(view, application).map(|it| it.why),
        pending_deletion: status.pending_deletion,
        answered_sync: status.answered_sync,
        configuration: None,
    }
}

/// Applications that were handed to a person, and are not healthy yet: their newest incident was escalated.
pub(super) fn escalated(view: &View) -> BTreeSet<ApplicationName> {
    let mut newest: BTreeMap<&ApplicationName, &Incident> = BTreeMap::new();
    for incident in view.incidents.values() {
        let known = newest.entry(&incident.application).or_insert(incident);
        if incident.opened_at > known.opened_at {
            *known = incident;
        }
    }
    let is_healthy = |name: &ApplicationName| {
        let mut statuses = view.statuses.values();
        statuses.all(|it| it.key.application != *name || it.health == Health::Healthy)
    };
    let ended = newest.into_iter().filter(|(name, incident)| {
        let outcome = incident.outcome.as_ref();
        outcome.is_some_and(|it| it.kind == OutcomeKind::Escalated) && !is_healthy(name)
    });
    ended.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_model::incident::{Outcome, Phase};
    use regraft_model::time::Timestamp;

    fn incident(application: &str, opened_at: i64, outcome: Option<OutcomeKind>) -> Incident {
        Incident {
            id: format!("{application}-{opened_at}").as_str().into(),
            application: application.into(),
            opened_at: Timestamp(opened_at),
            outcome: outcome.map(|kind| Outcome {
                kind,
                message: String::new(),
            }),
            ..crate::serve::waits::tests::incident(Phase::Ended)
        }
    }

    fn status(application: &str, health: Health) -> TargetStatus {
        TargetStatus {
            key: TargetKey::new(&application.into(), &"eu".into()),
            health,
            ..TargetStatus::default()
        }
    }

    #[test]
    fn an_application_is_escalated_from_its_newest_incident_until_it_is_healthy() {
        let mut view = View::default();
        let incidents = [
            incident("broken", 1, Some(OutcomeKind::Verified)),
            incident("broken", 2, Some(OutcomeKind::Escalated)),
            incident("mended", 1, Some(OutcomeKind::Escalated)),
            incident("again", 1, Some(OutcomeKind::Escalated)),
            incident("again", 2, None),
        ];
        view.incidents = incidents.map(|it| (it.id.clone(), it)).into();
        let statuses = [
            status("broken", Health::Degraded),
            status("mended", Health::Healthy),
            status("again", Health::Degraded),
        ];
        view.statuses = statuses.map(|it| (it.key.clone(), it)).into();
        assert_eq!(escalated(&view), BTreeSet::from(["broken".into()]));
    }

    #[test]
    fn a_member_is_what_the_answering_one_hears_of_it() {
        let status = |role, leader| Status {
            members: Default::default(),
            behind: Default::default(),
            node_id: 1,
            role,
            term: 3,
            leader,
            voters: [1, 2, 3].into(),
            applied: 0,
            last_log: 0,
            snapshot: 0,
            purged: 0,
            recovered: true,
            contact_ms: [(2, Some(40)), (3, Some(60_000)), (4, None)].into(),
            troubles: BTreeMap::new(),
            full_disk: None,
            fatal: None,
        };
        let told = |status: &Status, proof| {
            let told = [1, 2, 3, 4].map(|id| {
                let contact = contact(status, proof, id);
                format!("{} {contact}", role(status, contact, id))
            });
            told.join(", ")
        };
        let leads = status(Role::Leader, Some(1));
        assert_eq!(
            told(&leads, Proof::Fresh),
            "leader Reachable, follower Reachable, unknown Unreachable, unknown Unreachable"
        );
        let follows = status(Role::Follower, Some(2));
        assert_eq!(
            told(&follows, Proof::Fresh),
            "follower Reachable, leader Reachable, unknown Unknown, unknown Unknown"
        );
        assert_eq!(
            told(&follows, Proof::Old),
            "follower Reachable, unknown Unknown, unknown Unknown, unknown Unknown"
        );
        let alone = status(Role::Candidate, None);
        assert_eq!(
            told(&alone, Proof::Old),
            "follower Reachable, unknown Unknown, unknown Unknown, unknown Unknown"
        );
    }
}
