//! The way into nodes, as handlers need it.

use async_trait::async_trait;
use tonic::Code;
use warren_core::id::NodeId;
use warren_core::spec::{Image, PinnedImage, PullPolicy};
use warren_wire::status::ApiError;
use warren_wire::v1;
use warren_wire::v1::relay_reply::Reply;

use crate::relay::{Relay, RelayError, RelayInput, RelayReplies};

/// Asks nodes.
#[async_trait]
pub trait Reach: Send + Sync + 'static {
    /// Has a node say what `image` means now.
    ///
    /// # Errors
    /// No node could be asked, or none could say.
    async fn resolve(&self, image: &Image, pull: PullPolicy) -> Result<PinnedImage, ApiError>;

    /// Reads the output of tasks of `node`.
    ///
    /// # Errors
    /// The node cannot be asked.
    async fn logs(&self, node: NodeId, ask: v1::RelayLogs) -> Result<Box<dyn Replies>, ApiError>;

    /// Runs a command in a task of `node`.
    ///
    /// # Errors
    /// The node cannot be asked.
    async fn exec(
        &self,
        node: NodeId,
        start: v1::ExecStart,
    ) -> Result<(Box<dyn Input>, Box<dyn Replies>), ApiError>;
}

/// The replies to a request. Dropping it tells the node to stop.
#[async_trait]
pub trait Replies: Send {
    /// The next reply, or why there is no more; `None` after the last. Cancelling loses no reply.
    async fn next(&mut self) -> Option<Result<Reply, ApiError>>;
}

/// More of a request, as a command's input.
#[async_trait]
pub trait Input: Send + Sync {
    /// Sends more, as fast as the node takes it.
    ///
    /// # Errors
    /// The node cannot be reached any more.
    async fn send(&self, more: v1::ExecRequest) -> Result<(), ApiError>;
}

#[async_trait]
impl Reach for Relay {
    async fn resolve(&self, image: &Image, pull: PullPolicy) -> Result<PinnedImage, ApiError> {
        Self::resolve(self, image, pull).await.map_err(failed)
    }

    async fn logs(&self, node: NodeId, ask: v1::RelayLogs) -> Result<Box<dyn Replies>, ApiError> {
        Ok(Box::new(Self::logs(self, node, ask).await.map_err(failed)?))
    }

    async fn exec(
        &self,
        node: NodeId,
        start: v1::ExecStart,
    ) -> Result<(Box<dyn Input>, Box<dyn Replies>), ApiError> {
        let (input, replies) = Self::exec(self, node, start).await.map_err(failed)?;
        Ok((Box::new(input), Box::new(replies)))
    }
}

#[async_trait]
impl Replies for RelayReplies {
    async fn next(&mut self) -> Option<Result<Reply, ApiError>> {
        Self::next(self).await.map(|reply| reply.map_err(failed))
    }
}

#[async_trait]
impl Input for RelayInput {
    async fn send(&self, more: v1::ExecRequest) -> Result<(), ApiError> {
        Self::send(self, more).await.map_err(failed)
    }
}

fn failed(error: RelayError) -> ApiError {
    let code = match &error {
        RelayError::NotLeading
        | RelayError::NotConnected { .. }
        | RelayError::NoNode
        | RelayError::Lost { .. } => Code::Unavailable,
        RelayError::Busy => Code::ResourceExhausted,
        RelayError::Late { .. } => Code::DeadlineExceeded,
        RelayError::Refused { code, .. } => Code::from_i32(*code),
    };
    ApiError::new(code, error.to_string())
}
