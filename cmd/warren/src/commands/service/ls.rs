//! `warren service ls`

use crate::client::{ClientArgs, StaleArgs, request};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use crate::release;
use clap::Args;
use warren_wire::v1;

/// List services
#[derive(Args, Debug)]
pub struct Ls {
    /// Only names, one a line
    #[arg(long, short, conflicts_with = "output")]
    quiet: bool,
    #[command(flatten)]
    stale: StaleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Ls {
    /// Runs it.
    ///
    /// # Errors
    /// No Warren answers.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = self.stale.connect(client).await?;
        let list = client.services().list_services(request(v1::ListServicesRequest {})).await?;
        let services = list.into_inner().services;
        if self.quiet {
            return output::raw(services.iter().map(|s| name(s) + "\n").collect::<String>());
        }
        output::print(self.output.output, &services, |services| table(services))
    }
}

fn name(service: &v1::Service) -> String {
    service.spec.as_ref().map(|spec| spec.name.clone()).unwrap_or_default()
}

/// Services as a table.
pub fn table(services: &[v1::Service]) -> String {
    let rows = services.iter().map(|service| {
        let spec = service.spec.clone().unwrap_or_default();
        let template = spec.template.unwrap_or_default();
        let global = matches!(spec.mode, Some(v1::service_spec::Mode::Global(_)));
        let ports: Vec<String> = template.ports.iter().map(port).collect();
        vec![
            service.id.clone(),
            spec.name,
            if global { "global".into() } else { "replicated".into() },
            format!("{}/{}", service.ready, service.desired),
            format!("v{}", service.revision),
            state(service),
            template.image,
            ports.join(" "),
        ]
    });
    output::table(&["ID", "NAME", "MODE", "READY", "VERSION", "STATUS", "IMAGE", "PORTS"], rows)
}

/// The status, with the release under way and a freeze.
fn state(service: &v1::Service) -> String {
    let mut state = service.status.clone();
    if let Some(rollout) = &service.rollout {
        state = format!("{state} ({})", release::brief(rollout));
    }
    if service.queued {
        state.push_str(", an update waits");
    }
    if service.freeze.is_some() {
        state.push_str(", frozen");
    }
    state
}

/// A port as its flags say it.
pub fn port(port: &v1::Port) -> String {
    let name = if port.name.is_empty() { String::new() } else { format!("{}=", port.name) };
    let host = if port.host == 0 { String::new() } else { format!("{}:", port.host) };
    let udp = if port.protocol() == v1::Protocol::Udp { "/udp" } else { "" };
    format!("{name}{host}{}{udp}", port.container)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_under_way_and_a_freeze_are_seen_in_the_list() {
        let service = v1::Service {
            status: "updating".into(),
            rollout: Some(release::tests::canary()),
            freeze: Some(v1::Freeze::default()),
            queued: true,
            ..v1::Service::default()
        };
        let text = table(&[service]);
        let says = "updating (canary v1 -> v2: holding, step 2 of 4, 25%), an update waits, frozen";
        assert!(text.contains(says), "{text}");
    }
}
