//! Which images a node keeps: those of its tasks, and those of the revisions before, so that a rollback is quick.

use std::collections::{BTreeMap, BTreeSet};
use warren_core::assignment::Assignments;
use warren_core::id::TaskId;
use warren_core::spec::{PinnedImage, ServiceName};

/// Images kept of each service: what runs, what ran before, and one more to go back further.
const KEPT_PER_SERVICE: usize = 3;
/// Services whose images are kept although no task of them is here: a service that moves away may come back.
const SERVICES_KEPT: usize = 64;

/// The images of each service's last revisions, newest last.
pub(crate) type Recent = BTreeMap<ServiceName, Vec<PinnedImage>>;

/// Takes over the images of all assigned tasks. `resolved` has those whose revision names none.
pub(crate) fn remember(
    recent: &mut Recent,
    assignments: &Assignments,
    resolved: &BTreeMap<TaskId, PinnedImage>,
) {
    let mut assigned = BTreeSet::new();
    for assignment in assignments.values() {
        assigned.insert(&assignment.name);
        let pinned = assignment.template.pinned.as_ref();
        let Some(image) = pinned.or_else(|| resolved.get(&assignment.task)) else { continue };
        let images = recent.entry(assignment.name.clone()).or_default();
        if !images.contains(image) {
            images.push(image.clone());
            let surplus = images.len().saturating_sub(KEPT_PER_SERVICE);
            images.drain(..surplus);
        }
    }
    while recent.len() > SERVICES_KEPT {
        let idle = recent.keys().find(|name| !assigned.contains(name)).cloned();
        let Some(idle) = idle else { break };
        recent.remove(&idle);
    }
}

/// What is not to be cleaned up.
pub(crate) fn keep(
    recent: &Recent,
    assignments: &Assignments,
    resolved: &BTreeMap<TaskId, PinnedImage>,
) -> Vec<PinnedImage> {
    let assigned = assignments.values().filter_map(|assignment| {
        assignment.template.pinned.as_ref().or_else(|| resolved.get(&assignment.task))
    });
    let keep: BTreeSet<_> = recent.values().flatten().chain(assigned).cloned().collect();
    keep.into_iter().collect()
}
