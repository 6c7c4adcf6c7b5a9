//! `regraft audit verify`: the audit chain, hash by hash, on the side of who asks.
//!
//! ```text
//! first page: head and entries of one moment --> more pages, until the head of the first --> audit::verify
//! ```
//!
//! Entries never change while the chain grows, so pages of later moments continue the first one. Only where the oldest
//! entries were dropped before they were read it begins again.

use super::{Exit, Failure, Format, Freshness, backup, output, print, read};
use crate::client::Client;
use crate::document::AuditVerdictDocument;
use clap::Args;
use regraft_replica::backup::read_file;
use regraft_state::audit::{self, AuditHead, BrokenChain, Chain};
use regraft_wire::admin::v1 as wire;
use std::path::{Path, PathBuf};

/// Entries of one page: some hundred KiB.
const PAGE_ENTRIES: u32 = 1000;
/// How often it begins again: each time thousands of entries were appended while some were read.
const TRIES_MAX: u32 = 5;

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The chain in a backup; asks no member
    #[arg(long, value_name = "FILE", conflicts_with = "stale")]
    backup: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    freshness: Freshness,
}

impl VerifyArgs {
    /// The file whose chain is meant; none when that of the members is.
    pub(super) fn file(&self) -> Option<&Path> {
        self.backup.as_deref()
    }
}

pub(super) fn verify_file(file: &Path, args: &VerifyArgs) -> Result<(), Failure> {
    let mut chain = Chain::default();
    let read = read_file(file, &mut |key, value| {
        chain.add(key, value).map_err(std::io::Error::other)
    });
    read.map_err(|error| backup::unusable(&error))?;
    judge(&chain, args.output)
}

pub(super) async fn verify(mut client: Client, args: &VerifyArgs) -> Result<(), Failure> {
    let consistency = read::consistency(args.freshness);
    let chain = whole(async |from| {
        let request = wire::AuditChainRequest {
            from,
            limit: PAGE_ENTRIES,
            consistency,
        };
        let document = read::document(client.audit_chain(request).await)?;
        read::read(&document)
    })
    .await?;
    judge(&chain, args.output)?;
    read::warn_when_old(&mut client, args.freshness).await;
    Ok(())
}

/// The chain as it was when the first page was read, which `page` gives from a number on.
async fn whole(mut page: impl AsyncFnMut(u64) -> Result<Chain, Failure>) -> Result<Chain, Failure> {
    for _ in 0..TRIES_MAX {
        let mut chain = page(0).await?;
        let AuditHead { oldest, newest, .. } = chain.head;
        loop {
            // By place, not by what entries say of themselves: that is what is to be checked.
            let next = oldest + chain.entries.len() as u64;
            if next > newest {
                let wanted = (newest + 1).saturating_sub(oldest);
                chain
                    .entries
                    .truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
                return Ok(chain);
            }
            let more = page(next).await?;
            if more.head.oldest > next {
                break;
            }
            if more.entries.is_empty() {
                // What is missing is told by who checks it.
                return Ok(chain);
            }
            chain.entries.extend(more.entries);
        }
    }
    Err(Failure::new(
        Exit::Unreachable,
        "AuditMovesOn",
        "entries are dropped faster than they can be read",
        "try again when less is going on, or check a backup: `regraft audit verify --backup FILE`",
    ))
}

fn judge(chain: &Chain, format: Format) -> Result<(), Failure> {
    let Chain { head, entries } = chain;
    let verdict = audit::verify(head, entries);
    let document = AuditVerdictDocument {
        whole: verdict.is_ok(),
        entries: entries.len(),
        oldest: entries.first().map_or(0, |entry| entry.number),
        newest: entries.last().map_or(0, |entry| entry.number),
        hash: head.hash.clone(),
        message: verdict.as_ref().err().map(BrokenChain::to_string),
    };
    match (format, &verdict) {
        (Format::Table, Ok(())) => print(&told(&document))?,
        (Format::Table, Err(_)) => {}
        (format, _) => print(&output::written(&document, format)?)?,
    }
    verdict.map_err(|broken| {
        Failure::of(
            Exit::Failed,
            "AuditBroken",
            &broken,
            "somebody changed the state past regraft: keep a copy of all data folders and backups, and look at an older backup with `regraft audit verify --backup FILE`",
        )
    })
}

fn told(document: &AuditVerdictDocument) -> String {
    match document.entries {
        0 => "the chain has no entries yet\n".to_owned(),
        count => format!(
            "{count} entries from {} to {} are whole; the chain's head is {}\n",
            document.oldest, document.newest, document.hash
        ),
    }
}

#[cfg(test)]
mod tests;
