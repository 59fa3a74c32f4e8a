//! `warren version`

use crate::client::{ClientArgs, request};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use serde::Serialize;
use warren_wire::v1;

/// Show the version
#[derive(Args, Debug)]
pub struct Version {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Versions {
    /// Of this program.
    client: &'static str,
    /// Of the node that answers; absent where none does.
    node: Option<String>,
}

impl Version {
    /// Runs it.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let versions = Versions { client: env!("CARGO_PKG_VERSION"), node: node(client).await };
        output::print(self.output.output, &versions, |versions| {
            let node = versions.node.clone().unwrap_or_else(|| "does not answer".into());
            output::pairs(&[("warren", versions.client.into()), ("node", node)])
        })
    }
}

async fn node(client: &ClientArgs) -> Option<String> {
    let client = client.connect().await.ok()?;
    let asked = request(v1::GetClusterRequest {});
    client.clusters().get_cluster(asked).await.ok().map(|answer| answer.into_inner().version)
}
