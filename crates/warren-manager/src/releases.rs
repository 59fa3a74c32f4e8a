//! What is told of releases outside of the state: counters and log lines, once for each event while this manager leads,
//! and gauges that are made from the state when they are asked for.

use crate::metrics::{self, CANARY_PROGRESS, CANARY_WEIGHT, ROLLOUT_INCOMING, ROLLOUT_PHASE};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warren_core::State;
use warren_core::event::{Event, EventKind};
use warren_core::id::{LogIndex, RolloutId, ServiceId};
use warren_core::rollout::{Happened, Kind, Moment, Outcome, Phase, Rollout, Trigger};
use warren_core::service::Service;
use warren_core::spec::{Mode, Strategy};
use warren_core::units::Weight;

/// Counts and logs what happens to releases while this manager leads. An event is counted by one leader at most; the
/// events of the very change from one leader to the next may be counted by none.
pub(crate) struct Tally {
    states: watch::Receiver<Arc<State>>,
    seen: LogIndex,
}

impl Tally {
    pub(crate) fn new(states: watch::Receiver<Arc<State>>) -> Self {
        let newest = states.borrow().events().next_back().map(|event| event.index);
        Self { states, seen: newest.unwrap_or_default() }
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        metrics::releases_begin();
        loop {
            let state = Arc::clone(&self.states.borrow_and_update());
            self.look(&state);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.states.changed() => if changed.is_err() { return },
            }
        }
    }

    fn look(&mut self, state: &State) {
        if state.events_compacted() > self.seen {
            tracing::warn!(
                "events came faster than they were counted, some are missing in metrics"
            );
        }
        let events = since(state, self.seen);
        let Some(newest) = events.last() else { return };
        self.seen = newest.index;
        for count in counts(state, &events) {
            count.record();
        }
        for event in &events {
            log(state, event);
        }
    }
}

/// The events after those of entry `seen`, oldest first.
pub(crate) fn since(state: &State, seen: LogIndex) -> Vec<Arc<Event>> {
    let newer = state.events().rev().take_while(|event| event.index > seen);
    let mut events: Vec<Arc<Event>> = newer.cloned().collect();
    events.reverse();
    events
}

/// One thing to count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Count {
    /// A release ended, and how long it took until it was accepted or ended.
    Deployed { strategy: Strategy, outcome: Outcome, took: Option<Duration> },
    /// A canary began its next step.
    Promoted,
    /// A way back began.
    RolledBack { strategy: Strategy, trigger: Trigger },
    /// A blue-green release gave all traffic to the new revision.
    Switched,
    /// Every resolver answers from that switch, so long after it.
    SwitchSeen(Duration),
}

impl Count {
    fn record(self) {
        match self {
            Self::Deployed { strategy, outcome, took } => {
                metrics::deployed(strategy, outcome, took);
            }
            Self::Promoted => metrics::promoted(),
            Self::RolledBack { strategy, trigger } => metrics::rolled_back(strategy, trigger),
            Self::Switched => metrics::switched(),
            Self::SwitchSeen(took) => metrics::switch_seen(took),
        }
    }
}

/// What is to be counted for `events`, which are whole entries of the log.
pub(crate) fn counts(state: &State, events: &[Arc<Event>]) -> Vec<Count> {
    let mut counts = Vec::new();
    // The decision to go back and the way back are of one entry; without the second nothing had changed yet.
    let mut aborted: Option<(RolloutId, Trigger)> = None;
    for event in events {
        let EventKind::Rollout { id, service, strategy, what, .. } = &event.kind else { continue };
        let (id, strategy) = (*id, *strategy);
        let rollout = rollout(state, *service, id);
        match what {
            Happened::Started => {
                if rollout.is_some_and(|rollout| rollout.kind == Kind::Rollback) {
                    counts.push(Count::RolledBack { strategy, trigger: Trigger::Manual });
                }
            }
            Happened::Aborted { trigger, .. } => aborted = Some((id, *trigger)),
            Happened::Entered { phase: Phase::RollingBack, .. } => {
                let trigger =
                    aborted.take().filter(|(of, _)| *of == id).map(|(_, trigger)| trigger);
                counts.extend(trigger.map(|trigger| Count::RolledBack { strategy, trigger }));
            }
            Happened::Entered { phase: Phase::Scaling | Phase::Promoting, step }
                if strategy == Strategy::Canary && *step > 0 =>
            {
                counts.push(Count::Promoted);
            }
            Happened::Entered { phase: Phase::Monitoring, .. }
                if strategy == Strategy::BlueGreen =>
            {
                let switched = rollout.and_then(|rollout| switched(rollout, event));
                let took = switched.map(|switched| event.at.since(switched.at));
                counts.extend(took.map(Count::SwitchSeen));
            }
            Happened::Shifted { weight: Weight::FULL, .. } if strategy == Strategy::BlueGreen => {
                counts.push(Count::Switched);
            }
            Happened::Ended { outcome, .. } => {
                let took = rollout.map(duration);
                counts.push(Count::Deployed { strategy, outcome: *outcome, took });
            }
            Happened::Entered { .. }
            | Happened::Shifted { .. }
            | Happened::SlotFailed { .. }
            | Happened::Paused { .. }
            | Happened::Resumed
            | Happened::Promoted { .. }
            | Happened::Approved { .. }
            | Happened::HooksCalled { .. }
            | Happened::HookFailed { .. }
            | Happened::Accepted
            | Happened::Retried { .. }
            | Happened::FreezeOverridden { .. }
            | Happened::Unqueued { .. } => {}
        }
    }
    counts
}

