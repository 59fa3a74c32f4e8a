//! `warren freeze`

pub mod off;
pub mod on;
pub mod status;

use crate::client::{Client, ClientArgs, of_service, request};
use crate::failure::Outcome;
use clap::Subcommand;
use warren_wire::v1;

/// Hold releases, and let them go on
///
/// A freeze holds the start and the steps of releases, of one service or of all. Rollbacks are never held.
#[derive(Subcommand, Debug)]
pub enum Freeze {
    /// Hold the releases of a service, or of all
    On(on::On),
    /// End a freeze
    Off(off::Off),
    /// Show what is frozen
    Status(status::Status),
}

impl Freeze {
    /// Runs it.
    ///
    /// # Errors
    /// What the user is told.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        match self {
            Self::On(command) => command.run(client).await,
            Self::Off(command) => command.run(client).await,
            Self::Status(command) => command.run(client).await,
        }
    }
}

/// Freezes one service, or all where none is named, or ends that.
async fn set(client: &Client, asked: v1::SetFreezeRequest) -> Outcome<v1::SetFreezeResponse> {
    let answer = client.rollouts().set_freeze(request(asked)).await.map_err(of_service)?;
    Ok(answer.into_inner())
}

/// What is frozen.
///
/// # Errors
/// No Warren answers.
pub async fn freezes(client: &Client) -> Outcome<Vec<v1::Freeze>> {
    let answer = client.rollouts().list_freezes(request(v1::ListFreezesRequest {})).await?;
    Ok(answer.into_inner().freezes)
}

/// A freeze in a few words: `by ann since 2026-…: end of the year`.
pub fn words(freeze: &v1::Freeze) -> String {
    let at = crate::output::moment(freeze.since_unix_ms);
    format!("by {} since {at}: {}", freeze.by, freeze.reason)
}
