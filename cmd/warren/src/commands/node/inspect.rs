//! `warren node inspect`

use crate::client::{ClientArgs, StaleArgs, of_node, request};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use warren_core::units::MilliCpu;
use warren_wire::v1;

/// Show everything about a node
#[derive(Args, Debug)]
pub struct Inspect {
    /// Host name or id of the node
    name: String,
    #[command(flatten)]
    stale: StaleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Inspect {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = self.stale.connect(client).await?;
        let asked = v1::GetNodeRequest { node_id: self.name.clone() };
        let answer = client.nodes().get_node(request(asked)).await.map_err(of_node)?;
        let node = answer.into_inner().node.unwrap_or_default();
        output::print(self.output.output, &node, table)
    }
}

fn table(node: &v1::Node) -> String {
    let problems = node.problems.iter().map(|problem| format!("problem: {problem}\n"));
    pairs(node) + &problems.collect::<String>()
}

fn takes(node: &v1::Node) -> String {
    match (node.availability.as_str(), super::drain_left(node)) {
        ("active", _) => "yes".to_owned(),
        (_, None) => "no, it is drained".to_owned(),
        (_, Some(left)) => format!("no, it is drained: {left}"),
    }
}

fn pairs(node: &v1::Node) -> String {
    let labels: Vec<String> =
        node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let cpu = |milli| MilliCpu(milli).to_string();
    let role = if node.leader { format!("{}, leads", node.role) } else { node.role.clone() };
    output::pairs(&[
        ("id", node.id.clone()),
        ("host", node.hostname.clone()),
        ("role", role),
        ("status", node.status.clone()),
        ("takes tasks", takes(node)),
        ("address", node.address.clone()),
        ("subnet", node.subnet.clone()),
        ("labels", labels.join(", ")),
        ("platform", node.platform.clone()),
        ("runtime", node.runtime.clone()),
        ("warren", node.version.clone()),
        ("tasks", node.tasks.to_string()),
        ("cpus", format!("{}, {} reserved", cpu(node.cpu_milli), cpu(node.cpu_reserved_milli))),
        (
            "memory",
            format!(
                "{}, {} reserved",
                output::size(node.memory_bytes),
                output::size(node.memory_reserved_bytes)
            ),
        ),
    ])
}
