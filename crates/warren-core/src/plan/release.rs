//! A service that a release moves: first the release takes its next step; while it has none to take, its tasks are
//! brought to what it wants of them.

use super::Planner;
use super::global::Wanted;
use super::seen::Seen;
use super::service::{Goal, Round, is_done, to_u32};
use crate::command::Command;
use crate::id::{RevisionNumber, Slot, TaskId};
use crate::report::{ServiceReport, Wait, WaitReason};
use crate::rollout::{self, Facts, Rollout, Shape, Track, Verdict};
use crate::service::Service;
use crate::task::{Phase, StopReason};
use crate::time::ClusterTime;
use crate::traffic;
use std::collections::BTreeSet;

/// Plans a service with a release.
pub(super) fn plan<'a>(
    planner: &mut Planner<'a>,
    service: &'a Service,
    live: &'a Rollout,
    tasks: &[Seen<'a>],
) -> ServiceReport {
    let wanted = planner.wanted(service);
    let facts = facts(planner, service, live, tasks, &wanted);
    let next = rollout::step(live, &facts);
    let mut report = ServiceReport { desired: wanted.count(), ..ServiceReport::default() };
    if let Some(at) = next.wake_at {
        planner.wake(at);
    }
    for wait in next.waits {
        let until = wait.until();
        let (reason, since) = (WaitReason::Release(wait), Some(live.since));
        report.wait(Wait { slot: None, reason, since, until });
    }
    for (seq, to) in (live.seq..).zip(&next.moves) {
        let (service, rollout, to) = (service.id, live.id, to.clone());
        planner.plan.commands.push(Command::MoveRollout { service, rollout, seq, to });
    }
    if next.moves.is_empty() {
        let shape = rollout::shape(live, &facts);
        report = Release { planner, service, live, tasks, wanted }.bring(shape, report);
    }
    planner.stop_drained(tasks, &mut report);
    report
}

/// A release and all the tasks of its service.
struct Release<'p, 'a> {
    planner: &'p mut Planner<'a>,
    service: &'a Service,
    live: &'a Rollout,
    tasks: &'p [Seen<'a>],
    wanted: Wanted,
}

