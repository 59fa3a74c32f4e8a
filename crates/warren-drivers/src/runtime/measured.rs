//! Measures every call of a runtime from outside, so that all runtimes are measured alike.

use crate::metrics::RUNTIME_CALL_SECONDS;
use crate::runtime::{
    BoxStream, Container, ContainerRef, ContainerRuntime, ContainerSpec, Credentials, ExecSession,
    ExecSpec, LogLine, LogOptions, NetworkSpec, PullProgress, RuntimeError, RuntimeEvent,
    RuntimeInfo, RuntimeKind, Stats,
};
use async_trait::async_trait;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use warren_core::spec::{Image, PinnedImage, PullPolicy, Signal};

/// A runtime whose calls are measured. Of a stream only its beginning is.
pub(crate) struct Measured<R> {
    pub(crate) kind: RuntimeKind,
    pub(crate) inner: R,
}

impl<R> Measured<R> {
    async fn measure<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, RuntimeError>>,
    ) -> Result<T, RuntimeError> {
        let begin = Instant::now();
        let outcome = work.await;
        let result = outcome.as_ref().map_or_else(RuntimeError::kind, |_| "ok");
        let labels =
            [("runtime", self.kind.to_string()), ("call", call.into()), ("result", result.into())];
        metrics::histogram!(RUNTIME_CALL_SECONDS, &labels).record(begin.elapsed());
        if let Err(error) = &outcome {
            tracing::debug!(call, %error, "runtime call failed");
        }
        outcome
    }
}

#[async_trait]
impl<R: ContainerRuntime> ContainerRuntime for Measured<R> {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        self.measure("info", self.inner.info()).await
    }

    async fn prepare_network(&self, spec: &NetworkSpec) -> Result<(), RuntimeError> {
        self.measure("prepare_network", self.inner.prepare_network(spec)).await
    }

    async fn resolve(
        &self,
        image: &Image,
        pull: PullPolicy,
        credentials: Option<&Credentials>,
    ) -> Result<PinnedImage, RuntimeError> {
        self.measure("resolve", self.inner.resolve(image, pull, credentials)).await
    }

    async fn pull(
        &self,
        image: &PinnedImage,
        name: &Image,
        credentials: Option<&Credentials>,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<(), RuntimeError> {
        self.measure("pull", self.inner.pull(image, name, credentials, progress)).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerRef, RuntimeError> {
        self.measure("create", self.inner.create(spec)).await
    }

    async fn start(&self, container: &ContainerRef) -> Result<(), RuntimeError> {
        self.measure("start", self.inner.start(container)).await
    }

    async fn stop(
        &self,
        container: &ContainerRef,
        signal: Signal,
        timeout: Duration,
    ) -> Result<(), RuntimeError> {
        self.measure("stop", self.inner.stop(container, signal, timeout)).await
    }

    async fn kill(&self, container: &ContainerRef) -> Result<(), RuntimeError> {
        self.measure("kill", self.inner.kill(container)).await
    }

    async fn remove(&self, container: &ContainerRef) -> Result<(), RuntimeError> {
        self.measure("remove", self.inner.remove(container)).await
    }

    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        self.measure("list", self.inner.list()).await
    }

    async fn inspect(&self, container: &ContainerRef) -> Result<Container, RuntimeError> {
        self.measure("inspect", self.inner.inspect(container)).await
    }

    async fn logs(
        &self,
        container: &ContainerRef,
        options: LogOptions,
    ) -> Result<BoxStream<LogLine>, RuntimeError> {
        self.measure("logs", self.inner.logs(container, options)).await
    }

    async fn exec(
        &self,
        container: &ContainerRef,
        spec: ExecSpec,
    ) -> Result<ExecSession, RuntimeError> {
        self.measure("exec", self.inner.exec(container, spec)).await
    }

    async fn stats(&self, container: &ContainerRef) -> Result<Stats, RuntimeError> {
        self.measure("stats", self.inner.stats(container)).await
    }

    async fn events(&self) -> Result<BoxStream<RuntimeEvent>, RuntimeError> {
        self.measure("events", self.inner.events()).await
    }

    async fn pin(&self, image: &PinnedImage) -> Result<(), RuntimeError> {
        self.measure("pin", self.inner.pin(image)).await
    }

    async fn cleanup(&self, keep: &[PinnedImage]) -> Result<Vec<PinnedImage>, RuntimeError> {
        self.measure("cleanup", self.inner.cleanup(keep)).await
    }

    async fn unpin(&self) -> Result<(), RuntimeError> {
        self.measure("unpin", self.inner.unpin()).await
    }

    async fn remove_networks(&self) -> Result<(), RuntimeError> {
        self.measure("remove_networks", self.inner.remove_networks()).await
    }

    async fn leave(&self) -> Result<(), RuntimeError> {
        self.measure("leave", self.inner.leave()).await
    }
}
