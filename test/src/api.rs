//! The API of a node over its socket, for tests that act faster, or ask for more, than commands do.

use std::path::Path;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use warren_wire::v1::rollouts_client::RolloutsClient;
use warren_wire::v1::services_client::ServicesClient;
use warren_wire::v1::tasks_client::TasksClient;

use crate::cluster::Node;

/// Calls to one node. A connection that broke is made anew by the next call.
#[derive(Clone)]
pub struct Api {
    /// Services.
    pub services: ServicesClient<Channel>,
    /// Rollouts.
    pub rollouts: RolloutsClient<Channel>,
    /// Tasks.
    pub tasks: TasksClient<Channel>,
}

impl Api {
    /// Connects when it is first used.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let channel = channel(&node.data_dir().join("warren.sock"));
        Self {
            services: ServicesClient::new(channel.clone()),
            rollouts: RolloutsClient::new(channel.clone()),
            tasks: TasksClient::new(channel),
        }
    }
}

/// A channel to a unix socket.
#[must_use]
pub fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is not used: the connector knows the socket.
    Endpoint::from_static("http://warren").connect_with_connector_lazy(connector)
}
