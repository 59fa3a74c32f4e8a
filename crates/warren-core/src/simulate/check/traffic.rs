//! Traffic: I4, I5, I8, I19 and L3.

use super::{Checked, ensure};
use crate::id::{RevisionNumber, ServiceId};
use crate::rollout::Back;
use crate::service::Service;
use crate::simulate::cluster::Cluster;
use crate::simulate::machine::{Machine, ms};
use crate::spec::Mode;
use crate::traffic::TRAFFIC_LEASE;
use crate::units::Weight;
use std::collections::BTreeMap;

/// What telling resolvers takes at most, in milliseconds: two hops and what goes before in the same moment.
const TELLING: u64 = 500;
/// How long an unready task may stay in answers, in milliseconds.
const UNREADY: u64 = 1_000;

/// A release that went back at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct GoneBack {
    service: ServiceId,
    from: RevisionNumber,
    to: RevisionNumber,
    /// From when on no resolver answers with `to`.
    due: u64,
}

impl Cluster {
    /// I4, I5 and I8: who gets a share can carry it, and who goes back gets no more.
    pub(super) fn check_split(&self, was: &Service, now: &Service) -> Checked {
        let Mode::Replicated { replicas } = now.spec.mode else { return Ok(()) };
        if was.split == now.split || now.deleting || replicas == 0 {
            return Ok(());
        }
        let ready = self.ready_of(now.id);
        let (old, new) = (shares(was, &ready), shares(now, &ready));
        let share = |of: &BTreeMap<_, u64>, revision| of.get(&revision).copied().unwrap_or(0);
        let live = now.rollout.as_ref().or(was.rollout.as_ref());
        let missing = live.map_or(0, |live| live.settings.max_unavailable.floor_of(replicas));
        let nobody = ready.values().all(|count| *count == 0);
        for (revision, weight) in now.split.weights.iter().filter(|(_, w)| *w > Weight::ZERO) {
            let (count, weight) = (share_count(&ready, *revision), u64::from(weight.per_mille()));
            let before = match was.split.weight_of(*revision) {
                Some(weight) => u64::from(weight.per_mille()),
                None => share(&old, *revision),
            };
            let rises =
                weight > before && was.split.weight_of(*revision) != now.split.weight_of(*revision);
            let about = || format!("{revision} gets {weight} per mille with {count} ready tasks");
            ensure(count > 0 || nobody || !rises, "I4: a share needs a ready task", about)?;
            let others = ready.iter().any(|(r, count)| r != revision && *count > 0);
            let carried = u64::from(count + 1 + missing) * 1000 >= weight * u64::from(replicas);
            let fits = !rises || !others || carried;
            ensure(fits, "I5: a share is no more than its ready tasks carry", about)?;
        }
        let known = [now.stable, Some(now.current)];
        let back = was.rollout.as_ref().filter(|live| live.abort.is_some()).map(|live| live.to);
        for (revision, weight) in &new {
            let goes = back == Some(*revision) || !known.contains(&Some(*revision));
            let before = share(&old, *revision);
            let about = || format!("{revision} went from {before} to {weight} per mille");
            ensure(!goes || *weight <= before, "I8: what goes back gets no more", about)?;
        }
        Ok(())
    }

    fn ready_of(&self, id: ServiceId) -> BTreeMap<RevisionNumber, u32> {
        let mut ready = BTreeMap::new();
        for task in self.state.tasks_of(id) {
            let up = self.state.node(task.node).is_some_and(|node| node.up);
            let serves = up && task.serves() && self.observed.is_ready(task.id);
            *ready.entry(task.revision).or_default() += u32::from(serves);
        }
        ready
    }

    /// L3: a release that goes back at once is out of answers within the traffic lease.
    pub(super) fn note_the_way_back(&mut self, was: &Service, now: &Service) {
        let (Some(old), Some(new)) = (&was.rollout, &now.rollout) else { return };
        let Some(abort) = new.abort.as_ref().filter(|_| old.abort.is_none()) else { return };
        let Mode::Replicated { replicas } = now.spec.mode else { return };
        let Some(from) = new.from.filter(|_| new.is_beside() && abort.back == Back::Immediate)
        else {
            return;
        };
        if share_count(&self.ready_of(now.id), from) >= replicas {
            let due = self.now + ms(TRAFFIC_LEASE) + TELLING;
            self.checker.gone_back.push(GoneBack { service: now.id, from, to: new.to, due });
        }
    }

    /// I19 and L3, as time passes.
    pub(super) fn check_answers(&mut self) -> Checked {
        self.check_unready()?;
        let due: Vec<_> =
            self.checker.gone_back.iter().filter(|b| b.due <= self.now).copied().collect();
        self.checker.gone_back.retain(|back| back.due > self.now);
        for back in due {
            let aims = self.state.service(back.service).is_some_and(|s| s.current == back.from);
            let well = share_count(&self.ready_of(back.service), back.from) > 0;
            if !aims || !well || !self.leads {
                continue;
            }
            for machine in self.machines.values().filter(|machine| machine.up && machine.session) {
                let answered = machine.resolver.answered();
                let of = |id| self.state.task(id).is_some_and(|task| task.service == back.service);
                let found =
                    answered.iter().find(|(task, revision)| **revision == back.to && of(**task));
                let about = || format!("{} answers with {}", machine.name, back.to);
                ensure(found.is_none(), "L3: a way back moves traffic within seconds", about)?;
            }
        }
        Ok(())
    }

    fn check_unready(&self) -> Checked {
        if !self.leads || self.now < self.led_from.0 + 4 * UNREADY {
            return Ok(());
        }
        let hears = |machine: &Machine| {
            machine.up && machine.session && self.now > machine.session_since + 2 * UNREADY
        };
        for machine in self.machines.values().filter(|machine| hears(machine)) {
            for task in machine.resolver.answered().keys() {
                let Some(container) = self.containers.get(task) else { continue };
                let home = self.machines.get(&container.node).is_some_and(hears);
                let late = !container.ready && self.now > container.unready_at + UNREADY;
                let about = || format!("{} answers with {task}", machine.name);
                ensure(!(home && late), "I19: unready tasks leave answers within a second", about)?;
            }
        }
        Ok(())
    }
}

fn share_count(ready: &BTreeMap<RevisionNumber, u32>, revision: RevisionNumber) -> u32 {
    ready.get(&revision).copied().unwrap_or(0)
}

/// The share of each revision in per-mille, whether it is by weight or because every ready task has an equal part.
fn shares(
    service: &Service,
    ready: &BTreeMap<RevisionNumber, u32>,
) -> BTreeMap<RevisionNumber, u64> {
    let weights = &service.split.weights;
    if weights.is_empty() {
        let all: u64 = ready.values().map(|count| u64::from(*count)).sum();
        let part = |count: u32| u64::from(count) * 1000 / all.max(1);
        return ready.iter().map(|(revision, count)| (*revision, part(*count))).collect();
    }
    // A revision without a ready task leaves its share to the others.
    let has = |revision| share_count(ready, revision) > 0;
    let all: u64 =
        weights.iter().filter(|(r, _)| has(*r)).map(|(_, w)| u64::from(w.per_mille())).sum();
    let part = |(revision, weight): &(RevisionNumber, Weight)| {
        let weight = u64::from(weight.per_mille());
        let share = if all == 0 {
            weight
        } else if has(*revision) {
            weight * 1000 / all
        } else {
            0
        };
        (*revision, share)
    };
    weights.iter().map(part).collect()
}
