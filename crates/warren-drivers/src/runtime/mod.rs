//! Runs tasks on this machine.
//!
//! [`ContainerRuntime`] is what the agent knows of Docker or of plain processes. An implementation
//! keeps no truth of its own: what runs is read from the runtime each time ([`ContainerRuntime::list`]),
//! so that an agent that was killed finds its tasks again by their [`Labels`].

mod container;
pub mod contract;
pub mod docker;
mod error;
mod image;
mod info;
mod labels;
mod measured;
pub mod process;
mod stream;

pub use container::{
    Container, ContainerRef, ContainerSpec, ContainerState, Dns, Exit, FileSet, Stats,
};
pub use error::RuntimeError;
pub use image::{Credentials, PullProgress};
pub use info::{Enforcement, NetworkSpec, RuntimeInfo, RuntimeKind};
pub use labels::{InvalidLabels, Labels, Scope, label};
pub use stream::{
    BoxStream, EventKind, ExecControl, ExecSession, ExecSpec, LOG_LINE_BYTES_MAX, LogLine,
    LogOptions, OutputChunk, OutputStream, RuntimeEvent, TtySize,
};

use self::docker::{Docker, DockerOptions};
use self::measured::Measured;
use self::process::{Process, ProcessOptions};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use warren_core::spec::{Image, PinnedImage, PullPolicy, Signal};

/// Which runtime to open, and how.
#[derive(Clone, Debug)]
pub enum Options {
    /// A Docker engine.
    Docker(DockerOptions),
    /// Processes of this machine.
    Process(ProcessOptions),
}

/// Opens a runtime. Its calls are measured.
///
/// # Errors
/// [`RuntimeError::Unavailable`] where it does not answer, [`RuntimeError::Refused`] where it cannot do what Warren
/// needs.
pub async fn open(options: Options) -> Result<Arc<dyn ContainerRuntime>, RuntimeError> {
    match options {
        Options::Docker(options) => {
            let inner = Docker::open(options).await?;
            Ok(Arc::new(Measured { kind: RuntimeKind::Docker, inner }))
        }
        Options::Process(options) => {
            let inner = Process::open(options).await?;
            Ok(Arc::new(Measured { kind: RuntimeKind::Process, inner }))
        }
    }
}

/// What every runtime can do. Each call is one attempt with a timeout; repeating it is harmless, and
/// [`RuntimeError::may_pass`] says whether a repeat can help.
#[async_trait]
pub trait ContainerRuntime: Send + Sync {
    /// What this runtime is and what the machine offers.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] while the runtime does not answer.
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError>;

    /// Makes the network that tasks get their addresses from, or finds it as it is.
    ///
    /// # Errors
    /// [`RuntimeError::Conflict`] where the subnet is taken by something that is not ours, or where our
    /// network of that name has another subnet.
    async fn prepare_network(&self, spec: &NetworkSpec) -> Result<(), RuntimeError>;

    /// Says which bytes `image` means now: `name@sha256:…` where a registry knows it, `sha256:…` where
    /// only this machine does. Asks a registry, but fetches nothing from it.
    ///
    /// # Errors
    /// [`RuntimeError::ImageMissing`] where nobody knows the image, [`RuntimeError::Refused`] where the
    /// registry wants other credentials.
    async fn resolve(
        &self,
        image: &Image,
        pull: PullPolicy,
        credentials: Option<&Credentials>,
    ) -> Result<PinnedImage, RuntimeError>;

