//! `warren service rm`

use crate::client::{ClientArgs, of_service, request};
use crate::commands::confirm;
use crate::failure::Outcome;
use crate::progress::{self, Goal, WaitArgs};
use clap::Args;
use warren_wire::v1;

/// Remove services with their tasks
///
/// They leave DNS first, then their tasks are drained and stopped. Volumes stay.
#[derive(Args, Debug)]
pub struct Rm {
    /// Names or ids of the services
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

impl Rm {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service, the user said no, or waiting ended first.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        for name in &self.names {
            client.service(name).await?;
        }
        confirm(self.yes, &format!("Remove {} with all tasks?", self.names.join(", ")))?;
        for name in &self.names {
            let asked = v1::DeleteServiceRequest { service_id: name.clone() };
            client.services().delete_service(request(asked)).await.map_err(of_service)?;
        }
        for name in &self.names {
            progress::wait(&client, name, Goal::Gone, &self.wait).await?;
        }
        Ok(())
    }
}
