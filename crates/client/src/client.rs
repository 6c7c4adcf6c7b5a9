//! A client: reads, and opens sessions and watches.

use crate::change::timed;
use crate::clock;
use crate::connect::Connect;
use crate::error::Error;
use crate::members::{Effect, Members, To};
use crate::record::{Consistency, Page, Range, Read, Record};
use crate::session::Session;
use crate::settings::Settings;
use crate::watch::Watch;
use regraft_wire::store::v1 as wire;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A client of the members of one cluster. Clones share connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) members: Arc<Members>,
    pub(crate) deadline: Duration,
}

/// From where on a watch tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// What changes after the call.
    Now,
    /// What changed after this revision: that of a read or a list, or of what was told last.
    After(u64),
}

impl Client {
    /// A client of `members`, by their ids, with the addresses that `connect` takes. Nothing is connected yet.
    #[must_use]
    pub fn new(members: BTreeMap<u64, String>, connect: impl Connect, settings: Settings) -> Self {
        Self {
            deadline: settings.deadline,
            members: Arc::new(Members::new(members, Box::new(connect), settings)),
        }
    }

    /// The same client, whose calls may take so long, and those of sessions that it opens from now on.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }

    /// Opens a session that the members end when they have not heard of it for `ttl` (1 s to a day).
    ///
    /// When an answer is lost another session is opened: the first one has nothing, nobody knows its id, and it ends after
    /// its time to live.
    ///
    /// # Errors
    /// [`Error::Refused`], also when as many sessions are open as may be; [`Error::NotDone`].
    pub async fn open_session(&self, ttl: Duration) -> Result<Session, Error> {
        Session::open(Arc::clone(&self.members), ttl, self.deadline).await
    }

    /// Reads one record.
    ///
    /// # Errors
    /// [`Error::NotDone`] when no member answers by the deadline; [`Error::Refused`].
    pub async fn get(
        &self,
        key: impl AsRef<[u8]>,
        consistency: Consistency,
    ) -> Result<Read<Option<Record>>, Error> {
        let key = key.as_ref();
        let request = wire::GetRequest {
            key: key.to_vec(),
            consistency: wire::Consistency::from(consistency).into(),
        };
        let deadline = clock::now() + self.deadline;
        let call = self.members.call(whom(consistency), Effect::Read, deadline);
        let asked = self.members.ask(call, |mut client, span| {
            let request = timed(request.clone(), span);
            async move { client.get(request).await }
        });
        let response = asked.await.map_err(|failure| {
            failure.of(format_args!("reading {:?}", key.escape_ascii().to_string()))
        })?;
        Ok(Read {
            revision: response.message.revision,
            value: response.message.record.map(Record::from),
        })
    }

    /// Reads a page of records, in the order of their keys. Pages are read one by one: what changes in between is seen in
    /// part.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn list(&self, range: &Range, consistency: Consistency) -> Result<Read<Page>, Error> {
        let request = wire::ListRequest {
            prefix: range.prefix.clone(),
            after: range.after.clone().unwrap_or_default(),
            limit: range.limit,
            consistency: wire::Consistency::from(consistency).into(),
        };
        let deadline = clock::now() + self.deadline;
        let call = self.members.call(whom(consistency), Effect::Read, deadline);
        let asked = self.members.ask(call, |mut client, span| {
            let request = timed(request.clone(), span);
            async move { client.list(request).await }
        });
        let response = asked.await.map_err(|failure| {
            let prefix = range.prefix.escape_ascii().to_string();
            failure.of(format_args!("listing {prefix:?}"))
        })?;
        Ok(Read {
            revision: response.message.revision,
            value: Page::from(response.message),
        })
    }

    /// Follows the records whose keys begin with `prefix`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn watch(&self, prefix: impl Into<Vec<u8>>, start: Start) -> Result<Watch, Error> {
        let prefix = prefix.into();
        let after = match start {
            Start::After(revision) => revision,
            // Not left to the member: a watch that broke before it told anything could not go on.
            Start::Now => {
                let read = self.get(&prefix, Consistency::Linearizable).await?;
                read.revision
            }
        };
        Ok(Watch::new(self.clone(), prefix, after))
    }

    /// Who leads, asked of the members until one knows.
    ///
    /// # Errors
    /// [`Error::NotDone`] when none does by the deadline.
    pub async fn leader(&self) -> Result<u64, Error> {
        let deadline = clock::now() + self.deadline;
        let asking = async {
            let mut round = 0;
            loop {
                for member in self.members.in_turn() {
                    if let Some(leader) = self.members.ask_for_leader(member).await {
                        return leader;
                    }
                }
                clock::pause(self.members.settings.backoff(round)).await;
                round += 1;
            }
        };
        let found = tokio::time::timeout_at(deadline, asking).await;
        found.map_err(|_| Error::NotDone {
            operation: "asking who leads".to_owned(),
            why: "no member knew it by the deadline".to_owned(),
            source: None,
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// The leader reads without asking anybody else; what may be stale needs it not.
fn whom(consistency: Consistency) -> To {
    match consistency {
        Consistency::Linearizable => To::Leader,
        Consistency::Stale => To::Anyone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::Connecting;
    use crate::lock::{Lock, LockRequest};

    struct Nowhere;

    impl Connect for Nowhere {
        fn connect<'a>(&'a self, _: u64, _: &'a str) -> Connecting<'a> {
            Box::pin(std::future::pending())
        }
    }

    fn client() -> Client {
        let members = BTreeMap::from([(1, String::new())]);
        Client::new(members, Nowhere, Settings::default())
    }

    /// Compiles only when every call can be made from a task that moves between threads.
    #[test]
    fn every_call_can_be_made_from_any_task() {
        fn sent<T: Send>(_: impl FnOnce() -> T) {}
        sent(|| async {
            let client = client();
            let session = client.open_session(Duration::ZERO).await?;
            client.get("k", Consistency::Stale).await?;
            client.list(&Range::default(), Consistency::Stale).await?;
            client.leader().await?;
            client.watch("w", Start::Now).await?.next().await?;
            session.put("k", "v").await?;
            session.compare_and_swap("k", "v", 1).await?;
            session.delete("k").await?;
            session.compare_and_delete("k", 1).await?;
            let lock: Lock = session.try_acquire(&LockRequest::new("fleet")).await?;
            lock.lost().await;
            lock.release().await?;
            drop(session.acquire(&LockRequest::new("fleet")).await?);
            session.lost().await;
            session.close().await
        });
    }

    #[tokio::test]
    async fn a_member_that_takes_no_connection_is_given_up_at_the_deadline() {
        let client = client().within(Duration::from_millis(50));
        let told = client.get("k", Consistency::Stale).await;
        assert!(matches!(told, Err(Error::NotDone { .. })), "{told:?}");
        let told = client.leader().await.unwrap_err();
        assert_eq!(
            told.to_string(),
            "asking who leads was not done: no member knew it by the deadline"
        );
    }
}
