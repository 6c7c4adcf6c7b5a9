//! Replication as one stream for as long as a leader leads: a request does not wait for the answer to the one before.
//!
//! ```text
//! engine --requests--> at most IN_FLIGHT_MAX --AppendStream--> the follower's engine
//!    ^                                                              |
//!    +----- answers, in the order of the requests <-----------------+
//! ```
//!
//! - Guarantees: answers come in the order of their requests. A request that is not answered in time ends the stream.
//! - Errors: end the stream; the engine opens another one and goes on from what the follower has.

use super::Peers;
use super::client::{Answers, Client, failed, timed_out};
use crate::planted::{self, Bug};
use crate::types::{Types, entry_to_wire, log_id_to_wire, vote_from_wire, vote_to_wire};
use futures::stream::{Stream, StreamExt as _};
use openraft::errors::{NetworkError, RPCError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult};
use openraft::{OptionalSend, RPCTypes};
use regraft_wire::raft::v1 as wire;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tonic::Streaming;

/// Requests that are sent and not answered yet; each has at most some hundred entries. Fewer let entries gather in larger
/// requests, more hide the way there and back.
const IN_FLIGHT_MAX: usize = 8;

type LogId = crate::types::LogId;

/// What was sent and is not answered yet, oldest first: the log ids before and at the end of each request.
#[derive(Clone)]
struct InFlight {
    ranges: Arc<Mutex<VecDeque<Range>>>,
    slots: Arc<Semaphore>,
}

struct Range {
    previous: Option<LogId>,
    last: Option<LogId>,
}

/// Opens the stream to `target` and gives its answers.
pub(super) async fn append<'s, S>(
    peers: Arc<Peers>,
    target: u64,
    mut client: Client,
    mut requests: S,
    answer_timeout: Duration,
) -> Result<Answers<'s>, RPCError<Types>>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
{
    // The engine pauses in here when the member was not reached before: without a request there would be no pause, for a
    // connection that is refused takes none.
    let Some(first) = requests.next().await else {
        return Ok(futures::stream::empty().boxed());
    };
    let requests = futures::stream::iter([first]).chain(requests);
    let in_flight = InFlight {
        ranges: Arc::default(),
        slots: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
    };
    let mut request = tonic::Request::new(outbound(requests, in_flight.clone()));
    peers.name_caller(target, request.metadata_mut());
    let opening = tokio::time::timeout(answer_timeout, client.append_stream(request));
    let opened = match opening.await {
        Ok(opened) => peers.settle_stream(target, opened).await,
        Err(_) => {
            return Err(timed_out(
                RPCTypes::AppendEntries,
                &peers,
                target,
                answer_timeout,
            ));
        }
    };
    let answers = opened.map_err(|status| failed(target, &status))?;
    let following = Following {
        peers,
        target,
        answers,
        in_flight,
        answer_timeout,
    };
    Ok(futures::stream::unfold(Some(following), Following::step).boxed())
}

/// The requests as messages, as many as may be in flight.
fn outbound<S>(requests: S, in_flight: InFlight) -> impl Stream<Item = wire::AppendRequest>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
{
    futures::stream::unfold(
        (requests, in_flight),
        |(mut requests, in_flight)| async move {
            // Closed when the answers are dropped: nobody would hear of what is sent.
            in_flight.slots.acquire().await.ok()?.forget();
            let request = requests.next().await?;
            let last = request.entries.last().map(|entry| entry.log_id);
            in_flight.lock().push_back(Range {
                previous: request.prev_log_id,
                last: last.or(request.prev_log_id),
            });
            Some((message(&request), (requests, in_flight)))
        },
    )
}

pub(crate) fn message(request: &AppendEntriesRequest<Types>) -> wire::AppendRequest {
    wire::AppendRequest {
        caller: None,
        ballot: Some(vote_to_wire(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_to_wire),
        entries: request.entries.iter().map(entry_to_wire).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id_to_wire),
    }
}

struct Following {
    peers: Arc<Peers>,
    target: u64,
    answers: Streaming<wire::AppendResponse>,
    in_flight: InFlight,
    answer_timeout: Duration,
}

type Step = (
    Result<StreamAppendResult<Types>, RPCError<Types>>,
    Option<Following>,
);

impl Following {
    /// The next answer; after one that is no success there is none.
    async fn step(following: Option<Self>) -> Option<Step> {
        let mut following = following?;
        let answer = following.answer().await?;
        let goes_on = matches!(answer, Ok(Ok(_)));
        Some((answer, goes_on.then_some(following)))
    }

    async fn answer(&mut self) -> Option<Result<StreamAppendResult<Types>, RPCError<Types>>> {
        let message = loop {
            match tokio::time::timeout(self.answer_timeout, self.answers.message()).await {
                Ok(Ok(message)) => break message?,
                Ok(Err(_)) if planted::has(Bug::LostAnswerIsYes) => {
                    let range = self.in_flight.lock().pop_front()?;
                    self.in_flight.slots.add_permits(1);
                    return Some(Ok(Ok(range.last)));
                }
                Ok(Err(status)) => {
                    self.peers.note(self.target, Some(&status));
                    self.peers.forget_format(self.target);
                    return Some(Err(failed(self.target, &status)));
                }
                // Nothing was asked: a dead connection is noticed by its pings.
                Err(_) if self.in_flight.lock().is_empty() => {}
                Err(_) => {
                    return Some(Err(timed_out(
                        RPCTypes::AppendEntries,
                        &self.peers,
                        self.target,
                        self.answer_timeout,
                    )));
                }
            }
        };
        let range = self.in_flight.lock().pop_front();
        self.in_flight.slots.add_permits(1);
        let Some(range) = range else {
            return Some(Err(broken("it answers what was not asked")));
        };
        Some(match response(message.outcome) {
            // The engine takes it for granted that a log fits where it begins.
            Ok(AppendEntriesResponse::Conflict) if range.previous.is_none() => {
                Err(broken("it denies that a log can begin"))
            }
            Ok(response) => Ok(response.into_stream_result(range.previous, range.last)),
            Err(error) => Err(error),
        })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.in_flight.slots.close();
    }
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Range>> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer says.
pub(crate) fn response(
    outcome: Option<wire::append_response::Outcome>,
) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
    match outcome {
        Some(wire::append_response::Outcome::Appended(_)) => Ok(AppendEntriesResponse::Success),
        Some(wire::append_response::Outcome::Conflict(_)) => Ok(AppendEntriesResponse::Conflict),
        Some(wire::append_response::Outcome::Higher(ballot)) => {
            Ok(AppendEntriesResponse::HigherVote(vote_from_wire(&ballot)))
        }
        None => Err(broken("it lacks its outcome")),
    }
}

fn broken(what: &str) -> RPCError<Types> {
    NetworkError::from_string(format!("the answer cannot be used: {what}")).into()
}
