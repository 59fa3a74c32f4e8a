//! How tasks change.

use super::{Now, State};
use crate::command::{Applied, Placing, Rejection, TaskEdge};
use crate::event::{EventKind, TaskChange};
use crate::id::{Generation, NodeId, ServiceId, Slot, TaskId};
use crate::service::SlotFailures;
use crate::task::{Desired, END_MESSAGE_BYTES_MAX, End, Phase, StopReason, Task, Track};
use crate::time::ClusterTime;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// A task that ran this long before it failed starts a new count of failures in a row.
const FAILURES_FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

impl State {
    pub(super) fn place_tasks(
        &mut self,
        now: Now,
        service: ServiceId,
        expect: Generation,
        placements: &[Placing],
    ) -> Result<Applied, Rejection> {
        self.check_placements(service, expect, placements)?;
        let addresses = self.allocate(placements)?;
        let found = Arc::clone(self.service(service).ok_or(Rejection::NoService(service))?);
        let round = found.round;
        let mut made = Vec::with_capacity(placements.len());
        self.forget_ended(service, placements);
        for (placing, address) in placements.iter().zip(addresses) {
            let id = TaskId(self.next_id());
            let task = Task {
                id,
                service,
                revision: placing.revision,
                slot: placing.slot,
                node: placing.node,
                address,
                round,
                track: Track::of(&found, placing.revision),
                phase: Phase::Assigned,
                desired: Desired::Run,
                created: now.at,
                changed: now.at,
                end: None,
            };
            self.index_task(&task);
            self.record_task(now, &task, TaskChange::Placed);
            self.stored.tasks.insert(id, Arc::new(task));
            made.push(id);
        }
        self.settle_moves(service);
        Ok(Applied::Tasks(made))
    }

    fn check_placements(
        &mut self,
        id: ServiceId,
        expect: Generation,
        placements: &[Placing],
    ) -> Result<(), Rejection> {
        let service = self.planned(id, expect)?;
        if service.deleting {
            return Err(Rejection::Stale(format!("{id} is being deleted")));
        }
        let (round, moves) = (service.round, service.moves.clone());
        if let Some(gone) = placements.iter().find(|p| !service.revisions.contains_key(&p.revision))
        {
            return Err(Rejection::Stale(format!("{id} has no {}", gone.revision)));
        }
        let open = |node| self.node(node).is_some_and(|node| node.is_open());
        let mut filled: BTreeSet<_> = self
            .tasks_of(id)
            .filter(|task| task.is_wanted() && task.round == round && open(task.node))
            .filter(|task| moves.get(&task.slot).is_none_or(|moving| moving.task != task.id))
            .map(|task| (task.slot, task.revision))
            .collect();
        for placing in placements {
            if !open(placing.node) {
                return Err(Rejection::Stale(format!("{} takes no tasks", placing.node)));
            }
            if !filled.insert((placing.slot, placing.revision)) {
                return Err(Rejection::Stale(format!("slot {} is filled", placing.slot)));
            }
        }
        Ok(())
    }

    /// An address for each placement, or none at all.
    fn allocate(&mut self, placements: &[Placing]) -> Result<Vec<Ipv4Addr>, Rejection> {
        let mut nodes = imbl::OrdMap::<NodeId, (crate::node::Node, BTreeSet<Ipv4Addr>)>::new();
        let mut addresses = Vec::with_capacity(placements.len());
        for placing in placements {
            if !nodes.contains_key(&placing.node) {
                let node = self.node(placing.node).ok_or(Rejection::NoNode(placing.node))?;
                let live = self.tasks_on(placing.node).filter(|task| task.is_live());
                let used = live.map(|task| task.address).collect();
                nodes.insert(placing.node, (node.as_ref().clone(), used));
            }
            let (node, used) =
                nodes.get_mut(&placing.node).ok_or(Rejection::NoNode(placing.node))?;
            let (address, offset) =
                node.next_address(|address| used.contains(&address)).ok_or_else(|| {
                    Rejection::Stale(format!("the subnet of {} is full", placing.node))
                })?;
            node.cursor = offset;
            used.insert(address);
            addresses.push(address);
        }
        for (id, (node, _)) in nodes {
            self.stored.nodes.insert(id, Arc::new(node));
        }
        Ok(addresses)
    }

    pub(super) fn drain_tasks(
        &mut self,
        now: Now,
        service: ServiceId,
        expect: Generation,
        tasks: &[TaskId],
        reason: StopReason,
    ) -> Result<Applied, Rejection> {
        self.planned(service, expect)?;
        self.stored.traffic_epoch += 1;
        let epoch = self.stored.traffic_epoch;
        for id in tasks {
            let Some(task) = self.task_mut(*id) else { continue };
            if task.service != service || !task.is_wanted() {
                continue;
            }
            task.desired = Desired::Drain { since: now.at, epoch, reason };
            let task = task.clone();
            self.record_task(now, &task, TaskChange::Draining(reason));
        }
        self.settle_moves(service);
        Ok(Applied::Done)
    }

