//! What a node must start, stop and remove so that it runs what is assigned to it.
//!
//! [`converge`] compares assignments with what the runtime lists and answers with jobs. It may be called at any time
//! and any number of times: a job that was lost, repeated or half done leads to the same end. What it must remember
//! of each task between calls (restarts, back-off, verdicts) is [`Memory`]; after a restart of the agent that is
//! empty, and running containers are adopted as they are.

mod memory;

pub use memory::{Check, Failure, FailureKind, Memory, Status};

use crate::assignment::{Assignment, Assignments, Want};
use crate::id::{RevisionNumber, ServiceId, TaskId};
use crate::spec::Stop;
use crate::task::Phase;
use crate::time::Tick;
use crate::traffic::forgotten_within;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// A runtime's own name for a container.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ContainerKey(pub String);

impl fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a container ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exit {
    /// When, in nanoseconds of the runtime's clock. Tells one end of a container from the next, nothing more.
    pub at: u64,
    /// The exit code, 128 + n after signal n; absent where nobody saw it.
    pub code: Option<i32>,
    /// Whether the kernel killed it for memory.
    pub out_of_memory: bool,
}

/// What a container is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Running since this moment of the runtime's clock, in nanoseconds, which tells one run from the next.
    Running(u64),
    /// Ended.
    Exited(Exit),
}

/// A container of this node and cluster. Those of anybody else are never listed here, and so never touched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Container {
    /// The runtime's name for it.
    pub key: ContainerKey,
    /// The task that its labels name.
    pub task: TaskId,
    /// The service that its labels name.
    pub service: ServiceId,
    /// The revision that its labels name.
    pub revision: RevisionNumber,
    /// The epoch of the cluster that made it.
    pub epoch: u32,
    /// What it is now.
    pub state: ContainerState,
}

impl Container {
    fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running(_))
    }

    fn is_of(&self, assignment: &Assignment) -> bool {
        self.task == assignment.task
            && self.service == assignment.service
            && self.revision == assignment.revision
    }
}

/// One effect on the runtime. Each may be repeated without harm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Bring the image of the task's template onto the node.
    Fetch,
    /// Make the task's container.
    Create,
    /// Start the container that the step before made.
    StartCreated,
    /// Start a container that was made before.
    Start(ContainerKey),
    /// Ask a container to end and kill it where it does not in time.
    Stop(ContainerKey, Stop),
    /// Kill a container that did not end when it was stopped.
    Kill(ContainerKey),
    /// Remove a container that does not run.
    Remove(ContainerKey),
}

/// Whether containers that belong to no assignment may be taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sweep {
    /// No: nobody who knows has said yet what is assigned.
    Hold,
    /// Yes, within the brake: no more running ones at once than this, or than [`brake`] where absent.
    AtMost(Option<u32>),
}

/// The most running tasks out of `running` that may be stopped at once without anybody having asked for their end one
/// by one: a wrong or truncated list of assignments must not empty a node.
#[must_use]
pub fn brake(running: usize) -> usize {
    (running * 3 / 10).max(2)
}

/// What a node knows when it decides.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What it must run.
    pub assignments: &'a Assignments,
    /// Every container of this node and cluster, listed after the last job of each task that is not busy ended.
    pub containers: &'a [Container],
    /// Tasks with a job under way: nothing is decided about them.
    pub busy: &'a BTreeSet<TaskId>,
    /// The cluster's epoch. Running containers of another one are adopted where they are assigned, and else left alone.
    pub epoch: u32,
    /// Whether strays may be taken away.
    pub sweep: Sweep,
    /// The lease of nodes, as a leader said it last: from it follows how long somebody may be led to a task that the
    /// cluster has given up.
    pub lease: Duration,
}

/// What is to be done now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Round {
    /// Steps by task. Those of one task are in order, and each needs the success of the one before.
    pub jobs: BTreeMap<TaskId, Vec<Step>>,
    /// How each assigned task is.
    pub statuses: BTreeMap<TaskId, Status>,
    /// When to call again even if nothing happens.
    pub wake_at: Option<Tick>,
    /// Why running strays are left alone, for people; absent where there are none.
    pub held: Option<String>,
}

/// What is to be done so that the node runs what is assigned.
#[must_use]
pub fn converge(inputs: Inputs<'_>, memories: &mut BTreeMap<TaskId, Memory>, now: Tick) -> Round {
    let mut round = Round::default();
    let (own, strays) = sort(inputs);
    memories.retain(|task, _| {
        inputs.assignments.contains_key(task)
            || inputs.busy.contains(task)
            || strays.iter().any(|stray| stray.task == *task)
    });
    sweep(inputs, &strays, memories, now, &mut round);
    for assignment in inputs.assignments.values() {
        let memory = memories.entry(assignment.task).or_default();
        if !inputs.busy.contains(&assignment.task) {
            let blocked = strays.iter().any(|stray| stray.task == assignment.task);
            let container = own.get(&assignment.task).copied();
            let steps = task_steps(inputs, assignment, container, blocked, memory, now);
            if !steps.is_empty() {
                round.jobs.entry(assignment.task).or_default().extend(steps);
            }
        }
        round.statuses.insert(assignment.task, memory.status(assignment, now));
    }
    let waits = memories.iter().filter(|(task, _)| !inputs.busy.contains(task));
    round.wake_at = waits.filter_map(|(_, memory)| memory.due(now)).min();
    round
}

