//! What differs between Git and the clusters of an application: the server's own dry run, next to what is there.

use super::read;
use super::refusal::Refusal;
use crate::cli::{connect, failure_chain};
use crate::config::Peer;
use crate::serve::member::Member;
use regraft_cluster::Preview;
use regraft_model::apply::StagedObject;
use regraft_model::config::Application;
use regraft_model::id::ClusterName;
use regraft_model::object::Object;
use regraft_render::Scopes;
use regraft_state::view::View;
use regraft_wire::admin::v1 as wire;
use serde_json::{Value, json};
use similar::TextDiff;
use std::sync::Arc;

/// Lines shown around a change.
const CONTEXT_LINES: usize = 3;
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
    let application = view
        .configurations
        .values()
        .find_map(|it| it.fleet.applications.get(&name.into()));
    let application = application.ok_or_else(|| {
        Refusal::not_found(
            format!("there is no application `{name}`"),
            "see `regraft get applications`",
        )
    })?;
    let mut targets: Vec<Value> = Vec::new();
    let mut elsewhere: Vec<(ClusterName, &Peer)> = Vec::new();
    for cluster in &application.clusters {
        let peer = peer_of(member, &view, application, cluster)
            .filter(|_| request.reach == i32::from(wire::Reach::All));
        match (member.clusters.has(cluster), peer) {
            (true, _) => targets.push(here(member, &view, application, cluster).await),
            (false, Some(peer)) => elsewhere.push((cluster.clone(), peer)),
            (false, None) => targets.push(unknown(
                application,
                cluster,
                "no connection to the cluster here",
            )),
        }
    }
    for (cluster, peer) in elsewhere {
        let answer = ask(member, peer, name, &cluster).await;
        targets.push(answer.unwrap_or_else(|error| unknown(application, &cluster, &error)));
    }
    targets.sort_by_key(|target| target["cluster"].as_str().unwrap_or_default().to_owned());
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
) -> Result<Value, String> {
    let address = peer
        .admin
        .as_ref()
        .ok_or_else(|| format!("member {} has no `admin` address in `peers`", peer.id))?;
    let tls = member.replica.tls().ok_or("there are no certificates")?;
    let mut client = connect(address, tls)
        .await
        .map_err(|error| failure_chain(&error))?;
    let request = wire::DiffRequest {
        application: application.to_owned(),
        reach: wire::Reach::Callee.into(),
    };
    let answer = client
        .diff(request)
        .await
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let targets: Vec<Value> =
        serde_json::from_slice(&answer.json).map_err(|error| error.to_string())?;
    let found = targets
        .into_iter()
        .find(|target| target["cluster"] == cluster.as_str());
    found.ok_or_else(|| format!("member {} does not know the cluster", peer.id))
}

async fn here(
    member: &Member,
    view: &View,
    application: &Application,
    cluster: &ClusterName,
) -> Value {
    match previews(member, view, application, cluster).await {
        Ok(previews) => {
            let objects: Vec<Value> = previews.iter().filter_map(changed).collect();
            let summary = match objects.len() {
                0 => format!("all {} objects are as Git says", previews.len()),
                differing => format!("{differing} of {} objects differ", previews.len()),
            };
            json!({"application": application.name, "cluster": cluster, "summary": summary, "objects": objects})
        }
        Err(error) => unknown(application, cluster, &error),
    }
}

fn unknown(application: &Application, cluster: &ClusterName, why: &str) -> Value {
    json!({"application": application.name, "cluster": cluster, "summary": format!("cannot be told: {why}"), "objects": []})
}

async fn previews(
    member: &Member,
    view: &View,
    application: &Application,
    cluster: &ClusterName,
) -> Result<Vec<Preview>, String> {
    let head = view
        .heads
        .get(&application.repository)
        .ok_or("no head is recorded")?;
    let git = member
        .git
        .get(&application.repository)
        .ok_or("this member does not know the repository")?;
    let files = git
        .files(head.revision.clone(), application.path.clone())
        .await?;
    let rendered = regraft_render::manifests(application, &files, &Scopes::default());
    if let Some(problem) = rendered.problems.first() {
        return Err(problem.to_string());
    }
    let installation = view.installation.as_deref().unwrap_or_default();
    let objects = rendered
        .objects
        .into_iter()
        .map(|rendered| rendered.object)
        .collect();
    let staged = regraft_diff::stamp(&application.name, installation, objects)
        .into_iter()
        .map(|object| StagedObject {
            object,
            conflicts: application.conflicts,
            live_version: None,
        })
        .collect();
    member.clusters.preview(cluster, staged).await
}

/// An object that is not what Git says; `None` when it is.
fn changed(preview: &Preview) -> Option<Value> {
    let (change, diff) = match (&preview.live, &preview.would_be, &preview.failure) {
        (_, _, Some(failure)) => (
            "cannot be told:",
            format!("{}: {}", failure.reason, failure.message),
        ),
        (live, Some(would_be), None) => {
            let before = live.as_ref().map(plain).unwrap_or_default();
            let after = plain(would_be);
            if before == after {
                return None;
            }
            let text = TextDiff::from_lines(&before, &after)
                .unified_diff()
                .context_radius(CONTEXT_LINES)
                .to_string();
            (if live.is_some() { "changes" } else { "creates" }, text)
        }
        (_, None, None) => return None,
    };
    Some(json!({"object": preview.key.to_string(), "change": change, "diff": diff}))
}

/// YAML as a person would write it. Values of Secrets are not shown.
fn plain(object: &Object) -> String {
    let mut value = object.0.clone();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !SERVER_FIELDS.contains(&key.as_str()));
    }
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
        if object.kind() == "Secret" {
            for part in ["data", "stringData"] {
                for hidden in map
                    .get_mut(part)
                    .and_then(Value::as_object_mut)
                    .into_iter()
                    .flat_map(|data| data.values_mut())
                {
                    *hidden = Value::from("(hidden)");
                }
            }
        }
    }
    serde_saphyr::to_string(&value).unwrap_or_else(|_| value.to_string())
}
