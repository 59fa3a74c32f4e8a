//! `warren service create`

use crate::client::{ClientArgs, request};
use crate::failure::{Failure, Outcome};
use crate::flags::{self, SpecFlags};
use crate::output;
use crate::progress::{self, Goal, WaitArgs};
use clap::Args;
use warren_wire::v1;

/// Make a service and wait until it runs
///
/// Prints the service's id.
#[derive(Args, Debug)]
pub struct Create {
    /// Name of the service: 1 to 63 of a-z, 0-9 and '-'
    name: String,
    /// Accept the image even where no node can resolve it now
    #[arg(long)]
    skip_resolve: bool,
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    wait: WaitArgs,
}

impl Create {
    /// Runs it.
    ///
    /// # Errors
    /// A flag is wrong, the cluster refused, or waiting ended first.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let spec = self.spec()?;
        let client = client.connect().await?;
        let asked = v1::CreateServiceRequest { spec: Some(spec), skip_resolve: self.skip_resolve };
        let made = client.services().create_service(request(asked)).await?;
        let service = made.into_inner().service.unwrap_or_default();
        output::line(&service.id)?;
        let goal = Goal::Settled { generation: service.generation };
        progress::wait(&client, &self.name, goal, &self.wait).await
    }

    fn spec(&self) -> Outcome<v1::ServiceSpec> {
        if self.spec.image().is_none() {
            return Err(Failure::usage("--image is missing")
                .hint(format!("warren service create {} --image IMAGE", self.name)));
        }
        let mut spec = v1::ServiceSpec { name: self.name.clone(), ..Default::default() };
        self.spec.lay_over(&mut spec)?;
        flags::checked(&spec)?;
        Ok(spec)
    }
}
