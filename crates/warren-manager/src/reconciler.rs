//! The reconciler: looks at what is agreed and what was heard, has core plan, and proposes what core says. It remembers
//! nothing that matters: a new one comes to the same plan.
//!
//! It wakes when the state or what was heard changes, when the plan or a lease asked for it, and by itself after
//! [`Options::slow`]; it ignores why. While a plan waits on time it commits a checkpoint of cluster time every
//! [`CHECKPOINT`], so that a new leader goes on from there; when nothing does, it writes nothing.

use crate::leader::Published;
use crate::metrics;
use crate::options::Options;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use warren_core::State;
use warren_core::command::Command;
use warren_core::lease::{Leases, Verdict};
use warren_core::observed::Observed;
use warren_core::report::ServiceReport;
use warren_core::round::{self, CHECKPOINT};
use warren_core::task::Phase;
use warren_core::time::ClusterTime;
use warren_raft::{ProposeError, Raft};

/// The least time between two rounds: changes that come together are planned together.
const GAP: Duration = Duration::from_millis(10);
/// The most that is left between rounds because the last one was long: plans of the largest cluster, one after the
/// other, are not to take a whole processor from those who speak with its nodes.
const REST_MAX: Duration = Duration::from_millis(500);
/// The first and the longest wait after a round whose commands were all refused: the next one sees the reason.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Commands proposed at once. One carries up to 1,000 placements; the log takes 1 MiB in an entry.
const COMMANDS_AT_ONCE: usize = 64;

/// See the module's documentation.
pub(crate) struct Reconciler {
    pub(crate) raft: Raft,
    pub(crate) options: Options,
    pub(crate) term: u64,
    pub(crate) states: watch::Receiver<Arc<State>>,
    pub(crate) observed: watch::Receiver<Observed>,
    pub(crate) published: watch::Sender<Option<Arc<Published>>>,
    /// Since when a round has been under way; absent between rounds. For the watchdog.
    pub(crate) busy: watch::Sender<Option<Instant>>,
    pub(crate) schedule: Schedule,
    /// What the last round looked at and came to.
    pub(crate) last: Option<Round>,
}

/// When to look again.
#[derive(Clone, Copy, Default)]
pub(crate) struct Schedule {
    /// Not before this moment.
    not_before: Option<Instant>,
    /// When the plan asked for it.
    plan_at: Option<ClusterTime>,
    /// When a lease may end.
    lease_at: Option<ClusterTime>,
    /// Rounds in a row that came to nothing.
    failed: u32,
}

/// What one round looked at and came to.
pub(crate) struct Round {
    state: Arc<State>,
    observed: Observed,
    found: round::Round,
    /// How long that took.
    took: Duration,
}

/// How the proposals of a round went.
#[derive(Clone, Copy, Default)]
struct Outcome {
    applied: usize,
    rejected: usize,
    failed: bool,
}