/// A release under way, or one of the ended ones that are kept; absent where its service is gone.
fn rollout(state: &State, service: ServiceId, id: RolloutId) -> Option<&Rollout> {
    let service = state.service(service)?;
    let all = service.rollout.iter().chain(&service.past);
    all.map(Arc::as_ref).find(|rollout| rollout.id == id)
}

/// The last switch of all traffic before `event`.
fn switched<'a>(rollout: &'a Rollout, event: &Event) -> Option<&'a Moment> {
    let full = |what: &Happened| matches!(what, Happened::Shifted { weight: Weight::FULL, .. });
    let mut moments = rollout.timeline.iter().rev();
    moments.find(|moment| moment.at <= event.at && full(&moment.what))
}

/// From the start of a release until it was accepted, or ended without that.
fn duration(rollout: &Rollout) -> Duration {
    let accepted = |moment: &&Moment| matches!(moment.what, Happened::Accepted);
    let accepted = rollout.timeline.iter().rev().find(accepted).map(|moment| moment.at);
    let ended = rollout.end.as_ref().map(|end| end.at);
    accepted.or(ended).unwrap_or(rollout.started).since(rollout.started)
}

/// One line for each thing that happens to a release, with the same fields each time.
fn log(state: &State, event: &Event) {
    let EventKind::Rollout { id, service, name, to, strategy, by, what, .. } = &event.kind else {
        return;
    };
    let rollout = rollout(state, *service, *id);
    let (phase, step) = match what {
        Happened::Entered { phase, step } => (Some(*phase), *step),
        Happened::Started
        | Happened::Shifted { .. }
        | Happened::SlotFailed { .. }
        | Happened::Paused { .. }
        | Happened::Resumed
        | Happened::Promoted { .. }
        | Happened::Approved { .. }
        | Happened::HooksCalled { .. }
        | Happened::HookFailed { .. }
        | Happened::Accepted
        | Happened::Aborted { .. }
        | Happened::Retried { .. }
        | Happened::FreezeOverridden { .. }
        | Happened::Unqueued { .. }
        | Happened::Ended { .. } => {
            let step = rollout.filter(|rollout| !rollout.steps.is_empty());
            (rollout.map(|rollout| rollout.phase), step.map_or(0, |rollout| rollout.step + 1))
        }
    };
    let weight = if let Happened::Shifted { weight, .. } = what {
        Some(*weight)
    } else {
        rollout.map(|rollout| rollout.weight)
    };
    tracing::info!(
        event = what.word(),
        service = %name,
        rollout = %id,
        version = %to,
        %strategy,
        phase = phase.map(|phase| phase.to_string()),
        step,
        weight = weight.map(|weight| weight.to_string()),
        %by,
        text = %what,
        "release moved"
    );
}

/// The gauges of releases in the Prometheus text form. Their number is bounded by that of services: a phase, a progress
/// and three versions each.
pub(crate) fn gauges(state: &State) -> String {
    let mut weights = Gauge::new(CANARY_WEIGHT);
    let mut progress = Gauge::new(CANARY_PROGRESS);
    let mut phases = Gauge::new(ROLLOUT_PHASE);
    let mut incoming = Gauge::new(ROLLOUT_INCOMING);
    for service in state.services() {
        let name = service.spec.name.as_str();
        for (version, weight) in shares(service) {
            let percent = f64::from(weight.per_mille()) / 10.0;
            weights.add(&[("service", name), ("version", &version)], percent);
        }
        let Some(live) = &service.rollout else { continue };
        phases.add(&[("service", name), ("phase", &live.phase.to_string())], 1.0);
        incoming.add(&[("service", name), ("version", &live.to.to_string())], 1.0);
        if live.strategy == Strategy::Canary {
            let tasks = match service.spec.mode {
                Mode::Replicated { replicas } => replicas,
                Mode::Global => {
                    u32::try_from(state.tasks_of(service.id).count()).unwrap_or(u32::MAX)
                }
            };
            progress.add(&[("service", name)], f64::from(live.progress(tasks)));
        }
    }
    [weights, progress, phases, incoming].map(Gauge::text).concat()
}

/// The share of each version; none while tasks have equal shares in a release.
fn shares(service: &Service) -> Vec<(String, Weight)> {
    let split = &service.split.weights;
    if split.is_empty() {
        let rests = service.stable.filter(|_| service.rollout.is_none());
        return rests.map(|stable| (stable.to_string(), Weight::FULL)).into_iter().collect();
    }
    split.iter().map(|(version, weight)| (version.to_string(), *weight)).collect()
}

/// The series of one gauge.
struct Gauge {
    name: &'static str,
    series: String,
}

impl Gauge {
    const fn new(name: &'static str) -> Self {
        Self { name, series: String::new() }
    }

    /// Adds a series. Values of labels are names and numbers of ours: none has a character to escape.
    fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let _ = writeln!(self.series, "{}{{{}}} {value}", self.name, labels.join(","));
    }

    /// The gauge with its help; nothing where it has no series.
    fn text(self) -> String {
        if self.series.is_empty() {
            return String::new();
        }
        let name = self.name;
        format!("# HELP {name} {}\n# TYPE {name} gauge\n{}\n", metrics::help(name), self.series)
    }
}
