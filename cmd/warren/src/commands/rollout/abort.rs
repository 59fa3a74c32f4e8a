//! `warren rollout abort`

use crate::client::ClientArgs;
use crate::commands::service::rollback;
use crate::failure::{Exit, Failure, Outcome};
use crate::progress::WaitArgs;
use crate::release;
use clap::Args;
use warren_wire::v1;

/// Call a release off: back to the version before
///
/// The same as `warren service rollback` while a release is under way, and refused where none is. A rollback that is a
/// release of its own is turned round: the version that it leaves comes back.
///
/// Example: `warren rollout abort web --gradual`
#[derive(Args, Debug)]
pub struct Abort {
    /// Name or id of the service
    name: String,
    /// Take traffic back by 20 points a minute, not at once
    #[arg(long)]
    gradual: bool,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

impl Abort {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service, no release is under way, or waiting ended first.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let live = release::one(&client, &self.name).await?;
        if !live.outcome.is_empty() {
            let why =
                format!("{}: no release is under way, {} {}", live.service, live.id, live.outcome);
            return Err(Failure::new(Exit::Failed, why)
                .hint("`warren service rollback` goes back to an earlier version"));
        }
        // A rollback is turned round only by the name of the version that it leaves.
        let turns = live.kind == "rollback" && live.trigger.is_empty();
        let asked = v1::RollbackServiceRequest {
            service_id: self.name,
            to_revision: if turns && !accepted(&live) { live.from_revision } else { 0 },
            gradual: self.gradual,
            reason: self.reason.unwrap_or_default(),
            ..Default::default()
        };
        rollback::ask(&client, asked, &self.wait).await
    }
}

/// Whether its new version is the stable one already.
fn accepted(live: &v1::Rollout) -> bool {
    matches!(live.phase.as_str(), "standby" | "finalizing")
}
