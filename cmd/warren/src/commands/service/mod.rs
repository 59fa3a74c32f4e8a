//! `warren service`

pub mod canary;
pub mod create;
pub mod diff;
pub mod exec;
pub mod history;
pub mod inspect;
pub mod logs;
pub mod ls;
pub mod ps;
pub mod restart;
pub mod rm;
pub mod rollback;
pub mod scale;
pub mod update;
pub mod versions;

use crate::client::ClientArgs;
use crate::failure::Outcome;
use clap::Subcommand;

/// Make, change and show services
#[derive(Subcommand, Debug)]
pub enum Service {
    /// Make a service and wait until it runs
    Create(Box<create::Create>),
    /// Change a service and wait until the change is in
    Update(Box<update::Update>),
    /// Change how many tasks a service has
    Scale(scale::Scale),
    /// Replace every task by an equal one, within the update limits
    Restart(restart::Restart),
    /// List services
    #[command(visible_alias = "list")]
    Ls(ls::Ls),
    /// List the tasks of a service
    Ps(ps::Ps),
    /// Show everything about a service
    Inspect(inspect::Inspect),
    /// Remove services with their tasks
    #[command(visible_alias = "remove")]
    Rm(rm::Rm),
    /// Show what the tasks of a service write
    Logs(logs::Logs),
    /// Run a command in a running task
    Exec(exec::Exec),
    /// Bring an earlier version of a service back
    Rollback(rollback::Rollback),
    /// Show and promote the canary of a service
    #[command(subcommand)]
    Canary(canary::Canary),
    /// Show the releases of a service: what, who, why, how long and how it ended
    History(history::History),
    /// Show the kept versions of a service, and what each runs
    Versions(versions::Versions),
    /// Show what differs between two versions of a service
    Diff(diff::Diff),
}

impl Service {
    /// Runs it.
    ///
    /// # Errors
    /// What the user is told.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        match self {
            Self::Create(command) => command.run(client).await,
            Self::Update(command) => Box::pin(command.run(client)).await,
            Self::Scale(command) => command.run(client).await,
            Self::Restart(command) => command.run(client).await,
            Self::Ls(command) => command.run(client).await,
            Self::Ps(command) => command.run(client).await,
            Self::Inspect(command) => command.run(client).await,
            Self::Rm(command) => command.run(client).await,
            Self::Logs(command) => command.run(client).await,
            Self::Exec(command) => command.run(client).await,
            Self::Rollback(command) => command.run(client).await,
            Self::Canary(command) => command.run(client).await,
            Self::History(command) => command.run(client).await,
            Self::Versions(command) => command.run(client).await,
            Self::Diff(command) => command.run(client).await,
        }
    }
}
