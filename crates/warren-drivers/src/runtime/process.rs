//! Services as supervised processes of this machine, where there is no container engine.
//!
//! # What a task gets
//! An image is the path of an executable. [`resolve`](ContainerRuntime::resolve) copies the program into the store of
//! the data directory under its SHA-256, and tasks run that copy: a rollback runs the bytes that ran then. The image
//! always is the program that runs: the first word of a template's `command` is only the name that it sees itself
//! under, all further words and `args` are its arguments. It runs in a process group of its own, in an empty folder of
//! its own (unless `working_dir` says another), as the user of the template, with exactly the environment of
//! [`ContainerSpec::environment`], and listens on `WARREN_ADDRESS`, a loopback address of its own.
//!
//! # What a task does not get
//! Isolation. It sees the machine's files, processes and network, and uses the machine's resolver. CPU and pids limits
//! are not enforced. A memory limit is: its supervisor looks four times a second and kills a task above it, so a task
//! can be above for a moment. Mounts, host ports and real-time stop signals are refused. This runtime is for
//! development, tests and machines with one owner.
//!
//! # How tasks outlive Warren
//! Each task has a supervisor, a process of the same program in a session of its own ([`supervise_main`]). It starts
//! the task, takes its output to the log files and writes down how it ended. All state is files in the task's folder,
//! written whole or not at all, so whoever comes later reads the same. Processes are known by pid and start time, and
//! by the machine's boot: a pid alone may be another process by now.

mod exec;
mod files;
mod lifecycle;
mod logs;
mod observe;
mod proc;
mod store;
mod supervise;
mod tty;

pub use lifecycle::owner;
pub use supervise::supervise_main;

use self::files::Root;
use crate::runtime::{
    BoxStream, Container, ContainerRef, ContainerRuntime, ContainerSpec, Credentials, ExecSession,
    ExecSpec, LogLine, LogOptions, NetworkSpec, PullProgress, RuntimeError, RuntimeEvent,
    RuntimeInfo, Scope, Stats,
};
use async_trait::async_trait;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use warren_core::spec::{Image, PinnedImage, PullPolicy, Signal};
use warren_core::units::Bytes;

/// Where tasks live and who supervises them.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// Whose tasks are ours.
    pub scope: Scope,
    /// The folder of this runtime, made when missing.
    pub folder: PathBuf,
    /// The command that ends in [`supervise_main`]; its arguments are appended. `/proc/self/exe` as program is this
    /// very program, even after its file was replaced.
    pub supervisor: Vec<OsString>,
    /// The most that the log of one task may take; kept in two files, the older goes first.
    pub log_bytes_max: Bytes,
}

/// Supervised processes of this machine.
#[derive(Debug)]
pub struct Process {
    root: Root,
    options: ProcessOptions,
}

impl Process {
    /// Makes the folders of the runtime, or finds them with the tasks in them.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] where the folder cannot be written.
    pub async fn open(options: ProcessOptions) -> Result<Self, RuntimeError> {
        let root = Root::new(options.folder.clone());
        let made = root.clone();
        files::blocking(&root, move || made.make()).await?;
        Ok(Self { root, options })
    }
}

#[async_trait]
impl ContainerRuntime for Process {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        files::blocking(&self.root, observe::info).await
    }

    async fn prepare_network(&self, spec: &NetworkSpec) -> Result<(), RuntimeError> {
        lifecycle::check_network(spec)
    }

    async fn resolve(
        &self,
        image: &Image,
        _pull: PullPolicy,
        _credentials: Option<&Credentials>,
    ) -> Result<PinnedImage, RuntimeError> {
        store::resolve(&self.root, image).await
    }

    async fn pull(
        &self,
        image: &PinnedImage,
        name: &Image,
        _credentials: Option<&Credentials>,
        _progress: &watch::Sender<PullProgress>,
    ) -> Result<(), RuntimeError> {
        store::pull(&self.root, image, name).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerRef, RuntimeError> {
        lifecycle::create(&self.root, &self.options, spec).await
    }

    async fn start(&self, container: &ContainerRef) -> Result<(), RuntimeError> {
        lifecycle::start(&self.root, &self.options, container).await
    }

    async fn stop(
        &self,
        container: &ContainerRef,
        signal: Signal,
        timeout: Duration,
    ) -> Result<(), RuntimeError> {
        lifecycle::stop(&self.root, container, signal, timeout).await
    }

    async fn kill(&self, container: &ContainerRef) -> Result<(), RuntimeError> {
        lifecycle::kill(&self.root, container).await
    }

    async fn remove(&self, container: &ContainerRef) -> Result<(), RuntimeError> {
        lifecycle::remove(&self.root, container).await
    }

    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        observe::list(&self.root, &self.options.scope).await
    }

    async fn inspect(&self, container: &ContainerRef) -> Result<Container, RuntimeError> {
        observe::inspect(&self.root, container).await
    }

    async fn logs(
        &self,
        container: &ContainerRef,
        options: LogOptions,
    ) -> Result<BoxStream<LogLine>, RuntimeError> {
        logs::read(&self.root, container, options).await
    }

    async fn exec(
        &self,
        container: &ContainerRef,
        spec: ExecSpec,
    ) -> Result<ExecSession, RuntimeError> {
        exec::exec(&self.root, &self.options, container, spec).await
    }

    async fn stats(&self, container: &ContainerRef) -> Result<Stats, RuntimeError> {
        observe::stats(&self.root, container).await
    }

    async fn events(&self) -> Result<BoxStream<RuntimeEvent>, RuntimeError> {
        Ok(observe::events(&self.root, &self.options.scope))
    }

    async fn pin(&self, image: &PinnedImage) -> Result<(), RuntimeError> {
        store::check(&self.root, image).await
    }

    async fn cleanup(&self, keep: &[PinnedImage]) -> Result<Vec<PinnedImage>, RuntimeError> {
        store::cleanup(&self.root, keep).await
    }
}
