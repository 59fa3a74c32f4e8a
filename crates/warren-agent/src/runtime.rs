//! What the agent needs of the container runtime beside its calls.

use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use warren_core::converge::{self, ContainerKey, Failure, FailureKind};
use warren_drivers::runtime::{Container, ContainerRuntime, ContainerState, RuntimeError, Scope};

/// Opens the container runtime, once the node knows in which cluster it is and as which node. Called again where the
/// runtime did not answer.
pub type OpenRuntime = Box<
    dyn Fn(Scope) -> BoxFuture<'static, Result<Arc<dyn ContainerRuntime>, RuntimeError>>
        + Send
        + Sync,
>;

/// A container in core's words.
pub(crate) fn container(listed: &Container) -> converge::Container {
    let state = match &listed.state {
        ContainerState::Created => converge::ContainerState::Created,
        ContainerState::Running { since, .. } => {
            converge::ContainerState::Running(unix_nanos(*since))
        }
        ContainerState::Exited(exit) => converge::ContainerState::Exited(converge::Exit {
            at: unix_nanos(exit.at),
            code: exit.code,
            out_of_memory: exit.oom,
        }),
    };
    converge::Container {
        key: ContainerKey(listed.id.0.clone()),
        task: listed.labels.task,
        service: listed.labels.service_id,
        revision: listed.labels.version,
        epoch: u32::try_from(listed.labels.epoch).unwrap_or(u32::MAX),
        state,
    }
}

/// A runtime's error in core's words.
pub(crate) fn failure(error: &RuntimeError) -> Failure {
    let kind = match error {
        RuntimeError::Unavailable { .. } | RuntimeError::Timeout { .. } => FailureKind::Passing,
        RuntimeError::Conflict { .. } => FailureKind::Conflict,
        RuntimeError::ImageMissing { .. } | RuntimeError::Refused { .. } => FailureKind::Fatal,
        RuntimeError::NotFound { .. } => FailureKind::Moot,
    };
    Failure { kind, message: error.to_string() }
}

/// Nanoseconds since the Unix epoch; 0 before it.
pub(crate) fn unix_nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
