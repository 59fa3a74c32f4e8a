//! `warren token`

pub mod create;
pub mod ls;
pub mod rm;

use crate::client::ClientArgs;
use crate::failure::Outcome;
use clap::Subcommand;

/// Let people and programs use the cluster from elsewhere
#[derive(Subcommand, Debug)]
pub enum Token {
    /// Make an access token, and print it this once
    Create(create::Create),
    /// List the access tokens
    #[command(visible_alias = "list")]
    Ls(ls::Ls),
    /// End an access token
    Rm(rm::Rm),
}

impl Token {
    /// Runs it.
    ///
    /// # Errors
    /// What the user is told.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        match self {
            Self::Create(command) => command.run(client).await,
            Self::Ls(command) => command.run(client).await,
            Self::Rm(command) => command.run(client).await,
        }
    }
}
