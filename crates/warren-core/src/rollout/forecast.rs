//! What an update would do, told before it does it: the settings, steps and limits that a release is planned by, in
//! sentences. Nothing is changed.

mod words;

use super::rolling::Limits;
use super::{Phase, Rollout, steps_of};
use crate::command::Rejection;
use crate::id::RevisionNumber;
use crate::scheduler;
use crate::service::Service;
use crate::spec::{HookPoint, Mode, OnUpdate, Order, ServiceSpec, Step, Strategy, UpdateSettings};
use crate::state::State;
use crate::units::{Weight, counted, span};
use std::time::Duration;
use words::{step_words, triggers};

/// What an update would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forecast {
    /// Whether a release would begin or be taken back at all.
    pub changes: bool,
    /// The shape of the release.
    pub strategy: Strategy,
    /// From where; absent in a first deployment.
    pub from: Option<RevisionNumber>,
    /// To which revision, where it is kept already; a new one where absent.
    pub to: Option<RevisionNumber>,
    /// What would happen, in order.
    pub steps: Vec<Planned>,
    /// Tasks at the most, of both revisions together.
    pub tasks_max: u32,
    /// Tasks wanted.
    pub replicas: u32,
    /// What would set a rollback off.
    pub triggers: Vec<String>,
    /// What stands against it or changes its course now.
    pub notes: Vec<String>,
}

/// One thing that would happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    /// What, in a sentence without a full stop.
    pub text: String,
    /// The least time that it takes. Tasks start, resolvers answer and people agree in their own time on top of it.
    pub at_least: Duration,
}

impl Forecast {
    /// The least time of all of it.
    #[must_use]
    pub fn at_least(&self) -> Duration {
        self.steps.iter().fold(Duration::ZERO, |sum, step| sum.saturating_add(step.at_least))
    }
}

/// What would become of `service` if its intent were `spec`; with `overrides_freeze` no freeze would hold it.
///
/// # Errors
/// As the update itself: a name that differs, a service that is going away, a strategy that does not fit.
pub fn forecast(
    state: &State,
    service: &Service,
    spec: &ServiceSpec,
    overrides_freeze: bool,
) -> Result<Forecast, Rejection> {
    if service.deleting {
        return Err(Rejection::Deleting(service.spec.name.clone()));
    }
    if spec.name != service.spec.name {
        return Err(Rejection::NameFixed(service.spec.name.clone()));
    }
    let hash = spec.template.hash();
    let known = service.revisions.values().find(|revision| revision.hash == hash);
    let to = known.map(|revision| revision.number);
    let replicas = wanted(state, spec);
    let mut forecast = Forecast {
        changes: false,
        strategy: spec.update.strategy,
        from: service.stable,
        to,
        steps: Vec::new(),
        tasks_max: replicas,
        replicas,
        triggers: Vec::new(),
        notes: Vec::new(),
    };
    spec.check_strategy()?;
    if spec.template == service.spec.template {
        forecast.notes.push(unchanged(service, spec));
        return Ok(forecast);
    }
    spec.check_replacing()?;
    forecast.changes = true;
    let live = service.rollout.as_deref().filter(|live| !live.phase.is_accepted());
    if let Some(live) = live.filter(|live| live.from.is_some() && to == service.stable) {
        return Ok(reverted(live, forecast));
    }
    if let Some(freeze) = state.freeze_of(service.id).filter(|_| !overrides_freeze) {
        forecast.notes.push(format!(
            "releases are frozen by {}: {}. It waits for the end of the freeze",
            freeze.by, freeze.reason
        ));
    }
    forecast.notes.extend(meanwhile(service, &spec.update));
    let new = new_name(service, to);
    let old = service.stable.map_or_else(|| "nothing".to_owned(), |stable| stable.to_string());
    let course = Course { spec, replicas, old, new };
    course.start(&mut forecast);
    match service.stable {
        None => course.first(&mut forecast),
        Some(_) => course.describe(&mut forecast),
    }
    if replicas == 0 {
        forecast.tasks_max = 0;
        let note = "the service has no tasks (0 replicas): nothing of this version is tried before it is accepted";
        forecast.notes.push(note.to_owned());
    }
    forecast.triggers = triggers(&spec.update, replicas, &course.new, service);
    forecast.notes.extend(words::after_failure(spec.update.failure_action).map(str::to_owned));
    Ok(forecast)
}

fn wanted(state: &State, spec: &ServiceSpec) -> u32 {
    match spec.mode {
        Mode::Replicated { replicas } => replicas,
        Mode::Global => {
            let fit = state.nodes().filter(|node| scheduler::wants(&spec.placement, node));
            u32::try_from(fit.count()).unwrap_or(u32::MAX)
        }
    }
}

