//! `warren rollout status`

use crate::client::{ClientArgs, StaleArgs};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use crate::release;
use clap::Args;

/// Show everything about the release of a service: the one under way, or the last
///
/// Example: `warren rollout status web`
#[derive(Args, Debug)]
pub struct Status {
    /// Name or id of the service
    name: String,
    #[command(flatten)]
    stale: StaleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Status {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service, or it has had no release.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = self.stale.connect(client).await?;
        let rollout = release::one(&client, &self.name).await?;
        output::print(self.output.output, &rollout, release::page)
    }
}
