//! One service: fill what is empty, replace what is old, take away what is too much.

use super::Planner;
use super::global::Wanted;
use super::release;
use super::seen::Seen;
use crate::command::Command;
use crate::id::{RevisionNumber, Slot, TaskId};
use crate::report::{ServiceReport, Status, Wait, WaitReason};
use crate::rollout::Move;
use crate::rollout::rolling::{Counts, Limits};
use crate::service::Service;
use crate::spec::{RestartCondition, UpdateSettings};
use crate::task::{Phase, StopReason, Task};
use crate::time::ClusterTime;
use crate::units::Weight;
use std::collections::BTreeMap;
use std::time::Duration;

/// Restarts in place from which a service is called crash-looping rather than starting.
const CRASH_LOOP_RESTARTS: u32 = 2;

/// How long a new leader waits for nodes to say how their tasks do: as long as the longest lease, after which a silent
/// node is judged anyway.
const LISTEN_MAX: Duration = Duration::from_secs(15);

/// What is in one wanted slot.
#[derive(Clone, Copy)]
pub(super) struct Filled<'a> {
    pub(super) slot: Slot,
    /// The wanted task of the current revision and round, on a node that is to keep it.
    pub(super) new: Option<Seen<'a>>,
    /// The wanted task that is to be replaced.
    pub(super) old: Option<Seen<'a>>,
    /// The last ended task.
    pub(super) ended: Option<Seen<'a>>,
}

/// What a round of planning is to bring about.
#[derive(Clone, Copy)]
pub(super) struct Goal<'a> {
    /// What every slot is to run.
    pub(super) revision: RevisionNumber,
    /// The limits.
    pub(super) settings: &'a UpdateSettings,
    /// How long a task must have been ready before it counts.
    pub(super) min_ready: Duration,
    /// Whether surge and unavailable are the only limits.
    pub(super) fast: bool,
    /// Since when.
    pub(super) since: ClusterTime,
    /// How many tasks of the service may still be started, whatever they run.
    pub(super) room: u32,
}

/// One service in one round of planning: what is there, what may be done, and what is to be proposed.
pub(super) struct Round<'p, 'a> {
    pub(super) planner: &'p mut Planner<'a>,
    pub(super) service: &'a Service,
    pub(super) goal: Goal<'a>,
    pub(super) tasks: &'p [Seen<'a>],
    pub(super) slots: Vec<Filled<'a>>,
    pub(super) limits: Limits,
    pub(super) counts: Counts,
    /// How many serving tasks may still be taken away in this round: no planned stop leaves fewer than the wanted
    /// number less `max_unavailable`.
    spare: u32,
    /// Slots to place tasks in.
    pub(super) place: Vec<Slot>,
    drain: BTreeMap<StopReason, Vec<TaskId>>,
    pub(super) report: ServiceReport,
}

/// Plans one service. `tasks` are all of its tasks.
pub(super) fn plan<'a>(planner: &mut Planner<'a>, service: &'a Service, tasks: &[Seen<'a>]) {
    let mut report = if service.deleting {
        delete(planner, service, tasks)
    } else if let Some(until) = blind_until(planner, tasks) {
        listen(planner, service, tasks, until)
    } else if let Some(live) = &service.rollout {
        release::plan(planner, service, live, tasks)
    } else {
        rest(planner, service, tasks)
    };
    if let Some((queued, live)) = service.queued.as_ref().zip(service.rollout.as_ref()) {
        let (by, image) = (queued.by.clone(), queued.spec.template.image.clone());
        let reason = WaitReason::Queued { release: queued.id, by, image, behind: live.id };
        report.wait(Wait { slot: None, reason, since: Some(queued.since), until: None });
    }
    report.running = count(tasks, |task| task.is_live() && task.phase == Phase::Running);
    report.ready = count(tasks, |task| task.is_serving());
    report.status = status(service, tasks, &report);
    planner.plan.report.services.insert(service.id, report);
}

/// Until when a new leader waits to hear of a task that runs, before it plans for its service; absent where it has
/// heard of all. What it does not know is not the same as what is not ready.
fn blind_until(planner: &Planner<'_>, tasks: &[Seen<'_>]) -> Option<ClusterTime> {
    let until = planner.observed.since.after(LISTEN_MAX);
    let up = |node| planner.node(node).is_some_and(|node| node.up);
    let unheard = |task: &Seen<'_>| task.serves() && task.heard.is_none() && up(task.node);
    (until > planner.now && tasks.iter().any(unheard)).then_some(until)
}

