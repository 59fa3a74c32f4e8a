//! `warren rollout pause`

use crate::client::{ClientArgs, of_service, request};
use crate::failure::Outcome;
use clap::Args;
use warren_wire::v1;

/// Hold a release where it is
/// Tasks and traffic stay as they are. Health checks stay armed: a failure still rolls back.
///
/// Example: `warren rollout pause web --reason 'latency looks odd'`
#[derive(Args, Debug)]
pub struct Pause {
    /// Name or id of the service
    name: String,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Pause {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service, or no release that could be.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let reason = self.reason.unwrap_or_default();
        let asked = v1::PauseRolloutRequest { service_id: self.name, reason };
        let answer = client.rollouts().pause_rollout(request(asked)).await.map_err(of_service)?;
        super::say("paused", answer.into_inner().rollout);
        Ok(())
    }
}
