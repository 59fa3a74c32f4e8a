//! `warren service ls`

use crate::client::{ClientArgs, request};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use warren_wire::v1;

/// List services
#[derive(Args, Debug)]
pub struct Ls {
    /// Only names, one a line
    #[arg(long, short, conflicts_with = "output")]
    quiet: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Ls {
    /// Runs it.
    ///
    /// # Errors
    /// No Warren answers.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
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
            service.status.clone(),
            template.image,
            ports.join(" "),
        ]
    });
    output::table(&["ID", "NAME", "MODE", "READY", "VERSION", "STATUS", "IMAGE", "PORTS"], rows)
}

/// A port as its flags say it.
pub fn port(port: &v1::Port) -> String {
    let name = if port.name.is_empty() { String::new() } else { format!("{}=", port.name) };
    let host = if port.host == 0 { String::new() } else { format!("{}:", port.host) };
    let udp = if port.protocol() == v1::Protocol::Udp { "/udp" } else { "" };
    format!("{name}{host}{}{udp}", port.container)
}
