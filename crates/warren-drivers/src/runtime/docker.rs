//! Containers of a Docker engine, 20.10 (API 1.41) or newer.
//!
//! The engine is the only memory: which containers, networks and images are ours is read from labels
//! and tags each time, so that nothing can disagree with it.

mod auth;
mod client;
mod container;
mod exec;
mod image;
mod network;
mod read;
mod stream;

use self::client::Client;
use crate::runtime::{
    BoxStream, Container, ContainerRef, ContainerRuntime, ContainerSpec, Credentials, ExecSession,
    ExecSpec, LogLine, LogOptions, NetworkSpec, PullProgress, RuntimeError, RuntimeEvent,
    RuntimeInfo, Scope, Stats,
};
use async_trait::async_trait;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use warren_core::spec::{Image, PinnedImage, PullPolicy, Signal};
use warren_core::units::Bytes;

/// Where the engine is and whose containers are ours.
#[derive(Clone, Debug)]
pub struct DockerOptions {
    /// The engine's address: `unix:///var/run/docker.sock` or `tcp://HOST:PORT` (without TLS).
    pub endpoint: String,
    /// Whose containers are ours.
    pub scope: Scope,
    /// A Docker `config.json` with credentials for registries. Only its `auths` are read: credential helpers
    /// are programs, and Warren starts none.
    pub registry_config: Option<PathBuf>,
    /// The most that the log of one container may take; kept in three files, the oldest goes first.
    pub log_bytes_max: Bytes,
}

impl DockerOptions {
    /// The engine at its usual place, without credentials, with 30 MiB of log for each container.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self {
            endpoint: "unix:///var/run/docker.sock".to_owned(),
            scope,
            registry_config: None,
            log_bytes_max: Bytes::from_mib(30),
        }
    }
}

/// A Docker engine.
#[derive(Debug)]
pub struct Docker {
    client: Client,
    options: DockerOptions,
}

impl Docker {
    /// Connects to the engine and asks which API it speaks.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] where none answers, [`RuntimeError::Refused`] where it is too old.
    pub async fn open(options: DockerOptions) -> Result<Self, RuntimeError> {
        let client = Client::connect(&options.endpoint).await?;
        Ok(Self { client, options })
    }
}

#[async_trait]
impl ContainerRuntime for Docker {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        self.client.info().await
    }

    async fn prepare_network(&self, spec: &NetworkSpec) -> Result<(), RuntimeError> {
        network::prepare(&self.client, &self.options.scope, spec).await
    }

    async fn resolve(
        &self,
        image: &Image,
        pull: PullPolicy,
        credentials: Option<&Credentials>,
    ) -> Result<PinnedImage, RuntimeError> {
        image::resolve(&self.client, &self.options, image, pull, credentials).await
    }

    async fn pull(
        &self,
        image: &PinnedImage,
        _name: &Image,
        credentials: Option<&Credentials>,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<(), RuntimeError> {
        image::pull(&self.client, &self.options, image, credentials, progress).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerRef, RuntimeError> {
        container::create(&self.client, &self.options, spec).await
    }

    async fn start(&self, container: &ContainerRef) -> Result<(), RuntimeError> {
        container::start(&self.client, container).await
    }

    async fn stop(
        &self,
        container: &ContainerRef,
        signal: Signal,
        timeout: Duration,
    ) -> Result<(), RuntimeError> {
        container::stop(&self.client, container, signal, timeout).await
    }

    async fn kill(&self, container: &ContainerRef) -> Result<(), RuntimeError> {
        container::kill(&self.client, container).await
    }

    async fn remove(&self, container: &ContainerRef) -> Result<(), RuntimeError> {
        container::remove(&self.client, container).await
    }

    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        read::list(&self.client, &self.options.scope).await
    }

    async fn inspect(&self, container: &ContainerRef) -> Result<Container, RuntimeError> {
        read::inspect(&self.client, container).await
    }

    async fn logs(
        &self,
        container: &ContainerRef,
        options: LogOptions,
    ) -> Result<BoxStream<LogLine>, RuntimeError> {
        stream::logs(&self.client, container, &options).await
    }

    async fn exec(
        &self,
        container: &ContainerRef,
        spec: ExecSpec,
    ) -> Result<ExecSession, RuntimeError> {
        exec::exec(&self.client, container, spec).await
    }

    async fn stats(&self, container: &ContainerRef) -> Result<Stats, RuntimeError> {
        read::stats(&self.client, container).await
    }

    async fn events(&self) -> Result<BoxStream<RuntimeEvent>, RuntimeError> {
        Ok(stream::events(&self.client, &self.options.scope))
    }

    async fn pin(&self, image: &PinnedImage) -> Result<(), RuntimeError> {
        image::pin(&self.client, &self.options.scope, image).await
    }

    async fn cleanup(&self, keep: &[PinnedImage]) -> Result<Vec<PinnedImage>, RuntimeError> {
        image::cleanup(&self.client, &self.options.scope, keep).await
    }

    async fn unpin(&self) -> Result<(), RuntimeError> {
        image::unpin(&self.client, &self.options.scope).await
    }

    async fn remove_networks(&self) -> Result<(), RuntimeError> {
        network::remove(&self.client, &self.options.scope).await
    }

    async fn leave(&self) -> Result<(), RuntimeError> {
        for container in self.list().await? {
            self.remove(&container.id).await?;
        }
        self.remove_networks().await?;
        self.cleanup(&[]).await.map(drop)
    }
}
