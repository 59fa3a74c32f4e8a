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
/// The same as `warren service rollback` while a release is under way, and refused where none is.
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
        let asked = v1::RollbackServiceRequest {
            service_id: self.name,
            gradual: self.gradual,
            reason: self.reason.unwrap_or_default(),
            ..Default::default()
        };
        rollback::ask(&client, asked, &self.wait).await
    }
}
