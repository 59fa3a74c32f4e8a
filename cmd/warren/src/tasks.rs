//! Everything that runs for as long as the node does. Each role is started here, under a kind that says what its end
//! means and when it is told to stop; nothing else in Warren starts a task that nobody waits for.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// A role of the node. The order is the order in which they are told to stop: first who leads, then who lets work in,
/// then who does it, then who keeps it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TaskKind {
    /// Gives the lead away while everything else still runs, so that writes go on elsewhere at once.
    Lead,
    /// The public API on the unix socket.
    Api,
    /// The connections of other machines.
    Port,
    /// What they are served.
    Remote,
    /// What the API's health service answers.
    ApiHealth,
    /// The way between containers of different nodes.
    Network,
    /// Whether the disk has room.
    Disk,
    /// The node's certificate.
    Certificates,
    /// The node's own tasks.
    Agent,
    /// The sessions of agents.
    Sessions,
    /// The resolver.
    Dns,
    /// Leads: hears, plans, proposes, dispatches.
    Manager,
    /// Whether the cluster goes on without this manager.
    Epoch,
    /// Whether this manager runs somewhere else too, or on an old copy of its data directory.
    Copies,
    /// The agreed state.
    Raft,
    /// Metrics and health by HTTP; last of all, so that one can see how the others end.
    Http,
    /// Keeps the metrics tidy.
    Upkeep,
}

/// What it means that a role ended while nobody asked it to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnEnd {
    /// The node cannot do its work: it stops, and says why.
    StopNode,
    /// The node does its work without it: it is logged.
    Log,
}

impl TaskKind {
    /// All of them, in the order in which they are told to stop.
    pub const ALL: [Self; 17] = [
        Self::Lead,
        Self::Api,
        Self::Port,
        Self::Remote,
        Self::ApiHealth,
        Self::Network,
        Self::Disk,
        Self::Certificates,
        Self::Agent,
        Self::Sessions,
        Self::Dns,
        Self::Manager,
        Self::Epoch,
        Self::Copies,
        Self::Raft,
        Self::Http,
        Self::Upkeep,
    ];

    /// Its name in logs and errors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lead => "lead",
            Self::Api => "api",
            Self::Port => "port",
            Self::Remote => "remote",
            Self::ApiHealth => "api health",
            Self::Network => "network",
            Self::Disk => "disk",
            Self::Certificates => "certificates",
            Self::Agent => "agent",
            Self::Sessions => "sessions",
            Self::Dns => "dns",
            Self::Manager => "manager",
            Self::Epoch => "epoch",
            Self::Copies => "copies",
            Self::Raft => "raft",
            Self::Http => "http",
            Self::Upkeep => "upkeep",
        }
    }

    const fn on_end(self) -> OnEnd {
        match self {
            Self::Api
            | Self::Port
            | Self::Remote
            | Self::Agent
            | Self::Sessions
            | Self::Dns
            | Self::Manager
            | Self::Epoch
            | Self::Copies
            | Self::Raft => OnEnd::StopNode,
            Self::Lead
            | Self::ApiHealth
            | Self::Network
            | Self::Disk
            | Self::Certificates
            | Self::Http
            | Self::Upkeep => OnEnd::Log,
        }
    }

    /// How long it has to end once it was told to; the whole node has `stop_timeout`.
    const fn patience(self) -> Duration {
        match self {
            // A client that holds a stream open does not hold up the node.
            Self::Api | Self::Port | Self::Remote | Self::Sessions => Duration::from_secs(2),
            Self::ApiHealth
            | Self::Network
            | Self::Disk
            | Self::Certificates
            | Self::Epoch
            | Self::Copies
            | Self::Http
            | Self::Upkeep => Duration::from_secs(1),
            // A hand-over gives up after two seconds by itself.
            Self::Lead => Duration::from_secs(3),
            Self::Agent | Self::Dns | Self::Manager => Duration::from_secs(6),
            // What is in flight is written; a slow disk takes its time.
            Self::Raft => Duration::from_secs(10),
        }
    }
}

/// A role that ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("{} ended{}", .kind.name(), .why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
pub struct Ended {
    /// Which.
    pub kind: TaskKind,
    /// Why, where it said so.
    pub why: Option<String>,
}

/// The roles that run.
#[derive(Default)]
pub struct Tasks {
    set: JoinSet<Ended>,
    running: BTreeMap<TaskKind, CancellationToken>,
    ids: HashMap<Id, TaskKind>,
}

