//! What is left of an agent that has ended: tasks that run, and the way to stop them.

use crate::cache::Membership;
use crate::runtime::OpenRuntime;
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use warren_core::assignment::Assignments;
use warren_core::spec::Stop;
use warren_drivers::files::FileStore;
use warren_drivers::runtime::{Container, ContainerRuntime, ContainerState, RuntimeError, Scope};

/// Tasks that are stopped at once.
const STOPS_MAX: usize = 32;
/// Of the time that there is, so much is kept back to kill and remove what does not end by itself.
const RESERVE: Duration = Duration::from_secs(5);
/// What killing and removing what is left may take at least, however little time there was.
const LAST_RESORT: Duration = Duration::from_secs(10);

/// The tasks of an agent that has ended. They run on, to be adopted by the next agent, unless they are stopped.
pub struct Residue {
    pub(super) runtime: Option<Arc<dyn ContainerRuntime>>,
    pub(super) files: Arc<FileStore>,
    pub(super) open: OpenRuntime,
    pub(super) membership: Option<Membership>,
    pub(super) assignments: Arc<Assignments>,
}

impl Residue {
    /// Stops every task of this node as its service says, kills what still runs near `deadline`, and removes all
    /// containers, their network and the pins of their images, with `images` also the images that Warren brought.
    /// Tells how many containers there were. Volumes stay.
    ///
    /// # Errors
    /// The runtime does not answer, or would not remove a container; others may be gone.
    pub async fn stop_all(self, deadline: Duration, images: bool) -> Result<usize, RuntimeError> {
        let Some(membership) = &self.membership else { return Ok(0) };
        let until = Instant::now() + deadline;
        let runtime = match &self.runtime {
            Some(runtime) => Arc::clone(runtime),
            None => {
                let cluster = membership.cluster.to_string();
                (self.open)(Scope { cluster, node: membership.node }).await?
            }
        };
        let containers = runtime.list().await?;
        let patience = until.checked_sub(RESERVE).unwrap_or(until);
        let stops = containers.iter().map(|container| self.stop(&*runtime, container));
        let stopped = futures::stream::iter(stops).buffer_unordered(STOPS_MAX).collect::<Vec<()>>();
        if timeout_at(patience, stopped).await.is_err() {
            tracing::warn!("tasks did not end in time and are killed");
        }
        let removals = containers.iter().map(|container| runtime.remove(&container.id));
        let removed = futures::stream::iter(removals).buffer_unordered(STOPS_MAX);
        let until = until.max(Instant::now() + LAST_RESORT);
        let removed = timeout_at(until, removed.collect::<Vec<_>>()).await;
        let late = |_| RuntimeError::Timeout {
            what: "removing containers".to_owned(),
            after: deadline.max(LAST_RESORT),
        };
        removed.map_err(late)?.into_iter().collect::<Result<Vec<()>, _>>()?;
        let files = Arc::clone(&self.files);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || files.close()).await {
            tracing::warn!(%error, "files of tasks were not removed");
        }
        runtime.remove_networks().await?;
        if images {
            runtime.cleanup(&[]).await?;
        } else {
            runtime.unpin().await?;
        }
        Ok(containers.len())
    }

    async fn stop(&self, runtime: &dyn ContainerRuntime, container: &Container) {
        if !matches!(container.state, ContainerState::Running { .. }) {
            return;
        }
        let assigned = self.assignments.get(&container.labels.task);
        let Stop { signal, timeout } =
            assigned.map_or_else(Stop::default, |assignment| assignment.template.stop.clone());
        if let Err(error) = runtime.stop(&container.id, signal, timeout).await {
            tracing::warn!(task = %container.labels.task, %error, "task did not stop and is killed");
        }
    }
}
