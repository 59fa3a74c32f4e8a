//! `warren service canary promote`

use super::status::canary;
use crate::client::{ClientArgs, of_service, request};
use crate::commands::rollout;
use crate::failure::Outcome;
use clap::Args;
use warren_wire::v1;

/// Give the canary all traffic, over the steps that are left
///
/// The new version comes to full size first. `warren rollout promote` goes on by one step, or to a share.
///
/// Example: `warren service canary promote web`
#[derive(Args, Debug)]
pub struct Promote {
    /// Name or id of the service
    name: String,
}

impl Promote {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service, or no canary of it that could go on.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        canary(&client, &self.name).await?;
        let (to_percent, full) = (None, true);
        let asked = v1::PromoteRolloutRequest { service_id: self.name, to_percent, full };
        let answer = client.rollouts().promote_rollout(request(asked)).await.map_err(of_service)?;
        rollout::say("promoted to the end", answer.into_inner().rollout);
        Ok(())
    }
}
