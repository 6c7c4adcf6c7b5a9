//! Watches that outlive members.
//!
//! Guarantees: every change after the revision it began at is told once, in order, or [`Error::Compacted`] is. A member that
//! tells nothing is asked from time to time for a linearizable read, so that one that was cut off from the others does not
//! pass for a quiet one.

use crate::change::timed;
use crate::client::Client;
use crate::clock;
use crate::error::{Error, Refusal};
use crate::members::{Effect, Failure, To};
use crate::record::Changed;
use crate::verdict::{self, Verdict};
use regraft_wire::store::v1 as wire;
use std::fmt;
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};

/// What one command of the state changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Everything up to this revision was told.
    pub revision: u64,
    /// In order, at least one.
    pub changes: Vec<Changed>,
}

/// The changes of some records.
pub struct Watch {
    client: Client,
    prefix: Vec<u8>,
    /// Everything up to this revision was told.
    after: u64,
    open: Option<Open>,
    trouble: Option<Trouble>,
}

/// A stream from one member.
struct Open {
    member: u64,
    stream: Streaming<wire::WatchResponse>,
}

/// Streams broke, and nothing was told since.
#[derive(Clone, Copy)]
struct Trouble {
    since: Instant,
    breaks: u32,
}

impl Watch {
    pub(crate) fn new(client: Client, prefix: Vec<u8>, after: u64) -> Self {
        Self {
            client,
            prefix,
            after,
            open: None,
            trouble: None,
        }
    }

    /// Everything up to this revision was told: where another watch could go on.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.after
    }

    /// Waits for the next changes. It may be dropped while it waits, and called again: nothing is lost.
    ///
    /// # Errors
    /// - [`Error::Compacted`]: list again, and begin another watch.
    /// - [`Error::NotDone`]: for a whole deadline no member was found that can be followed; it may be called again.
    /// - [`Error::Refused`].
    pub async fn next(&mut self) -> Result<Told, Error> {
        loop {
            let Some(open) = &mut self.open else {
                self.open = Some(self.open().await?);
                continue;
            };
            let check = self.client.members.settings.watch_check;
            match timeout(check, open.stream.message()).await {
                Ok(Ok(Some(response))) => {
                    self.trouble = None;
                    if let Some(told) = self.take(response) {
                        return Ok(told);
                    }
                }
                Ok(Ok(None)) => self.broke(None)?,
                Ok(Err(status)) => self.broke(Some(status))?,
                Err(_) => {
                    let member = open.member;
                    match self.follows(member).await {
                        true => self.trouble = None,
                        false => self.broke(None)?,
                    }
                }
            }
        }
    }

    fn take(&mut self, response: wire::WatchResponse) -> Option<Told> {
        let wire::WatchResponse { revision, changes } = response;
        if revision <= self.after {
            return None;
        }
        self.after = revision;
        let changes: Vec<Changed> = changes.into_iter().filter_map(Changed::read).collect();
        (!changes.is_empty()).then_some(Told { revision, changes })
    }

    /// Opens the stream at the next member in turn.
    async fn open(&mut self) -> Result<Open, Error> {
        let settings = &self.client.members.settings;
        if let Some(trouble) = self.trouble
            && let Some(round) = trouble.breaks.checked_sub(2)
        {
            clock::pause(settings.backoff(round)).await;
        }
        let request = wire::WatchRequest {
            prefix: self.prefix.clone(),
            after: self.after,
        };
        let deadline = clock::now() + self.client.deadline;
        let call = self.client.members.call(To::Anyone, Effect::Read, deadline);
        let asked = self.client.members.ask(call, |mut client, _| {
            // Without a timeout: it ends when the watch does.
            let request = request.clone();
            async move { client.watch(request).await }
        });
        match asked.await {
            Ok(answered) => Ok(Open {
                member: answered.member,
                stream: answered.message,
            }),
            Err(Failure::Refused { reason, message }) => Err(self.refused(reason, message)),
            Err(failure) => Err(failure.of(self.operation())),
        }
    }

    /// Takes that a stream ended; gives what cannot be mended by opening another one.
    fn broke(&mut self, status: Option<Status>) -> Result<(), Error> {
        self.open = None;
        if let Some(status) = &status
            && let Verdict::Refused(reason) = verdict::of_read(status)
        {
            return Err(self.refused(reason, status.message().to_owned()));
        }
        let now = clock::now();
        let trouble = self.trouble.get_or_insert(Trouble {
            since: now,
            breaks: 0,
        });
        trouble.breaks += 1;
        tracing::debug!(
            after = self.after,
            ?status,
            "a watch is cut off, and goes on elsewhere"
        );
        if now - trouble.since < self.client.deadline {
            return Ok(());
        }
        self.trouble = None;
        Err(Error::NotDone {
            operation: self.operation(),
            why: "no member could be followed until the deadline".to_owned(),
            source: status,
        })
    }

    /// Whether a member answers that its state is the majority's.
    async fn follows(&self, member: u64) -> bool {
        let request = wire::GetRequest {
            key: self.prefix.clone(),
            consistency: wire::Consistency::Linearizable.into(),
        };
        let members = &self.client.members;
        let asked = members.ask_one(member, |mut client, span| async move {
            client.get(timed(request, span)).await
        });
        asked.await.is_some()
    }

    fn refused(&self, reason: &str, message: String) -> Error {
        match reason {
            "OutOfRange" => Error::Compacted { after: self.after },
            reason => Error::Refused(Refusal {
                operation: self.operation(),
                reason: reason.to_owned(),
                message,
                found: 0,
            }),
        }
    }

    fn operation(&self) -> String {
        let prefix = self.prefix.escape_ascii().to_string();
        format!("watching {prefix:?}")
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("prefix", &self.prefix.escape_ascii().to_string())
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::ConnectError;
    use crate::settings::Settings;
    use std::collections::BTreeMap;

    #[test]
    fn a_quiet_watch_moves_on_without_telling_anything() {
        let nowhere = |_: u64, _: String| async { Err(ConnectError::from("nowhere")) };
        let client = Client::new(BTreeMap::new(), nowhere, Settings::default());
        let mut watch = Watch::new(client, b"w".to_vec(), 5);
        let mut take = |revision, changes| {
            let told = watch.take(wire::WatchResponse { revision, changes });
            (told.map(|told| told.revision), watch.revision())
        };
        let deleted = wire::Change {
            change: Some(wire::change::Change::Deleted(b"w".to_vec())),
        };
        assert_eq!(take(9, vec![]), (None, 9));
        assert_eq!(take(10, vec![deleted.clone()]), (Some(10), 10));
        // What was told is not told again.
        assert_eq!(take(10, vec![deleted]), (None, 10));
    }
}
