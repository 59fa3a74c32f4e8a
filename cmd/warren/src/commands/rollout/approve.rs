//! `warren rollout approve`

use crate::client::{ClientArgs, of_service, request};
use crate::failure::Outcome;
use clap::Args;
use warren_wire::v1;

/// Agree to what a release waits for
///
/// Example: `warren rollout approve web --comment 'dashboards are green'`
#[derive(Args, Debug)]
pub struct Approve {
    /// Name or id of the service
    name: String,
    /// What you say to it, for the history
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// The step you looked at, 0 for the start: refused where another one waits by now
    #[arg(long, value_name = "NUMBER")]
    step: Option<u32>,
}

impl Approve {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service, nothing waits for an approval, or you have none of the roles.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let comment = self.comment.unwrap_or_default();
        let asked = v1::ApproveRolloutRequest { service_id: self.name, comment, step: self.step };
        let answer = client.rollouts().approve_rollout(request(asked)).await.map_err(of_service)?;
        super::say("approved", answer.into_inner().rollout);
        Ok(())
    }
}