    pub(super) fn stop_tasks(&mut self, now: Now, tasks: &[TaskId], reason: StopReason) -> Applied {
        for id in tasks {
            let Some(task) = self.task_mut(*id) else { continue };
            let reason = match task.desired {
                Desired::Run => reason,
                Desired::Drain { reason, .. } => reason,
                Desired::Stop { .. } => continue,
            };
            if !task.is_live() {
                continue;
            }
            let served = task.serves();
            task.desired = Desired::Stop { reason };
            let task = task.clone();
            self.stored.traffic_epoch += u64::from(served);
            self.settle_moves(task.service);
            self.record_task(now, &task, TaskChange::Stopping(reason));
        }
        Applied::Done
    }

    pub(super) fn lose_tasks(
        &mut self,
        now: Now,
        node: NodeId,
        tasks: &[TaskId],
    ) -> Result<Applied, Rejection> {
        let known = self.node(node).ok_or(Rejection::NoNode(node))?;
        if known.up {
            return Err(Rejection::Stale(format!("{node} is up again")));
        }
        let message = format!("node {node} is down");
        for id in tasks {
            let end = End { message: message.clone(), ..End::default() };
            self.advance(now, node, TaskEdge { task: *id, phase: Phase::Lost, end: Some(end) });
        }
        Ok(Applied::Done)
    }

    pub(super) fn forget_tasks(&mut self, tasks: &[TaskId]) -> Applied {
        for id in tasks {
            if self.task(*id).is_some_and(|task| !task.is_live()) {
                self.drop_task(*id);
            }
        }
        Applied::Done
    }

    pub(super) fn report_tasks(&mut self, now: Now, node: NodeId, edges: Vec<TaskEdge>) -> Applied {
        for edge in edges {
            self.advance(now, node, edge);
        }
        Applied::Done
    }

    /// Takes a task to a later phase. An edge that is late, repeated or about another node's task changes nothing.
    pub(super) fn advance(&mut self, now: Now, node: NodeId, edge: TaskEdge) {
        let Some(task) = self.task_mut(edge.task) else { return };
        if task.node != node || task.phase.is_final() || edge.phase <= task.phase {
            return;
        }
        let started = (task.phase == Phase::Running).then_some(task.changed);
        task.phase = edge.phase;
        task.changed = now.at;
        task.end = edge.phase.is_final().then(|| bounded(edge.end.unwrap_or_default()));
        let task = task.clone();
        let failed = matches!(edge.phase, Phase::Failed | Phase::Rejected);
        if failed && task.desired == Desired::Run {
            self.count_failure(&task, started, now.at);
        }
        self.stored.traffic_epoch += u64::from(edge.phase >= Phase::Running);
        if task.phase.is_final() {
            self.settle_moves(task.service);
        }
        let message = task.end.as_ref().map(|end| end.message.clone()).unwrap_or_default();
        self.record_task(now, &task, TaskChange::Reached(edge.phase, message));
    }

    fn count_failure(&mut self, task: &Task, started: Option<ClusterTime>, at: ClusterTime) {
        let Ok(service) = self.service_mut(task.service) else { return };
        let ran_long = started.is_some_and(|since| at.since(since) >= FAILURES_FORGOTTEN_AFTER);
        let failures = service.failures.entry((task.revision, task.slot));
        let failures = failures.or_insert(SlotFailures { count: 0, last: at });
        failures.count = if ran_long { 1 } else { failures.count.saturating_add(1) };
        failures.last = at;
    }

    /// Drops the older ended tasks of the slots, so that only the last one is kept beside the task to come.
    fn forget_ended(&mut self, service: ServiceId, placements: &[Placing]) {
        let slots: BTreeSet<_> = placements.iter().map(|placing| placing.slot).collect();
        let mut ended: BTreeMap<Slot, Vec<(ClusterTime, TaskId)>> = BTreeMap::new();
        for task in self.tasks_of(service) {
            if !task.is_live() && slots.contains(&task.slot) {
                ended.entry(task.slot).or_default().push((task.changed, task.id));
            }
        }
        for mut tasks in ended.into_values() {
            tasks.sort_unstable();
            tasks.pop();
            for (_, id) in tasks {
                self.drop_task(id);
            }
        }
    }

    fn task_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.stored.tasks.get_mut(&id).map(Arc::make_mut)
    }

    fn record_task(&mut self, now: Now, task: &Task, change: TaskChange) {
        let Some(service) = self.service(task.service) else { return };
        let kind = EventKind::Task {
            id: task.id,
            service: task.service,
            name: service.spec.name.clone(),
            slot: task.slot,
            revision: task.revision,
            node: task.node,
            change,
        };
        self.record(now, kind);
    }
}

fn bounded(mut end: End) -> End {
    if end.message.len() > END_MESSAGE_BYTES_MAX {
        let mut cut = END_MESSAGE_BYTES_MAX;
        while !end.message.is_char_boundary(cut) {
            cut -= 1;
        }
        end.message.truncate(cut);
    }
    end
}
