//! The whole state as a stream.

use super::refusal::Refusal;
use crate::serve::member::Member;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use regraft_wire::admin::v1 as wire;
use tonic::Status;

pub(super) type Parts = BoxStream<'static, Result<wire::BackupPart, Status>>;

pub(super) async fn backup(member: &Member, actor: &str) -> Result<Parts, Refusal> {
    let parts = member.replica.backup().await?;
    tracing::info!(actor, "a backup is taken");
    let parts = parts.map(|part| match part {
        Ok(data) => Ok(wire::BackupPart { data }),
        Err(error) => Err(Refusal::failed(format!("the backup ends early: {error}")).into()),
    });
    Ok(parts.boxed())
}
