//! What a request names: a service, a task, a node. A name goes before an id, since people type names.

use std::sync::Arc;
use warren_core::State;
use warren_core::id::{NodeId, ServiceId, Slot, TaskId};
use warren_core::node::Node;
use warren_core::service::Service;
use warren_core::spec::{HostName, ServiceName};
use warren_core::task::{Phase, Task};
use warren_wire::status::{ApiError, Code};

/// Names offered in place of one that is not known.
const SUGGESTIONS_MAX: usize = 3;

/// The service of that name or id.
pub(super) fn service(state: &State, text: &str) -> Result<Arc<Service>, ApiError> {
    if text.is_empty() {
        return Err(ApiError::field("service_id", "is empty: write a service's name or id"));
    }
    let named = ServiceName::parse(text).ok().and_then(|name| state.service_named(&name));
    let found = named.or_else(|| state.service(text.parse::<ServiceId>().ok()?));
    found.cloned().ok_or_else(|| {
        let names = state.services().map(|service| service.spec.name.as_str());
        unknown("service", text, names)
    })
}

/// The node of that host name or id.
pub(super) fn node(state: &State, text: &str) -> Result<Arc<Node>, ApiError> {
    if text.is_empty() {
        return Err(ApiError::field("node_id", "is empty: write a node's name or id"));
    }
    let host = HostName::parse(text).ok();
    let named = state.nodes().find(|node| host.as_ref() == Some(&node.facts.hostname));
    let found = named.or_else(|| state.node(text.parse::<NodeId>().ok()?));
    found.cloned().ok_or_else(|| {
        unknown("node", text, state.nodes().map(|node| node.facts.hostname.as_str()))
    })
}

/// What a text that names tasks names.
#[derive(Debug, PartialEq)]
pub(super) enum Tasks {
    /// One task, by its id.
    One(Arc<Task>),
    /// The tasks of a slot of a service, newest first.
    Slot(Vec<Arc<Task>>),
    /// All tasks of a service, by slot, newest first within one.
    Service(Vec<Arc<Task>>),
}

/// The tasks that `text` names: `web`, `web.3` or `t34`.
pub(super) fn tasks(state: &State, text: &str) -> Result<Tasks, ApiError> {
    if text.is_empty() {
        let problem = "is empty: write a task's id, SERVICE.SLOT, or a service";
        return Err(ApiError::field("task_id", problem));
    }
    let slot = text.rsplit_once('.').and_then(|(name, slot)| Some((name, slot.parse().ok()?)));
    if let Some((name, slot)) = slot {
        let service = service(state, name)?;
        let tasks = newest_first(state, &service, |task| task.slot == Slot(slot));
        if tasks.is_empty() {
            let message = format!("service {} has no task {slot}", service.spec.name);
            return Err(ApiError::new(Code::NotFound, message));
        }
        return Ok(Tasks::Slot(tasks));
    }
    match service(state, text) {
        Ok(service) => Ok(Tasks::Service(newest_first(state, &service, |_| true))),
        Err(error) => match text.parse::<TaskId>() {
            Ok(id) => {
                let missing = || ApiError::new(Code::NotFound, format!("there is no task {id}"));
                Ok(Tasks::One(Arc::clone(state.task(id).ok_or_else(missing)?)))
            }
            Err(_) => Err(error),
        },
    }
}

impl Tasks {
    /// All of them.
    pub(super) fn all(self) -> Vec<Arc<Task>> {
        match self {
            Self::One(task) => vec![task],
            Self::Slot(tasks) | Self::Service(tasks) => tasks,
        }
    }

    /// One that runs, to run a command in; `is_ready` ones first.
    pub(super) fn running(
        self,
        text: &str,
        is_ready: impl Fn(TaskId) -> bool,
    ) -> Result<Arc<Task>, ApiError> {
        let tasks = self.all();
        let newest = tasks.first().map(|task| task.phase);
        let mut running: Vec<_> =
            tasks.into_iter().filter(|task| task.phase == Phase::Running).collect();
        running.sort_by_key(|task| (!task.is_wanted(), !is_ready(task.id)));
        running.into_iter().next().ok_or_else(|| {
            let message = match newest {
                Some(phase) => format!("{text} does not run: it is {phase}"),
                None => format!("{text} has no tasks"),
            };
            ApiError::new(Code::FailedPrecondition, message)
        })
    }
}

fn newest_first(
    state: &State,
    service: &Service,
    wanted: impl Fn(&Task) -> bool,
) -> Vec<Arc<Task>> {
    let tasks = state.tasks_of(service.id).filter(|task| wanted(task));
    let mut tasks: Vec<_> = tasks.cloned().collect();
    tasks.sort_by_key(|task| (task.slot, std::cmp::Reverse(task.id)));
    tasks
}

/// NOT_FOUND with the names that come nearest.
fn unknown<'a>(kind: &str, text: &str, names: impl Iterator<Item = &'a str>) -> ApiError {
    let text: String = text.chars().take(80).collect();
    let message = format!("there is no {kind} {text}");
    let near = near(&text, names);
    let message = match near.split_last() {
        None => message,
        Some((one, [])) => format!("{message}; did you mean {one}?"),
        Some((last, others)) => {
            format!("{message}; did you mean {} or {last}?", others.join(", "))
        }
    };
    ApiError::new(Code::NotFound, message)
}

/// The names that `text` may have been meant to be, the nearest first.
fn near<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let slips_max = (text.chars().count() / 3).clamp(1, 3);
    let mut near: Vec<_> = names
        .filter_map(|name| {
            let slips = strsim::osa_distance(text, name);
            let begins = text.len() >= 2 && name.starts_with(text);
            (slips <= slips_max || begins).then_some((slips, name))
        })
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, name)| name).take(SUGGESTIONS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let names = ["web", "api", "web-backend", "database"];
        let near = |text| near(text, names.into_iter());
        assert_eq!(near("wbe"), ["web"]);
        assert_eq!(near("databse"), ["database"]);
        assert_eq!(near("we"), ["web", "web-backend"]);
        assert!(near("zzz").is_empty());
        let error = unknown("service", "we", names.into_iter());
        let message = "there is no service we; did you mean web or web-backend?";
        assert_eq!(error.message, message);
    }
}
