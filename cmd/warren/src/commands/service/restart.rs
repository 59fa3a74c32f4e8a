//! `warren service restart`

use crate::client::{ClientArgs, of_service, request};
use crate::failure::Outcome;
use crate::progress::{self, Goal, WaitArgs};
use clap::Args;
use warren_wire::v1;

/// Replace every task by an equal one, within the update limits
#[derive(Args, Debug)]
pub struct Restart {
    /// Name or id of the service
    name: String,
    #[command(flatten)]
    wait: WaitArgs,
}

impl Restart {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service, or waiting ended first.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let asked = v1::RestartServiceRequest { service_id: self.name.clone() };
        let answer = client.services().restart_service(request(asked)).await.map_err(of_service)?;
        let answer = answer.into_inner();
        let goal = Goal::Settled { generation: answer.service.unwrap_or_default().generation };
        progress::wait(&client, &self.name, goal, &self.wait).await
    }
}
