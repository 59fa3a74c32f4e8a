//! `warren config`

pub mod inspect;
pub mod show;

use super::files::{Create, Ls, Rm, Update};
use crate::cli::block_on;
use crate::client::ClientArgs;
use crate::failure::Outcome;
use clap::Subcommand;
use warren_core::spec::FileKind;

/// Keep plain configuration files for services; `show` is about Warren's own settings
///
/// `create`, `update`, `ls`, `inspect` and `rm` are about files that the cluster keeps and tasks get. `show` is about
/// the settings that this machine's `warren up` would start with.
#[derive(Subcommand, Debug)]
pub enum Config {
    /// Make a config for services, with its first version
    ///
    /// The content comes from a file or from standard input, byte by byte, and everybody who may look at services may
    /// look at it: for passwords and keys there is `warren secret`. 500 KiB at most.
    ///
    /// Example: `warren config create nginx.conf ./nginx.conf`
    Create(Create),
    /// Give a config another version
    ///
    /// Services go on with the version that their revision has. `warren service update NAME --config-rotate` releases
    /// them with the newest one, and a rollback brings the old one back.
    Update(Update),
    /// List the configs of services
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show a config with its content, its versions, and which services use it
    ///
    /// A content that is no text is not shown to people; JSON and YAML have it in base64, as `content_base64`.
    Inspect(inspect::Inspect),
    /// Take a config away with all its versions
    ///
    /// Refused while a revision of a service uses it, also one that is only kept for a rollback.
    Rm(Rm),
    /// Show the settings that this machine's `warren up` would start with, and where each comes from
    Show(Box<show::Show>),
}

impl Config {
    /// Runs it.
    ///
    /// # Errors
    /// What the user is told.
    pub fn run(self, client: &ClientArgs) -> Outcome {
        match self {
            Self::Show(command) => command.run(client),
            Self::Create(command) => block_on(command.run(FileKind::Config, client)),
            Self::Update(command) => block_on(command.run(FileKind::Config, client)),
            Self::Ls(command) => block_on(command.run(FileKind::Config, client)),
            Self::Inspect(command) => block_on(command.run(client)),
            Self::Rm(command) => block_on(command.run(FileKind::Config, client)),
        }
    }
}
