//! What clients ask of a member, and what they are told.

use crate::error::{BarrierError, ProposeError};
use crate::local::Proposed;
use crate::members::{MemberChange, MembersError};
use crate::replica::Replica;
use prost::Message as _;
use regraft_model::id::LockScope;
use regraft_state::command::Envelope;
use regraft_state::operation::Operation;
use regraft_state::store::{Read, ReadError};
use regraft_state::stored::Record;
use regraft_state::view::sessions as view;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// Who changes the members.
const OPERATOR: &str = "user/operator";

/// What a client asks of a member.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Change {
        actor: String,
        operation: Operation,
    },
    /// Linearizable.
    Get {
        key: Vec<u8>,
    },
    /// As it is here.
    StaleGet {
        key: Vec<u8>,
    },
    KeepAlive {
        actor: String,
        session: u64,
    },
    /// Whether the session holds the scope, or waits for it; linearizable.
    Stand {
        session: u64,
        scope: LockScope,
    },
    /// The operator's.
    Members(MemberChange),
}

/// What a member tells a client.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Changed(Proposed),
    Got {
        index: u64,
        record: Option<Record>,
    },
    Lives(u64),
    Stands {
        index: u64,
        fence: Option<u64>,
        waits: bool,
    },
    Members(Result<(), MembersError>),
    /// Nothing came of it.
    Refused(String),
    /// It may come to something.
    Unknown,
    /// The member applies no more.
    Halted(String),
}

/// Answers on their way out, by what was asked.
pub(super) type Answers = Arc<Mutex<VecDeque<(u64, Told)>>>;

/// Answers what clients ask, each beside the others.
pub(super) async fn serve(
    replica: Replica,
    mut asked: mpsc::UnboundedReceiver<(u64, Ask)>,
    answers: Answers,
) {
    while let Some((number, ask)) = asked.recv().await {
        let (replica, answers) = (replica.clone(), Arc::clone(&answers));
        tokio::spawn(async move {
            let told = answer(&replica, ask).await;
            answers.lock().unwrap().push_back((number, told));
        });
    }
}

async fn answer(replica: &Replica, ask: Ask) -> Told {
    match ask {
        Ask::Change { actor, operation } => {
            let command = Envelope::of_operation(actor, operation).encode_to_vec();
            match replica.propose(command).await {
                Ok(proposed) => Told::Changed(proposed),
                Err(ProposeError::Unknown) => Told::Unknown,
                Err(ProposeError::Halted { reason }) => Told::Halted(reason),
                Err(error) => Told::Refused(error.to_string()),
            }
        }
        Ask::Get { key } => match replica.barrier().await {
            Ok(_) => get(replica, &key),
            Err(error) => unread(error),
        },
        Ask::StaleGet { key } => get(replica, &key),
        Ask::KeepAlive { actor, session } => match replica.keep_alive(&actor, session).await {
            Ok(ttl_ms) => Told::Lives(ttl_ms),
            Err(error) => unread(error),
        },
        Ask::Members(change) => Told::Members(replica.change_members(OPERATOR, change).await),
        Ask::Stand { session, scope } => match replica.barrier().await {
            Ok(_) => stand(replica, session, &scope),
            Err(error) => unread(error),
        },
    }
}

fn get(replica: &Replica, key: &[u8]) -> Told {
    let read = replica.read_at(|view, index| {
        let record = view::record(view, key)?;
        Ok::<_, ReadError>(Told::Got { index, record })
    });
    read.flatten()
        .unwrap_or_else(|error| Told::Halted(error.to_string()))
}

fn stand(replica: &Replica, session: u64, scope: &LockScope) -> Told {
    let look = |view: &dyn Read, index: u64| {
        let held = view::held(view, scope)?;
        let holders = held.into_iter().flat_map(|held| held.holders);
        let mut mine = holders.filter(|holder| holder.session == session);
        let text = scope.to_string();
        let waits = view::session(view, session)?
            .is_some_and(|session| session.places.iter().any(|place| place.scope == text));
        Ok::<_, ReadError>(Told::Stands {
            index,
            fence: mine.next().map(|holder| holder.fence),
            waits,
        })
    };
    let read = replica.read_at(look);
    read.flatten()
        .unwrap_or_else(|error| Told::Halted(error.to_string()))
}

fn unread(error: BarrierError) -> Told {
    match error {
        BarrierError::Halted { reason } => Told::Halted(reason),
        other => Told::Refused(other.to_string()),
    }
}
