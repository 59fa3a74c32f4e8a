//! `warren config`

pub mod show;

use crate::client::ClientArgs;
use crate::failure::Outcome;
use clap::Subcommand;

/// Show the configuration
#[derive(Subcommand, Debug)]
pub enum Config {
    /// Show the values that `warren up` would start with, and where each comes from
    Show(Box<show::Show>),
}

impl Config {
    /// Runs it.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn run(self, client: &ClientArgs) -> Outcome {
        match self {
            Self::Show(command) => command.run(client),
        }
    }
}
