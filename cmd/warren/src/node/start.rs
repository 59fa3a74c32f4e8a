//! From a configuration to a running node, and back.

use super::data_dir::DataDir;
use super::identity::Identity;
use super::parts::{Parts, of_broken};
use super::started::Started;
use super::{displaced, epoch, metrics};
use crate::config::NodeConfig;
use crate::failure::{Exit, Failure, Outcome};
use crate::tasks::Tasks;
use metrics_exporter_prometheus::PrometheusHandle;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use warren_agent::Residue;
use warren_core::node::Role;

/// How long the tasks of a node have to end when it is taken down, above their own stop timeouts.
const DOWN_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a node ends.
enum Stop {
    /// It was asked to. Its tasks run on.
    Asked,
    /// It was asked to take its tasks with it, and maybe the images that it brought.
    Down { images: bool },
}

/// What asks a node to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    down: Signal,
    down_with_images: Signal,
}

impl Signals {
    fn listen() -> Outcome<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            down: signal(SignalKind::user_defined1())?,
            down_with_images: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Asked,
            _ = self.interrupt.recv() => Stop::Asked,
            _ = self.hangup.recv() => Stop::Asked,
            _ = self.down.recv() => Stop::Down { images: false },
            _ = self.down_with_images.recv() => Stop::Down { images: true },
        }
    }
}

/// Runs a node until it is told to stop. Where the cluster gives it another role, everything but its tasks is stopped
/// and started again as that.
///
/// # Errors
/// It could not start, or a part of it broke.
pub async fn run(config: NodeConfig) -> Outcome {
    let mut signals = Signals::listen()?;
    let dir = Arc::new(DataDir::claim(&config.data_dir).await?);
    epoch::check(&dir)?;
    displaced::check(&dir)?;
    let recorder = metrics::install()?;
    let identity = Arc::new(Identity::load_or_make(&dir)?);
    while once(&config, &dir, &identity, &recorder, &mut signals).await? == Next::Again {}
    Ok(())
}

/// What comes after a run.
#[derive(PartialEq, Eq)]
enum Next {
    End,
    Again,
}

async fn once(
    config: &NodeConfig,
    dir: &Arc<DataDir>,
    identity: &Arc<Identity>,
    recorder: &PrometheusHandle,
    signals: &mut Signals,
) -> Outcome<Next> {
    let mut tasks = Tasks::default();
    let parts = tokio::select! {
        parts = Parts::prepare(config, dir, identity, recorder) => parts?,
        _ = signals.next() => return Ok(Next::End),
    };
    let (parts, residue) = parts;
    let started = tokio::select! {
        started = parts.start(config, dir, &mut tasks) => started,
        stop = signals.next() => {
            end(stop, residue, tasks, config, dir).await?;
            return Ok(Next::End);
        }
    };
    let started = match started {
        Ok(started) => started,
        Err(failure) => {
            end(Stop::Asked, residue, tasks, config, dir).await?;
            return Err(failure);
        }
    };
    let (change, network) = (started.change(), started.network());
    let ended = tokio::select! {
        stop = signals.next() => Ended::Asked(stop),
        failure = work(started, config, dir, &mut tasks) => Ended::Failed(failure),
        role = change.wanted() => Ended::Other(role),
    };
    match ended {
        Ended::Asked(stop) => {
            tell_systemd(NotifyState::Stopping);
            let down = matches!(stop, Stop::Down { .. });
            end(stop, residue, tasks, config, dir).await?;
            if let (true, Some(network)) = (down, network) {
                network.clear().await;
            }
            Ok(Next::End)
        }
        Ended::Failed(failure) => {
            tell_systemd(NotifyState::Stopping);
            end(Stop::Asked, residue, tasks, config, dir).await?;
            Err(failure)
        }
        Ended::Other(role) => {
            tracing::info!(%role, "the cluster wants this node to be something else, starting anew as that");
            end(Stop::Asked, residue, tasks, config, dir).await?;
            if role == Role::Worker {
                forget_log(dir);
            }
            Ok(Next::Again)
        }
    }
}

/// Why a node whose roles run does not go on.
enum Ended {
    Asked(Stop),
    Failed(Failure),
    /// The cluster wants it to be something else.
    Other(Role),
}

/// Does what a node is for. Returns when it cannot any more, with why.
async fn work(
    started: Started,
    config: &NodeConfig,
    dir: &Arc<DataDir>,
    tasks: &mut Tasks,
) -> Failure {
    if let Err(failure) = started.be_ready(config, dir, tasks).await {
        return failure;
    }
    tell_systemd(NotifyState::Ready);
    let broken = tasks.broken().await;
    of_broken(broken, "its tasks run on; start the node again with the same --data-dir")
}

/// Where systemd started this process it waits for these words; elsewhere nobody listens.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told how this node is");
    }
}

/// Takes the log away of a manager that is none any more: the cluster counts it no longer, and it would begin with an
/// empty one were it to be a manager again.
fn forget_log(dir: &DataDir) {
    let path = dir.path().join("raft");
    if let Err(error) = std::fs::remove_dir_all(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "the log of a former manager cannot be removed");
    }
}

/// Stops everything in order. The tasks run on, unless they are to go as well.
async fn end(
    stop: Stop,
    residue: oneshot::Receiver<Residue>,
    tasks: Tasks,
    config: &NodeConfig,
    dir: &DataDir,
) -> Outcome {
    tracing::info!("stopping");
    dir.forget_run();
    let late = tasks.stop(config.stop_timeout).await;
    for name in [crate::client::SOCKET_NAME, super::AGENT_SOCKET] {
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    if let (Stop::Down { images }, Ok(residue)) = (stop, residue.await) {
        let stopped = residue.stop_all(DOWN_TIMEOUT, images).await.map_err(|error| {
            Failure::new(Exit::Failed, format!("not all tasks were removed: {error}"))
        })?;
        tracing::info!(tasks = stopped, "removed the tasks");
    }
    tracing::info!(late = late.len(), "stopped");
    Ok(())
}
