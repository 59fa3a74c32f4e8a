//! The API as routes of a server, with the limits that a public port needs.

use super::{Api, HealthReport};
use std::time::Duration;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use warren_wire::channel::{
    KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX,
};
use warren_wire::v1;
use warren_wire::v1::clusters_server::ClustersServer;
use warren_wire::v1::events_server::EventsServer;
use warren_wire::v1::files_server::FilesServer;
use warren_wire::v1::nodes_server::NodesServer;
use warren_wire::v1::rollouts_server::RolloutsServer;
use warren_wire::v1::services_server::ServicesServer;
use warren_wire::v1::tasks_server::TasksServer;

/// Calls of one connection that are worked on at once; more are refused at once with RESOURCE_EXHAUSTED. 64 writers
/// keep
/// the log's group commit full, and twice as many wait in it.
pub const REQUESTS_PER_CONNECTION_MAX: usize = 128;
/// Streams of one connection that are open at once, those that only send included.
const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;
/// All headers of one request: tonic's own and some metadata.
const HEADERS_BYTES_MAX: u32 = 16 * 1024;
/// The guard behind every handler's own limit: longer than the longest of them.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(420);

/// The API, ready to be served.
pub struct Served {
    /// Every public service, the health service and reflection.
    pub routes: Routes,
    /// What keeps the health service up to date; to be run beside the server.
    pub health: HealthReport,
}

/// A server with limits: add routes, then serve.
#[must_use]
pub fn server() -> Server {
    Server::builder()
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION_MAX)
        .load_shed(true)
        .timeout(REQUEST_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .tcp_nodelay(true)
}

/// A service with the API's message limits.
macro_rules! limited {
    ($server:ident, $api:expr) => {
        $server::new($api)
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(RESPONSE_BYTES_MAX)
    };
}

/// Every public service as routes.
///
/// # Errors
/// The descriptors that were compiled in cannot be read.
pub fn router(api: &Api) -> Result<Served, tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let services = vec![
        ServicesServer::<Api>::NAME,
        TasksServer::<Api>::NAME,
        NodesServer::<Api>::NAME,
        ClustersServer::<Api>::NAME,
        EventsServer::<Api>::NAME,
        FilesServer::<Api>::NAME,
        RolloutsServer::<Api>::NAME,
    ];
    let routes = Routes::new(limited!(ServicesServer, api.clone()))
        .add_service(limited!(TasksServer, api.clone()))
        .add_service(limited!(NodesServer, api.clone()))
        .add_service(limited!(ClustersServer, api.clone()))
        .add_service(limited!(EventsServer, api.clone()))
        .add_service(limited!(FilesServer, api.clone()))
        .add_service(limited!(RolloutsServer, api.clone()))
        .add_service(health)
        .add_service(reflection(&services).build_v1()?)
        .add_service(reflection(&services).build_v1alpha()?);
    let leadership = api.backend.raft.leadership();
    Ok(Served { routes, health: HealthReport { reporter, leadership, services } })
}

fn reflection(services: &[&str]) -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health");
    services.iter().fold(builder, |builder, name| builder.with_service_name(*name))
}
