//! What clients would feel: how many of their questions are answered with a task that does not serve.

use crate::id::RevisionNumber;
use crate::simulate::cluster::Cluster;
use crate::task::Phase;
use crate::units::Weight;
use std::collections::BTreeMap;
use std::time::Duration;

/// One, in the parts in which shares are counted here.
const WHOLE: u64 = 1_000_000;

/// What clients would have felt of a release.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Risk {
    /// For how much of all traffic nobody was there: half of it for four seconds counts as two.
    pub lost: Duration,
    /// The largest share of the traffic that was lost at one moment.
    pub worst: Weight,
    /// How much of all traffic met the new revision.
    pub met_new: Duration,
}

/// The sums behind a [`Risk`].
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    lost: u64,
    worst: u64,
    met_new: u64,
}

/// How answers are at one moment, in parts of [`WHOLE`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Now {
    lost: u64,
    met_new: u64,
}

impl Account {
    /// How answers are now, on average over the machines that have power.
    pub(super) fn of(&self, cluster: &Cluster, new: RevisionNumber) -> Now {
        let serves = |task| {
            let container = cluster.containers.get(task);
            container.is_some_and(|c| c.ready && c.phase == Phase::Running)
        };
        let mut now = Now::default();
        let mut machines = 0;
        for machine in cluster.machines.values().filter(|machine| machine.up) {
            machines += 1;
            let answered = machine.resolver.answered();
            if answered.is_empty() {
                now.lost += WHOLE;
                continue;
            }
            let mut counts: BTreeMap<RevisionNumber, u64> = BTreeMap::new();
            for revision in answered.values() {
                *counts.entry(*revision).or_default() += 1;
            }
            let split = machine.resolver.view.services.values().next();
            let weights = split.map(|split| split.weights.as_slice()).unwrap_or_default();
            let share = |revision: &RevisionNumber| match weights {
                [] => counts.get(revision).copied().unwrap_or(0),
                weights => {
                    let found = weights.iter().find(|(r, _)| r == revision);
                    found.map_or(0, |(_, weight)| u64::from(weight.per_mille()))
                }
            };
            let whole: u64 = counts.keys().map(share).sum();
            for (task, revision) in answered {
                let tasks = counts.get(revision).copied().unwrap_or(1) * whole.max(1);
                let part = share(revision) * WHOLE / tasks.max(1);
                if !serves(task) {
                    now.lost += part;
                } else if *revision == new {
                    now.met_new += part;
                }
            }
        }
        let machines = machines.max(1);
        Now { lost: now.lost / machines, met_new: now.met_new / machines }
    }

    /// Answers were so for a while.
    pub(super) fn add(&mut self, now: Now, span: Duration) {
        let ms = crate::time::millis(span);
        self.lost = self.lost.saturating_add(now.lost.saturating_mul(ms));
        self.met_new = self.met_new.saturating_add(now.met_new.saturating_mul(ms));
        if ms > 0 {
            self.worst = self.worst.max(now.lost);
        }
    }

    pub(super) fn risk(&self) -> Risk {
        let part = u32::try_from(self.worst).unwrap_or(u32::MAX);
        Risk {
            lost: Duration::from_millis(self.lost / WHOLE),
            worst: Weight::carried_by(part, 1_000_000),
            met_new: Duration::from_millis(self.met_new / WHOLE),
        }
    }
}
