//! Tasks that are better elsewhere: say which, and have them moved.

use super::{Api, lookup};
use std::collections::BTreeMap;
use std::sync::Arc;
use warren_core::State;
use warren_core::command::Command;
use warren_core::id::{NodeId, ServiceId, TaskId};
use warren_core::scheduler::{Rebalance, Relocation, rebalance};
use warren_core::service::Actor;
use warren_wire::status::{ApiError, Code};
use warren_wire::v1;

impl Api {
    /// What would move, of one service or of all.
    pub(super) async fn planned_rebalance(
        &self,
        service: &str,
    ) -> Result<v1::RebalancePlan, ApiError> {
        let (state, found) = self.find_moves(service).await?;
        Ok(render(&state, &found))
    }

    /// Has it moved. A service that changed in the meantime is left as it is, and named.
    pub(super) async fn rebalanced(
        &self,
        service: &str,
        by: &Actor,
    ) -> Result<v1::RebalancePlan, ApiError> {
        let (state, mut found) = self.find_moves(service).await?;
        let mut plan = v1::RebalancePlan::default();
        for (service, moves) in by_service(&found.moves) {
            let Some(expect) = state.service(service).map(|service| service.generation) else {
                continue;
            };
            let command = Command::MoveTasks { service, expect, moves, by: by.clone() };
            if let Err(refused) = self.propose(command).await {
                found.moves.retain(|one| one.service != service);
                let service = name(&state, service);
                plan.left.push(v1::ServiceLeft { service, why: refused.message });
            }
        }
        let made = render(&state, &found);
        plan.moves = made.moves;
        plan.left.extend(made.left);
        Ok(plan)
    }

    /// Looking for moves in a large cluster takes a while, so it has a thread of its own.
    async fn find_moves(&self, service: &str) -> Result<(Arc<State>, Rebalance), ApiError> {
        let state = self.look().await?.state;
        let only = match service {
            "" => None,
            name => Some(lookup::service(&state, name)?.id),
        };
        let looked = Arc::clone(&state);
        let found = tokio::task::spawn_blocking(move || rebalance(&looked, only)).await;
        let found = found.map_err(|error| {
            ApiError::new(Code::Internal, format!("looking for moves failed: {error}"))
        })?;
        Ok((state, found))
    }
}

fn by_service(moves: &[Relocation]) -> BTreeMap<ServiceId, BTreeMap<TaskId, NodeId>> {
    let mut services: BTreeMap<ServiceId, BTreeMap<TaskId, NodeId>> = BTreeMap::new();
    for one in moves {
        services.entry(one.service).or_default().insert(one.task, one.to);
    }
    services
}

fn render(state: &State, found: &Rebalance) -> v1::RebalancePlan {
    let host = |id: NodeId| {
        let node = state.node(id);
        node.map_or_else(|| id.to_string(), |node| node.facts.hostname.to_string())
    };
    let moves = found.moves.iter().map(|one| v1::TaskMove {
        task_id: one.task.to_string(),
        task: format!("{}.{}", name(state, one.service), one.slot),
        from_node: host(one.from),
        to_node: host(one.to),
        why: one.why.to_string(),
    });
    let left = found.left.iter().map(|(service, why)| v1::ServiceLeft {
        service: name(state, *service),
        why: why.to_string(),
    });
    v1::RebalancePlan { moves: moves.collect(), left: left.collect() }
}

fn name(state: &State, id: ServiceId) -> String {
    state.service(id).map_or_else(|| id.to_string(), |service| service.spec.name.to_string())
}