impl<'a> Release<'_, 'a> {
    /// Proposes what brings the tasks closer to `shape`.
    fn bring(mut self, shape: Shape, report: ServiceReport) -> ServiceReport {
        // Another attempt starts with fresh tasks where those of the last one do not come up.
        self.drain(self.tasks.iter().filter(|task| task.is_live() && is_worn(self.live, task)));
        match shape {
            Shape::Nothing => report,
            Shape::Only { revision, fast } => {
                let goal = self.goal(revision, fast, u32::MAX);
                let tasks = self.tasks.to_vec();
                self.round(goal, &tasks, None, report)
            }
            Shape::Recreate { revision } => {
                let old = |task: &&Seen<'_>| task.revision != revision;
                self.drain(self.tasks.iter().filter(old));
                if self.tasks.iter().any(|task| task.revision != revision && task.is_live()) {
                    return report;
                }
                let goal = self.goal(revision, true, u32::MAX);
                let tasks = self.tasks.to_vec();
                self.round(goal, &tasks, None, report)
            }
            Shape::Settle { from, to } => {
                let goal = self.goal(from, true, self.room());
                let tasks = self.tasks.iter().filter(|task| task.revision != to);
                let tasks: Vec<_> = tasks.copied().collect();
                self.round(goal, &tasks, None, report)
            }
            Shape::Beside { from, to, count } => self.beside(from, to, count, report),
        }
    }

    fn beside(
        &mut self,
        from: RevisionNumber,
        to: RevisionNumber,
        count: Option<u32>,
        report: ServiceReport,
    ) -> ServiceReport {
        let of = |revision| -> Vec<_> {
            self.tasks.iter().filter(|task| task.revision == revision).copied().collect()
        };
        let (old, new) = (of(from), of(to));
        let room = self.room();
        let goal = self.goal(from, true, room);
        let planned = self.planner.plan.commands.len();
        let report = self.round(goal, &old, None, report);
        let room = room.saturating_sub(placed(&self.planner.plan.commands[planned..]));
        let Some(count) = count else { return self.trim(from, report) };
        let others = |task: &&Seen<'_>| task.revision != from && task.revision != to;
        self.drain(self.tasks.iter().filter(others));
        let goal = self.goal(to, true, room);
        self.round(goal, &new, Some(count), report)
    }

    /// Leaves what runs beside `revision` alone, but for what a scale-in left over: that would keep the room that
    /// `revision` needs to come back.
    fn trim(&mut self, revision: RevisionNumber, mut report: ServiceReport) -> ServiceReport {
        let beside: BTreeSet<_> = self.tasks.iter().map(|task| task.revision).collect();
        for beside in beside.into_iter().filter(|beside| *beside != revision) {
            let tasks = self.tasks.iter().filter(|task| task.revision == beside);
            let (tasks, goal) = (tasks.copied().collect::<Vec<_>>(), self.goal(beside, true, 0));
            let mut round = Round::new(self.planner, self.service, goal, &tasks, report);
            round.trim(&self.wanted);
            report = round.report;
        }
        report
    }

    /// How many tasks may be started, whatever they run.
    fn room(&self) -> u32 {
        let replicas = self.wanted.count();
        let surge = self.live.settings.max_surge.ceil_of(replicas);
        let apart = self.live.is_beside() || !self.service.split.weights.is_empty();
        let sets = if apart { replicas.saturating_mul(2) } else { replicas };
        let all = to_u32(self.tasks.iter().filter(|task| task.is_live()).count());
        sets.saturating_add(surge).saturating_sub(all)
    }

    fn goal(&self, revision: RevisionNumber, fast: bool, room: u32) -> Goal<'a> {
        let (settings, since) = (&self.live.settings, self.live.started);
        Goal { revision, settings, min_ready: self.live.min_ready(), fast, since, room }
    }

    fn round(
        &mut self,
        goal: Goal<'a>,
        tasks: &[Seen<'a>],
        count: Option<u32>,
        report: ServiceReport,
    ) -> ServiceReport {
        let mut round = Round::new(self.planner, self.service, goal, tasks, report);
        match count {
            None => round.reconcile(&self.wanted),
            Some(count) => round.reconcile(&Wanted::Numbered(count)),
        }
        round.report
    }

    /// Takes tasks out of traffic that get none by the split, or that are to go before others come.
    fn drain<'t>(&mut self, tasks: impl Iterator<Item = &'t Seen<'a>>)
    where
        'a: 't,
    {
        let (wanted, ended): (Vec<_>, Vec<_>) =
            tasks.filter(|task| task.is_wanted() || !task.is_live()).partition(|t| t.is_live());
        let ids = |tasks: Vec<&Seen<'_>>| tasks.iter().map(|task| task.id).collect::<Vec<TaskId>>();
        if !wanted.is_empty() {
            self.planner.plan.commands.push(Command::DrainTasks {
                service: self.service.id,
                expect: self.service.generation,
                tasks: ids(wanted),
                reason: StopReason::Replaced,
            });
        }
        if !ended.is_empty() {
            self.planner.plan.commands.push(Command::ForgetTasks { tasks: ids(ended) });
        }
    }
}

/// Tasks that the commands make.
fn placed(commands: &[Command]) -> u32 {
    let placed = commands.iter().map(|command| {
        if let Command::PlaceTasks { placements, .. } = command { placements.len() } else { 0 }
    });
    to_u32(placed.sum())
}

/// What the release's next step is decided from.
pub(super) fn facts<'a>(
    planner: &Planner<'a>,
    service: &'a Service,
    live: &Rollout,
    tasks: &[Seen<'a>],
    wanted: &Wanted,
) -> Facts<'a> {
    let counter = Counter { service, live, now: planner.now, wanted };
    let of = |which: &dyn Fn(RevisionNumber) -> bool, revision| {
        counter.track(tasks.iter().filter(|task| which(task.revision)), revision)
    };
    let is_from = |revision| live.from == Some(revision) && revision != live.to;
    let split = &service.split;
    let (observed, epoch) = (planner.observed, split.epoch);
    let moving = !live.phase.is_accepted() && !live.phase.is_back();
    let (failing, unready_until) =
        if moving { failing(planner, live, tasks) } else { Default::default() };
    let strangers = split.weights.iter().any(|(revision, weight)| {
        *weight > crate::units::Weight::ZERO && Some(*revision) != live.from && *revision != live.to
    });
    Facts {
        now: planner.now,
        replicas: wanted.count(),
        from: of(&is_from, live.from.unwrap_or(live.to)),
        to: of(&|revision| revision == live.to, live.to),
        others: of(&|revision| revision != live.to && !is_from(revision), live.to),
        share: split.weight_of(live.to),
        strangers,
        split_since: split.since,
        settled_at: traffic::settled_at(planner.state, observed, epoch, split.since),
        unacked: traffic::unacked(observed, epoch),
        frozen: planner.state.freeze_of(service.id),
        verdict: Verdict::Pass,
        failing,
        unready_until,
    }
}

