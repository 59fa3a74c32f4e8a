//! `warren rollout resume`

use crate::client::{ClientArgs, of_service, request};
use crate::failure::Outcome;
use clap::Args;
use warren_wire::v1;

/// Let a paused release go on
///
/// Example: `warren rollout resume web`
#[derive(Args, Debug)]
pub struct Resume {
    /// Name or id of the service
    name: String,
}

impl Resume {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service, or its release is not paused.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let asked = v1::ResumeRolloutRequest { service_id: self.name };
        let answer = client.rollouts().resume_rollout(request(asked)).await.map_err(of_service)?;
        super::say("goes on", answer.into_inner().rollout);
        Ok(())
    }
}
