//! Changes of the trio itself.

use super::refusal::Refusal;
use crate::serve::member::Member;
use regraft_replica::MemberChange;
use regraft_wire::admin::v1 as wire;
use regraft_wire::admin::v1::change_members_request::Change;

pub(super) async fn change(
    member: &Member,
    actor: String,
    request: wire::ChangeMembersRequest,
) -> Result<wire::Accepted, Refusal> {
    let change = match request.change {
        Some(Change::Add(new)) => {
            address(&new.address)?;
            MemberChange::Add {
                id: new.id,
                address: new.address,
            }
        }
        Some(Change::Promote(promotion)) => MemberChange::Promote {
            id: promotion.id,
            replaces: (promotion.replaces > 0).then_some(promotion.replaces),
        },
        Some(Change::Remove(id)) => MemberChange::Remove { id },
        Some(Change::Lead(id)) => MemberChange::Lead { id },
        None => {
            return Err(Refusal::invalid(
                "the request names no change",
                "use the same version as the member",
            ));
        }
    };
    let message = match &change {
        MemberChange::Add { id, address } => {
            format!("member {id} at {address} gets the log, and has no vote yet")
        }
        MemberChange::Promote { id, replaces: None } => format!("member {id} votes"),
        MemberChange::Promote {
            id,
            replaces: Some(replaced),
        } => format!(
            "member {id} votes in the place of member {replaced}, which is no member any more"
        ),
        MemberChange::Remove { id } => format!("member {id} is no member any more"),
        MemberChange::Lead { id } => format!("member {id} leads"),
    };
    member.replica.change_members(&actor, change).await?;
    Ok(wire::Accepted { message, index: 0 })
}

/// Told before anybody is asked.
fn address(text: &str) -> Result<(), Refusal> {
    let split = text.rsplit_once(':');
    let usable = split.is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    match usable {
        true => Ok(()),
        false => Err(Refusal::invalid(
            format!("`{text}` is no address of a member"),
            "write HOST:PORT, as `listen.raft` of the new member is reached by the others",
        )),
    }
}
