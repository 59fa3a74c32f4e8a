//! `warren service update`

use crate::client::{ClientArgs, request};
use crate::failure::{Failure, Outcome};
use crate::flags::{self, RemoveFlags, SpecFlags};
use crate::output;
use crate::progress::{self, Goal, WaitArgs};
use clap::Args;
use warren_wire::v1;

/// Change a service and wait until the change is in
///
/// Only what is given changes, all else stays as it is. Values that repeat (--env, --port, --mount, --label,
/// --constraint) are added to what is there, or replace what has the same name.
///
/// To go back, update to the earlier image, which `warren service versions` shows. A `warren service rollback` that
/// does it in one word comes with rollouts.
#[derive(Args, Debug)]
pub struct Update {
    /// Name or id of the service
    name: String,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Accept the image even where no node can resolve it now
    #[arg(long)]
    skip_resolve: bool,
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    remove: RemoveFlags,
    #[command(flatten)]
    wait: WaitArgs,
}

impl Update {
    /// Runs it.
    ///
    /// # Errors
    /// A flag is wrong, the cluster refused, somebody else changed the service in between, or waiting ended first.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let service = client.service(&self.name).await?.service.unwrap_or_default();
        let old = service.spec.unwrap_or_default();
        let mut spec = old.clone();
        self.remove.take_away(&mut spec)?;
        self.spec.lay_over(&mut spec)?;
        flags::checked(&spec)?;
        let asked = v1::UpdateServiceRequest {
            service_id: service.id,
            spec: Some(spec),
            expect_generation: service.generation,
            reason: self.reason.unwrap_or_default(),
            skip_resolve: self.skip_resolve,
            ..Default::default()
        };
        let answer = client.services().update_service(request(asked)).await.map_err(Failure::from);
        let answer = answer?.into_inner();
        if !answer.changed {
            output::say(format_args!("{}: nothing differs from before", old.name));
            return Ok(());
        }
        let goal = Goal::Settled { generation: answer.service.unwrap_or_default().generation };
        progress::wait(&client, &old.name, goal, &self.wait).await
    }
}
