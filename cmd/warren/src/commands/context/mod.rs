//! `warren context`

pub mod ls;
pub mod rm;
pub mod select;

use crate::failure::Outcome;
use clap::Subcommand;

/// Choose between the clusters that this user has logged in to
#[derive(Subcommand, Debug)]
pub enum Context {
    /// List the logins of this user
    #[command(visible_alias = "list")]
    Ls(ls::Ls),
    /// Use this login where none is named
    Use(select::Use),
    /// Forget a login
    Rm(rm::Rm),
}

impl Context {
    /// Runs it.
    ///
    /// # Errors
    /// What the user is told.
    pub fn run(self) -> Outcome {
        match self {
            Self::Ls(command) => command.run(),
            Self::Use(command) => command.run(),
            Self::Rm(command) => command.run(),
        }
    }
}
