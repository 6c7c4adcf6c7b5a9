//! Waits until a request that was queued is granted, as this member has it: the caller made a read point before.

use super::{stopping, unreadable};
use crate::changes::{Change, ChangesError};
use crate::replica::Replica;
use regraft_model::id::LockScope;
use regraft_state::store::{Read, ReadError};
use regraft_state::table;
use regraft_state::view::sessions as view;
use regraft_wire::store::v1 as wire;
use regraft_wire::store::v1::change_response::Outcome;
use tonic::Status;

/// Where a session stands with a scope.
enum Stand {
    Granted(u64),
    Waits,
    Neither,
}

/// Resolves when the session holds the scope, or waits for it no more.
pub(super) async fn granted(
    replica: &Replica,
    session: u64,
    scope: &str,
) -> Result<wire::ChangeResponse, Status> {
    let scope: LockScope = scope
        .parse()
        .map_err(|problem| Status::invalid_argument(format!("{scope:?}: {problem}")))?;
    // Before the first look, so that nothing happens unseen in between.
    let mut changes = replica.changes();
    let watched = [table::held(&scope), table::open_session(session)];
    loop {
        let looked = replica
            .read_at(|read, revision| Ok((revision, stand(read, session, &scope)?)))
            .flatten();
        let (revision, stand) = looked.map_err(|error: ReadError| unreadable(&error))?;
        let outcome = match stand {
            Stand::Granted(fence) => Some(Outcome::Granted(wire::Granted { fence })),
            Stand::Neither => Some(Outcome::Refused(wire::Refused {
                reason: "NotHeld".to_owned(),
                message: format!("the session neither holds {scope} nor waits for it"),
                found: 0,
            })),
            Stand::Waits => None,
        };
        if outcome.is_some() {
            return Ok(wire::ChangeResponse { revision, outcome });
        }
        loop {
            match changes.next().await {
                Ok(Change::Applied { writes, .. }) => {
                    let touched = writes
                        .iter()
                        .any(|write| watched.iter().any(|key| write.key() == key.as_bytes()));
                    if touched {
                        break;
                    }
                }
                Ok(Change::Reset { .. }) | Err(ChangesError::Lagged { .. }) => break,
                Err(ChangesError::Stopped) => {
                    return Err(stopping());
                }
            }
        }
    }
}

fn stand(read: &dyn Read, session: u64, scope: &LockScope) -> Result<Stand, ReadError> {
    if let Some(held) = view::held(read, scope)?
        && let Some(holder) = held.holders.iter().find(|it| it.session == session)
    {
        return Ok(Stand::Granted(holder.fence));
    }
    let text = scope.to_string();
    let waits = view::session(read, session)?
        .is_some_and(|session| session.places.iter().any(|place| place.scope == text));
    Ok(match waits {
        true => Stand::Waits,
        false => Stand::Neither,
    })
}
