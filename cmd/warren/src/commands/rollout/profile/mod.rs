//! `warren rollout profile`

pub mod ls;
pub mod show;

use crate::client::{Client, ClientArgs, request};
use crate::failure::Outcome;
use clap::Subcommand;
use warren_wire::v1;

/// Show the named sets of update settings
#[derive(Subcommand, Debug)]
pub enum Profile {
    /// List the profiles
    #[command(visible_alias = "list")]
    Ls(ls::Ls),
    /// Print a profile as YAML for a manifest
    Show(show::Show),
}

impl Profile {
    /// Runs it.
    ///
    /// # Errors
    /// What the user is told.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        match self {
            Self::Ls(command) => command.run(client).await,
            Self::Show(command) => command.run(client).await,
        }
    }
}

/// All profiles of the cluster.
async fn profiles(client: &Client) -> Outcome<Vec<v1::Profile>> {
    let answer = client.services().list_profiles(request(v1::ListProfilesRequest {})).await?;
    Ok(answer.into_inner().profiles)
}
