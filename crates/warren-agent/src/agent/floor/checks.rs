//! What of a running task is looked at.

use crate::prober::Subject;
use crate::runtime;
use warren_core::assignment::Assignment;
use warren_core::converge::Check;
use warren_core::id::TaskId;
use warren_drivers::runtime::{Container, ContainerState};

pub(super) fn checks(
    assignment: &Assignment,
    container: &Container,
) -> impl Iterator<Item = ((TaskId, Check), Subject)> {
    let ContainerState::Running { since, .. } = container.state else {
        return Vec::new().into_iter();
    };
    let template = &assignment.template;
    let checks = [(Check::Health, &template.health), (Check::Readiness, &template.readiness)];
    let subjects = checks.into_iter().filter_map(|(kind, check)| {
        let subject = Subject {
            check: check.clone()?,
            run: runtime::unix_nanos(since),
            address: assignment.address,
            container: container.id.clone(),
            since,
        };
        Some(((assignment.task, kind), subject))
    });
    subjects.collect::<Vec<_>>().into_iter()
}