impl Reconciler {
    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            self.busy.send_replace(Some(Instant::now()));
            let round = self.look().await;
            if let Some(round) = round {
                self.publish(&round);
                let commands = commands(&round, self.schedule.failed);
                let outcome = self.perform(commands).await;
                self.schedule = schedule(&round, outcome, self.schedule);
                self.last = Some(round);
            }
            self.busy.send_replace(None);
            if !self.next(&stop).await {
                break;
            }
        }
    }

    /// Waits for a reason to look again. Returns whether there is to be another round.
    async fn next(&mut self, stop: &CancellationToken) -> bool {
        let deadline = self.deadline();
        let not_before = self.schedule.not_before.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            () = sleep_until(not_before) => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            changed = self.states.changed() => changed.is_ok(),
            changed = self.observed.changed() => changed.is_ok(),
            () = sleep_until(deadline) => true,
        }
    }

    fn deadline(&self) -> Instant {
        let (instant, now) = (Instant::now(), self.raft.now());
        let checkpoint =
            self.schedule.plan_at.map(|_| self.states.borrow().time().after(CHECKPOINT));
        let asked = [self.schedule.plan_at, self.schedule.lease_at, checkpoint];
        let waits = asked.into_iter().flatten().map(|at| at.since(now));
        instant + waits.fold(self.options.slow, Duration::min)
    }

    /// Plans from what is there now. Planning a large cluster takes a while, so it has a thread of its own.
    async fn look(&mut self) -> Option<Round> {
        let state = Arc::clone(&self.states.borrow_and_update());
        let observed = self.observed.borrow_and_update().clone();
        let (now, leases) = (self.raft.now(), self.options.leases);
        let (begun, last) = (Instant::now(), self.last.take());
        let round = tokio::task::spawn_blocking(move || {
            decide(last.as_ref(), state, observed, now, leases)
        })
        .await;
        metrics::planned(begun.elapsed());
        match round {
            Ok(round) => Some(round),
            Err(error) => {
                tracing::error!(%error, "planning failed");
                self.schedule.failed += 1;
                self.schedule.not_before = Some(Instant::now() + back_off(self.schedule.failed));
                None
            }
        }
    }

    fn publish(&self, round: &Round) {
        let was_held = self.published.borrow().as_ref().is_some_and(|last| last.held.is_some());
        if let Some(held) = round.found.verdict.held.as_ref().filter(|_| !was_held) {
            tracing::error!(%held, "rescheduling is held");
        }
        self.tell_of_silence(&round.found.verdict);
        self.published.send_replace(Some(Arc::new(Published {
            term: self.term,
            state: Arc::clone(&round.state),
            observed: round.observed.clone(),
            report: round.found.plan.report.clone(),
            suspects: round.found.verdict.suspects.clone(),
            held: round.found.verdict.held.clone(),
            at: round.found.now,
        })));
    }

    /// Logs who falls silent, and once others reach it.
    fn tell_of_silence(&self, verdict: &Verdict) {
        let last = self.published.borrow().clone();
        for suspect in &verdict.suspects {
            let before = last.as_ref().map(|last| last.suspects.iter());
            let before = before.and_then(|mut all| all.find(|one| one.node == suspect.node));
            let node = suspect.node;
            if before.is_none() {
                tracing::warn!(%node, known = %suspect, "node is silent");
            } else if before.is_some_and(|before| before.reached.is_empty())
                && !suspect.reached.is_empty()
            {
                tracing::warn!(%node, known = %suspect, "silent node is reached by others");
            }
        }
    }

    async fn perform(&self, commands: Vec<Command>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut waiting = vec![commands];
        while let Some(mut batch) = waiting.pop() {
            if batch.is_empty() {
                continue;
            }
            if batch.len() > COMMANDS_AT_ONCE {
                waiting.push(batch.split_off(COMMANDS_AT_ONCE));
            }
            match self.raft.propose(batch.clone()).await {
                Ok(answers) => {
                    for rejection in answers.iter().filter_map(|answer| answer.as_ref().err()) {
                        tracing::debug!(%rejection, "a planned command was refused");
                    }
                    let rejected = answers.iter().filter(|answer| answer.is_err()).count();
                    outcome.rejected += rejected;
                    outcome.applied += answers.len() - rejected;
                }
                Err(ProposeError::TooLarge { .. }) if batch.len() > 1 => {
                    waiting.push(batch.split_off(batch.len() / 2));
                    waiting.push(batch);
                }
                Err(error) => {
                    tracing::warn!(%error, "a plan could not be written");
                    outcome.failed = true;
                    break;
                }
            }
        }
        metrics::commands(outcome.applied, outcome.rejected);
        metrics::round(outcome.word());
        outcome
    }
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self { failed: true, .. } => "failed",
            Self { applied: 0, rejected: 0, .. } => "idle",
            Self { applied: 0, .. } => "rejected",
            Self { .. } => "proposed",
        }
    }
}

fn decide(
    last: Option<&Round>,
    state: Arc<State>,
    observed: Observed,
    now: ClusterTime,
    leases: Leases,
) -> Round {
    let begun = Instant::now();
    let found = match last.filter(|last| Arc::ptr_eq(&last.state, &state)) {
        Some(last) => {
            let last = (&last.observed, &last.found);
            round::decide_again(last, &state, &observed, now, leases)
        }
        None => {
            count_phases(&state);
            round::decide(&state, &observed, now, leases)
        }
    };
    measure(&state, &found.verdict, found.plan.report.services.values());
    Round { state, observed, found, took: begun.elapsed() }
}

fn commands(round: &Round, failed: u32) -> Vec<Command> {
    let commands = round.found.commands(&round.state, failed > 0);
    if commands == [Command::Checkpoint] {
        metrics::checkpoint();
    }
    commands
}

