//! `warren rollout ls`

use crate::client::{Client, ClientArgs, StaleArgs, of_service, request};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use crate::release;
use clap::Args;
use warren_wire::v1;

/// List releases, newest first
///
/// Example: `warren rollout ls web`
#[derive(Args, Debug)]
pub struct Ls {
    /// Only of this service
    name: Option<String>,
    #[command(flatten)]
    stale: StaleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Ls {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = self.stale.connect(client).await?;
        let rollouts = match self.name {
            Some(name) => of(&client, name).await?,
            None => all(&client).await?,
        };
        output::print(self.output.output, &rollouts, |rollouts| table(rollouts))
    }
}

async fn of(client: &Client, name: String) -> Outcome<Vec<v1::Rollout>> {
    let asked = v1::ListRolloutsRequest { service_id: name };
    let list = client.rollouts().list_rollouts(request(asked)).await.map_err(of_service)?;
    Ok(list.into_inner().rollouts)
}

/// Those of every service, newest first.
async fn all(client: &Client) -> Outcome<Vec<v1::Rollout>> {
    let list = client.services().list_services(request(v1::ListServicesRequest {})).await?;
    let mut rollouts = Vec::new();
    for service in list.into_inner().services {
        rollouts.extend(of(client, service.id).await?);
    }
    rollouts.sort_by_key(|rollout| std::cmp::Reverse(release::number(rollout)));
    Ok(rollouts)
}

fn table(rollouts: &[v1::Rollout]) -> String {
    let rows = rollouts.iter().map(|rollout| {
        vec![
            rollout.id.clone(),
            rollout.service.clone(),
            rollout.kind.clone(),
            release::way(rollout),
            rollout.strategy.clone(),
            release::standing(rollout),
            output::moment(rollout.started_unix_ms),
            release::span(rollout.duration_ms),
            rollout.started_by.clone(),
        ]
    });
    let header =
        ["ID", "SERVICE", "KIND", "WAY", "STRATEGY", "STANDING", "STARTED", "DURATION", "BY"];
    output::table(&header, rows)
}
