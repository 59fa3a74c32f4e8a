//! What must hold after every committed entry. The simulator and the property tests check it after each step.

use crate::state::State;
use crate::units::Weight;
use std::collections::BTreeSet;

/// A broken invariant, with the thing that breaks it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}: {about}")]
pub struct Violation {
    /// The rule.
    pub what: &'static str,
    /// What breaks it.
    pub about: String,
}

/// Checks everything that a state alone can show.
///
/// # Errors
/// The first broken invariant.
pub fn check(state: &State) -> Result<(), Violation> {
    check_services(state)?;
    check_releases(state)?;
    check_tasks(state)?;
    check_files(state)?;
    check_nodes(state)
}

fn ensure(holds: bool, what: &'static str, about: impl ToString) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { what, about: about.to_string() }) }
}

fn check_services(state: &State) -> Result<(), Violation> {
    for service in state.services() {
        let named = state.service_named(&service.spec.name).map(|found| found.id);
        ensure(named == Some(service.id), "a service is found by its name", service.id)?;
        let current = service.revisions.get(&service.current);
        ensure(current.is_some(), "the current revision is kept", service.id)?;
        let same = current.is_some_and(|revision| revision.template == service.spec.template);
        ensure(same, "the intent's template is the current revision's", service.id)?;
        let stable = service.stable.is_none_or(|number| service.revisions.contains_key(&number));
        ensure(stable, "the stable revision is kept", service.id)?;
        let sum: u32 = service.split.weights.iter().map(|(_, w)| u32::from(w.per_mille())).sum();
        let whole = service.split.weights.is_empty() || sum == 1000;
        ensure(whole, "weights sum to 1000 or there are none", service.id)?;
    }
    Ok(())
}

/// Of releases what a state alone can show: I1, I7, I18 and I20.
fn check_releases(state: &State) -> Result<(), Violation> {
    for service in state.services() {
        let ended = service.past.iter().all(|past| past.end.is_some());
        ensure(ended, "I18: a kept release has its outcome", service.id)?;
        let last = service.accepted.last().copied();
        ensure(last == service.stable, "the last accepted revision is the stable one", service.id)?;
        let kept = |number| service.revisions.contains_key(&number);
        let known = service.accepted.iter().all(|number| kept(*number));
        ensure(known, "accepted revisions are kept", service.id)?;
        let shared = service.split.weights.iter().filter(|(_, weight)| *weight > Weight::ZERO);
        let known = shared.map(|(number, _)| *number).all(kept);
        ensure(known, "a revision with a share is kept", service.id)?;
        let Some(live) = &service.rollout else { continue };
        ensure(live.end.is_none(), "I1: the release under way has not ended", live.id)?;
        let once = service.past.iter().all(|past| past.id != live.id);
        ensure(once, "I1: a release is under way or ended", live.id)?;
        let way_back = live.from.is_none_or(kept) && kept(live.to);
        ensure(way_back, "I7: both revisions of a release are kept", live.id)?;
        let back = live.phase.is_back();
        ensure(back == live.abort.is_some(), "I20: who goes back says why", live.id)?;
        ensure(!back || live.pauses.is_empty(), "I20: a rollback is never paused", live.id)?;
        ensure(!back || live.from.is_some(), "I20: a rollback has somewhere to go", live.id)?;
        let step = live.steps.is_empty() || (live.step as usize) < live.steps.len();
        ensure(step, "I12: a release is in one of its steps", live.id)?;
        let aim = if back { live.from } else { Some(live.to) };
        let aims = live.phase.is_accepted() || aim == Some(service.current);
        ensure(aims, "tasks are to run what the release leads to", live.id)?;
    }
    Ok(())
}

fn check_tasks(state: &State) -> Result<(), Violation> {
    for task in state.tasks() {
        let service = state.service(task.service);
        ensure(service.is_some(), "a task has its service", task.id)?;
        let known = service.is_some_and(|s| s.revisions.contains_key(&task.revision));
        ensure(known, "a task's revision is kept", task.id)?;
        ensure(state.node(task.node).is_some(), "a task has its node", task.id)?;
        ensure(
            task.is_live() == task.end.is_none(),
            "ended tasks say how, live ones do not",
            task.id,
        )?;
    }
    Ok(())
}

/// What a kept revision or an update that waits refers to is there: a rollback finds the content that it had.
fn check_files(state: &State) -> Result<(), Violation> {
    for service in state.services() {
        let kept = service.revisions.values().map(|revision| &revision.template);
        let waits = service.queued.iter().map(|queued| &queued.spec.template);
        let mut files = kept.chain(waits).flat_map(|template| &template.files);
        let there = files.all(|file| state.content(file).is_some());
        ensure(there, "secrets and configs that a revision uses are kept", service.id)?;
    }
    Ok(())
}

fn check_nodes(state: &State) -> Result<(), Violation> {
    for node in state.nodes() {
        let mut addresses = BTreeSet::new();
        for task in state.tasks_on(node.id).filter(|task| task.is_live()) {
            ensure(node.subnet.contains(&task.address), "a task's address is its node's", task.id)?;
            ensure(task.address != node.gateway(), "no task has its node's own address", task.id)?;
            ensure(addresses.insert(task.address), "live tasks share no address", task.id)?;
        }
        let apart = state
            .nodes()
            .filter(|other| other.id != node.id)
            .all(|other| !other.subnet.contains(&node.subnet));
        ensure(apart, "subnets do not overlap", node.id)?;
    }
    Ok(())
}
