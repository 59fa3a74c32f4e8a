//! `warren node activate`

use crate::client::ClientArgs;
use crate::failure::Outcome;
use crate::output;
use clap::Args;

/// Let a node take tasks again
#[derive(Args, Debug)]
pub struct Activate {
    /// Host name or id of the node
    name: String,
}

impl Activate {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let node = super::set_availability(&client, &self.name, "active", None).await?;
        output::say(format_args!("{} takes tasks again", node.hostname));
        Ok(())
    }
}
