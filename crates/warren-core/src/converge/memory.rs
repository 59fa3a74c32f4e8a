//! What a node remembers of one task between two rounds.

use super::{ContainerKey, ContainerState, Exit, Step};
use crate::assignment::{Assignment, Want};
use crate::spec::{RestartCondition, Stop};
use crate::task::{End, Phase};
use crate::time::Tick;
use std::collections::VecDeque;
use std::time::Duration;

/// The first wait before a step that failed for a passing reason is tried again; doubled each time.
const RETRY: Duration = Duration::from_secs(1);
/// The longest such wait: a runtime that comes back is used again within half a minute.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The wait after a step that had nothing to act on: the next listing knows better, and this keeps a runtime that
/// contradicts itself from being asked without end.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// So often is a conflict (an address or host port in use, a foreign container with the task's name) tried again.
/// With the waits above that is 15 s: longer than a predecessor with the default stop timeout takes to leave.
const CONFLICTS_MAX: u32 = 4;

/// What kind of reason a step failed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// The runtime or a registry did not answer, or not in time. Nothing is wrong with the task.
    Passing,
    /// Something else has what the task needs.
    Conflict,
    /// It will be refused again: an image that nobody has, a mount that is missing, a command that cannot be run.
    Fatal,
    /// The container is gone, or the step was called off. The next listing tells.
    Moot,
}

/// Why a step failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What kind of reason.
    pub kind: FailureKind,
    /// What went wrong and what to do, for people.
    pub message: String,
}

/// Which of a task's checks has a verdict.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Check {
    /// Whether it must be replaced.
    Health,
    /// Whether it gets traffic.
    Readiness,
}

/// How a task is, as its node tells the leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// How far it has come.
    pub phase: Phase,
    /// Whether it may get traffic.
    pub ready: bool,
    /// Whether its health check passes; absent without one or before the first verdict.
    pub healthy: Option<bool>,
    /// Restarts in place within the policy's window.
    pub restarts: u32,
    /// Whether it has ended and waits to be started again in its place.
    pub waiting: bool,
    /// Whether the runtime does not say how it is: the rest is what was known last.
    pub unseen: bool,
    /// What it does or what is wrong, for people.
    pub detail: String,
    /// How it ended, in a final phase.
    pub end: Option<End>,
}

/// What a node remembers of one task. Empty for a task that it sees for the first time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Memory {
    phase: Phase,
    end: Option<End>,
    /// When the restarts within the window were decided, oldest first.
    restarts: VecDeque<Tick>,
    /// Nothing is done for the task before this.
    due: Option<Tick>,
    /// Whether there is a container whose end has not been counted.
    open: bool,
    /// The run under way.
    run: Option<u64>,
    /// The end that was counted last, so that none is counted twice.
    counted: Option<u64>,
    health: Option<bool>,
    readiness: Option<bool>,
    /// The run under way is being ended because it is unhealthy.
    unhealthy: bool,
    /// Steps that failed in a row.
    failures: u32,
    /// A stop took longer than it may: kill.
    kill: bool,
    /// Since when it runs on although the cluster has given it up.
    given_up: Option<Tick>,
    /// How the run before this one ended, where that was counted as a restart.
    last_end: String,
    detail: String,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            phase: Phase::Assigned,
            end: None,
            restarts: VecDeque::new(),
            due: None,
            open: false,
            run: None,
            counted: None,
            health: None,
            readiness: None,
            unhealthy: false,
            failures: 0,
            kill: false,
            given_up: None,
            last_end: String::new(),
            detail: String::new(),
        }
    }
}

/// How a run of a container came to its end.
struct Cause {
    code: Option<i32>,
    out_of_memory: bool,
    failed: bool,
    message: String,
}

impl Memory {
    /// What there is to remember of a task that was ready in `run` when the agent ended. Where that run goes on, the
    /// task stays ready until a check says otherwise.
    #[must_use]
    pub fn adopted(run: u64) -> Self {
        Self {
            phase: Phase::Running,
            open: true,
            run: Some(run),
            readiness: Some(true),
            health: Some(true),
            ..Self::default()
        }
    }

    /// How far the task has come. It only grows.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The run under way; absent while nothing runs.
    #[must_use]
    pub const fn run(&self) -> Option<u64> {
        self.run
    }

    /// Until when nothing is done for the task; absent where nothing holds it back at `now`.
    #[must_use]
    pub fn due(&self, now: Tick) -> Option<Tick> {
        self.due.filter(|due| *due > now)
    }

