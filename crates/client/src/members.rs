//! The members: connections to them, who leads, and one call with all its attempts.
//!
//! Expected flow: the first attempt goes to whom is known to lead (a member is asked for it if nobody is known), or for a
//! read that may be stale to each in turn. The next one goes to whom the answer named, else to the next that was not asked yet;
//! when all were asked in vain it pauses, and begins again.
//! Guarantees: an attempt that may have got through is never forgotten: the call ends with an answer or in doubt.

use crate::change::timed;
use crate::clock;
use crate::connect::{Connect, ConnectError};
use crate::settings::{Settings, spread};
use crate::verdict::{self, Verdict};
use regraft_wire::store::v1 as wire;
use regraft_wire::store::v1::store_client::StoreClient;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Channel;
use tonic::{Response, Status};

/// Largest answer: a page of records, or what one change of the state tells to a watch.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// No member has this id.
const NOBODY: u64 = 0;

pub(crate) struct Members {
    members: BTreeMap<u64, Member>,
    connect: Box<dyn Connect>,
    pub(crate) settings: Settings,
    /// Who leads, or [`NOBODY`].
    leader: AtomicU64,
    /// Turns of first choices so far.
    turns: AtomicU64,
}

struct Member {
    address: String,
    /// Locked while it is made: who needs it meanwhile waits for the same one.
    connection: Mutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection {
    client: StoreClient<Channel>,
    /// Told apart from the ones before and after.
    token: Arc<()>,
}

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) to: To,
    pub(crate) effect: Effect,
    pub(crate) deadline: Instant,
    /// How long one attempt may take.
    pub(crate) attempt: Duration,
}

/// Whom a call asks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Leader,
    Anyone,
}

/// What an attempt that was not answered may have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Something, once.
    Change,
    /// Nothing that matters.
    Read,
    /// Nothing that matters; and a member that has nothing to tell is silent.
    Wait,
}

/// An answer.
pub(crate) struct Answered<T> {
    pub(crate) message: T,
    /// Who gave it.
    pub(crate) member: u64,
    /// When the attempt that was answered was sent.
    pub(crate) sent: Instant,
    /// Whether an attempt before it may have been done.
    pub(crate) doubt: Doubt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    No,
    Yes,
}

/// There was no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No member will do it.
    Refused {
        reason: &'static str,
        message: String,
    },
    NotDone {
        why: String,
        source: Option<Status>,
    },
    Unknown {
        why: String,
        source: Option<Status>,
    },
}

/// One failed attempt.
enum Trouble {
    /// It did not get to the member.
    Unsent(ConnectError),
    /// The member did not answer in time.
    Silent(Duration),
    /// The member, or the connection, said so.
    Told(Status),
}

/// Where a call has been.
struct Walk {
    asked: BTreeSet<u64>,
    /// Whom the last answer named.
    hint: Option<u64>,
    last: u64,
    /// Times that all were asked in vain.
    rounds: u32,
    doubt: Doubt,
    why: String,
    source: Option<Status>,
}

impl Members {
    pub(crate) fn new(
        members: BTreeMap<u64, String>,
        connect: Box<dyn Connect>,
        settings: Settings,
    ) -> Self {
        let members = members.into_iter().map(|(id, address)| {
            let connection = Mutex::new(None);
            let member = Member {
                address,
                connection,
            };
            (id, member)
        });
        Self {
            members: members.collect(),
            connect,
            leader: AtomicU64::new(NOBODY),
            turns: AtomicU64::new(spread(settings.spread, 0)),
            settings,
        }
    }

    /// A call that ends at `deadline`, with attempts as the settings say.
    pub(crate) fn call(&self, to: To, effect: Effect, deadline: Instant) -> Call {
        let attempt = match effect {
            Effect::Change | Effect::Read => self.settings.attempt_timeout,
            Effect::Wait => self.settings.wait_piece,
        };
        Call {
            to,
            effect,
            deadline,
            attempt,
        }
    }

