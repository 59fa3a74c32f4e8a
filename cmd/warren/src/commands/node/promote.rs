//! `warren node promote`

use crate::client::ClientArgs;
use crate::failure::Outcome;
use crate::output;
use clap::Args;

/// Make a worker a manager
///
/// It gets the log first, then a vote; with an even number of managers, one stands by without a vote. Its tasks run on.
#[derive(Args, Debug)]
pub struct Promote {
    /// Host name or id of the node
    name: String,
}

impl Promote {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such node, or its role cannot change now.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let node = super::set_role(&client, &self.name, "manager").await?;
        output::say(format_args!(
            "{} becomes a manager; `warren cluster info` shows when it votes",
            node.hostname
        ));
        Ok(())
    }
}
