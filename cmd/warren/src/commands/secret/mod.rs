//! `warren secret`

pub mod inspect;

use super::files::{Create, Ls, Rm, Update};
use crate::client::ClientArgs;
use crate::failure::Outcome;
use clap::Subcommand;
use warren_core::spec::FileKind;

/// Keep what only tasks may read: sealed at rest, given to them as files in memory
#[derive(Subcommand, Debug)]
pub enum Secret {
    /// Make a secret, with its first version
    ///
    /// The content comes from a file or from standard input, byte by byte, and is never an argument, which other users
    /// of the machine could see. Nothing shows it again. 64 KiB at most.
    ///
    /// Example: `openssl rand -hex 32 | warren secret create session-key`
    Create(Create),
    /// Give a secret another version
    ///
    /// Services go on with the version that their revision has. `warren service update NAME --secret-rotate` releases
    /// them with the newest one, and a rollback brings the old one back.
    Update(Update),
    /// List the secrets
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show a secret's versions, and which services use it; never what it holds
    Inspect(inspect::Inspect),
    /// Take a secret away with all its versions
    ///
    /// Refused while a revision of a service uses it, also one that is only kept for a rollback.
    Rm(Rm),
}

impl Secret {
    /// Runs it.
    ///
    /// # Errors
    /// What the user is told.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        match self {
            Self::Create(command) => command.run(FileKind::Secret, client).await,
            Self::Update(command) => command.run(FileKind::Secret, client).await,
            Self::Ls(command) => command.run(FileKind::Secret, client).await,
            Self::Inspect(command) => command.run(client).await,
            Self::Rm(command) => command.run(FileKind::Secret, client).await,
        }
    }
}