fn unchanged(service: &Service, spec: &ServiceSpec) -> String {
    let current = service.current;
    if service.spec == *spec {
        format!("nothing differs from {current}: no task is replaced")
    } else {
        format!(
            "only settings differ from {current}: no task is replaced, the next release has them"
        )
    }
}

/// The revision that comes in; where it is not made yet, by the number that it would get.
fn new_name(service: &Service, to: Option<RevisionNumber>) -> String {
    let last = service.revisions.keys().next_back().map_or(0, |number| number.0);
    to.unwrap_or(RevisionNumber(last + 1)).to_string()
}

fn reverted(live: &Rollout, mut forecast: Forecast) -> Forecast {
    let (id, to) = (live.id, live.to);
    let from = live.from.unwrap_or(live.to);
    if live.phase.is_back() {
        forecast.notes.push(format!("release {id} is on its way back to {from} already"));
        forecast.changes = false;
        return forecast;
    }
    let text =
        format!("release {id} goes back: traffic to {from} at once, then the tasks of {to} stop");
    forecast.steps.push(Planned { text, at_least: Duration::ZERO });
    forecast.from = Some(to);
    forecast.strategy = live.strategy;
    forecast.notes.push(format!("{from} is the stable revision: this takes release {id} back"));
    forecast
}

/// What the release under way and the update that waits mean for this one.
fn meanwhile(service: &Service, settings: &UpdateSettings) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(queued) = &service.queued {
        notes.push(format!("the update of {} that waits is dropped for this one", queued.by));
    }
    let Some(live) = service.rollout.as_deref() else { return notes };
    let from = live.from.map_or_else(|| "nothing".to_owned(), |from| from.to_string());
    let (id, to, phase, by) = (live.id, live.to, live.phase, &live.by);
    let which = format!("release {id} ({from} to {to}, {phase}, begun by {by})");
    notes.push(match (settings.on_update, live.phase) {
        (_, Phase::Standby | Phase::Finalizing) => {
            format!("{which} ends, completed: this one starts from {to}")
        }
        _ if live.from.is_none() => format!("{which} ends, superseded"),
        (OnUpdate::Reject, _) => {
            format!("refused now: {which} is under way, and on_update is reject")
        }
        (OnUpdate::Queue, _) | (OnUpdate::Replace, Phase::RollingBack | Phase::RollbackStalled) => {
            format!("it waits for the end of {which}")
        }
        (
            OnUpdate::Replace,
            Phase::Queued
            | Phase::Preparing
            | Phase::Updating
            | Phase::Scaling
            | Phase::Promoting
            | Phase::Shifting
            | Phase::Holding
            | Phase::Gating
            | Phase::Monitoring,
        ) => format!("{which} ends, superseded: this one starts from {from}"),
    });
    notes
}

/// The way from one revision to another.
struct Course<'a> {
    spec: &'a ServiceSpec,
    replicas: u32,
    old: String,
    new: String,
}

