//! What differs between Git and the clusters of an application: the server's own dry run, next to what is there.

use super::read;
use super::refusal::Refusal;
use crate::config::Peer;
use crate::document::{DiffDocument, DiffOutcome, ObjectChange, ObjectDiffDocument};
use crate::serve::engine::Question;
use crate::serve::member::Member;
use crate::{client, failure};
use regraft_cluster::Preview;
use regraft_model::apply::StagedObject;
use regraft_model::config::Application;
use regraft_model::id::ClusterName;
use regraft_model::object::{Object, ObjectKey};
use regraft_model::problem::{Problem, Severity};
use regraft_state::view::View;
use regraft_wire::admin::v1 as wire;
use serde_json::Value;
use similar::TextDiff;
use std::sync::Arc;

/// Lines shown around a change.
const CONTEXT_LINES: usize = 3;
/// Reasons of failures that say nothing about an object: the cluster did not answer.
const SILENCE: [&str; 3] = ["Unreachable", "Timeout", "Credentials"];
/// Written by servers, never by Git.
const SERVER_FIELDS: [&str; 6] = [
    "managedFields",
    "resourceVersion",
    "generation",
    "uid",
    "creationTimestamp",
    "selfLink",
];

pub(super) async fn diff(
    member: &Arc<Member>,
    request: wire::DiffRequest,
) -> Result<wire::Document, Refusal> {
    let view = read::fresh(member, wire::Consistency::Linearizable.into()).await?;
    let name = request.application.as_str();
    let configurations = view.configurations.values();
    let known = configurations.filter_map(|it| it.fleet.applications.get(&name.into()));
    let application = match *known.collect::<Vec<_>>() {
        [] => return Err(read::no_application(member, &view, name).await),
        [application] => application,
        [one, other, ..] => {
            return Err(Refusal::ambiguous(
                format!(
                    "{name} is configured in the repositories {} and {}: neither is applied",
                    one.repository, other.repository
                ),
                "give one of them another name",
            ));
        }
    };
    let mut targets: Vec<DiffDocument> = Vec::new();
    let mut elsewhere: Vec<(ClusterName, &Peer)> = Vec::new();
    for cluster in &application.clusters {
        let peer = peer_of(member, &view, application, cluster)
            .filter(|_| request.reach == i32::from(wire::Reach::All));
        match (member.clusters.has(cluster), peer) {
            (true, _) => targets.push(here(member, &view, application, cluster).await),
            (false, Some(peer)) => elsewhere.push((cluster.clone(), peer)),
            (false, None) => targets.push(incomparable(
                application,
                cluster,
                Incomparable::unreachable("the answering member has no connection to it"),
            )),
        }
    }
    for (cluster, peer) in elsewhere {
        let answer = ask(member, peer, name, &cluster).await;
        targets.push(answer.unwrap_or_else(|error| {
            incomparable(application, &cluster, Incomparable::unreachable(error))
        }));
    }
    targets.sort_by(|one, other| one.cluster.cmp(&other.cluster));
    read::document(member, &targets)
}

/// The other member that works on the target.
fn peer_of<'a>(
    member: &'a Member,
    view: &View,
    application: &Application,
    cluster: &ClusterName,
) -> Option<&'a Peer> {
    let key = regraft_model::id::TargetKey {
        application: application.name.clone(),
        cluster: cluster.clone(),
    };
    let assigned = view.assignments.get(&key)?.member;
    member
        .config
        .members
        .iter()
        .find(|peer| peer.id == assigned && assigned != member.config.member)
}

async fn ask(
    member: &Member,
    peer: &Peer,
    application: &str,
    cluster: &ClusterName,
) -> Result<DiffDocument, String> {
    let address = peer
        .admin
        .as_ref()
        .ok_or_else(|| format!("member {} has no `admin` address in `peers`", peer.id))?;
    let tls = member.replica.tls().ok_or("there are no certificates")?;
    let mut client = client::tcp(address, tls)
        .await
        .map_err(|error| failure::chain(&error))?;
    let request = wire::DiffRequest {
        application: application.to_owned(),
        reach: wire::Reach::Callee.into(),
    };
    let answer = client
        .diff(request)
        .await
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let targets: Vec<DiffDocument> =
        serde_json::from_slice(&answer.json).map_err(|error| error.to_string())?;
    let found = targets
        .into_iter()
        .find(|target| target.cluster == *cluster);
    found.ok_or_else(|| format!("member {} does not know the cluster", peer.id))
}

async fn here(
    member: &Member,
    view: &View,
    application: &Application,
    cluster: &ClusterName,
) -> DiffDocument {
    match previews(member, view, application, cluster).await {
        Ok(asked) => compared(application, cluster, &asked),
        Err(why) => incomparable(application, cluster, why),
    }
}

/// Why a cluster cannot be compared with Git.
struct Incomparable {
    outcome: DiffOutcome,
    why: String,
}

impl Incomparable {
    fn unreachable(why: impl std::fmt::Display) -> Self {
        Self {
            outcome: DiffOutcome::Unreachable,
            why: format!("cluster unreachable: {why}"),
        }
    }

    fn invalid(why: impl Into<String>) -> Self {
        Self {
            outcome: DiffOutcome::Invalid,
            why: why.into(),
        }
    }
}

fn incomparable(
    application: &Application,
    cluster: &ClusterName,
    Incomparable { outcome, why }: Incomparable,
) -> DiffDocument {
    DiffDocument {
        application: application.name.clone(),
        cluster: cluster.clone(),
        summary: format!("cannot be compared: {why}"),
        outcome,
        objects: Vec::new(),
    }
}

