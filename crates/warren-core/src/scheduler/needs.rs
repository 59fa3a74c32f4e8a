//! What only a runtime with containers can give to a task.

use super::filter::holds;
use crate::node::Node;
use crate::spec::{FieldError, ServiceSpec, Template};
use std::fmt;

/// What only a runtime with containers can give to a task.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Need {
    /// A port of the node that leads to the task.
    HostPort,
    /// Files from outside the image.
    Mount,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostPort => "host port",
            Self::Mount => "mount",
        })
    }
}

/// What tasks of `template` need of a runtime with containers; nothing where any runtime will do.
pub(super) fn needs(template: &Template) -> impl Iterator<Item = Need> {
    let host_port = template.ports.iter().any(|port| port.host.is_some());
    let host_port = host_port.then_some(Need::HostPort);
    host_port.into_iter().chain((!template.mounts.is_empty()).then_some(Need::Mount))
}

/// Refuses a service that none of `nodes` can ever run, since each that its constraints let in has the process runtime.
/// Without any such node nothing is known, and nothing refused.
///
/// # Errors
/// The first part of the template that those nodes cannot give.
pub fn check_needs<'a>(
    spec: &ServiceSpec,
    nodes: impl Iterator<Item = &'a Node>,
) -> Result<(), FieldError> {
    let Some(need) = needs(&spec.template).next() else { return Ok(()) };
    let mut open = nodes.filter(|node| spec.placement.constraints.iter().all(|c| holds(c, node)));
    let Some(first) = open.next() else { return Ok(()) };
    if first.facts.has_containers() || open.any(|node| node.facts.has_containers()) {
        return Ok(());
    }
    Err(match need {
        Need::HostPort => FieldError::new(
            "template.ports",
            "no node can publish a host port: with the process runtime each task has an address of \
             its own. Leave the host port out and reach the tasks by their DNS name, or add a node \
             with Docker",
        ),
        Need::Mount => FieldError::new(
            "template.mounts",
            "no node can mount anything: with the process runtime tasks see the node's own files. \
             Leave the mount out and use paths of the node, or add a node with Docker",
        ),
    })
}
