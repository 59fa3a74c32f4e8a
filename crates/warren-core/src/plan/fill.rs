//! Empty slots get tasks: after their back-off, within the surge, on nodes that fit.

use super::PLACEMENTS_PER_COMMAND;
use super::seen::Seen;
use super::service::{Round, to_u32};
use crate::command::{Command, Placing};
use crate::id::{NodeId, Slot};
use crate::report::WaitReason;
use crate::scheduler::{self, Explain, Group, Presence};
use crate::spec::{Mode, Order};
use crate::time::ClusterTime;

impl Round<'_, '_> {
    pub(super) fn fill_empty(&mut self) {
        let surge = match self.limits.order {
            Order::StartFirst => self.limits.surge,
            Order::StopFirst => 0,
        };
        let most = self.counts.replicas.saturating_add(surge);
        let mut room = most.saturating_sub(self.counts.live).min(self.goal.room);
        for index in 0..self.slots.len() {
            let filled = self.slots[index];
            if filled.new.is_some() || filled.old.is_some() {
                continue;
            }
            if self.is_done(filled.ended) {
                self.report.completed += 1;
            } else if let Some(due) = self.backoff_until(filled.slot) {
                let failures = self
                    .service
                    .failures
                    .get(&(self.goal.revision, filled.slot))
                    .map_or(0, |f| f.count);
                let reason = WaitReason::BackOff { failures, last: end_of(filled.ended) };
                let since = filled.ended.map(|task| task.changed);
                self.wait(Some(filled.slot), reason, since, Some(due));
            } else if room > 0 {
                room -= 1;
                self.place.push(filled.slot);
            }
        }
    }

    /// Until when a slot whose tasks failed stays empty; absent once that is over.
    pub(super) fn backoff_until(&self, slot: Slot) -> Option<ClusterTime> {
        let failures = self.service.failures.get(&(self.goal.revision, slot))?;
        let wait = self.service.spec.restart.backoff(failures.count.saturating_sub(1));
        Some(failures.last.after(wait)).filter(|due| *due > self.planner.now)
    }

    pub(super) fn propose_placements(&mut self) {
        if self.place.is_empty() {
            return;
        }
        let placements = self.choose_nodes();
        for batch in placements.chunks(PLACEMENTS_PER_COMMAND) {
            self.planner.plan.commands.push(Command::PlaceTasks {
                service: self.service.id,
                expect: self.service.generation,
                placements: batch.to_vec(),
            });
        }
    }

    fn choose_nodes(&mut self) -> Vec<Placing> {
        let Some(revision) = self.service.revisions.get(&self.goal.revision) else {
            return Vec::new();
        };
        let group = Group {
            service: self.service.id,
            revision: revision.number,
            template: &revision.template,
            placement: &self.service.spec.placement,
        };
        let state = self.planner.state;
        let node = |id| state.node(id).map(AsRef::as_ref);
        let tasks = self.tasks.iter().map(|seen| seen.task);
        let mut presence = Presence::of(&group, tasks, node);
        let placing = |slot, node| Placing { slot, revision: revision.number, node };
        let slots = std::mem::take(&mut self.place);
        match self.service.spec.mode {
            Mode::Replicated { .. } => {
                let (mut placed, slots) = self.place_moved(&group, slots, &mut presence);
                let wanted = to_u32(slots.len());
                let rooms = self.planner.rooms();
                let (chosen, explain) = scheduler::place(&group, wanted, rooms, &mut presence);
                let missing = wanted - to_u32(chosen.len());
                if missing > 0 {
                    self.wait(None, WaitReason::NoNode { missing, explain }, None, None);
                }
                placed.extend(slots.into_iter().zip(chosen));
                placed.into_iter().map(|(slot, node)| placing(slot, node)).collect()
            }
            Mode::Global => {
                let mut placements = Vec::new();
                for slot in slots {
                    let node = NodeId(u64::from(slot.0));
                    let rooms = self.planner.rooms();
                    match scheduler::obstacle_on(&group, node, rooms, &presence) {
                        None => placements.push(placing(slot, node)),
                        Some(obstacle) => {
                            let explain = Explain::one(obstacle);
                            let reason = WaitReason::NoNode { missing: 1, explain };
                            self.wait(Some(slot), reason, None, None);
                        }
                    }
                }
                placements
            }
        }
    }
}

impl<'a> Round<'_, 'a> {
    /// Places what is to be on a certain node. Returns where, and the slots that may be filled anywhere.
    fn place_moved(
        &mut self,
        group: &Group<'_>,
        slots: Vec<Slot>,
        presence: &mut Presence<'a>,
    ) -> (Vec<(Slot, NodeId)>, Vec<Slot>) {
        let (mut placed, mut anywhere) = (Vec::new(), Vec::new());
        for slot in slots {
            let moving = self.service.moves.get(&slot);
            let Some((moving, node)) = moving.and_then(|m| Some((*m, self.planner.node(m.to)?)))
            else {
                anywhere.push(slot);
                continue;
            };
            match scheduler::place_on(group, node, self.planner.rooms(), presence) {
                Ok(()) => placed.push((slot, node.id)),
                Err(obstacle)
                    if self.tasks.iter().any(|task| task.id == moving.task && task.is_wanted()) =>
                {
                    let reason = WaitReason::NoNode { missing: 1, explain: Explain::one(obstacle) };
                    self.wait(Some(slot), reason, None, None);
                }
                Err(_) => anywhere.push(slot),
            }
        }
        (placed, anywhere)
    }
}

fn end_of(ended: Option<Seen<'_>>) -> String {
    ended.and_then(|seen| seen.task.end.as_ref()).map(|end| end.message.clone()).unwrap_or_default()
}
