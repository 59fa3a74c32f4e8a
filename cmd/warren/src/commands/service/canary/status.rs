//! `warren service canary status`

use crate::client::{Client, ClientArgs};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{self, OutputArgs};
use crate::release;
use clap::Args;
use warren_wire::v1;

/// Show how far the canary of a service is: the one under way, or the last release if that was one
///
/// Example: `warren service canary status web`
#[derive(Args, Debug)]
pub struct Status {
    /// Name or id of the service
    name: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl Status {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service, or its last release is no canary.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let rollout = canary(&client, &self.name).await?;
        output::print(self.output.output, &rollout, release::page)
    }
}

/// The release of a service, which is to be a canary.
///
/// # Errors
/// There is no such service, or its last release is no canary.
pub async fn canary(client: &Client, name: &str) -> Outcome<v1::Rollout> {
    let rollout = release::one(client, name).await?;
    if rollout.strategy == "canary" {
        return Ok(rollout);
    }
    let (name, strategy) = (&rollout.service, &rollout.strategy);
    let why = format!("{name} has no canary: its last release, {}, is {strategy}", rollout.id);
    Err(Failure::new(Exit::Failed, why)
        .hint(format!("`warren rollout status {name}` shows that release")))
}
