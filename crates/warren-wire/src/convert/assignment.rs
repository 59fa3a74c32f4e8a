//! What a node must run.

use super::{spec, template, text};
use crate::v1;
use warren_core::assignment::{Assignment, Assignments, Want};
use warren_core::id::{RevisionNumber, Slot};
use warren_core::spec::{FieldError, Strategy};
use warren_core::task::{DeploymentState, Track};

/// Reads one task to run.
///
/// # Errors
/// The first field that cannot be what it is.
pub fn parse(assignment: v1::TaskAssignment) -> Result<Assignment, FieldError> {
    let want = match super::variant("want", assignment.want)? {
        v1::Want::Run => Want::Run,
        v1::Want::Stop => Want::Stop,
        v1::Want::Keep => Want::Keep,
    };
    let restart = assignment.restart.unwrap_or_default();
    Ok(Assignment {
        task: text("task_id", &assignment.task_id)?,
        service: text("service_id", &assignment.service_id)?,
        name: text("service", &assignment.service)?,
        slot: Slot(assignment.slot),
        revision: RevisionNumber(assignment.revision),
        template: template::parse(assignment.template.unwrap_or_default())
            .map_err(|e| e.within("template"))?,
        restart: spec::restart(restart).map_err(|e| e.within("restart"))?,
        track: Track {
            strategy: strategy(&assignment.strategy)?,
            state: state(&assignment.state)?,
        },
        address: text("address", &assignment.address)?,
        want,
    })
}

/// Reads all tasks of a node, or a change of them.
///
/// # Errors
/// The first field that cannot be what it is, with the task's place in the list.
pub fn parse_all(tasks: Vec<v1::TaskAssignment>) -> Result<Assignments, FieldError> {
    let numbered = tasks.into_iter().enumerate();
    let parsed = numbered.map(|(i, task)| {
        let assignment = parse(task).map_err(|e| super::item(e, "tasks", i))?;
        Ok((assignment.task, assignment))
    });
    parsed.collect()
}

/// The message that parses to `assignment`.
#[must_use]
pub fn render(assignment: &Assignment) -> v1::TaskAssignment {
    let want = match assignment.want {
        Want::Run => v1::Want::Run,
        Want::Stop => v1::Want::Stop,
        Want::Keep => v1::Want::Keep,
    };
    v1::TaskAssignment {
        task_id: assignment.task.to_string(),
        service_id: assignment.service.to_string(),
        service: assignment.name.to_string(),
        slot: assignment.slot.0,
        revision: assignment.revision.0,
        template: Some(template::render(&assignment.template)),
        restart: Some(spec::render_restart(&assignment.restart)),
        address: assignment.address.to_string(),
        want: want.into(),
        strategy: assignment.track.strategy.to_string(),
        state: assignment.track.state.to_string(),
    }
}

fn strategy(text: &str) -> Result<Strategy, FieldError> {
    let found = Strategy::ALL.into_iter().find(|strategy| strategy.to_string() == text);
    found.ok_or_else(|| FieldError::new("strategy", format!("{text:?} is no strategy")))
}

fn state(text: &str) -> Result<DeploymentState, FieldError> {
    let found = DeploymentState::ALL.into_iter().find(|state| state.to_string() == text);
    found.ok_or_else(|| FieldError::new("state", format!("{text:?} is no state of a revision")))
}
