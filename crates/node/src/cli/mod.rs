//! The commands of `regraft`: arguments in, words or documents out.
//!
//! ```text
//! arguments ─┬─ serve ──────────────────> crate::serve
//!            ├─ certs, health, restore, completion  on this machine alone
//!            └─ everything else ─ gRPC ──> any member ─> Document (JSON) ─> table, json, yaml
//! ```

mod act;
mod backup;
mod certs;
mod chain;
mod compare;
mod connection;
mod health;
mod listing;
mod members;
mod output;
mod overview;
mod read;
mod restore;
mod story;
mod table;
#[cfg(test)]
mod tests;

use crate::failure::{self, Exit, Failure};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) use output::{complain, print};

/// What only Git can pause.
const SUSPEND_IN_GIT: &str =
    "A cluster is paused in Git, with `suspend: true` in the spec of its Cluster object.";

/// Self-healing GitOps: clusters become what Git says, and repairs are commits.
#[derive(Parser)]
#[command(name = "regraft", version, after_help = failure::exit_codes(), arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

/// How to reach a member.
#[derive(Args)]
pub(crate) struct Connection {
    /// A member: unix:/path/admin.sock, or HOST:PORT [env: REGRAFT_ADDRESS]
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        help_heading = "Connection"
    )]
    address: Option<String>,
    /// The cluster's authority (PEM), for HOST:PORT [env: REGRAFT_CA]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    ca: Option<PathBuf>,
    /// Your client certificate (PEM), made by `regraft certs client` [env: REGRAFT_CERT]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    cert: Option<PathBuf>,
    /// Its key (PEM) [env: REGRAFT_KEY]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    key: Option<PathBuf>,
    /// The member's configuration; on its own machine it says where the member listens [env: REGRAFT_CONFIG]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    config: Option<PathBuf>,
}

impl Connection {
    /// What the command line leaves out, as the environment says it. The parser is not told of the environment: its
    /// usage lines would show every option that is set there as one that has to be given.
    fn or_environment(mut self, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let file = |name: &str| set(name).map(PathBuf::from);
        let address = || set("REGRAFT_ADDRESS").map(|it| it.to_string_lossy().into_owned());
        self.address = self.address.or_else(address);
        self.ca = self.ca.or_else(|| file("REGRAFT_CA"));
        self.cert = self.cert.or_else(|| file("REGRAFT_CERT"));
        self.key = self.key.or_else(|| file("REGRAFT_KEY"));
        self.config = self.config.or_else(|| file("REGRAFT_CONFIG"));
        self
    }
}

#[derive(Subcommand)]
enum Command {
    /// Run a member
    Serve,
    /// Make the certificates of members and clients
    #[command(subcommand)]
    Certs(certs::Certs),
    /// Show the member, its trio, and what everything waits for
    Status(read::StatusArgs),
    /// List or show one kind of thing
    Get(read::GetArgs),
    /// Tell the story of one thing
    #[command(subcommand)]
    Describe(read::Describe),
    /// Show what differs between Git and the clusters; exit code 1 when something does
    Diff(compare::DiffArgs),
    /// Show who did what: the audit chain
    Audit(read::AuditArgs),
    /// Ask for a sync now
    Sync(act::SyncArgs),
    /// Pause reconciling and healing; --all is the kill switch
    #[command(after_help = SUSPEND_IN_GIT)]
    Suspend(act::SuspendArgs),
    /// Take a pause back
    Resume(act::ResumeArgs),
    /// Approve a proposed repair, by the hash of the diff you read
    Approve(act::ApproveArgs),
    /// Forbid a repair, now and for the same edits later
    Veto(act::VetoArgs),
    /// Confirm deletions beyond the cap, after reading the list
    ConfirmDelete(act::ConfirmDeleteArgs),
    /// Say that a cluster is gone for good, or was made anew
    ForgetCluster(act::ForgetClusterArgs),
    /// Change who the members are; `regraft get members` shows them
    #[command(subcommand)]
    Members(members::Members),
    /// Take the whole state into one file, or check one
    Backup(backup::BackupArgs),
    /// Make the data folder of a new member from a backup
    Restore(restore::RestoreArgs),
    /// Judge the health of objects without a cluster
    Health(health::HealthArgs),
    /// Print the completion script of a shell
    Completion {
        /// Which
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

/// How lists are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    #[default]
    Table,
    /// A table with every column, nothing cut
    Wide,
    Json,
    Yaml,
    /// KIND/NAME, one a line
    Name,
}

/// How documents are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

/// How fresh an answer must be.
#[derive(Args, Clone, Copy)]
pub(crate) struct Freshness {
    /// Take what the member has, also without a leader
    #[arg(long)]
    stale: bool,
}

/// Runs one command line.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let connection = cli.connection.or_environment(|name| std::env::var_os(name));
    match cli.command {
        Command::Serve => {
            let path = connection.config.ok_or_else(|| {
                Failure::new(
                    Exit::Usage,
                    "NoConfiguration",
                    "the member has no configuration",
                    "name one with --config FILE, or in REGRAFT_CONFIG; README, \"Your own cluster\", has one to copy",
                )
            })?;
            crate::serve::run(&path)
        }
        Command::Certs(command) => certs::run(command),
        Command::Health(args) => health::run(&args),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "regraft", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Version => print(&format!("regraft {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Status(args) => connection::ask(&connection, async |client| {
            read::status(client, &args).await
        }),
        Command::Get(args) => {
            connection::ask(&connection, async |client| read::get(client, &args).await)
        }
        Command::Describe(what) => connection::ask(&connection, async |client| {
            read::describe(client, &what).await
        }),
        Command::Diff(args) => connection::ask(&connection, async |client| {
            compare::diff(client, &args).await
        }),
        Command::Audit(args) => audit(&connection, &args),
        Command::Backup(args) => backup::run(&connection, &args),
        Command::Restore(args) => restore::run(connection.config.as_deref(), &args),
        Command::Sync(args) => {
            connection::ask(&connection, async |client| act::sync(client, &args).await)
        }
        Command::Suspend(args) => connection::ask(&connection, async |client| {
            act::suspend(client, &args).await
        }),
        Command::Resume(args) => {
            connection::ask(&connection, async |client| act::resume(client, &args).await)
        }
        Command::Approve(args) => connection::ask(&connection, async |client| {
            act::approve(client, &args).await
        }),
        Command::Veto(args) => {
            connection::ask(&connection, async |client| act::veto(client, &args).await)
        }
        Command::ConfirmDelete(args) => connection::ask(&connection, async |client| {
            act::confirm_delete(client, &args).await
        }),
        Command::Members(command) => connection::ask(&connection, async |client| {
            members::run(client, &command).await
        }),
        Command::ForgetCluster(args) => connection::ask(&connection, async |client| {
            act::forget_cluster(client, &args).await
        }),
    }
}

fn audit(connection: &Connection, args: &read::AuditArgs) -> Result<(), Failure> {
    match &args.what {
        None => connection::ask(connection, async |client| read::audit(client, args).await),
        Some(read::Audit::Verify(args)) => match args.file() {
            Some(file) => chain::verify_file(file, args),
            None => connection::ask(connection, async |client| chain::verify(client, args).await),
        },
    }
}
