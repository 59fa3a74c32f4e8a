//! `warren rollout retry`

use crate::client::{ClientArgs, of_service, request};
use crate::failure::Outcome;
use clap::Args;
use warren_wire::v1;

/// Try a release again
/// The same version, with its failures forgotten and its deadlines anew. Tasks that are up are used again.
///
/// Example: `warren rollout retry web`
#[derive(Args, Debug)]
pub struct Retry {
    /// Name or id of the service
    name: String,
}

impl Retry {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service, or no release that could be.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let asked = v1::RetryRolloutRequest { service_id: self.name };
        let answer = client.rollouts().retry_rollout(request(asked)).await.map_err(of_service)?;
        super::say("tries again", answer.into_inner().rollout);
        Ok(())
    }
}