    /// Brings the bytes of `image` onto this machine, where they are not here yet, and says on `progress` how far it
    /// is. `name` is what `image` was resolved from: where no registry is asked, its bytes here may be the same.
    ///
    /// # Errors
    /// [`RuntimeError::ImageMissing`] where these bytes are nowhere to be had (any more).
    async fn pull(
        &self,
        image: &PinnedImage,
        name: &Image,
        credentials: Option<&Credentials>,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<(), RuntimeError>;

    /// Makes the container of one task, not yet running. A container of the same task that is there
    /// already is returned as it is.
    ///
    /// # Errors
    /// [`RuntimeError::Conflict`] where something that is not ours has the container's name,
    /// [`RuntimeError::ImageMissing`] before a [`pull`](Self::pull), [`RuntimeError::Refused`] where the
    /// runtime cannot give the task what it asks.
    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerRef, RuntimeError>;

    /// Starts a container that is created or has exited. Nothing happens where it runs.
    ///
    /// # Errors
    /// [`RuntimeError::Conflict`] where its address or a host port is taken, [`RuntimeError::Refused`]
    /// where its command cannot be run (with an init process in between, as with Docker, it ends with 127 instead).
    async fn start(&self, container: &ContainerRef) -> Result<(), RuntimeError>;

    /// Sends `signal`, and SIGKILL where the container still runs after `timeout`. Returns once it has
    /// exited. Nothing happens where it does not run.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`] where there is no such container.
    async fn stop(
        &self,
        container: &ContainerRef,
        signal: Signal,
        timeout: Duration,
    ) -> Result<(), RuntimeError>;

    /// Sends SIGKILL and returns once the container has exited.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`] where there is no such container.
    async fn kill(&self, container: &ContainerRef) -> Result<(), RuntimeError>;

    /// Removes the container with its logs and files, killing it where it runs. Volumes stay. Nothing
    /// happens where it is gone.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] or [`RuntimeError::Timeout`].
    async fn remove(&self, container: &ContainerRef) -> Result<(), RuntimeError>;

    /// Every container of this runtime's [`Scope`], running or not, in the order of task ids.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`]: then nothing is known, which is not the same as nothing runs.
    async fn list(&self) -> Result<Vec<Container>, RuntimeError>;

    /// One container as it is now.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`] where it is gone.
    async fn inspect(&self, container: &ContainerRef) -> Result<Container, RuntimeError>;

    /// The container's output, oldest line first. With `follow` the stream ends when the container
    /// does, without when all that is there has been read.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`] where there is no such container.
    async fn logs(
        &self,
        container: &ContainerRef,
        options: LogOptions,
    ) -> Result<BoxStream<LogLine>, RuntimeError>;

    /// Runs a command inside a running container.
    ///
    /// # Errors
    /// [`RuntimeError::Conflict`] where the container does not run, [`RuntimeError::Refused`] where the
    /// command cannot be run.
    async fn exec(
        &self,
        container: &ContainerRef,
        spec: ExecSpec,
    ) -> Result<ExecSession, RuntimeError>;

    /// What a running container uses.
    ///
    /// # Errors
    /// [`RuntimeError::Conflict`] where the container does not run.
    async fn stats(&self, container: &ContainerRef) -> Result<Stats, RuntimeError>;

    /// Hints that containers of this [`Scope`] changed. Events may be missed and the stream may end;
    /// they say when to look, [`list`](Self::list) says what is true.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`].
    async fn events(&self) -> Result<BoxStream<RuntimeEvent>, RuntimeError>;

    /// Keeps `image` from being cleaned up by the runtime's own housekeeping.
    ///
    /// # Errors
    /// [`RuntimeError::ImageMissing`] where it is not on this machine.
    async fn pin(&self, image: &PinnedImage) -> Result<(), RuntimeError>;

    /// Lets go of every pin that is not in `keep`, and removes what Warren itself brought here and
    /// nothing uses. A user's own images stay. Returns what was removed.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] or [`RuntimeError::Timeout`].
    async fn cleanup(&self, keep: &[PinnedImage]) -> Result<Vec<PinnedImage>, RuntimeError>;

    /// Lets go of every pin. Images stay: a pin that is an image's only name is kept, since the image would go with it.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] or [`RuntimeError::Timeout`].
    async fn unpin(&self) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// Removes the networks of this [`Scope`]. Nothing happens where there is none.
    ///
    /// # Errors
    /// [`RuntimeError::Conflict`] where a container that is not ours is still in one.
    async fn remove_networks(&self) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// Takes everything of this [`Scope`] off the machine: containers, networks, pins, and images that Warren brought.
    /// Volumes stay, as they may hold what nothing else does.
    ///
    /// # Errors
    /// The first thing that could not be removed; a repeat goes on from there.
    async fn leave(&self) -> Result<(), RuntimeError> {
        for container in self.list().await? {
            self.remove(&container.id).await?;
        }
        self.cleanup(&[]).await.map(drop)
    }
}
