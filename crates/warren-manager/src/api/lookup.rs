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

/// The node of that host name or id. A text that means two nodes is refused: to drain or to remove the other one cannot
/// be taken back. Ids alone are never the same, so `id:n3` always means one.
pub(super) fn node(state: &State, text: &str) -> Result<Arc<Node>, ApiError> {
    if text.is_empty() {
        return Err(ApiError::field("node_id", "is empty: write a node's name or id"));
    }
    let (id, host) = match text.strip_prefix("id:") {
        Some(id) => (id.parse::<NodeId>().ok(), None),
        None => (text.parse::<NodeId>().ok(), HostName::parse(text).ok()),
    };
    let is_meant =
        |node: &&Arc<Node>| Some(node.id) == id || host.as_ref() == Some(&node.facts.hostname);
    let meant: Vec<_> = state.nodes().filter(is_meant).collect();
    match meant.as_slice() {
        [one] => Ok(Arc::clone(one)),
        [] => Err(unknown("node", text, state.nodes().map(|node| node.facts.hostname.as_str()))),
        [first, others @ ..] => {
            let words = |node: &Arc<Node>| format!("{} ({})", node.id, node.facts.hostname);
            let others: Vec<_> = others.iter().map(|node| words(node)).collect();
            let message = format!("{text} may be {} or {}", words(first), others.join(" or "));
            let hint = format!("name one by its id, as in id:{}", first.id);
            Err(ApiError::new(Code::FailedPrecondition, message).hint(hint))
        }
    }
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
    use std::collections::BTreeMap;
    use warren_core::command::{Command, Entry};
    use warren_core::id::LogIndex;
    use warren_core::level::Level;
    use warren_core::node::{Encryption, NodeFacts, Role};
    use warren_core::time::{ClusterTime, WallTime};
    use warren_core::units::{Bytes, MilliCpu};

    /// A cluster whose nodes are called so, with the ids n1, n2, …
    fn cluster_of(names: &[&str]) -> State {
        let pool = "10.0.0.0/8".parse().unwrap();
        let id = warren_core::ClusterId(7);
        let init = Command::InitCluster { id, zone: "warren".to_owned(), pool };
        let register = |(nth, name): (usize, &&str)| Command::RegisterNode {
            key: format!("k{nth}"),
            role: Role::Worker,
            facts: Box::new(NodeFacts {
                hostname: HostName::parse(name).unwrap(),
                address: [127, 0, 0, 1].into(),
                port: 0,
                platform: "linux/amd64".to_owned(),
                cpu: MilliCpu(1000),
                memory: Bytes::from_mib(1),
                runtime: "sim".to_owned(),
                version: "0.1.0".to_owned(),
                level: Level::OURS,
                encryption: Encryption::default(),
                probe_port: 0,
            }),
            subnet: None,
            labels: BTreeMap::new(),
        };
        let mut state = State::default();
        let commands = std::iter::once(init).chain(names.iter().enumerate().map(register));
        for (index, command) in (1..).zip(commands) {
            let (index, at, wall) = (LogIndex(index), ClusterTime::from_ms(index), WallTime(0));
            state.apply(Entry { index, at, wall, command }).unwrap();
        }
        state
    }

    #[test]
    fn a_text_that_means_two_nodes_means_none() {
        let state = cluster_of(&["n2", "vm", "vm", "w1"]);
        let meant = |text: &str| node(&state, text).map(|node| node.id.to_string());
        assert_eq!(meant("w1").unwrap(), "n4");
        assert_eq!(meant("n3").unwrap(), "n3");
        assert_eq!(meant("id:n2").unwrap(), "n2");
        assert_eq!(meant("id:n1").unwrap(), "n1");
        let error = meant("vm").unwrap_err();
        assert_eq!(error.message, "vm may be n2 (vm) or n3 (vm)");
        assert_eq!(error.hint.as_deref(), Some("name one by its id, as in id:n2"));
        // The name of one and the id of another.
        let error = meant("n2").unwrap_err();
        assert_eq!(error.message, "n2 may be n1 (n2) or n2 (vm)");
        assert_eq!(meant("id:w1").unwrap_err().code, Code::NotFound);
        assert_eq!(meant("n9").unwrap_err().code, Code::NotFound);
    }

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
