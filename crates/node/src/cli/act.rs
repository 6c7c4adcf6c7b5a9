//! Commands that change something: each is one command in the replicated log, under the caller's name.

use super::{Exit, Failure, print, read};
use crate::client::Client;
use crate::clock;
use crate::document::{ApplicationDocument, HASH_CHARS_MIN};
use clap::{ArgGroup, Args};
use regraft_model::finding::{PendingDeletion, SyncState};
use regraft_model::health::Health;
use regraft_model::id::Fence;
use regraft_model::source::Revision;
use regraft_model::text::counted;
use regraft_wire::admin::v1 as wire;
use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

/// How often `--wait` looks.
const POLL_PERIOD: Duration = Duration::from_millis(250);
const WAIT_TIMEOUT_DEFAULT_S: u64 = 300;

#[derive(Args)]
pub(crate) struct SyncArgs {
    /// The application
    application: String,
    /// Wait until it is synced and healthy in all its clusters; ends with 5 when it is blocked
    #[arg(long)]
    wait: bool,
    /// Give up waiting after so many seconds, with 4 when a cluster cannot be reached and 6 otherwise
    #[arg(long, default_value_t = WAIT_TIMEOUT_DEFAULT_S, value_name = "SECONDS")]
    timeout: u64,
}

#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true)))]
struct What {
    /// The application
    #[arg(group = "what")]
    application: Option<String>,
    /// Everything
    #[arg(long, group = "what")]
    all: bool,
}

#[derive(Args)]
pub(crate) struct SuspendArgs {
    #[command(flatten)]
    what: What,
    /// Why: the others will read it
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    what: What,
    /// A repository whose history was rewritten, after looking at it
    #[arg(long, group = "what")]
    repository: Option<String>,
}

#[derive(Args)]
pub(crate) struct ApproveArgs {
    /// The incident
    incident: String,
    /// Hash of the diff you read, as `regraft describe incident` shows it
    #[arg(long, value_name = "HASH")]
    diff: String,
}

#[derive(Args)]
pub(crate) struct VetoArgs {
    /// The incident
    incident: String,
    /// Why: the others will read it
    #[arg(long)]
    reason: String,
}

#[derive(Args)]
pub(crate) struct ConfirmDeleteArgs {
    /// The application
    application: String,
    /// Only in this cluster
    #[arg(long)]
    cluster: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
pub(crate) struct ForgetClusterArgs {
    /// The cluster
    cluster: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) async fn sync(mut client: Client, args: &SyncArgs) -> Result<(), Failure> {
    let request = wire::SyncRequest {
        application: args.application.clone(),
    };
    let fence = Fence(accepted(client.sync(request).await)?.index);
    if !args.wait {
        return Ok(());
    }
    let started = clock::instant();
    loop {
        let targets = read::targets(&mut client, &args.application).await?;
        let waited = started.elapsed();
        let time = match waited < Duration::from_secs(args.timeout) {
            true => Time::Left,
            false => Time::Over,
        };
        match judged(&targets, fence, time) {
            Wait::Done => return print(&ended(&targets)),
            Wait::Failed(exit, reason, why, next) => {
                let message = format!("after {} s: {why}", waited.as_secs());
                return Err(Failure::new(exit, reason, message, next));
            }
            Wait::On => clock::pause(POLL_PERIOD).await,
        }
    }
}

/// Whether one still waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    Left,
    Over,
}

