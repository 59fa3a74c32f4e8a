//! `warren service rollback`

use super::inspect::version;
use crate::client::{Client, ClientArgs, of_service, request};
use crate::failure::Outcome;
use crate::output;
use crate::progress::WaitArgs;
use crate::release::{self, Aim, Show};
use clap::Args;
use warren_wire::v1;

/// Bring an earlier version of a service back, and wait until it has everything again
///
/// While a release is under way, to the version that it came from: traffic first, then the new tasks go. At rest, to
/// the accepted version before this one, at once and without steps where it is one of the last few
/// (--rollback-window).
/// Works in every state, also under a freeze, and is never rolled back itself.
///
/// Ends with 0 once the earlier version has everything.
///
/// Example: `warren service rollback web --reason 'errors at checkout'`
#[derive(Args, Debug)]
pub struct Rollback {
    /// Name or id of the service
    name: String,
    /// To this version, as in 3 or v3, which `warren service versions` shows
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: Option<u32>,
    /// With all steps of the strategy, though the version ran before; a release under way goes back at once
    #[arg(long)]
    careful: bool,
    /// Take all traffic back at once, also where it goes back by and by already
    #[arg(long, conflicts_with_all = ["gradual", "careful"])]
    now: bool,
    /// Take traffic back by 20 points a minute
    #[arg(long)]
    gradual: bool,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

impl Rollback {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service or version, nothing to go back to, or waiting ended first.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let asked = v1::RollbackServiceRequest {
            service_id: self.name,
            to_revision: self.to.unwrap_or_default(),
            careful: self.careful,
            now: self.now,
            reason: self.reason.unwrap_or_default(),
            gradual: self.gradual,
        };
        ask(&client, asked, &self.wait).await
    }
}

/// Asks for a rollback and follows it.
///
/// # Errors
/// It was refused, or waiting ended first.
pub async fn ask(client: &Client, asked: v1::RollbackServiceRequest, wait: &WaitArgs) -> Outcome {
    let name = asked.service_id.clone();
    let answer = client.rollouts().rollback_service(request(asked)).await.map_err(of_service)?;
    let answer = answer.into_inner();
    let rollout = answer.rollout.unwrap_or_default();
    if !answer.dropped.is_empty() {
        let (service, of) = (&rollout.service, &answer.dropped);
        output::say(format_args!("{service}: the update by {of} that waited is dropped"));
    }
    output::say(format_args!("{}: goes back; {}", rollout.service, release::brief(&rollout)));
    let aim = Aim::Back(release::number(&rollout));
    release::follow(client, &name, aim, Show::Talk, wait).await
}
