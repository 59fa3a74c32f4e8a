//! `warren cluster`

pub mod info;
pub mod token;

use crate::client::ClientArgs;
use crate::failure::Outcome;
use clap::Subcommand;

/// Show the cluster, and let machines in
#[derive(Subcommand, Debug)]
pub enum Cluster {
    /// Show who the managers are, and which join tokens let machines in
    Info(info::Info),
    /// Make a token that lets machines in, and print how they join
    Token(token::Token),
}

impl Cluster {
    /// Runs it.
    ///
    /// # Errors
    /// What the user is told.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        match self {
            Self::Info(command) => command.run(client).await,
            Self::Token(command) => command.run(client).await,
        }
    }
}
