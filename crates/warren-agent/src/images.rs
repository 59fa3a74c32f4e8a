//! Which images a node keeps: those of its tasks, and those of the revisions before, so that a rollback is quick.

use std::collections::{BTreeMap, BTreeSet};
use warren_core::assignment::Assignments;
use warren_core::id::TaskId;
use warren_core::spec::{PinnedImage, ServiceName};

/// Images kept of each service: those of the revisions that are kept, so that any of them starts without a registry.
const KEPT_PER_SERVICE: usize = warren_core::service::REVISIONS_KEPT;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::tests::task;
    use warren_core::assignment::{Assignment, Want};

    fn runs(id: u64, service: &str, image: &str) -> Assignment {
        let mut task = task(id, Want::Run);
        task.name = ServiceName::parse(service).unwrap();
        task.template.pinned = Some(PinnedImage(image.to_owned()));
        task
    }

    fn all(tasks: &[Assignment]) -> Assignments {
        tasks.iter().map(|task| (task.task, task.clone())).collect()
    }

    fn kept(recent: &Recent, tasks: &Assignments) -> Vec<String> {
        keep(recent, tasks, &BTreeMap::new()).into_iter().map(|image| image.0).collect()
    }

    #[test]
    fn the_last_images_of_a_service_are_kept_and_those_of_its_tasks_always() {
        let (mut recent, none) = (Recent::new(), BTreeMap::new());
        let old = runs(1, "web", "v01");
        let images: Vec<_> = (1..=KEPT_PER_SERVICE + 1).map(|n| format!("v{n:02}")).collect();
        for image in images.iter().flat_map(|image| [image, image]) {
            remember(&mut recent, &all(&[runs(2, "web", image)]), &none);
        }
        assert_eq!(kept(&recent, &all(&[])), images[1..]);
        assert_eq!(kept(&recent, &all(&[old])), images);
    }

    #[test]
    fn an_image_that_the_node_found_out_is_kept_too() {
        let mut recent = Recent::new();
        let mut task = runs(1, "web", "");
        task.template.pinned = None;
        let resolved = BTreeMap::from([(task.task, PinnedImage("sha256:1".to_owned()))]);
        remember(&mut recent, &all(&[task]), &resolved);
        assert_eq!(kept(&recent, &all(&[])), ["sha256:1"]);
    }

    #[test]
    fn services_that_left_are_forgotten_before_those_that_are_here() {
        let (mut recent, none) = (Recent::new(), BTreeMap::new());
        for n in 0..200 {
            let here = runs(1, "a-here", "here");
            let passing = runs(2, &format!("s{n}"), "passing");
            remember(&mut recent, &all(&[here, passing]), &none);
        }
        assert_eq!(recent.len(), SERVICES_KEPT);
        assert!(recent.contains_key(&ServiceName::parse("a-here").unwrap()));
    }
}