/// Counts the tasks of one revision.
struct Counter<'c, 'a> {
    service: &'a Service,
    live: &'c Rollout,
    now: ClusterTime,
    wanted: &'c Wanted,
}

impl Counter<'_, '_> {
    fn track<'t, 'a: 't>(
        &self,
        tasks: impl Iterator<Item = &'t Seen<'a>>,
        revision: RevisionNumber,
    ) -> Track {
        let mut track = Track::default();
        let mut done = BTreeSet::new();
        for task in tasks {
            let slot = self.wanted.index(task.slot);
            if !task.is_live() {
                if is_done(self.service, revision, task) {
                    done.extend(slot);
                }
                continue;
            }
            track.live += 1;
            track.wanted += u32::from(task.is_wanted());
            if !task.is_serving() {
                continue;
            }
            track.ready += 1;
            let at = task.ready_since().map(|since| since.after(self.live.min_ready()));
            if at.is_some_and(|at| at <= self.now) {
                track.available += 1;
                done.extend(slot);
            } else {
                track.next = track.next.into_iter().chain(at).min();
            }
        }
        track.done = to_u32(done.len());
        track
    }
}

/// Slots of the new revision that fail now, and when the next will.
fn failing(
    planner: &Planner<'_>,
    live: &Rollout,
    tasks: &[Seen<'_>],
) -> (Vec<(Slot, String)>, Option<ClusterTime>) {
    let mut failing = Vec::new();
    let mut until = None;
    for task in tasks.iter().filter(|task| task.revision == live.to) {
        let why = match failure(planner, live, task) {
            Fate::Well => continue,
            Fate::Until(at) => {
                until = until.into_iter().chain([at]).min();
                continue;
            }
            Fate::Failed(why) => why,
        };
        failing.push((task.slot, why));
    }
    (failing, until)
}

enum Fate {
    Well,
    Until(ClusterTime),
    Failed(String),
}

/// Whether a task of the new revision counts as failed: it ended by itself, was started again in place, or was not
/// ready in time. A lost node is no fault of the revision, and what was so before this attempt is not held against it.
fn failure(planner: &Planner<'_>, live: &Rollout, task: &Seen<'_>) -> Fate {
    let ended = matches!(task.phase, Phase::Failed | Phase::Rejected);
    if ended && task.changed >= live.attempt_at && task.created >= live.started {
        let message = task.end.as_ref().map(|end| end.message.as_str()).unwrap_or_default();
        let rejected = task.phase == Phase::Rejected;
        let what = if rejected { "its task could not be started" } else { "its task failed" };
        return Fate::Failed(with_detail(what, message));
    }
    if !task.is_wanted() || !planner.node(task.node).is_some_and(|node| node.up) {
        return Fate::Well;
    }
    // Nor is a runtime that does not answer: the task may be well, and nobody can tell.
    if task.heard.is_some_and(|heard| heard.unseen) {
        return Fate::Well;
    }
    let again = task.restarts() > 0;
    match task.ready_since() {
        Some(since) if again && since >= live.attempt_at => Fate::Failed(restarted(task)),
        Some(_) => Fate::Well,
        None if again && is_worn(live, task) => Fate::Well,
        None if again => Fate::Failed(restarted(task)),
        None => {
            let heard = task.heard.and_then(|heard| heard.unready_since);
            let since =
                heard.unwrap_or(planner.observed.since).max(task.created).max(live.attempt_at);
            let at = since.after(live.settings.healthy_deadline);
            if at > planner.now {
                return Fate::Until(at);
            }
            let within = live.settings.healthy_deadline.as_secs();
            Fate::Failed(with_detail(&format!("not ready within {within} s"), &task.detail()))
        }
    }
}

/// Whether a task of an earlier attempt did not come up.
fn is_worn(live: &Rollout, task: &Seen<'_>) -> bool {
    let before = task.revision == live.to && task.created < live.attempt_at;
    before && live.attempt > 1 && task.restarts() > 0 && !task.is_ready()
}

fn restarted(task: &Seen<'_>) -> String {
    let ended = match task.restarts() {
        1 => "its task ended".to_owned(),
        restarts => format!("its task ended {restarts} times"),
    };
    with_detail(&ended, &task.detail())
}

/// What failed, with what the node says of it. When it tries again is no part of a failure that has happened.
fn with_detail(what: &str, detail: &str) -> String {
    let detail = detail.split(": restart ").next().unwrap_or_default();
    if detail.is_empty() { what.to_owned() } else { format!("{what}: {detail}") }
}