/// What waiting for a sync came to.
#[derive(Debug, PartialEq, Eq)]
enum Wait {
    Done,
    On,
    /// With the reason's word, what is in the way, and what to do.
    Failed(Exit, &'static str, String, String),
}

fn judged(targets: &[ApplicationDocument], fence: Fence, time: Time) -> Wait {
    let name = targets.first().map_or("", |target| target.name.as_str());
    let mut blocked = targets
        .iter()
        .filter(|target| target.answered_sync >= fence && target.sync == SyncState::Blocked);
    if let Some(target) = blocked.next() {
        let next = format!("see `regraft diff {name}`");
        return Wait::Failed(Exit::Refused, "Blocked", how(target), next);
    }
    let left = unfinished(targets, fence);
    if left.is_empty() {
        return Wait::Done;
    }
    if time == Time::Left {
        return Wait::On;
    }
    let why: Vec<String> = left.iter().map(|target| how(target)).collect();
    let why = why.join("; ");
    let unreachable = |target: &&ApplicationDocument| target.sync == SyncState::Unreachable;
    match left.iter().any(unreachable) {
        true => Wait::Failed(
            Exit::Unreachable,
            "ClusterUnreachable",
            why,
            "see `regraft get clusters`: it is synced when the cluster answers again".to_owned(),
        ),
        false => Wait::Failed(
            Exit::Unknown,
            "TimedOut",
            why,
            format!("the sync goes on: see `regraft describe application {name}`"),
        ),
    }
}

/// Clusters that have not answered a requested sync yet, or are not healthy at what it brought. Where a person paused
/// the work nothing is to come.
fn unfinished(targets: &[ApplicationDocument], fence: Fence) -> Vec<&ApplicationDocument> {
    let is_done = |target: &&ApplicationDocument| {
        target.sync == SyncState::Suspended
            || (target.answered_sync >= fence
                && target.sync == SyncState::Synced
                && target.health == Health::Healthy)
    };
    targets.iter().filter(|target| !is_done(target)).collect()
}

fn how(target: &ApplicationDocument) -> String {
    let standing = format!("{}: {} {}", target.cluster, target.sync, target.health);
    match target.message.as_str() {
        "" => standing,
        message => format!("{standing}, {message}"),
    }
}

/// Where each cluster ended.
fn ended(targets: &[ApplicationDocument]) -> String {
    let mut text = String::new();
    for target in targets {
        let how = match target.sync {
            SyncState::Suspended => "suspended",
            _ => "synced and healthy",
        };
        let revision = target.revision.as_ref().map_or("-", Revision::short);
        text.push_str(&format!(
            "{} in {} is {how} at {revision}\n",
            target.name, target.cluster
        ));
    }
    text
}

pub(super) async fn suspend(mut client: Client, args: &SuspendArgs) -> Result<(), Failure> {
    let request = wire::SuspendRequest {
        subject: Some(subject(&args.what, None)),
        reason: args.reason.clone(),
    };
    told(client.suspend(request).await)
}

pub(super) async fn resume(mut client: Client, args: &ResumeArgs) -> Result<(), Failure> {
    let subject = subject(&args.what, args.repository.as_deref());
    told(
        client
            .resume(wire::ResumeRequest {
                subject: Some(subject),
            })
            .await,
    )
}

pub(super) async fn approve(mut client: Client, args: &ApproveArgs) -> Result<(), Failure> {
    read::incident(&mut client, &args.incident).await?;
    if args.diff.len() < HASH_CHARS_MIN || !args.diff.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::new(
            Exit::Usage,
            "BadHash",
            format!("`{}` is no hash of a diff", args.diff),
            format!(
                "read `regraft describe incident {}`, and give at least {HASH_CHARS_MIN} characters of the hash it shows",
                args.incident
            ),
        ));
    }
    let request = wire::ApproveRequest {
        incident: args.incident.clone(),
        diff_hash: args.diff.to_lowercase(),
    };
    told(client.approve(request).await)
}

pub(super) async fn veto(mut client: Client, args: &VetoArgs) -> Result<(), Failure> {
    let incident = read::incident(&mut client, &args.incident).await?;
    let request = wire::VetoRequest {
        incident: incident.id.to_string(),
        reason: args.reason.clone(),
    };
    told(client.veto(request).await)
}

pub(super) async fn forget_cluster(
    mut client: Client,
    args: &ForgetClusterArgs,
) -> Result<(), Failure> {
    let known = read::cluster(&mut client, &args.cluster).await?;
    print(&format!(
        "{} is the cluster whose kube-system has the UID {}.\nOnce that is forgotten, whatever answers under its name gets \
         what Git says, and loses what its inventory lists and Git does not.\n",
        known.name,
        known.uid.as_deref().unwrap_or("-")
    ))?;
    if !args.yes && !agreed("Forget it?")? {
        return Err(not_confirmed());
    }
    let request = wire::ForgetClusterRequest {
        cluster: args.cluster.clone(),
    };
    told(client.forget_cluster(request).await)
}

pub(super) async fn confirm_delete(
    mut client: Client,
    args: &ConfirmDeleteArgs,
) -> Result<(), Failure> {
    let targets = read::targets(&mut client, &args.application).await?;
    if let Some(failure) = not_there(args, &targets) {
        return Err(failure);
    }
    let waiting: Vec<(String, PendingDeletion)> = targets
        .into_iter()
        .filter(|target| {
            args.cluster
                .as_deref()
                .is_none_or(|cluster| target.cluster.as_str() == cluster)
        })
        .filter_map(|target| Some((target.cluster.to_string(), target.pending_deletion?)))
        .collect();
    if waiting.is_empty() {
        return Err(nothing_to_confirm(&args.application));
    }
    for (cluster, deletion) in &waiting {
        print(&format!(
            "{} in {cluster}: {} would be deleted\n",
            args.application,
            counted(deletion.objects.len(), "object")
        ))?;
        for object in &deletion.objects {
            print(&format!("  {object}\n"))?;
        }
    }
    if !args.yes && !agreed("Delete them?")? {
        return Err(not_confirmed());
    }
    for (cluster, deletion) in waiting {
        let request = wire::ConfirmDeleteRequest {
            application: args.application.clone(),
            cluster,
            token: deletion.token,
        };
        told(client.confirm_delete(request).await)?;
    }
    Ok(())
}