/// How each assigned task is while the runtime does not say what runs: as far as it was known, with the reason.
#[must_use]
pub fn unknown(
    assignments: &Assignments,
    memories: &mut BTreeMap<TaskId, Memory>,
    why: &str,
    now: Tick,
) -> BTreeMap<TaskId, Status> {
    let status = |assignment: &Assignment| {
        let mut status = memories.entry(assignment.task).or_default().status(assignment, now);
        if !status.phase.is_final() {
            why.clone_into(&mut status.detail);
            status.unseen = true;
        }
        (assignment.task, status)
    };
    assignments.values().map(status).collect()
}

/// The containers of assigned tasks, a running one before any other, and all others.
fn sort(inputs: Inputs<'_>) -> (BTreeMap<TaskId, &Container>, Vec<&Container>) {
    let mut own: BTreeMap<TaskId, &Container> = BTreeMap::new();
    let mut strays = Vec::new();
    for container in inputs.containers {
        let assigned = inputs.assignments.get(&container.task);
        if !assigned.is_some_and(|assignment| container.is_of(assignment)) {
            strays.push(container);
            continue;
        }
        match own.get(&container.task) {
            Some(kept) if kept.is_running() || !container.is_running() => strays.push(container),
            Some(_) | None => strays.extend(own.insert(container.task, container)),
        }
    }
    (own, strays)
}

/// Takes containers away that belong to no assignment, unless there are suspiciously many running ones.
fn sweep(
    inputs: Inputs<'_>,
    strays: &[&Container],
    memories: &mut BTreeMap<TaskId, Memory>,
    now: Tick,
    round: &mut Round,
) {
    let Sweep::AtMost(allowance) = inputs.sweep else { return };
    // One that has ended is nobody's work: an adopted task leaves it behind when it is stopped.
    let is_ours = |stray: &Container| stray.epoch == inputs.epoch || !stray.is_running();
    let ours = || strays.iter().filter(|stray| is_ours(stray));
    let running = ours().filter(|stray| stray.is_running()).count();
    let all = inputs.containers.iter().filter(|container| container.is_running()).count();
    let most = allowance.map_or_else(|| brake(all), |allowance| allowance as usize);
    let foreign = strays.len() - ours().count();
    if running > most {
        round.held = Some(format!(
            "{running} of {all} running containers belong to no assignment, which is more than the {most} that may be \
             stopped at once: they keep running until the manager allows it"
        ));
    } else if foreign > 0 {
        round.held = Some(format!(
            "{foreign} containers were made before the cluster was restored and belong to no assignment: they are left \
             alone; remove them by hand once they are not needed"
        ));
    }
    for stray in ours().filter(|stray| !inputs.busy.contains(&stray.task)) {
        let memory = memories.entry(stray.task).or_default();
        if memory.due(now).is_some() || (stray.is_running() && running > most) {
            continue;
        }
        if runs_on(inputs, stray, memory, now) {
            continue;
        }
        let steps = round.jobs.entry(stray.task).or_default();
        if stray.is_running() {
            steps.push(memory.stop_step(&stray.key, Stop::default()));
        }
        steps.push(Step::Remove(stray.key.clone()));
    }
}

/// Whether a container runs on that the cluster has given up without asking for its end: its task was taken for lost,
/// or there is no record of it any more.
fn runs_on(inputs: Inputs<'_>, container: &Container, memory: &mut Memory, now: Tick) -> bool {
    let given_up = match inputs.assignments.get(&container.task).map(|assignment| assignment.want) {
        Some(Want::Run | Want::Stop) => false,
        Some(Want::Keep) | None => true,
    };
    given_up && container.is_running() && memory.outlives(forgotten_within(inputs.lease), now)
}

fn task_steps(
    inputs: Inputs<'_>,
    assignment: &Assignment,
    container: Option<&Container>,
    blocked: bool,
    memory: &mut Memory,
    now: Tick,
) -> Vec<Step> {
    memory.observe(assignment, container.map(|container| &container.state), now);
    let wanted = assignment.want == Want::Run && !memory.phase().is_final();
    if wanted {
        memory.is_wanted();
    }
    if memory.due(now).is_some()
        || container.is_some_and(|container| runs_on(inputs, container, memory, now))
    {
        return Vec::new();
    }
    match container.map(|container| (&container.key, container.state)) {
        Some((key, ContainerState::Running(_))) if !wanted || memory.is_unhealthy() => {
            vec![memory.stop_step(key, assignment.template.stop.clone())]
        }
        Some((key, ContainerState::Created | ContainerState::Exited(_))) if wanted => {
            vec![Step::Start(key.clone())]
        }
        Some(_) => Vec::new(),
        None if wanted && blocked => {
            memory.note("waits until an older container of the same name is gone".to_owned());
            Vec::new()
        }
        None if wanted => vec![Step::Fetch, Step::Create, Step::StartCreated],
        None => Vec::new(),
    }
}

impl Step {
    /// The phase in which a task is while this is done for it.
    #[must_use]
    pub const fn phase(&self) -> Option<Phase> {
        match self {
            Self::Fetch => Some(Phase::Preparing),
            Self::Create | Self::StartCreated | Self::Start(_) => Some(Phase::Starting),
            Self::Stop(..) | Self::Kill(_) | Self::Remove(_) => None,
        }
    }

    /// The step's name in logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Create => "create",
            Self::StartCreated | Self::Start(_) => "start",
            Self::Stop(..) => "stop",
            Self::Kill(_) => "kill",
            Self::Remove(_) => "remove",
        }
    }
}

#[cfg(test)]
mod tests;