fn listen(
    planner: &mut Planner<'_>,
    service: &Service,
    tasks: &[Seen<'_>],
    until: ClusterTime,
) -> ServiceReport {
    // Nobody knows whether the time of a hold counts now, so it does not.
    if let Some(live) = service.rollout.as_ref().filter(|live| live.eligible_since.is_some()) {
        let (service, rollout, seq) = (service.id, live.id, live.seq);
        let to = Move::Clock { running: false };
        planner.plan.commands.push(Command::MoveRollout { service, rollout, seq, to });
    }
    let desired = planner.wanted(service).count();
    let mut report = ServiceReport { desired, ..ServiceReport::default() };
    planner.wake(until);
    let (reason, until) = (WaitReason::Listening, Some(until));
    report.wait(Wait { slot: None, reason, since: Some(planner.observed.since), until });
    planner.stop_drained(tasks, &mut report);
    report
}

/// A service that no release moves.
fn rest<'a>(planner: &mut Planner<'a>, service: &'a Service, tasks: &[Seen<'a>]) -> ServiceReport {
    if service.queued.is_some() {
        let (service, expect) = (service.id, service.generation);
        planner.plan.commands.push(Command::StartQueued { service, expect });
    }
    let goal = Goal {
        revision: service.current,
        settings: &service.spec.update,
        min_ready: service.spec.update.min_ready,
        fast: false,
        since: service.changed,
        room: u32::MAX,
    };
    let wanted = planner.wanted(service);
    let mut round = Round::new(planner, service, goal, tasks, ServiceReport::default());
    round.reconcile(&wanted);
    round.accept();
    let mut report = round.report;
    report.desired = wanted.count();
    planner.stop_drained(tasks, &mut report);
    report
}

fn delete(planner: &mut Planner<'_>, service: &Service, tasks: &[Seen<'_>]) -> ServiceReport {
    let mut report = ServiceReport::default();
    let wanted: Vec<_> = tasks.iter().filter(|t| t.is_wanted()).map(|t| t.id).collect();
    if !wanted.is_empty() {
        planner.plan.commands.push(Command::DrainTasks {
            service: service.id,
            expect: service.generation,
            tasks: wanted,
            reason: StopReason::Deleted,
        });
    }
    planner.stop_drained(tasks, &mut report);
    if !tasks.iter().any(|task| task.is_live()) {
        planner.plan.commands.push(Command::ForgetService { service: service.id });
    }
    report
}

