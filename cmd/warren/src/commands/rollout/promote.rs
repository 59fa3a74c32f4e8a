//! `warren rollout promote`

use crate::client::{ClientArgs, of_service, request};
use crate::failure::Outcome;
use crate::flags::percent;
use clap::Args;
use warren_wire::v1;

/// Send a release forward: over this hold, to a share, or to the end
/// Traffic never goes beyond what the ready tasks of the new version can carry: what is missing is started first.
///
/// Example: `warren rollout promote web --to 25`
#[derive(Args, Debug)]
pub struct Promote {
    /// Name or id of the service
    name: String,
    /// To this share of the traffic in per cent
    #[arg(long, visible_alias = "weight", value_name = "PERCENT", value_parser = percent)]
    to: Option<u32>,
    /// To the end, over all steps that are left
    #[arg(long, conflicts_with = "to")]
    full: bool,
}

impl Promote {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service, or no release that could be.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let (to_percent, full) = (self.to, self.full);
        let asked = v1::PromoteRolloutRequest { service_id: self.name, to_percent, full };
        let answer = client.rollouts().promote_rollout(request(asked)).await.map_err(of_service)?;
        super::say("promoted", answer.into_inner().rollout);
        Ok(())
    }
}