fn nothing_to_confirm(application: &str) -> Failure {
    Failure::new(
        Exit::Refused,
        "NothingToConfirm",
        format!(
            "no deletion of {application} waits for a confirmation, and nothing is confirmed in advance"
        ),
        format!("see `regraft get applications {application}`"),
    )
}

/// A cluster was named that the application is not in.
fn not_there(args: &ConfirmDeleteArgs, targets: &[ApplicationDocument]) -> Option<Failure> {
    let named = args.cluster.as_deref()?;
    let clusters: Vec<&str> = targets.iter().map(|it| it.cluster.as_str()).collect();
    if clusters.contains(&named) {
        return None;
    }
    Some(Failure::new(
        Exit::NotFound,
        "NotFound",
        format!("{} is in no cluster `{named}`", args.application),
        format!("name one of: {}", clusters.join(", ")),
    ))
}

fn subject(what: &What, repository: Option<&str>) -> wire::Subject {
    use wire::subject::Subject;
    let subject = match (&what.application, repository) {
        (Some(application), _) => Subject::Application(application.clone()),
        (None, Some(repository)) => Subject::Repository(repository.to_owned()),
        (None, None) => Subject::All(what.all),
    };
    wire::Subject {
        subject: Some(subject),
    }
}

type Answer = Result<tonic::Response<wire::Accepted>, tonic::Status>;

pub(super) fn told(answer: Answer) -> Result<(), Failure> {
    accepted(answer).map(drop)
}

/// Prints what was accepted.
fn accepted(answer: Answer) -> Result<wire::Accepted, Failure> {
    let accepted = answer
        .map_err(|status| Failure::of_status(&status))?
        .into_inner();
    print(&format!("{}\n", accepted.message))?;
    Ok(accepted)
}

pub(super) fn not_confirmed() -> Failure {
    Failure::new(
        Exit::Refused,
        "NotConfirmed",
        "nothing was confirmed",
        "answer yes, or give --yes",
    )
}

pub(super) fn agreed(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    print(&format!("{question} [yes/no] "))?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    Ok(read.is_ok() && line.trim().eq_ignore_ascii_case("yes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(cluster: &str, sync: &str, health: &str, answered: u64) -> ApplicationDocument {
        serde_json::from_value(json!({
            "name": "shop", "cluster": cluster, "repository": "fleet", "path": "apps/shop", "mode": "auto",
            "member": 1, "head": null, "revision": null, "sync": sync, "reason": sync, "message": "",
            "health": health, "since": 0, "appliedAt": null, "verified": null, "verifiedAt": null,
            "workloads": 1, "failures": [], "incident": null, "suspended": null, "pendingDeletion": null,
            "answeredSync": answered,
        }))
        .unwrap()
    }

    #[track_caller]
    fn check(targets: &[ApplicationDocument], time: Time, expected: Option<(Exit, &str, &str)>) {
        let found = match judged(targets, Fence(7), time) {
            Wait::Done => None,
            Wait::On => Some((Exit::Failed, "On", String::new())),
            Wait::Failed(exit, reason, why, _) => Some((exit, reason, why)),
        };
        let found = found
            .as_ref()
            .map(|(exit, reason, why)| (*exit, *reason, why.as_str()));
        assert_eq!(found, expected);
    }

    #[test]
    fn waiting_for_a_sync_ends_with_the_code_of_what_is_in_the_way() {
        let done = || target("eu", "Synced", "Healthy", 7);
        let early = || target("eu", "Synced", "Healthy", 6);
        let lost = || target("us", "Unreachable", "Unknown", 6);
        let blocked = |answered| target("us", "Blocked", "Healthy", answered);
        let still = Some((Exit::Failed, "On", ""));
        check(&[done()], Time::Left, None);
        check(
            &[done(), target("us", "Suspended", "Unknown", 0)],
            Time::Left,
            None,
        );
        check(&[done(), lost()], Time::Left, still);
        let why = "us: Unreachable Unknown";
        let expected = Some((Exit::Unreachable, "ClusterUnreachable", why));
        check(&[done(), lost()], Time::Over, expected);
        check(&[early()], Time::Left, still);
        let expected = Some((Exit::Unknown, "TimedOut", "eu: Synced Healthy"));
        check(&[early()], Time::Over, expected);
        // What blocked it before the request may not block what the request brings.
        check(&[done(), blocked(6)], Time::Left, still);
        let expected = Some((Exit::Refused, "Blocked", "us: Blocked Healthy"));
        check(&[lost(), blocked(7)], Time::Left, expected);
    }

    #[test]
    fn a_confirmation_in_advance_is_refused() {
        let failure = nothing_to_confirm("shop");
        assert_eq!(failure.exit, Exit::Refused);
        insta::assert_snapshot!(failure.to_string(), @r"
        error: NothingToConfirm: no deletion of shop waits for a confirmation, and nothing is confirmed in advance
          next: see `regraft get applications shop`
        ");
    }
}
