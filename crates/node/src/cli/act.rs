//! Commands that change something: each is one command in the replicated log, under the caller's name.

use super::connection::Client;
use super::{Exit, Failure, print, read};
use crate::clock;
use crate::document::{ApplicationDocument, HASH_CHARS_MIN};
use clap::{ArgGroup, Args};
use regraft_model::finding::{PendingDeletion, SyncState};
use regraft_model::health::Health;
use regraft_model::id::Fence;
use regraft_model::source::Revision;
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
    /// Wait until it is synced and healthy in all its clusters
    #[arg(long)]
    wait: bool,
    /// Give up waiting after so many seconds
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
        let answered = |target: &&ApplicationDocument| target.answered_sync >= fence;
        let blocked = targets
            .iter()
            .filter(answered)
            .find(|target| target.sync == SyncState::Blocked);
        let (reason, left) = match blocked {
            Some(target) => ("Blocked", vec![how(target)]),
            None => ("TimedOut", unfinished(&targets, fence)),
        };
        if left.is_empty() {
            return print(&ended(&targets));
        }
        if blocked.is_some() || started.elapsed() > Duration::from_secs(args.timeout) {
            return Err(Failure::new(
                Exit::Failed,
                reason,
                format!(
                    "after {} s: {}",
                    started.elapsed().as_secs(),
                    left.join("; ")
                ),
                format!("see `regraft diff {}`", args.application),
            ));
        }
        clock::pause(POLL_PERIOD).await;
    }
}

/// Clusters that have not answered a requested sync yet, or are not healthy at what it brought. Where a person paused
/// the work nothing is to come.
fn unfinished(targets: &[ApplicationDocument], fence: Fence) -> Vec<String> {
    let is_done = |target: &&ApplicationDocument| {
        target.sync == SyncState::Suspended
            || (target.answered_sync >= fence
                && target.sync == SyncState::Synced
                && target.health == Health::Healthy)
    };
    targets
        .iter()
        .filter(|target| !is_done(target))
        .map(how)
        .collect()
}

fn how(target: &ApplicationDocument) -> String {
    format!(
        "{}: {} {} {}",
        target.cluster, target.sync, target.health, target.message
    )
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
        return Err(Failure::new(
            Exit::NotFound,
            "NothingToConfirm",
            format!(
                "no deletion of {} waits for a confirmation",
                args.application
            ),
            format!("see `regraft get applications {}`", args.application),
        ));
    }
    for (cluster, deletion) in &waiting {
        print(&format!(
            "{} in {cluster}: {} objects would be deleted\n",
            args.application,
            deletion.objects.len()
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

fn told(answer: Answer) -> Result<(), Failure> {
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

fn not_confirmed() -> Failure {
    Failure::new(
        Exit::Refused,
        "NotConfirmed",
        "nothing was confirmed",
        "answer yes, or give --yes",
    )
}

fn agreed(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    print(&format!("{question} [yes/no] "))?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    Ok(read.is_ok() && line.trim().eq_ignore_ascii_case("yes"))
}