    /// The task runs, and the cluster has given it up without asking for its end, as when its node was taken for lost.
    /// Answers may name it for `span` still, counted from when the node hears of that, which is later than when it was
    /// agreed. Returns whether it is to run on for that reason.
    pub(super) fn outlives(&mut self, span: Duration, now: Tick) -> bool {
        let until = self.given_up.get_or_insert(now).after(span);
        let on = until > now && !self.phase.is_final();
        if on {
            self.due = Some(until);
            "runs until nobody is led here any more: its place was given away"
                .clone_into(&mut self.detail);
        }
        on
    }

    /// The task is assigned to this node: where it had been given up, it is not any more.
    pub(super) fn is_wanted(&mut self) {
        if self.given_up.take().is_some() {
            self.due = None;
            self.detail.clear();
        }
    }

    pub(super) const fn is_unhealthy(&self) -> bool {
        self.unhealthy
    }

    /// A step of the task begins.
    pub fn begin(&mut self, step: &Step) {
        self.open |= matches!(step, Step::Start(_) | Step::StartCreated);
        if let Some(phase) = step.phase()
            && self.restarts.is_empty()
        {
            self.advance(phase);
            self.detail.clear();
        }
    }

    /// What the task is doing, for people.
    pub fn note(&mut self, detail: String) {
        self.detail = detail;
    }

    /// All steps of a job succeeded.
    pub fn done(&mut self) {
        self.failures = 0;
        self.kill = false;
        self.due = None;
    }

    /// A step failed, and with it the rest of its job.
    pub fn failed(&mut self, step: &Step, failure: Failure, now: Tick) {
        let starts = step.phase().is_some();
        let give_up = match failure.kind {
            FailureKind::Moot => {
                self.due = Some(now.after(LOOK_AGAIN));
                return;
            }
            FailureKind::Passing => false,
            FailureKind::Conflict => self.failures >= CONFLICTS_MAX,
            FailureKind::Fatal => true,
        };
        if starts && give_up {
            let phase = if self.phase < Phase::Running { Phase::Rejected } else { Phase::Failed };
            let end = End { code: None, out_of_memory: false, message: failure.message };
            return self.finish(phase, end);
        }
        self.kill = matches!(step, Step::Stop(..) | Step::Kill(_));
        let factor = 1_u32.checked_shl(self.failures.min(16)).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        self.due = Some(now.after(RETRY.saturating_mul(factor).min(RETRY_MAX)));
        self.detail = failure.message;
    }

    /// A check of the run that began at `run` came to a verdict. One about an earlier run changes nothing.
    pub fn verdict(&mut self, run: u64, check: Check, passes: bool, detail: String) {
        if self.run != Some(run) || self.phase.is_final() {
            return;
        }
        match check {
            Check::Health => self.health = Some(passes),
            Check::Readiness => self.readiness = Some(passes),
        }
        self.unhealthy = self.health == Some(false);
        if !passes {
            self.detail = detail;
        } else if !self.unhealthy && self.readiness != Some(false) {
            self.detail.clear();
        }
    }

    pub(super) fn stop_step(&self, key: &ContainerKey, stop: Stop) -> Step {
        if self.kill { Step::Kill(key.clone()) } else { Step::Stop(key.clone(), stop) }
    }

    /// Takes in what the runtime lists for the task.
    pub(super) fn observe(
        &mut self,
        assignment: &Assignment,
        container: Option<&ContainerState>,
        now: Tick,
    ) {
        let ended = match container {
            Some(ContainerState::Created) => {
                self.open = true;
                None
            }
            Some(ContainerState::Running(run)) => {
                self.running(*run);
                return;
            }
            Some(ContainerState::Exited(exit)) => {
                self.open = false;
                let new = self.counted.replace(exit.at) != Some(exit.at);
                new.then(|| self.exit_cause(exit))
            }
            None => std::mem::take(&mut self.open).then(removed_cause),
        };
        self.run = None;
        if self.phase.is_final() {
            return;
        }
        match assignment.want {
            Want::Run => {
                if let Some(cause) = ended {
                    self.count_end(assignment, cause, now);
                }
            }
            Want::Stop => self.stopped(assignment, container, ended),
            Want::Keep => {}
        }
    }

    fn running(&mut self, run: u64) {
        self.open = true;
        if self.run == Some(run) {
            return;
        }
        self.run = Some(run);
        self.health = None;
        self.readiness = None;
        self.unhealthy = false;
        if !self.phase.is_final() {
            self.advance(Phase::Running);
            self.due = None;
            self.failures = 0;
            self.detail.clear();
        }
    }

    fn advance(&mut self, phase: Phase) {
        self.phase = self.phase.max(phase);
    }

    fn finish(&mut self, phase: Phase, end: End) {
        self.phase = phase;
        self.detail.clone_from(&end.message);
        self.end = Some(end);
        self.due = None;
    }

