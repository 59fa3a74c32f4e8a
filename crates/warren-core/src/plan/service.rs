//! One service: fill what is empty, replace what is old, take away what is too much.

use super::drain::waiting;
use super::global::Wanted;
use super::seen::Seen;
use super::{PLACEMENTS_PER_COMMAND, Planner};
use crate::command::{Command, Placing};
use crate::id::{NodeId, Slot, TaskId};
use crate::report::{ServiceReport, Status, Wait, WaitReason};
use crate::rollout::rolling::{self, Counts, Limits};
use crate::scheduler::{self, Explain, Group, Presence};
use crate::service::Service;
use crate::spec::{Mode, Order, RestartCondition};
use crate::task::{Phase, StopReason, Task};
use crate::time::ClusterTime;
use std::collections::BTreeMap;
use std::time::Duration;

/// Restarts in place from which a service is called crash-looping rather than starting.
const CRASH_LOOP_RESTARTS: u32 = 2;

/// What is in one wanted slot.
#[derive(Clone, Copy)]
struct Filled<'a> {
    slot: Slot,
    /// The wanted task of the current revision and round, on a node that is to keep it.
    new: Option<Seen<'a>>,
    /// The wanted task that is to be replaced.
    old: Option<Seen<'a>>,
    /// The last ended task.
    ended: Option<Seen<'a>>,
}

/// What one service needs, gathered before it is proposed.
#[derive(Default)]
struct Needs {
    place: Vec<Slot>,
    drain: BTreeMap<StopReason, Vec<TaskId>>,
    forget: Vec<TaskId>,
}

impl Needs {
    fn drain(&mut self, task: &Task, reason: StopReason) {
        self.drain.entry(reason).or_default().push(task.id);
    }
}

pub(super) fn plan(planner: &mut Planner<'_>, service: &Service, tasks: &[Seen<'_>]) {
    let mut report = ServiceReport::default();
    if service.deleting {
        delete(planner, service, tasks, &mut report);
    } else {
        reconcile(planner, service, tasks, &mut report);
    }
    report.running = count(tasks, |task| task.is_live() && task.phase == Phase::Running);
    report.ready = count(tasks, |task| task.is_serving());
    report.status = status(service, tasks, &report);
    planner.plan.report.services.insert(service.id, report);
}

fn delete(
    planner: &mut Planner<'_>,
    service: &Service,
    tasks: &[Seen<'_>],
    report: &mut ServiceReport,
) {
    let wanted: Vec<_> = tasks.iter().filter(|t| t.is_wanted()).map(|t| t.id).collect();
    if !wanted.is_empty() {
        planner.plan.commands.push(Command::DrainTasks {
            service: service.id,
            expect: service.generation,
            tasks: wanted,
            reason: StopReason::Deleted,
        });
    }
    stop_drained(planner, tasks, report);
    if !tasks.iter().any(|task| task.is_live()) {
        planner.plan.commands.push(Command::ForgetService { service: service.id });
    }
}

fn stop_drained(planner: &mut Planner<'_>, tasks: &[Seen<'_>], report: &mut ServiceReport) {
    let stop = planner.finish_drains(tasks, report);
    if !stop.is_empty() {
        let reason = StopReason::Replaced;
        planner.plan.commands.push(Command::StopTasks { tasks: stop, reason });
    }
}

fn reconcile(
    planner: &mut Planner<'_>,
    service: &Service,
    tasks: &[Seen<'_>],
    report: &mut ServiceReport,
) {
    let wanted = planner.wanted(service);
    report.desired = wanted.count();
    let mut needs = Needs::default();
    let slots = fill_slots(planner, service, tasks, &wanted, &mut needs);
    let limits =
        Limits::new(&service.spec.update, &service.current_revision().template, report.desired);
    let counts = counts(planner, service, tasks, &slots);
    finish_replacements(planner, service, &slots, &mut needs);
    fill_empty(planner, service, &slots, &limits, &counts, &mut needs, report);
    replace_old(planner, service, &slots, &limits, &counts, &mut needs, report);
    report_unready(planner, service, &slots, report);
    propose(planner, service, tasks, needs, report);
    stop_drained(planner, tasks, report);
    accept(planner, service, &slots);
}

/// Sorts the tasks into the wanted slots. What is in no wanted slot, or twice in one, is to go.
fn fill_slots<'a>(
    planner: &Planner<'_>,
    service: &Service,
    tasks: &[Seen<'a>],
    wanted: &Wanted,
    needs: &mut Needs,
) -> Vec<Filled<'a>> {
    let empty = |slot| Filled { slot, new: None, old: None, ended: None };
    let mut slots: Vec<_> = wanted.slots().into_iter().map(empty).collect();
    for task in tasks {
        let Some(index) = wanted.index(task.slot) else {
            if !task.is_live() {
                needs.forget.push(task.id);
            } else if task.is_wanted() {
                let moved = planner.node(task.node).is_none_or(|node| !node.is_open());
                let reason = if moved { StopReason::Moved } else { StopReason::ScaledIn };
                needs.drain(task, reason);
            }
            continue;
        };
        let filled = &mut slots[index];
        if !task.is_live() {
            if filled.ended.is_none_or(|ended| (ended.changed, ended.id) < (task.changed, task.id))
            {
                filled.ended = Some(*task);
            }
        } else if task.is_wanted() {
            let stays = task.revision == service.current
                && task.round == service.round
                && planner.node(task.node).is_some_and(|node| node.is_open());
            let place = if stays { &mut filled.new } else { &mut filled.old };
            if let Some(surplus) = keep_the_ready(place, *task) {
                needs.drain(&surplus, StopReason::Replaced);
            }
        }
    }
    slots
}

