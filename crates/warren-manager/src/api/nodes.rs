//! Nodes: show and steer.

use super::actor::actor;
use super::read::Reading;
use super::{Api, CALL_TIMEOUT, Look, lookup};
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::{Request, Response, Status};
use v1::nodes_server::Nodes;
use warren_core::State;
use warren_core::command::{Command, Rejection};
use warren_core::id::NodeId;
use warren_core::membership;
use warren_core::node::{Availability, Role};
use warren_core::spec::FieldError;
use warren_raft::Raft;
use warren_wire::convert::{labels, text};
use warren_wire::status::{ApiError, Code};
use warren_wire::v1;

/// The longest deadline of a drain: a machine that is to go later than in a month is drained then.
const DRAIN_WITHIN_MAX: Duration = Duration::from_secs(30 * 86_400);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Nodes for Api {
    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Answer<v1::ListNodesResponse> {
        let show = |look: &Look| {
            let leader = self.leader();
            let nodes = look.state.nodes().map(|node| look.node(node, leader)).collect();
            Ok(v1::ListNodesResponse { nodes })
        };
        self.read("ListNodes", Reading::of(&request), show).await
    }

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Answer<v1::GetNodeResponse> {
        let how = Reading::of(&request);
        let name = request.into_inner().node_id;
        let show = |look: &Look| {
            let node = lookup::node(&look.state, &name)?;
            let node = look.node(&node, self.leader());
            Ok(v1::GetNodeResponse { node: Some(node) })
        };
        self.read("GetNode", how, show).await
    }

    async fn set_node_availability(
        &self,
        request: Request<v1::SetNodeAvailabilityRequest>,
    ) -> Answer<v1::SetNodeAvailabilityResponse> {
        let by = actor(&request);
        let request = request.into_inner();
        let work = Box::pin(async move {
            let availability = availability(&request.availability)?;
            let within = request.within_ms.map(|ms| drain_within(availability, ms)).transpose()?;
            let node = lookup::node(&self.look().await?.state, &request.node_id)?.id;
            self.propose(Command::SetAvailability { node, availability, within, by }).await?;
            Ok(v1::SetNodeAvailabilityResponse { node: Some(self.shown_node(node)?) })
        });
        self.call("SetNodeAvailability", CALL_TIMEOUT, work).await
    }

    async fn label_node(
        &self,
        request: Request<v1::LabelNodeRequest>,
    ) -> Answer<v1::LabelNodeResponse> {
        let by = actor(&request);
        let request = request.into_inner();
        let work = Box::pin(async move {
            let set = labels("set", request.set)?;
            let remove = request.remove.iter().map(|key| text("remove", key));
            let remove = remove.collect::<Result<BTreeSet<_>, FieldError>>()?;
            if let Some(both) = remove.iter().find(|key| set.contains_key(key)) {
                return Err(ApiError::field("remove", format!("{both} is set as well")));
            }
            let node = lookup::node(&self.look().await?.state, &request.node_id)?.id;
            self.propose(Command::LabelNode { node, set, remove, by }).await?;
            Ok(v1::LabelNodeResponse { node: Some(self.shown_node(node)?) })
        });
        self.call("LabelNode", CALL_TIMEOUT, work).await
    }

    async fn set_node_role(
        &self,
        request: Request<v1::SetNodeRoleRequest>,
    ) -> Answer<v1::SetNodeRoleResponse> {
        let by = actor(&request);
        let request = request.into_inner();
        let work = Box::pin(async move {
            let role = role("role", &request.role)?;
            let state = self.look().await?.state;
            let node = lookup::node(&state, &request.node_id)?;
            if role == Role::Worker {
                check_leave(&self.backend.raft, &state, node.id)?;
            }
            self.propose(Command::SetRole { node: node.id, role, by }).await?;
            Ok(v1::SetNodeRoleResponse { node: Some(self.shown_node(node.id)?) })
        });
        self.call("SetNodeRole", CALL_TIMEOUT, work).await
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Answer<v1::RemoveNodeResponse> {
        let by = actor(&request);
        let request = request.into_inner();
        let work = Box::pin(async move {
            let node = lookup::node(&self.look().await?.state, &request.node_id)?.id;
            self.propose(Command::RemoveNode { node, force: request.force, by }).await?;
            Ok(v1::RemoveNodeResponse {})
        });
        self.call("RemoveNode", CALL_TIMEOUT, work).await
    }
}

impl Api {
    fn shown_node(&self, id: NodeId) -> Result<v1::Node, ApiError> {
        let look = self.glance();
        let node = look.state.node(id).ok_or(Rejection::NoNode(id))?;
        Ok(look.node(node, self.leader()))
    }
}

/// Refuses a manager's leave that would leave the others without a majority.
pub(crate) fn check_leave(raft: &Raft, state: &State, leaving: NodeId) -> Result<(), ApiError> {
    let name = |id: &NodeId| {
        let node = state.node(*id);
        node.map_or_else(|| id.to_string(), |node| node.facts.hostname.to_string())
    };
    let voters = raft.status().voters;
    let voters = voters.keys().map(|id| (*id, name(id))).collect();
    let up = state.nodes().filter(|node| node.up).map(|node| node.id).collect();
    let verdict = membership::quorum_after(&voters, &up, leaving);
    if verdict.is_safe() {
        return Ok(());
    }
    Err(ApiError::new(Code::FailedPrecondition, verdict.to_string()))
}

/// Reads the word for a role.
pub(super) fn role(field: &str, word: &str) -> Result<Role, ApiError> {
    match word {
        "manager" => Ok(Role::Manager),
        "worker" => Ok(Role::Worker),
        other => {
            let problem = format!("{other:?} is not known here: write manager or worker");
            Err(ApiError::field(field, problem))
        }
    }
}

/// How long services may take their time when a node is drained.
fn drain_within(availability: Availability, ms: u64) -> Result<Duration, ApiError> {
    let within = Duration::from_millis(ms);
    if availability == Availability::Active {
        return Err(ApiError::field("within_ms", "is for a drain: an active node keeps its tasks"));
    }
    if within > DRAIN_WITHIN_MAX {
        let days = DRAIN_WITHIN_MAX.as_secs() / 86_400;
        return Err(ApiError::field("within_ms", format!("is more than {days} days")));
    }
    Ok(within)
}

fn availability(word: &str) -> Result<Availability, ApiError> {
    match word {
        "active" => Ok(Availability::Active),
        "drain" => Ok(Availability::Drain),
        other => {
            let problem = format!("{other:?} is not known here: write active or drain");
            Err(ApiError::field("availability", problem))
        }
    }
}