fn schedule(round: &Round, outcome: Outcome, last: Schedule) -> Schedule {
    let in_vain = outcome.failed || (outcome.applied == 0 && outcome.rejected > 0);
    let failed = if in_vain { last.failed.saturating_add(1) } else { 0 };
    let wait = if in_vain { back_off(failed) } else { rest(round.took) };
    Schedule {
        not_before: Some(Instant::now() + wait),
        plan_at: round.found.plan.wake_at,
        lease_at: round.found.verdict.wake_at,
        failed,
    }
}

fn rest(took: Duration) -> Duration {
    took.clamp(GAP, REST_MAX)
}

fn back_off(failed: u32) -> Duration {
    let factor = 1_u32 << failed.saturating_sub(1).min(10);
    BACK_OFF.0.saturating_mul(factor).min(BACK_OFF.1)
}

fn count_phases(state: &State) {
    const PHASES: [Phase; 9] = [
        Phase::Assigned,
        Phase::Preparing,
        Phase::Starting,
        Phase::Running,
        Phase::Completed,
        Phase::Failed,
        Phase::Rejected,
        Phase::Stopped,
        Phase::Lost,
    ];
    let mut phases = BTreeMap::new();
    for task in state.tasks() {
        *phases.entry(task.phase).or_insert(0) += 1;
    }
    for phase in PHASES {
        let count = phases.get(&phase).copied().unwrap_or(0);
        metrics::tasks(phase, count);
    }
}

fn measure<'a>(
    state: &State,
    verdict: &Verdict,
    services: impl Iterator<Item = &'a ServiceReport>,
) {
    let ready = services.map(|service| service.ready as usize).sum();
    metrics::ready(ready);
    metrics::services(state.services().len());
    let up = state.nodes().filter(|node| node.up).count();
    let suspect = verdict.suspects.len();
    metrics::nodes(up - suspect.min(up), suspect, state.nodes().len() - up, verdict.held.is_some());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::traffic::World;
    use warren_core::plan::Plan;

    fn round(wake_at: Option<u64>, now: u64) -> Round {
        let state = Arc::new(World::with_tasks(1, 1).state);
        let time = state.time().as_ms();
        let now = ClusterTime::from_ms(time + now);
        let wake_at = wake_at.map(|at| ClusterTime::from_ms(time + at));
        let plan = Plan { wake_at, ..Plan::default() };
        let found = round::Round { now, verdict: Verdict::default(), plan };
        Round { state, observed: Observed::default(), found, took: Duration::ZERO }
    }

    #[test]
    fn time_is_recorded_only_while_something_waits_on_it_and_nothing_else_is_written() {
        assert_eq!(commands(&round(None, 60_000), 0), [], "nothing waits");
        assert_eq!(commands(&round(Some(90_000), 4_999), 0), [], "it was recorded just now");
        assert_eq!(commands(&round(Some(90_000), 5_000), 0), [Command::Checkpoint]);
        assert_eq!(commands(&round(Some(90_000), 5_000), 1), [], "the disk refuses writes");
        let mut busy = round(Some(90_000), 5_000);
        busy.found.plan.commands = vec![Command::ForgetTasks { tasks: Vec::new() }];
        assert_eq!(commands(&busy, 0).len(), 1, "any entry records time");
    }

    #[test]
    fn rounds_in_vain_come_ever_later_and_one_success_forgets_that() {
        let refused = Outcome { rejected: 1, ..Outcome::default() };
        let mut last = Schedule::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let before = Instant::now();
            last = schedule(&round(None, 0), refused, last);
            waits.push((last.not_before.unwrap() - before).as_millis() / 100);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 50, 50]);
        let applied = Outcome { applied: 1, rejected: 3, failed: false };
        assert_eq!(schedule(&round(None, 0), applied, last).failed, 0);
    }

    #[test]
    fn a_long_round_leaves_others_as_long_within_limits() {
        assert_eq!(rest(Duration::ZERO), GAP);
        let took = Duration::from_millis(140);
        assert_eq!(rest(took), took);
        assert_eq!(rest(Duration::from_secs(9)), REST_MAX);
    }

    #[test]
    fn outcomes_have_their_words() {
        let outcome = |applied, rejected, failed| Outcome { applied, rejected, failed }.word();
        assert_eq!(outcome(0, 0, false), "idle");
        assert_eq!(outcome(1, 1, false), "proposed");
        assert_eq!(outcome(0, 1, false), "rejected");
        assert_eq!(outcome(1, 0, true), "failed");
    }
}