impl<'p, 'a> Round<'p, 'a> {
    pub(super) fn new(
        planner: &'p mut Planner<'a>,
        service: &'a Service,
        goal: Goal<'a>,
        tasks: &'p [Seen<'a>],
        report: ServiceReport,
    ) -> Self {
        let limits = limits(service, &goal, 0);
        Self {
            planner,
            service,
            goal,
            tasks,
            slots: Vec::new(),
            limits,
            counts: Counts::default(),
            spare: 0,
            place: Vec::new(),
            drain: BTreeMap::new(),
            report,
        }
    }

    /// Proposes what brings the wanted slots closer to the goal.
    pub(super) fn reconcile(&mut self, wanted: &Wanted) {
        let surplus = self.look(wanted);
        self.finish_replacements();
        for (task, reason) in surplus {
            self.take_away(&task, reason);
        }
        self.fill_empty();
        self.replace_old();
        self.report_unready();
        self.propose();
    }

    /// Takes away what is surplus; nothing comes, and nothing is replaced.
    pub(super) fn trim(&mut self, wanted: &Wanted) {
        for (task, reason) in self.look(wanted) {
            self.take_away(&task, reason);
        }
        self.propose();
    }

    /// Counts what is there. Returns what is surplus.
    fn look(&mut self, wanted: &Wanted) -> Vec<(Seen<'a>, StopReason)> {
        let replicas = wanted.count();
        self.limits = limits(self.service, &self.goal, replicas);
        let surplus = self.fill_slots(wanted);
        self.counts = self.count();
        self.spare =
            self.counts.ready.saturating_sub(replicas.saturating_sub(self.limits.unavailable));
        surplus
    }

    /// Sorts the tasks into the wanted slots. What is in no wanted slot, or twice in one, is surplus.
    fn fill_slots(&mut self, wanted: &Wanted) -> Vec<(Seen<'a>, StopReason)> {
        let mut surplus = Vec::new();
        let mut forget = Vec::new();
        let empty = |slot| Filled { slot, new: None, old: None, ended: None };
        self.slots = wanted.slots().into_iter().map(empty).collect();
        for task in self.tasks {
            let Some(index) = wanted.index(task.slot) else {
                if !task.is_live() {
                    forget.push(task.id);
                } else if task.is_wanted() {
                    let stays = self.is_on_open_node(task);
                    let reason = if stays { StopReason::ScaledIn } else { StopReason::Moved };
                    surplus.push((*task, reason));
                }
                continue;
            };
            let stays = task.revision == self.goal.revision
                && task.round == self.service.round
                && (self.is_in_place(task) || self.is_cut_off(task));
            let filled = &mut self.slots[index];
            if !task.is_live() {
                let last = |ended: Seen<'_>| (ended.changed, ended.id) < (task.changed, task.id);
                if filled.ended.is_none_or(last) {
                    filled.ended = Some(*task);
                }
            } else if task.is_wanted() {
                let place = if stays { &mut filled.new } else { &mut filled.old };
                surplus.extend(keep_the_ready(place, *task).map(|t| (t, StopReason::Replaced)));
            }
        }
        if !forget.is_empty() {
            self.planner.plan.commands.push(Command::ForgetTasks { tasks: forget });
        }
        surplus
    }

    pub(super) fn is_on_open_node(&self, task: &Task) -> bool {
        self.planner.node(task.node).is_some_and(|node| node.is_open())
    }

    /// Whether a task may stay where it is: its node takes tasks, and nobody wants it elsewhere.
    pub(super) fn is_in_place(&self, task: &Task) -> bool {
        self.is_on_open_node(task) && self.service.moving(task).is_none()
    }

    /// Whether a task's node is down and may run it still: nothing takes its place before it must have ended.
    pub(super) fn is_cut_off(&self, task: &Task) -> bool {
        task.is_live() && self.planner.node(task.node).is_some_and(|node| !node.up)
    }

    /// Why an old task goes.
    pub(super) fn why_replaced(&self, task: &Task) -> StopReason {
        if self.is_in_place(task) { StopReason::Replaced } else { StopReason::Moved }
    }

    fn count(&self) -> Counts {
        let in_flight = self.slots.iter().filter(|slot| match (slot.new, slot.old) {
            (Some(new), _) => !self.is_available(&new),
            (None, Some(_)) => false,
            (None, None) => !self.is_done(slot.ended),
        });
        let old = self.slots.iter().filter(|slot| slot.new.is_none() && slot.old.is_some());
        Counts {
            replicas: to_u32(self.slots.len()),
            live: count(self.tasks, |task| task.is_live()),
            ready: count(self.tasks, |task| self.carries(task)),
            in_flight: to_u32(in_flight.count()),
            old: to_u32(old.count()),
        }
    }

    /// When a task has been ready for `min_ready`; absent while it is not ready.
    pub(super) fn available_at(&self, task: &Seen<'_>) -> Option<ClusterTime> {
        let since = task.ready_since()?;
        (task.phase == Phase::Running).then(|| since.after(self.goal.min_ready))
    }

    pub(super) fn is_available(&self, task: &Seen<'_>) -> bool {
        self.available_at(task).is_some_and(|at| at <= self.planner.now)
    }

    /// Whether a slot's task ended and is not wanted again.
    pub(super) fn is_done(&self, ended: Option<Seen<'_>>) -> bool {
        ended.is_some_and(|task| is_done(self.service, self.goal.revision, &task))
    }

    /// Whether a task carries traffic that others would have to take over.
    pub(super) fn carries(&self, task: &Seen<'_>) -> bool {
        let share = self.service.split.weight_of(task.revision);
        task.is_serving() && share != Some(Weight::ZERO)
    }

    /// Takes a task out of traffic, to stop it later; a serving one only while enough others serve.
    pub(super) fn take_away(&mut self, task: &Seen<'_>, reason: StopReason) {
        if self.carries(task) {
            let Some(left) = self.spare.checked_sub(1) else {
                let moved = reason == StopReason::Moved;
                let node = self.planner.node(task.node).filter(|_| moved);
                let reason = WaitReason::Held { task: task.id, reason };
                let until = node.and_then(|node| node.drain_until);
                self.wait(Some(task.slot), reason, None, until);
                return;
            };
            self.spare = left;
        }
        self.drain.entry(reason).or_default().push(task.id);
    }

    pub(super) fn wait(
        &mut self,
        slot: Option<Slot>,
        reason: WaitReason,
        since: Option<ClusterTime>,
        until: Option<ClusterTime>,
    ) {
        if let Some(until) = until {
            self.planner.wake(until);
        }
        self.report.wait(Wait { slot, reason, since, until });
    }

    fn report_unready(&mut self) {
        let settled = self.service.stable == Some(self.goal.revision)
            && self.slots.iter().all(|slot| slot.old.is_none());
        for index in 0..self.slots.len() {
            let filled = self.slots[index];
            let Some(seen) = filled.new.or(filled.old) else { continue };
            let (slot, task, since) = (Some(filled.slot), seen.id, Some(seen.changed));
            if self.is_cut_off(&seen) {
                let ends = self.planner.node(seen.node);
                let ends = ends.map(|node| super::ends_at(self.planner.state, node, &seen));
                let (reason, since) = (WaitReason::CutOff { task, node: seen.node }, None);
                self.wait(slot, reason, since, ends);
            } else if seen.phase < Phase::Running {
                let phase = seen.heard.map_or(seen.phase, |heard| heard.phase.max(seen.phase));
                let detail = seen.detail();
                let reason = WaitReason::Starting { task, node: seen.node, phase, detail };
                self.wait(slot, reason, since, None);
            } else if !seen.is_ready() {
                let (restarts, detail) = (seen.restarts(), seen.detail());
                self.wait(slot, WaitReason::NotReady { task, restarts, detail }, since, None);
            } else if !settled
                && let Some(due) = self.available_at(&seen).filter(|at| *at > self.planner.now)
            {
                self.wait(slot, WaitReason::MinReady { task }, None, Some(due));
            }
        }
    }

    fn propose(&mut self) {
        let (service, expect) = (self.service.id, self.service.generation);
        for (reason, tasks) in std::mem::take(&mut self.drain) {
            self.planner.plan.commands.push(Command::DrainTasks { service, expect, tasks, reason });
        }
        self.propose_placements();
    }

    /// Every slot has run the current revision for `min_ready`: it becomes the one to go back to.
    fn accept(&mut self) {
        let service = self.service;
        let settled = self.slots.iter().all(|slot| {
            slot.old.is_none()
                && (self.is_done(slot.ended) || slot.new.is_some_and(|t| self.is_available(&t)))
        });
        if settled && service.stable != Some(service.current) {
            self.planner.plan.commands.push(Command::AcceptRevision {
                service: service.id,
                expect: service.generation,
                revision: service.current,
            });
        }
    }
}

