//! Whether `grpc.health.v1.Health/Check` answers SERVING.

use crate::probe::because;
use std::net::SocketAddr;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

pub(super) async fn look(target: SocketAddr, service: &str) -> Result<(), String> {
    let endpoint =
        Endpoint::from_shared(format!("http://{target}")).map_err(|error| because(&error))?;
    let channel = endpoint.connect().await.map_err(|error| because(&error))?;
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel).check(request).await.map_err(|status| {
        format!("the health service answered {:?}: {}", status.code(), status.message())
    })?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(format!("the health service answered {}", other.as_str_name())),
    }
}
