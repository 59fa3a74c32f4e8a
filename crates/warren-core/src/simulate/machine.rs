//! Machines: the containers that run on each and the resolver that answers on it.

use super::chance::Chance;
use super::fault::Behaviour;
use crate::id::{NodeId, RevisionNumber, ServiceId, TaskId};
use crate::spec::{RestartCondition, RestartPolicy};
use crate::task::Phase;
use crate::traffic::TrafficView;
use crate::units::Weight;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// One machine.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) id: NodeId,
    pub(super) name: String,
    /// Whether it has power.
    pub(super) up: bool,
    /// Whether it reaches the leader.
    pub(super) reaches: bool,
    /// Whether its agent has a session with this leader.
    pub(super) session: bool,
    /// Since when it has one.
    pub(super) session_since: u64,
    /// What it has not said of its tasks.
    pub(super) unsaid: BTreeSet<TaskId>,
    pub(super) resolver: Resolver,
}

/// What answers on one machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolver {
    /// What it was told last.
    pub(super) told: Arc<TrafficView>,
    /// What it answers from.
    pub(super) view: Arc<TrafficView>,
    /// Since when it hears nothing of a leader.
    pub(super) cut_since: Option<u64>,
    /// By task that it answered with and does no longer: when the last cached answer expires.
    pub(super) expires: BTreeMap<TaskId, u64>,
    answered: BTreeMap<TaskId, RevisionNumber>,
}

impl Resolver {
    /// Answers from `view` from now on.
    pub(super) fn answer_from(&mut self, view: Arc<TrafficView>, now: u64) {
        let mut answered = BTreeMap::new();
        for service in view.services.values() {
            for endpoint in service.endpoints.iter().filter(|endpoint| endpoint.ready) {
                let all = service.weights.is_empty();
                let share = service.weights.iter().find(|(r, _)| *r == endpoint.revision);
                if all || share.is_some_and(|(_, weight)| *weight > Weight::ZERO) {
                    answered.insert(endpoint.task, endpoint.revision);
                }
            }
        }
        let ttl = |task: &TaskId| {
            let with = |service: &&Arc<crate::traffic::ServiceTraffic>| {
                service.endpoints.iter().any(|endpoint| endpoint.task == *task)
            };
            self.view.services.values().find(with).map_or(Duration::ZERO, |service| service.ttl())
        };
        let gone: Vec<_> = self.answered.keys().filter(|t| !answered.contains_key(t)).collect();
        let gone: Vec<_> = gone.into_iter().map(|task| (*task, ttl(task))).collect();
        self.expires.retain(|_, at| *at > now);
        self.expires.extend(gone.iter().map(|(task, ttl)| (*task, now + ms(*ttl))));
        for task in answered.keys() {
            self.expires.remove(task);
        }
        self.answered = answered;
        self.view = view;
    }

    /// The tasks that it may answer with, each with what it runs.
    pub(super) fn answered(&self) -> &BTreeMap<TaskId, RevisionNumber> {
        &self.answered
    }
}

/// What a task's container does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    Pulled,
    Started,
    Ready,
    Unready,
    Ended,
    Again,
    Stopped,
}

/// One task's container.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) task: TaskId,
    pub(super) service: ServiceId,
    pub(super) revision: RevisionNumber,
    pub(super) node: NodeId,
    pub(super) how: Behaviour,
    pub(super) phase: Phase,
    pub(super) ready: bool,
    pub(super) unready_at: u64,
    pub(super) restarts: u32,
    pub(super) stopping: bool,
    /// Since when it runs on although nobody wants it.
    pub(super) given_up: Option<u64>,
    pub(super) detail: String,
    /// Counts what it did: a turn that was planned before the last one is void.
    pub(super) turns: u64,
}

impl Container {
    /// Makes the turn. Returns the next one and when.
    pub(super) fn turn(
        &mut self,
        turn: Turn,
        policy: &RestartPolicy,
        chance: &mut Chance,
        now: u64,
    ) -> Option<(Turn, Duration)> {
        self.turns += 1;
        match turn {
            Turn::Pulled if self.how == Behaviour::NoImage => {
                self.phase = Phase::Rejected;
                self.detail = "no such image".to_owned();
                None
            }
            Turn::Pulled => {
                self.phase = Phase::Starting;
                Some((Turn::Started, chance.span(200, 900)))
            }
            Turn::Started | Turn::Again => {
                self.phase = Phase::Running;
                self.unready_at = now;
                self.detail.clear();
                self.after_start(chance)
            }
            Turn::Ready => {
                self.ready = true;
                self.detail.clear();
                match self.how {
                    Behaviour::Crash { after } => Some((Turn::Ended, after)),
                    Behaviour::Flap { every } => Some((Turn::Unready, every)),
                    Behaviour::Healthy
                    | Behaviour::NeverReady
                    | Behaviour::Slow { .. }
                    | Behaviour::NoImage => None,
                }
            }
            Turn::Unready => {
                self.lose_ready(now);
                "connection refused".clone_into(&mut self.detail);
                let Behaviour::Flap { every } = self.how else { return None };
                Some((Turn::Ready, every))
            }
            Turn::Ended => self.end(policy, now),
            Turn::Stopped => {
                self.lose_ready(now);
                self.phase = Phase::Stopped;
                None
            }
        }
    }

    fn after_start(&self, chance: &mut Chance) -> Option<(Turn, Duration)> {
        match self.how {
            Behaviour::Healthy | Behaviour::Flap { .. } => {
                Some((Turn::Ready, chance.span(500, 1_500)))
            }
            Behaviour::Crash { after } if after <= Duration::from_secs(2) => {
                Some((Turn::Ended, after))
            }
            Behaviour::Crash { .. } => Some((Turn::Ready, chance.span(500, 1_500))),
            Behaviour::NeverReady | Behaviour::NoImage => None,
            Behaviour::Slow { by } => Some((Turn::Ready, by + chance.span(500, 1_500))),
        }
    }

    fn lose_ready(&mut self, now: u64) {
        if self.ready {
            self.ready = false;
            self.unready_at = now;
        }
    }

    /// It ended by itself: again in place while the policy allows it.
    fn end(&mut self, policy: &RestartPolicy, now: u64) -> Option<(Turn, Duration)> {
        self.lose_ready(now);
        "exit code 1".clone_into(&mut self.detail);
        if policy.condition == RestartCondition::Never || self.restarts >= policy.attempts {
            self.phase = Phase::Failed;
            return None;
        }
        let wait = policy.backoff(self.restarts);
        self.restarts += 1;
        Some((Turn::Again, wait))
    }
}

/// Whole milliseconds.
pub(super) fn ms(span: Duration) -> u64 {
    crate::time::millis(span)
}
