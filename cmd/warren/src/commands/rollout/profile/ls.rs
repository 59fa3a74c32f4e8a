//! `warren rollout profile ls`

use crate::client::ClientArgs;
use crate::failure::Outcome;
use crate::flags::words;
use crate::output::{self, OutputArgs};
use clap::Args;

/// List the profiles
///
/// `warren service update web --profile NAME` uses one.
///
/// Example: `warren rollout profile ls`
#[derive(Args, Debug)]
pub struct Ls {
    #[command(flatten)]
    output: OutputArgs,
}

impl Ls {
    /// Runs it.
    ///
    /// # Errors
    /// No Warren answers.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let profiles = super::profiles(&client).await?;
        output::print(self.output.output, &profiles, |profiles| {
            let rows = profiles.iter().map(|profile| {
                let word = words::strategy(profile.strategy()).to_owned();
                vec![profile.name.clone(), word, profile.about.clone()]
            });
            output::table(&["NAME", "STRATEGY", "ABOUT"], rows)
        })
    }
}