impl Tasks {
    /// Starts a role; `make` is given the token that tells it to stop.
    ///
    /// # Panics
    /// The role runs already: there is one of each.
    pub fn spawn<F, E>(&mut self, kind: TaskKind, make: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display,
    {
        let stop = CancellationToken::new();
        let before = self.running.insert(kind, stop.clone());
        assert!(before.is_none(), "there is one {} at a time", kind.name());
        let role = make(stop);
        let name = kind.name();
        let handle = self.set.spawn(async move {
            tracing::debug!(role = name, "role started");
            let why = role.await.err().map(|error| error.to_string());
            Ended { kind, why }
        });
        self.ids.insert(handle.id(), kind);
    }

    /// Starts a role that cannot fail.
    pub fn spawn_simple<F>(&mut self, kind: TaskKind, make: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(kind, |stop| {
            let role = make(stop);
            async move {
                role.await;
                Ok::<(), std::convert::Infallible>(())
            }
        });
    }

    /// Waits until a role has ended without which the node cannot do its work. Cancelling loses nothing but a log line.
    pub async fn broken(&mut self) -> Ended {
        loop {
            let Some(ended) = self.join_next().await else {
                return std::future::pending().await;
            };
            self.running.remove(&ended.kind);
            match ended.kind.on_end() {
                OnEnd::StopNode => return ended,
                OnEnd::Log => tracing::warn!(error = %ended, "role ended"),
            }
        }
    }

    async fn join_next(&mut self) -> Option<Ended> {
        // Nobody aborts before `stop` does, so an error is a panic.
        self.set.join_next().await.map(|ended| {
            ended.unwrap_or_else(|error| {
                let kind = self.ids.get(&error.id()).copied().unwrap_or(TaskKind::Raft);
                Ended { kind, why: Some(error.to_string()) }
            })
        })
    }

    /// Tells one role after the other to stop and waits for each, for `within` in all. What has not ended then is cut
    /// off. Returns the roles that were.
    pub async fn stop(mut self, within: Duration) -> Vec<TaskKind> {
        let until = Instant::now() + within;
        let mut late = Vec::new();
        for kind in TaskKind::ALL {
            let Some(stop) = self.running.get(&kind) else { continue };
            stop.cancel();
            let until = until.min(Instant::now() + kind.patience());
            if timeout_at(until, self.ended(kind)).await.is_err() {
                tracing::warn!(role = kind.name(), "role did not stop in time");
                late.push(kind);
            }
        }
        self.set.shutdown().await;
        late
    }

    async fn ended(&mut self, kind: TaskKind) {
        while self.running.contains_key(&kind) {
            let Some(ended) = self.join_next().await else { return };
            self.running.remove(&ended.kind);
            if let Some(why) = ended.why {
                tracing::warn!(role = ended.kind.name(), error = why, "role failed while stopping");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn roles_stop_in_order_and_each_before_the_next_is_told() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Tasks::default();
        for kind in TaskKind::ALL.into_iter().rev() {
            let order = Arc::clone(&order);
            tasks.spawn_simple(kind, |stop| async move {
                stop.cancelled().await;
                tokio::task::yield_now().await;
                order.lock().unwrap().push(kind);
            });
        }
        assert!(tasks.stop(Duration::from_secs(10)).await.is_empty());
        assert_eq!(*order.lock().unwrap(), TaskKind::ALL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_does_not_stop_is_cut_off_and_the_rest_still_stop() {
        let mut tasks = Tasks::default();
        tasks.spawn_simple(TaskKind::Agent, |_| std::future::pending());
        let (done, stopped) = tokio::sync::oneshot::channel();
        tasks.spawn_simple(TaskKind::Raft, |stop| async move {
            stop.cancelled().await;
            let _ = done.send(());
        });
        assert_eq!(tasks.stop(Duration::from_secs(20)).await, [TaskKind::Agent]);
        assert!(stopped.await.is_ok());
    }

    #[tokio::test]
    async fn only_the_end_of_a_role_that_matters_breaks_the_node() {
        let mut tasks = Tasks::default();
        tasks.spawn(TaskKind::Http, |_| async { Err("its port is gone") });
        tasks.spawn(TaskKind::Raft, |_| async { Err("the disk is full") });
        let ended = tasks.broken().await;
        assert_eq!(ended.to_string(), "raft ended: the disk is full");
    }

    #[tokio::test]
    async fn a_role_that_panics_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn_simple(TaskKind::Dns, |_| async { panic!("a bug") });
        let ended = tasks.broken().await;
        assert_eq!(ended.kind, TaskKind::Dns);
        assert!(ended.to_string().contains("panicked"), "{ended}");
    }
}
