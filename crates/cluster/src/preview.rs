//! What the server would make of objects, without writing: the ground of `regraft diff`.

use crate::apply::{MAX_STAGE_IN_FLIGHT, try_out};
use crate::classify::failure;
use crate::connection::Connection;
use crate::error::Error;
use crate::trim;
use futures::{StreamExt, stream};
use regraft_model::apply::{ApplyFailure, StagedObject};
use regraft_model::{Object, ObjectKey};

/// One object as it is and as it would be.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Which.
    pub key: ObjectKey,
    /// As it is; absent when it does not exist or could not be read.
    pub live: Option<Object>,
    /// As the server would make it; absent when it would refuse.
    pub would_be: Option<Object>,
    /// Why one of them is absent.
    pub failure: Option<ApplyFailure>,
}

/// Dry runs of all objects next to the live ones, in order.
pub(crate) async fn run(connection: &Connection, objects: Vec<StagedObject>) -> Vec<Preview> {
    stream::iter(&objects)
        .map(|staged| one(connection, staged))
        .buffered(MAX_STAGE_IN_FLIGHT)
        .collect()
        .await
}

/// The answer while there is no connection.
pub(crate) fn unreachable(objects: Vec<StagedObject>, error: &Error) -> Vec<Preview> {
    objects
        .iter()
        .map(|staged| refused(failure(Some(staged.object.key()), error)))
        .collect()
}

async fn one(connection: &Connection, staged: &StagedObject) -> Preview {
    let tried = match try_out(connection, staged).await {
        Ok(tried) => tried,
        Err(failure) => return refused(failure),
    };
    let exists = tried.answer["metadata"]["resourceVersion"].is_string();
    let live = match exists {
        true => connection.get(&tried.path, &tried.key.to_string()).await,
        false => Ok(serde_json::Value::Null),
    };
    let mut preview = Preview {
        key: tried.key,
        live: None,
        would_be: Some(trimmed(tried.answer)),
        failure: None,
    };
    match live {
        Ok(object) if exists => preview.live = Some(trimmed(object)),
        Ok(_) => {}
        Err(error) if error.is_not_found() => {}
        Err(error) => preview.failure = Some(failure(Some(preview.key.clone()), &error)),
    }
    preview
}

fn trimmed(mut object: serde_json::Value) -> Object {
    trim::owned(&mut object);
    Object(object)
}

fn refused(failure: ApplyFailure) -> Preview {
    Preview {
        key: failure.key.clone().unwrap_or_default(),
        live: None,
        would_be: None,
        failure: Some(failure),
    }
}