    fn exit_cause(&self, exit: &Exit) -> Cause {
        let message = match (self.unhealthy, exit.out_of_memory, exit.code) {
            (true, _, _) if self.detail.is_empty() => "unhealthy".to_owned(),
            (true, _, _) => format!("unhealthy: {}", self.detail),
            (_, true, _) => "killed for using more memory than its limit".to_owned(),
            (_, _, Some(code)) => code_message(code),
            (_, _, None) => "ended while nobody watched".to_owned(),
        };
        Cause {
            code: exit.code,
            out_of_memory: exit.out_of_memory,
            failed: self.unhealthy || exit.out_of_memory || exit.code != Some(0),
            message,
        }
    }

    /// The task's container ended although it is to run: start it again, or give up.
    fn count_end(&mut self, assignment: &Assignment, cause: Cause, now: Tick) {
        let policy = &assignment.restart;
        self.unhealthy = false;
        self.forget_restarts(policy.window, now);
        let again = match policy.condition {
            RestartCondition::Any => true,
            RestartCondition::OnFailure => cause.failed,
            RestartCondition::Never => false,
        };
        let made = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        let Cause { code, out_of_memory, failed, message } = cause;
        if again && made < policy.attempts {
            let wait = policy.backoff(made);
            self.restarts.push_back(now);
            self.due = Some(now.after(wait));
            let attempts = policy.attempts;
            self.detail = format!("{message}: restart {} of {attempts} after {wait:?}", made + 1);
            self.last_end = message;
            return;
        }
        let phase = if failed || again { Phase::Failed } else { Phase::Completed };
        let message = if again && policy.attempts > 0 {
            let window = policy.window;
            format!(
                "{message}; restarted {made} times within {window:?}, another task comes instead"
            )
        } else {
            message
        };
        self.finish(phase, End { code, out_of_memory, message });
    }

    fn stopped(
        &mut self,
        assignment: &Assignment,
        container: Option<&ContainerState>,
        ended: Option<Cause>,
    ) {
        let exit = match container {
            Some(ContainerState::Exited(exit)) => Some(exit),
            Some(ContainerState::Created | ContainerState::Running(_)) | None => None,
        };
        let stop = &assignment.template.stop;
        let message = match (exit.map(|exit| exit.code), ended) {
            (Some(Some(137)), _) => {
                format!("killed: it did not end within {:?} after {}", stop.timeout, stop.signal)
            }
            (Some(Some(code)), _) => format!("stopped: {}", code_message(code)),
            (Some(None), _) => "stopped".to_owned(),
            (None, Some(cause)) => cause.message,
            (None, None) => "stopped before it started".to_owned(),
        };
        let code = exit.and_then(|exit| exit.code);
        let out_of_memory = exit.is_some_and(|exit| exit.out_of_memory);
        self.finish(Phase::Stopped, End { code, out_of_memory, message });
    }

    fn forget_restarts(&mut self, window: Duration, now: Tick) {
        while self.restarts.front().is_some_and(|at| now.since(*at) >= window) {
            self.restarts.pop_front();
        }
    }

    /// How the task is at `now`.
    #[must_use]
    pub(super) fn status(&mut self, assignment: &Assignment, now: Tick) -> Status {
        self.forget_restarts(assignment.restart.window, now);
        let template = &assignment.template;
        let checked = match (&template.readiness, &template.health) {
            (Some(_), _) => self.readiness == Some(true),
            (None, Some(_)) => self.health == Some(true),
            (None, None) => true,
        };
        let up = self.run.is_some() && self.phase == Phase::Running;
        let detail = if up && self.detail.is_empty() && !self.restarts.is_empty() {
            format!("restarted: {}", self.last_end)
        } else {
            self.detail.clone()
        };
        let ended = !self.phase.is_final() && self.run.is_none() && !self.restarts.is_empty();
        Status {
            phase: self.phase,
            waiting: assignment.want == Want::Run && ended,
            unseen: false,
            ready: assignment.want == Want::Run && up && !self.unhealthy && checked,
            healthy: self.health.filter(|_| up && template.health.is_some()),
            restarts: u32::try_from(self.restarts.len()).unwrap_or(u32::MAX),
            detail,
            end: self.end.clone(),
        }
    }
}

fn removed_cause() -> Cause {
    Cause {
        code: None,
        out_of_memory: false,
        failed: true,
        message: "its container was removed by somebody else".to_owned(),
    }
}

fn code_message(code: i32) -> String {
    match code {
        129..=192 => format!("ended by signal {}", code - 128),
        126 => "exit code 126: the command cannot be run".to_owned(),
        127 => "exit code 127: the command was not found".to_owned(),
        _ => format!("exit code {code}"),
    }
}