impl Course<'_> {
    /// A first deployment has nothing to compare with and nothing to go back to.
    fn first(&self, forecast: &mut Forecast) {
        let min_ready = self.spec.update.min_ready;
        let tasks = counted(self.replicas, "task");
        let text =
            format!("{tasks} of {} start, and must be ready for {}", self.new, span(min_ready));
        forecast.steps.push(Planned { text, at_least: min_ready });
        let note = "no revision is stable yet: there are no steps, and nothing to go back to";
        forecast.notes.push(note.to_owned());
    }

    fn describe(&self, forecast: &mut Forecast) {
        match self.spec.update.strategy {
            Strategy::Rolling => self.rolling(forecast),
            Strategy::Recreate => self.recreate(forecast),
            Strategy::Canary | Strategy::BlueGreen => self.beside(forecast),
        }
        self.hooks(forecast, HookPoint::PostPromote);
        let text = format!("{} becomes the stable revision", self.new);
        forecast.steps.push(Planned { text, at_least: Duration::ZERO });
        self.leave(forecast);
    }

    fn start(&self, forecast: &mut Forecast) {
        if let Some(rule) = &self.spec.update.approve {
            let text = format!("wait for {}", words::approvals(rule));
            forecast.steps.push(Planned { text, at_least: Duration::ZERO });
        }
        self.hooks(forecast, HookPoint::PreRollout);
    }

    fn hooks(&self, forecast: &mut Forecast, on: HookPoint) {
        let count = self.spec.update.hooks.iter().filter(|hook| hook.on == on).count();
        if count > 0 {
            let asked = counted(u32::try_from(count).unwrap_or(u32::MAX), "hook");
            let text = format!("ask {asked} at {on}: each must answer 2xx");
            forecast.steps.push(Planned { text, at_least: Duration::ZERO });
        }
    }

    fn rolling(&self, forecast: &mut Forecast) {
        if self.replicas == 0 {
            let text = "no tasks are wanted: none is replaced".to_owned();
            forecast.steps.push(Planned { text, at_least: Duration::ZERO });
            return self.monitor(forecast);
        }
        let settings = &self.spec.update;
        let limits = Limits::new(settings, &self.spec.template, self.replicas);
        let (room, order) = match limits.order {
            Order::StartFirst => (limits.surge, "new before old"),
            Order::StopFirst => (limits.unavailable, "old before new"),
        };
        let batch = room.min(limits.parallelism).clamp(1, self.replicas.max(1));
        let batches = self.replicas.div_ceil(batch);
        forecast.tasks_max = match limits.order {
            Order::StartFirst => self.replicas.saturating_add(limits.surge),
            Order::StopFirst => self.replicas,
        };
        let (tasks, ready) = (counted(self.replicas, "task"), span(settings.min_ready));
        let mut text = format!(
            "{tasks} of {} replace those of {}, {batch} at a time, {order}, each ready for {ready} before it counts",
            self.new, self.old
        );
        if !settings.delay.is_zero() && batches > 1 {
            text = format!("{text}, {} between batches", span(settings.delay));
        }
        let delays = settings.delay.saturating_mul(batches.saturating_sub(1));
        let at_least = settings.min_ready.saturating_mul(batches).saturating_add(delays);
        forecast.steps.push(Planned { text, at_least });
        self.monitor(forecast);
    }

    fn recreate(&self, forecast: &mut Forecast) {
        let (tasks, ready) = (counted(self.replicas, "task"), span(self.spec.update.min_ready));
        let text = format!("all tasks of {} stop", self.old);
        forecast.steps.push(Planned { text, at_least: Duration::ZERO });
        let text = format!("{tasks} of {} start, and must be ready for {ready}", self.new);
        forecast.steps.push(Planned { text, at_least: self.spec.update.min_ready });
        forecast.notes.push(format!(
            "downtime: nothing serves from the stop of {} until {} is ready",
            self.old, self.new
        ));
        self.monitor(forecast);
    }

    /// Without steps the new revision is watched only where the settings say so.
    fn monitor(&self, forecast: &mut Forecast) {
        let monitor = self.spec.update.monitor.unwrap_or_default();
        if !monitor.is_zero() {
            let text = format!("{} is watched with all traffic for {}", self.new, span(monitor));
            forecast.steps.push(Planned { text, at_least: monitor });
        }
    }

    fn beside(&self, forecast: &mut Forecast) {
        forecast.tasks_max = self.replicas.saturating_mul(2);
        let steps = steps_of(&self.spec.update);
        let (mut weight, mut tasks) = (Weight::ZERO, 0);
        for (i, step) in steps.iter().enumerate() {
            weight = step.weight.unwrap_or(weight).max(weight);
            let need = self.needed(step, weight);
            let start = if need > tasks { self.spec.update.min_ready } else { Duration::ZERO };
            tasks = tasks.max(need);
            let text = format!(
                "step {} of {}: {} of {}, {}",
                i + 1,
                steps.len(),
                counted(need, "task"),
                self.new,
                step_words(step, weight)
            );
            forecast.steps.push(Planned { text, at_least: start.saturating_add(step.hold) });
            if i + 1 < steps.len() {
                self.hooks(forecast, HookPoint::PerStep);
            }
            if steps.get(i + 1).is_some_and(|next| next.weight == Some(Weight::FULL)) {
                self.hooks(forecast, HookPoint::PrePromote);
            }
        }
        self.hooks(forecast, HookPoint::PerStep);
    }

    /// Tasks of the new revision that a step needs, as the release itself counts them.
    fn needed(&self, step: &Step, weight: Weight) -> u32 {
        let share = weight.ceil_of(self.replicas).max(1);
        let scale = step.scale.map_or(0, |scale| scale.ceil_of(self.replicas));
        share.max(scale).min(self.replicas)
    }

    /// What becomes of the old revision once the new one is stable.
    fn leave(&self, forecast: &mut Forecast) {
        let settings = &self.spec.update;
        let old = &self.old;
        let (kept, how) = match settings.strategy {
            Strategy::Rolling | Strategy::Recreate => return,
            Strategy::Canary => (settings.scale_down_delay, "is kept without traffic"),
            Strategy::BlueGreen => (settings.standby, "stays at full size, one switch away,"),
        };
        let text = if kept.is_zero() {
            format!("the tasks of {old} stop")
        } else {
            format!("{old} {how} for {}, then its tasks stop", span(kept))
        };
        forecast.steps.push(Planned { text, at_least: kept });
    }
}

#[cfg(test)]
mod tests;
