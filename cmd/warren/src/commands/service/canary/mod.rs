//! `warren service canary`

pub mod promote;
pub mod status;

use crate::client::ClientArgs;
use crate::failure::Outcome;
use clap::Subcommand;

/// Show and promote the canary of a service
#[derive(Subcommand, Debug)]
pub enum Canary {
    /// Show how far the canary of a service is
    Status(status::Status),
    /// Give the canary all traffic, over the steps that are left
    Promote(promote::Promote),
}

impl Canary {
    /// Runs it.
    ///
    /// # Errors
    /// What the user is told.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        match self {
            Self::Status(command) => command.run(client).await,
            Self::Promote(command) => command.run(client).await,
        }
    }
}
