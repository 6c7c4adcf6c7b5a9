//! `regraft members`: changes of the trio itself, while it runs.

use super::act::{agreed, not_confirmed, told};
use super::{Exit, Failure, complain, read};
use crate::client::Client;
use crate::clock;
use crate::document::{MemberDocument, MemberRole};
use clap::{Args, Subcommand};
use regraft_wire::admin::v1 as wire;
use regraft_wire::admin::v1::change_members_request::Change;
use std::time::Duration;
use tonic::Code;

/// How often a new member is tried for its vote.
const AGAIN_PERIOD: Duration = Duration::from_millis(500);
const TIMEOUT_DEFAULT_S: u64 = 600;

#[derive(Subcommand)]
pub(crate) enum Members {
    /// Take a member in that was started beside the others: it gets the state first, and then its vote
    Add(AddArgs),
    /// Remove a member, for good: its id is not used again
    Remove {
        /// Its id
        id: u64,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Have a member lead
    Lead {
        /// Its id
        id: u64,
    },
}

#[derive(Args)]
pub(crate) struct AddArgs {
    /// Its id, never used before
    id: u64,
    /// Where the others reach it, as its `listen.raft`
    #[arg(value_name = "HOST:PORT")]
    raft: String,
    /// Take the place of this member, which lost its disk or its machine: one gets the vote as the other loses it
    #[arg(long, value_name = "ID")]
    replace: Option<u64>,
    /// Give it no vote: it only follows
    #[arg(long, conflicts_with = "replace")]
    no_vote: bool,
    /// Give up waiting for it to have the state after so many seconds, with 4; it goes on, and asking again goes on from there
    #[arg(long, default_value_t = TIMEOUT_DEFAULT_S, value_name = "SECONDS")]
    timeout: u64,
}

pub(super) async fn run(mut client: Client, command: &Members) -> Result<(), Failure> {
    match command {
        Members::Add(args) => add(client, args).await,
        Members::Remove { id, yes } => {
            let question = format!("Member {id} leaves for good. Remove it?");
            if !yes && !agreed(&question)? {
                return Err(not_confirmed());
            }
            told(client.change_members(request(Change::Remove(*id))).await)
        }
        Members::Lead { id } => told(client.change_members(request(Change::Lead(*id))).await),
    }
}

async fn add(mut client: Client, args: &AddArgs) -> Result<(), Failure> {
    if let Some(replaced) = args.replace {
        check_replaced(&read::members(&mut client).await?, args.id, replaced)?;
    }
    let new = wire::NewMember {
        id: args.id,
        address: args.raft.clone(),
    };
    told(client.change_members(request(Change::Add(new))).await)?;
    if args.no_vote {
        return Ok(());
    }
    let promotion = wire::Promotion {
        id: args.id,
        replaces: args.replace.unwrap_or_default(),
    };
    let started = clock::instant();
    let mut shown = String::new();
    loop {
        let answer = client
            .change_members(request(Change::Promote(promotion)))
            .await;
        let status = match answer {
            Err(status) if status.code() == Code::Unavailable => status,
            answer => return told(answer),
        };
        if started.elapsed() >= Duration::from_secs(args.timeout) {
            return Err(Failure::new(
                Exit::Unreachable,
                "NotYet",
                format!("after {} s: {}", args.timeout, status.message()),
                format!(
                    "member {} goes on without a vote: ask again with the same command, or give it up with `regraft members remove {}`",
                    args.id, args.id
                ),
            ));
        }
        if shown != status.message() {
            shown = status.message().to_owned();
            complain(&format!("{shown}\n"));
        }
        clock::pause(AGAIN_PERIOD).await;
    }
}

/// Before anything is changed: who gives its vote up has one, unless the same command was given before.
fn check_replaced(members: &[MemberDocument], id: u64, replaced: u64) -> Result<(), Failure> {
    let votes = |id: u64| {
        let has_none = [MemberRole::Learner, MemberRole::None];
        let mut members = members.iter();
        members.any(|it| it.id.0 == id && !has_none.contains(&it.role))
    };
    let (reason, message) = match id == replaced {
        true => (
            "SameMember",
            format!("member {id} cannot take its own place"),
        ),
        false if votes(replaced) || votes(id) => return Ok(()),
        false => (
            "NoVote",
            format!("member {replaced}, which it should replace, has no vote"),
        ),
    };
    let action = "see who votes with `regraft get members`";
    Err(Failure::new(Exit::Usage, reason, message, action))
}

fn request(change: Change) -> wire::ChangeMembersRequest {
    wire::ChangeMembersRequest {
        change: Some(change),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn member(id: u64, role: &str) -> MemberDocument {
        let document = json!({
            "id": id, "role": role, "address": "", "admin": null, "applied": null, "lastContactMs": null,
            "answering": false,
        });
        serde_json::from_value(document).unwrap()
    }

    #[track_caller]
    fn check(id: u64, replaced: u64, expected: Option<&str>) {
        let members = [
            member(1, "leader"),
            member(2, "follower"),
            member(3, "unknown"),
            member(4, "learner"),
            member(5, "none"),
        ];
        let told = check_replaced(&members, id, replaced);
        let told = told.err().map(|failure| failure.to_string());
        let reason = told.as_deref().and_then(|text| text.split(": ").nth(1));
        assert_eq!(reason, expected, "{told:?}");
    }

    #[test]
    fn who_is_replaced_has_a_vote_to_give() {
        check(6, 3, None);
        check(4, 2, None);
        // The command was given before, and it was done.
        check(2, 7, None);
        check(6, 6, Some("SameMember"));
        check(6, 4, Some("NoVote"));
        check(6, 5, Some("NoVote"));
        check(6, 9, Some("NoVote"));
    }
}
