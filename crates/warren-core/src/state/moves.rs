//! Tasks that are to be on other nodes because somebody asked for it.

use super::services::{busy, service_event};
use super::{Now, State};
use crate::command::{Applied, Rejection};
use crate::event::ServiceChange;
use crate::id::{Generation, NodeId, ServiceId, Slot, TaskId};
use crate::service::{Actor, Moving};
use std::collections::BTreeMap;

impl State {
    pub(super) fn move_tasks(
        &mut self,
        now: Now,
        id: ServiceId,
        expect: Generation,
        moves: &BTreeMap<TaskId, NodeId>,
        by: Actor,
    ) -> Result<Applied, Rejection> {
        let service = self.planned(id, expect)?;
        if service.deleting {
            return Err(Rejection::Deleting(service.spec.name.clone()));
        }
        if let Some(live) = service.rollout.clone() {
            return Err(busy(
                service,
                &live,
                "its release moves its tasks: ask again when it has ended",
            ));
        }
        let mut wanted = BTreeMap::new();
        for (task, to) in moves {
            let known = self.task(*task).filter(|task| task.service == id && task.is_wanted());
            let known = known.ok_or_else(|| Rejection::Stale(format!("{task} is gone")))?;
            if !self.node(*to).is_some_and(|node| node.is_open()) {
                return Err(Rejection::Stale(format!("{to} takes no tasks")));
            }
            wanted.insert(known.slot, Moving { task: *task, to: *to });
        }
        let service = self.planned(id, expect)?;
        service.moves.extend(wanted);
        let count = u32::try_from(moves.len()).unwrap_or(u32::MAX);
        let event = service_event(service, by, ServiceChange::Moved(count));
        self.record(now, event);
        Ok(Applied::Done)
    }

    /// Drops what is done of a service's moves, and what cannot be done any more since the node takes no tasks.
    pub(super) fn settle_moves(&mut self, id: ServiceId) {
        let Some(service) = self.service(id).filter(|service| !service.moves.is_empty()) else {
            return;
        };
        let is_over = |slot: Slot, moving: Moving| {
            let wanted = || self.tasks_of(id).filter(|task| task.slot == slot && task.is_wanted());
            let stays = wanted().any(|task| task.id == moving.task);
            let succeeded = wanted().any(|task| task.id != moving.task);
            let open = self.node(moving.to).is_some_and(|node| node.is_open());
            !open || (!stays && succeeded)
        };
        let moves = service.moves.iter().filter(|(slot, moving)| is_over(**slot, **moving));
        let over: Vec<Slot> = moves.map(|(slot, _)| *slot).collect();
        let Ok(service) = self.service_mut(id) else { return };
        for slot in over {
            service.moves.remove(&slot);
        }
    }

    /// The same for all services, once a node takes no tasks any more.
    pub(super) fn settle_all_moves(&mut self) {
        let moving = self.services().filter(|service| !service.moves.is_empty());
        let moving: Vec<_> = moving.map(|service| service.id).collect();
        for service in moving {
            self.settle_moves(service);
        }
    }
}
