//! `warren cluster`

pub mod backup;
pub mod info;
pub mod leave;
pub mod recover;
pub mod restore;
pub mod token;

use super::node::{demote, promote, rm};
use crate::client::ClientArgs;
use crate::failure::Outcome;
use clap::Subcommand;

/// Show the cluster, let machines in, and get it back
#[derive(Subcommand, Debug)]
pub enum Cluster {
    /// Show who the managers are, and which join tokens let machines in
    Info(info::Info),
    /// Make a token that lets machines in, and print how they join
    Token(token::Token),
    /// Make a worker a manager
    Promote(promote::Promote),
    /// Make a manager a worker again
    Demote(demote::Demote),
    /// Take a node out of the cluster
    Rm(rm::Rm),
    /// Make a new cluster with this machine as its first manager
    Init(Box<super::up::Up>),
    /// Take this node out of its cluster
    Leave(leave::Leave),
    /// Write all that a restore of the cluster needs into a file
    Backup(backup::Backup),
    /// Make a manager of a backup, on a machine that has no data directory
    Restore(restore::Restore),
    /// Go on with one manager alone, where most of them are lost for good
    Recover(recover::Recover),
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
            Self::Promote(command) => command.run(client).await,
            Self::Demote(command) => command.run(client).await,
            Self::Rm(command) => command.run(client).await,
            Self::Leave(command) => Box::pin(command.run(client)).await,
            // It makes its own threads, before this is called.
            Self::Init(_) => Ok(()),
            Self::Backup(command) => Box::pin(command.run(client)).await,
            Self::Restore(command) => Box::pin(command.run(client)).await,
            Self::Recover(command) => Box::pin(command.run(client)).await,
        }
    }
}