    /// Asks until a member answers, or until the deadline.
    pub(crate) async fn ask<T, F>(
        &self,
        call: Call,
        mut send: impl FnMut(StoreClient<Channel>, Duration) -> F,
    ) -> Result<Answered<T>, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut walk = Walk::new();
        let Ok(first) = timeout_at(call.deadline, self.first(call, &mut walk)).await else {
            return Err(walk.failure("nobody who leads was found by the deadline"));
        };
        let mut member = first;
        loop {
            let trouble = match self.attempt(member, call, &mut send).await {
                Ok((response, sent)) => {
                    return Ok(Answered {
                        message: response.into_inner(),
                        member,
                        sent,
                        doubt: walk.doubt,
                    });
                }
                Err(trouble) => trouble,
            };
            if let Some(failure) = self.learn(call, member, trouble, &mut walk) {
                return Err(failure);
            }
            match self.next(call, &mut walk).await {
                Some(next) => member = next,
                None => return Err(walk.failure("there is no answer by the deadline")),
            }
        }
    }

    /// One attempt at one member, which need not be known to lead.
    pub(crate) async fn ask_one<T, F>(
        &self,
        member: u64,
        send: impl FnOnce(StoreClient<Channel>, Duration) -> F,
    ) -> Option<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let span = self.settings.attempt_timeout;
        let connection = timeout(self.settings.connect_timeout, self.connection(member));
        let client = connection.await.ok()?.ok()?.client;
        let answered = timeout(span, send(client, span)).await.ok()?;
        Some(answered.ok()?.into_inner())
    }

    /// Who is known to lead.
    pub(crate) fn leader(&self) -> Option<u64> {
        let leader = self.leader.load(Ordering::Relaxed);
        self.members.contains_key(&leader).then_some(leader)
    }

    /// Asks `member` who leads, and remembers it.
    pub(crate) async fn ask_for_leader(&self, member: u64) -> Option<u64> {
        let asked = self.ask_one(member, |mut client, span| async move {
            let request = timed(wire::StatusRequest {}, span);
            client.status(request).await
        });
        self.remember(asked.await?.leader)
    }

    /// The members, each once, beginning at the next one in turn.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = u64> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let count = self.members.len().max(1) as u64;
        let begin = usize::try_from(turn % count).unwrap_or_default();
        let ids = self.members.keys().copied();
        ids.cycle().skip(begin).take(self.members.len())
    }

    async fn attempt<T, F>(
        &self,
        member: u64,
        call: Call,
        send: &mut impl FnMut(StoreClient<Channel>, Duration) -> F,
    ) -> Result<(Response<T>, Instant), Trouble>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let connecting = clock::now() + self.settings.connect_timeout;
        let connecting = timeout_at(connecting.min(call.deadline), self.connection(member));
        let connection = match connecting.await {
            Ok(made) => made.map_err(Trouble::Unsent)?,
            Err(_) => return Err(Trouble::Unsent("no connection was made in time".into())),
        };
        let sent = clock::now();
        let left = call.deadline.saturating_duration_since(sent);
        if left.is_zero() {
            return Err(Trouble::Unsent("the deadline passed".into()));
        }
        let span = call.attempt.min(left);
        let Connection { client, token } = connection;
        match timeout(span, send(client, span)).await {
            Ok(Ok(response)) => return Ok((response, sent)),
            // The channel counts the same span.
            Ok(Err(status)) if verdict::ran_out(&status) => {}
            Ok(Err(status)) => return Err(Trouble::Told(status)),
            Err(_) => {}
        }
        // Perhaps nobody is at its other end any more. Where little time was given that says nothing.
        if call.effect != Effect::Wait && span == call.attempt {
            self.forget_connection(member, &token).await;
        }
        Err(Trouble::Silent(span))
    }

    /// Takes what a failed attempt tells; gives how the call ends, if it does.
    fn learn(&self, call: Call, member: u64, trouble: Trouble, walk: &mut Walk) -> Option<Failure> {
        walk.hint = None;
        let (why, source) = match trouble {
            Trouble::Unsent(error) => (format!("member {member} is not reached: {error}"), None),
            Trouble::Silent(span) => {
                if call.effect == Effect::Change {
                    walk.doubt = Doubt::Yes;
                }
                (format!("member {member} was silent for {span:?}"), None)
            }
            Trouble::Told(status) => {
                walk.hint = verdict::leader(&status).and_then(|leader| self.remember(leader));
                let why = format!("member {member}: {}", status.message());
                let verdict = match call.effect {
                    Effect::Change => verdict::of_change(&status),
                    Effect::Read | Effect::Wait => verdict::of_read(&status),
                };
                match verdict {
                    Verdict::Elsewhere => {}
                    Verdict::InDoubt => walk.doubt = Doubt::Yes,
                    Verdict::Refused(reason) if walk.doubt == Doubt::No => {
                        let message = status.message().to_owned();
                        return Some(Failure::Refused { reason, message });
                    }
                    Verdict::Refused(_) => {
                        let source = Some(status);
                        return Some(Failure::Unknown { why, source });
                    }
                }
                (why, Some(status))
            }
        };
        tracing::debug!(member, why, "an attempt failed");
        if walk.hint.is_none() && call.effect != Effect::Wait {
            self.forget_leader(member);
        }
        (walk.last, walk.why, walk.source) = (member, why, source);
        walk.asked.insert(member);
        None
    }

    async fn first(&self, call: Call, walk: &mut Walk) -> u64 {
        let mut in_turn = self.in_turn();
        let turn = in_turn.next().unwrap_or(NOBODY);
        if call.to == To::Anyone {
            return turn;
        }
        if let Some(leader) = self.leader() {
            return leader;
        }
        match self.ask_for_leader(turn).await {
            Some(leader) => leader,
            None => {
                // It is asked last.
                walk.asked.insert(turn);
                in_turn.next().unwrap_or(turn)
            }
        }
    }

    /// Whom to ask next; nobody when the deadline comes first. An attempt that has no time left is not made: it would only
    /// bring the request in doubt.
    async fn next(&self, call: Call, walk: &mut Walk) -> Option<u64> {
        let left = call.deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            return None;
        }
        if let Some(hint) = walk.hint.filter(|hint| !walk.asked.contains(hint)) {
            return Some(hint);
        }
        if let Some(next) = self.behind(walk.last, &walk.asked) {
            return Some(next);
        }
        let pause = self.settings.backoff(walk.rounds);
        if pause >= left {
            return None;
        }
        clock::pause(pause).await;
        walk.rounds += 1;
        walk.asked.clear();
        self.leader().or(self.behind(walk.last, &walk.asked))
    }

    /// The first member behind `last`, around, that was not asked.
    fn behind(&self, last: u64, asked: &BTreeSet<u64>) -> Option<u64> {
        let behind = self.members.range(last.saturating_add(1)..);
        let mut around = behind.chain(self.members.range(..=last));
        let found = around.find(|(id, _)| !asked.contains(id));
        found.map(|(id, _)| *id)
    }

    async fn connection(&self, member: u64) -> Result<Connection, ConnectError> {
        let known = self.members.get(&member).ok_or("no such member")?;
        let mut kept = known.connection.lock().await;
        if let Some(connection) = &*kept {
            return Ok(connection.clone());
        }
        let channel = self.connect.connect(member, &known.address).await?;
        let client = StoreClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let connection = Connection {
            client,
            token: Arc::new(()),
        };
        Ok(kept.insert(connection).clone())
    }

    async fn forget_connection(&self, member: u64, token: &Arc<()>) {
        if let Some(member) = self.members.get(&member) {
            let mut kept = member.connection.lock().await;
            kept.take_if(|connection| Arc::ptr_eq(&connection.token, token));
        }
    }

    fn remember(&self, leader: u64) -> Option<u64> {
        if !self.members.contains_key(&leader) {
            return None;
        }
        self.leader.store(leader, Ordering::Relaxed);
        Some(leader)
    }

    fn forget_leader(&self, member: u64) {
        let leader = &self.leader;
        let _ = leader.compare_exchange(member, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Walk {
    fn new() -> Self {
        Self {
            asked: BTreeSet::new(),
            hint: None,
            last: NOBODY,
            rounds: 0,
            doubt: Doubt::No,
            why: String::new(),
            source: None,
        }
    }

    fn failure(self, end: &str) -> Failure {
        let Self { why, source, .. } = self;
        let why = match why.is_empty() {
            true => end.to_owned(),
            false => format!("{end}; at last, {why}"),
        };
        match self.doubt {
            Doubt::No => Failure::NotDone { why, source },
            Doubt::Yes => Failure::Unknown { why, source },
        }
    }
}

impl Failure {
    /// As the caller of `operation` is told.
    pub(crate) fn of(self, operation: impl std::fmt::Display) -> crate::Error {
        let operation = operation.to_string();
        match self {
            Self::Refused { reason, message } => crate::Error::Refused(crate::Refusal {
                operation,
                reason: reason.to_owned(),
                message,
                found: 0,
            }),
            Self::NotDone { why, source } => crate::Error::NotDone {
                operation,
                why,
                source,
            },
            Self::Unknown { why, source } => crate::Error::Unknown {
                operation,
                why,
                source,
            },
        }
    }
}