fn limits(service: &Service, goal: &Goal<'_>, replicas: u32) -> Limits {
    let template = match service.revisions.get(&goal.revision) {
        Some(revision) => &revision.template,
        None => &service.spec.template,
    };
    let limits = Limits::new(goal.settings, template, replicas);
    let parallelism = if goal.fast { u32::MAX } else { limits.parallelism };
    Limits { parallelism, ..limits }
}

/// Whether an ended task did what its slot was for, and is not wanted again.
pub(super) fn is_done(service: &Service, revision: RevisionNumber, task: &Task) -> bool {
    if task.revision != revision || task.round != service.round {
        return false;
    }
    match service.spec.restart.condition {
        RestartCondition::Any => false,
        RestartCondition::OnFailure => task.phase == Phase::Completed,
        RestartCondition::Never => matches!(task.phase, Phase::Completed | Phase::Failed),
    }
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

fn status(service: &Service, tasks: &[Seen<'_>], report: &ServiceReport) -> Status {
    let crashing = |task: &Seen<'_>| task.is_wanted() && task.restarts() >= CRASH_LOOP_RESTARTS;
    let old = |task: &Seen<'_>| {
        task.is_wanted() && (task.revision != service.current || task.round != service.round)
    };
    let updating = service.rollout.as_ref().is_some_and(|live| live.from.is_some());
    let short = report.ready + report.completed < report.desired;
    if service.deleting {
        Status::Deleting
    } else if short && (tasks.iter().any(crashing) || !service.failures.is_empty()) {
        Status::CrashLooping
    } else if updating || tasks.iter().any(old) {
        Status::Updating
    } else if short {
        Status::Pending
    } else {
        Status::Running
    }
}

fn count<'a>(tasks: &[Seen<'a>], which: impl Fn(&Seen<'a>) -> bool) -> u32 {
    to_u32(tasks.iter().filter(|task| which(task)).count())
}

pub(super) fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
