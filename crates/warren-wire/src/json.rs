//! How messages look in JSON: values of enums as the words that the command line takes, not as numbers.

use crate::v1::{DeploymentStrategy, FileKind, Protocol, PullPolicy};
use serde::Serializer;

#[allow(clippy::ref_option, reason = "serde hands over a reference to the field")]
pub(crate) fn strategy<S: Serializer>(value: &Option<i32>, out: S) -> Result<S::Ok, S::Error> {
    match value.map(DeploymentStrategy::try_from) {
        Some(Ok(DeploymentStrategy::Rolling)) => out.serialize_str("rolling"),
        Some(Ok(DeploymentStrategy::BlueGreen)) => out.serialize_str("blue-green"),
        Some(Ok(DeploymentStrategy::Canary)) => out.serialize_str("canary"),
        Some(Ok(DeploymentStrategy::Recreate)) => out.serialize_str("recreate"),
        Some(Err(error)) => out.serialize_i32(error.0),
        None => out.serialize_none(),
    }
}

pub(crate) fn pull<S: Serializer>(value: &i32, out: S) -> Result<S::Ok, S::Error> {
    match PullPolicy::try_from(*value) {
        Ok(PullPolicy::Missing) => out.serialize_str("missing"),
        Ok(PullPolicy::Always) => out.serialize_str("always"),
        Ok(PullPolicy::Never) => out.serialize_str("never"),
        Err(error) => out.serialize_i32(error.0),
    }
}

pub(crate) fn protocol<S: Serializer>(value: &i32, out: S) -> Result<S::Ok, S::Error> {
    match Protocol::try_from(*value) {
        Ok(Protocol::Tcp) => out.serialize_str("tcp"),
        Ok(Protocol::Udp) => out.serialize_str("udp"),
        Err(error) => out.serialize_i32(error.0),
    }
}

pub(crate) fn file_kind<S: Serializer>(value: &i32, out: S) -> Result<S::Ok, S::Error> {
    match FileKind::try_from(*value) {
        Ok(FileKind::Secret) => out.serialize_str("secret"),
        Ok(FileKind::Config) => out.serialize_str("config"),
        Err(error) => out.serialize_i32(error.0),
    }
}

#[cfg(test)]
mod tests {
    use crate::v1;
    use serde_json::json;

    #[test]
    fn a_spec_reads_like_its_proto_file() {
        let probe = v1::health_check::Probe::Tcp(v1::TcpProbe { port: 80 });
        let template = v1::TaskTemplate {
            image: "web:v1".to_owned(),
            pull: v1::PullPolicy::Always.into(),
            ports: vec![v1::Port { container: 53, protocol: 1, ..Default::default() }],
            health: Some(v1::HealthCheck { probe: Some(probe), ..Default::default() }),
            ..Default::default()
        };
        let mode = v1::service_spec::Mode::Replicated(v1::Replicated { replicas: Some(3) });
        let spec = v1::ServiceSpec {
            name: "web".to_owned(),
            mode: Some(mode),
            template: Some(template),
            strategy: Some(v1::DeploymentStrategy::BlueGreen.into()),
            ..Default::default()
        };
        let seen = serde_json::to_value(&spec).unwrap();
        assert_eq!(seen["replicated"], json!({ "replicas": 3 }));
        assert_eq!(seen["strategy"], json!("blue-green"));
        assert_eq!(seen["template"]["pull"], json!("always"));
        assert_eq!(seen["template"]["ports"][0]["protocol"], json!("udp"));
        assert_eq!(seen["template"]["health"]["tcp"], json!({ "port": 80 }));
        let unknown = v1::ServiceSpec { strategy: Some(99), ..Default::default() };
        assert_eq!(serde_json::to_value(&unknown).unwrap()["strategy"], json!(99));
    }
}