/// Of two tasks in one place the one that serves stays, else the elder; the other is returned.
fn keep_the_ready<'a>(place: &mut Option<Seen<'a>>, task: Seen<'a>) -> Option<Seen<'a>> {
    let Some(held) = *place else {
        *place = Some(task);
        return None;
    };
    if held.is_ready() || !task.is_ready() {
        return Some(task);
    }
    place.replace(task)
}

/// When a task has been ready for `min_ready`; absent while it is not ready.
fn available_at(service: &Service, task: &Seen<'_>) -> Option<ClusterTime> {
    let since = task.ready_since()?;
    (task.phase == Phase::Running).then(|| since.after(service.spec.update.min_ready))
}

fn is_available(planner: &Planner<'_>, service: &Service, task: &Seen<'_>) -> bool {
    available_at(service, task).is_some_and(|at| at <= planner.now)
}

fn counts(
    planner: &Planner<'_>,
    service: &Service,
    tasks: &[Seen<'_>],
    slots: &[Filled<'_>],
) -> Counts {
    let in_flight = slots.iter().filter(|slot| match (slot.new, slot.old) {
        (Some(new), _) => !is_available(planner, service, &new),
        (None, Some(_)) => false,
        (None, None) => !is_done(service, slot.ended),
    });
    Counts {
        replicas: to_u32(slots.len()),
        live: count(tasks, |task| task.is_live()),
        ready: count(tasks, |task| task.is_serving()),
        in_flight: to_u32(in_flight.count()),
        old: to_u32(slots.iter().filter(|s| s.new.is_none() && s.old.is_some()).count()),
    }
}

/// Old tasks go once their replacement has been ready for `min_ready`.
fn finish_replacements(
    planner: &mut Planner<'_>,
    service: &Service,
    slots: &[Filled<'_>],
    needs: &mut Needs,
) {
    for slot in slots.iter() {
        let (Some(new), Some(old)) = (slot.new, slot.old) else { continue };
        if is_available(planner, service, &new) {
            let moved = planner.node(old.node).is_some_and(|node| !node.is_open());
            needs.drain(&old, if moved { StopReason::Moved } else { StopReason::Replaced });
        }
    }
}

fn fill_empty(
    planner: &mut Planner<'_>,
    service: &Service,
    slots: &[Filled<'_>],
    limits: &Limits,
    counts: &Counts,
    needs: &mut Needs,
    report: &mut ServiceReport,
) {
    let surge = match limits.order {
        Order::StartFirst => limits.surge,
        Order::StopFirst => 0,
    };
    let mut room = (counts.replicas.saturating_add(surge)).saturating_sub(counts.live);
    for filled in slots {
        let slot = filled.slot;
        if filled.new.is_some() || filled.old.is_some() {
            continue;
        }
        if is_done(service, filled.ended) {
            report.completed += 1;
            continue;
        }
        if let Some(due) = backoff_until(service, slot).filter(|due| *due > planner.now) {
            planner.wake(due);
            let failures = service.failures.get(&slot).map_or(0, |failures| failures.count);
            let reason = WaitReason::BackOff { failures, last: end_of(filled.ended) };
            let since = filled.ended.map(|task| task.changed);
            report.wait(Wait { slot: Some(slot), reason, since, until: Some(due) });
        } else if room > 0 {
            room -= 1;
            needs.place.push(slot);
        }
    }
}

/// Whether a slot's task ended and is not wanted again.
fn is_done(service: &Service, ended: Option<Seen<'_>>) -> bool {
    let Some(task) = ended.filter(|t| t.revision == service.current && t.round == service.round)
    else {
        return false;
    };
    match service.spec.restart.condition {
        RestartCondition::Any => false,
        RestartCondition::OnFailure => task.phase == Phase::Completed,
        RestartCondition::Never => matches!(task.phase, Phase::Completed | Phase::Failed),
    }
}

fn end_of(ended: Option<Seen<'_>>) -> String {
    ended.and_then(|task| task.task.end.as_ref()).map(|end| end.message.clone()).unwrap_or_default()
}

fn backoff_until(service: &Service, slot: Slot) -> Option<ClusterTime> {
    let failures = service.failures.get(&slot)?;
    Some(failures.last.after(service.spec.restart.backoff(failures.count.saturating_sub(1))))
}

fn replace_old(
    planner: &mut Planner<'_>,
    service: &Service,
    slots: &[Filled<'_>],
    limits: &Limits,
    counts: &Counts,
    needs: &mut Needs,
    report: &mut ServiceReport,
) {
    if counts.old == 0 {
        return;
    }
    let mut old: Vec<_> = slots
        .iter()
        .filter(|slot| slot.new.is_none())
        .filter_map(|slot| slot.old)
        .filter(|task| may_replace(planner, service, task.slot))
        .collect();
    let leaves = |task: &Task| planner.node(task.node).is_some_and(|node| node.is_open());
    old.sort_by_key(|task| (task.is_ready(), leaves(task), task.revision, task.slot));
    let pause = batch_pause(planner, service, slots);
    let limit = match (pause, limits.order) {
        (Some(_), _) => "waiting between batches",
        (None, Order::StartFirst) => "new tasks first, within max-surge and parallelism",
        (None, Order::StopFirst) => "old tasks first, within max-unavailable and parallelism",
    };
    let reason = WaitReason::Replacing { left: counts.old, revision: service.current, limit };
    report.wait(Wait { slot: None, reason, since: Some(service.changed), until: pause });
    if let Some(until) = pause {
        planner.wake(until);
        return;
    }
    match limits.order {
        Order::StartFirst => {
            let starts = rolling::starts(limits, counts).saturating_sub(to_u32(needs.place.len()));
            needs.place.extend(old.iter().take(starts as usize).map(|task| task.slot));
        }
        Order::StopFirst => {
            let (unready, ready): (Vec<_>, Vec<_>) =
                old.into_iter().partition(|task| !task.is_ready());
            let stops = rolling::stops(limits, counts) as usize;
            for task in unready.into_iter().chain(ready.into_iter().take(stops)) {
                needs.drain(&task, StopReason::Replaced);
            }
        }
    }
}

/// Whether the back-off of a slot's failing replacements is over.
fn may_replace(planner: &mut Planner<'_>, service: &Service, slot: Slot) -> bool {
    match backoff_until(service, slot).filter(|due| *due > planner.now) {
        Some(due) => {
            planner.wake(due);
            false
        }
        None => true,
    }
}

/// Until when to wait after the last finished batch; `None` where the delay is over or there is none.
fn batch_pause(
    planner: &Planner<'_>,
    service: &Service,
    slots: &[Filled<'_>],
) -> Option<ClusterTime> {
    let delay = service.spec.update.delay;
    if delay == Duration::ZERO {
        return None;
    }
    let placed_since = |task: &Seen<'_>| task.created >= service.changed;
    let new = slots.iter().filter_map(|slot| slot.new).filter(placed_since);
    let last = new.filter_map(|task| available_at(service, &task)).max()?;
    Some(last.after(delay)).filter(|until| *until > planner.now)
}

fn report_unready(
    planner: &mut Planner<'_>,
    service: &Service,
    slots: &[Filled<'_>],
    report: &mut ServiceReport,
) {
    let replacing = slots.iter().any(|slot| slot.old.is_some());
    for slot in slots.iter() {
        let Some(task) = slot.new.or(slot.old) else { continue };
        let detail = || task.heard.map(|heard| heard.detail.clone()).unwrap_or_default();
        if task.phase < Phase::Running {
            let phase = task.heard.map_or(task.phase, |heard| heard.phase.max(task.phase));
            let wait =
                WaitReason::Starting { task: task.id, node: task.node, phase, detail: detail() };
            report.wait(waiting(&task, wait, Some(task.changed), None));
        } else if !task.is_ready() {
            let restarts = task.restarts();
            let wait = WaitReason::NotReady { task: task.id, restarts, detail: detail() };
            report.wait(waiting(&task, wait, Some(task.changed), None));
        } else if service.stable != Some(service.current) || replacing {
            let due = available_at(service, &task).filter(|at| *at > planner.now);
            if let Some(due) = due {
                planner.wake(due);
                let wait = WaitReason::MinReady { task: task.id };
                report.wait(waiting(&task, wait, None, Some(due)));
            }
        }
    }
}

fn propose(
    planner: &mut Planner<'_>,
    service: &Service,
    tasks: &[Seen<'_>],
    needs: Needs,
    report: &mut ServiceReport,
) {
    let (id, expect) = (service.id, service.generation);
    for (reason, tasks) in needs.drain {
        planner.plan.commands.push(Command::DrainTasks { service: id, expect, tasks, reason });
    }
    if !needs.forget.is_empty() {
        planner.plan.commands.push(Command::ForgetTasks { tasks: needs.forget });
    }
    if needs.place.is_empty() {
        return;
    }
    let placements = place(planner, service, tasks, &needs.place, report);
    for batch in placements.chunks(PLACEMENTS_PER_COMMAND) {
        planner.plan.commands.push(Command::PlaceTasks {
            service: id,
            expect,
            placements: batch.to_vec(),
        });
    }
}

fn place(
    planner: &mut Planner<'_>,
    service: &Service,
    tasks: &[Seen<'_>],
    slots: &[Slot],
    report: &mut ServiceReport,
) -> Vec<Placing> {
    let revision = service.current_revision().clone();
    let group = Group {
        service: service.id,
        revision: revision.number,
        template: &revision.template,
        placement: &service.spec.placement,
    };
    let state = planner.state;
    let node = |id| state.node(id).map(AsRef::as_ref);
    let mut presence = Presence::of(&group, tasks.iter().map(|seen| seen.task), node);
    let placing = |slot: Slot, node: NodeId| Placing { slot, revision: revision.number, node };
    match service.spec.mode {
        Mode::Replicated { .. } => {
            let wanted = to_u32(slots.len());
            let (chosen, explain) =
                scheduler::place(&group, wanted, planner.rooms(), &mut presence);
            let missing = wanted - to_u32(chosen.len());
            if missing > 0 {
                let reason = WaitReason::NoNode { missing, explain };
                report.wait(Wait { slot: None, reason, since: None, until: None });
            }
            slots.iter().zip(chosen).map(|(slot, node)| placing(*slot, node)).collect()
        }
        Mode::Global => {
            let mut placements = Vec::new();
            for slot in slots {
                let node = NodeId(u64::from(slot.0));
                match scheduler::obstacle_on(&group, node, planner.rooms(), &presence) {
                    None => placements.push(placing(*slot, node)),
                    Some(obstacle) => {
                        let explain = Explain::one(obstacle);
                        let reason = WaitReason::NoNode { missing: 1, explain };
                        report.wait(Wait { slot: Some(*slot), reason, since: None, until: None });
                    }
                }
            }
            placements
        }
    }
}

/// Every slot has run the current revision for `min_ready`: it becomes the one to go back to.
fn accept(planner: &mut Planner<'_>, service: &Service, slots: &[Filled<'_>]) {
    let settled = slots.iter().all(|slot| {
        slot.old.is_none()
            && (is_done(service, slot.ended)
                || slot.new.is_some_and(|task| is_available(planner, service, &task)))
    });
    if settled && service.stable != Some(service.current) {
        planner.plan.commands.push(Command::AcceptRevision {
            service: service.id,
            expect: service.generation,
            revision: service.current,
        });
    }
}

fn status(service: &Service, tasks: &[Seen<'_>], report: &ServiceReport) -> Status {
    let crashing = |task: &Seen<'_>| task.is_wanted() && task.restarts() >= CRASH_LOOP_RESTARTS;
    let old = |task: &Seen<'_>| {
        task.is_wanted() && (task.revision != service.current || task.round != service.round)
    };
    if service.deleting {
        Status::Deleting
    } else if report.ready + report.completed < report.desired
        && (tasks.iter().any(crashing) || !service.failures.is_empty())
    {
        Status::CrashLooping
    } else if tasks.iter().any(old) {
        Status::Updating
    } else if report.ready + report.completed < report.desired {
        Status::Pending
    } else {
        Status::Running
    }
}

fn count(tasks: &[Seen<'_>], which: impl Fn(&Seen<'_>) -> bool) -> u32 {
    to_u32(tasks.iter().filter(|task| which(task)).count())
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
