//! `warren node ls`

use crate::client::ClientArgs;
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use warren_core::units::MilliCpu;

/// List nodes
#[derive(Args, Debug)]
pub struct Ls {
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
        let nodes = super::nodes(&client).await?;
        output::print(self.output.output, &nodes, |nodes| {
            let rows = nodes.iter().map(|node| {
                let role = if node.leader { "leader" } else { node.role.as_str() };
                vec![
                    node.id.clone(),
                    node.hostname.clone(),
                    role.to_owned(),
                    node.status.clone(),
                    node.availability.clone(),
                    node.tasks.to_string(),
                    MilliCpu(node.cpu_milli).to_string(),
                    output::size(node.memory_bytes),
                    node.runtime.clone(),
                    node.version.clone(),
                ]
            });
            let header = [
                "ID", "HOST", "ROLE", "STATUS", "TAKES", "TASKS", "CPUS", "MEMORY", "RUNTIME",
                "WARREN",
            ];
            output::table(&header, rows)
        })
    }
}