fn compared(
    application: &Application,
    cluster: &ClusterName,
    Asked {
        previews,
        deletions,
    }: &Asked,
) -> DiffDocument {
    let silent = |preview: &Preview| {
        let failure = preview.failure.as_ref()?;
        SILENCE
            .contains(&failure.reason.as_str())
            .then(|| failure.message.clone())
    };
    // One unanswered question stands for all: what the others said is not the whole.
    if let Some(why) = previews.iter().find_map(silent) {
        return incomparable(application, cluster, Incomparable::unreachable(why));
    }
    let mut objects: Vec<ObjectDiffDocument> = previews.iter().filter_map(changed).collect();
    objects.extend(deletions.iter().map(|key| ObjectDiffDocument {
        object: key.to_string(),
        change: ObjectChange::Deletes,
        diff: "it is not in Git any more".to_owned(),
    }));
    let refused = objects
        .iter()
        .filter(|object| object.change == ObjectChange::Unknown)
        .count();
    let differing = objects.len() - refused;
    let all = previews.len() + deletions.len();
    let (outcome, summary) = match (differing, refused) {
        (0, 0) => (
            DiffOutcome::Same,
            match all {
                1 => "its 1 object is as Git says".to_owned(),
                all => format!("all {all} objects are as Git says"),
            },
        ),
        (_, 0) => (
            DiffOutcome::Differs,
            format!("{differing} of {all} objects differ"),
        ),
        _ => (
            DiffOutcome::Refused,
            format!("{differing} of {all} objects differ, {refused} cannot be compared"),
        ),
    };
    DiffDocument {
        application: application.name.clone(),
        cluster: cluster.clone(),
        summary,
        outcome,
        objects,
    }
}

/// What the server made of what Git says, and what Git does not say any more.
struct Asked {
    previews: Vec<Preview>,
    deletions: Vec<ObjectKey>,
}

async fn previews(
    member: &Member,
    view: &View,
    application: &Application,
    cluster: &ClusterName,
) -> Result<Asked, Incomparable> {
    let head = view
        .heads
        .get(&application.repository)
        .ok_or_else(|| Incomparable::invalid("no head is recorded"))?;
    let git = member
        .git
        .get(&application.repository)
        .ok_or_else(|| Incomparable::invalid("this member does not know the repository"))?;
    let files = git
        .files(head.revision.clone(), application.path.clone())
        .await
        .map_err(Incomparable::invalid)?;
    let rendered = regraft_render::manifests(application, &files);
    let is_error = |problem: &&Problem| problem.severity == Severity::Error;
    if let Some(problem) = rendered.problems.iter().find(is_error) {
        return Err(Incomparable::invalid(problem.to_string()));
    }
    let installation = view.installation.as_deref().unwrap_or_default();
    let objects = rendered
        .objects
        .into_iter()
        .map(|rendered| rendered.object)
        .collect();
    let stamped = regraft_diff::stamp(&application.name, installation, objects);
    let question = Question {
        application: application.clone(),
        cluster: cluster.clone(),
        objects: stamped,
    };
    let wanted = member.engine.wanted(question).await;
    let wanted =
        wanted.ok_or_else(|| Incomparable::unreachable("the answering member is stopping"))?;
    let staged = wanted
        .objects
        .into_iter()
        .map(|object| StagedObject {
            object,
            conflicts: application.conflicts,
        })
        .collect();
    let previews = member.clusters.preview(cluster, staged).await;
    Ok(Asked {
        previews: previews.map_err(Incomparable::unreachable)?,
        deletions: wanted.deletions,
    })
}

/// An object that is not what Git says; `None` when it is.
fn changed(preview: &Preview) -> Option<ObjectDiffDocument> {
    let (change, diff) = match (&preview.live, &preview.would_be, &preview.failure) {
        (_, _, Some(failure)) => (
            ObjectChange::Unknown,
            format!("{}: {}", failure.reason, failure.message),
        ),
        (live, Some(would_be), None) => {
            let (before, after) = (live.as_ref().map(bare), bare(would_be));
            if before.as_ref() == Some(&after) {
                return None;
            }
            let after = plain(after, before.as_ref());
            let before = before.map(|before| plain(before, None)).unwrap_or_default();
            let text = TextDiff::from_lines(&before, &after)
                .unified_diff()
                .context_radius(CONTEXT_LINES)
                .to_string();
            let change = match live {
                Some(_) => ObjectChange::Changes,
                None => ObjectChange::Creates,
            };
            (change, text)
        }
        (_, None, None) => return None,
    };
    Some(ObjectDiffDocument {
        object: preview.key.to_string(),
        change,
        diff,
    })
}

/// What Git can say of an object.
fn bare(object: &Object) -> Value {
    let mut value = object.0.clone();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !SERVER_FIELDS.contains(&key.as_str()));
    }
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    value
}

/// YAML as a person would write it. Values of Secrets are not shown, only whether they differ from those before.
fn plain(mut value: Value, before: Option<&Value>) -> String {
    if value["kind"] == "Secret" {
        for part in ["data", "stringData"] {
            let shown = value.get_mut(part).and_then(Value::as_object_mut);
            for (key, secret) in shown.into_iter().flatten() {
                let was = before.and_then(|before| before.get(part)?.get(key));
                let differs = was.is_some_and(|was| was != secret);
                let told = if differs {
                    "(hidden, differs)"
                } else {
                    "(hidden)"
                };
                *secret = Value::from(told);
            }
        }
    }
    serde_saphyr::to_string(&value).unwrap_or_else(|_| value.to_string())
}
