//! `warren node demote`

use crate::client::ClientArgs;
use crate::failure::Outcome;
use crate::output;
use clap::Args;

/// Make a manager a worker again
///
/// Its vote goes to another manager that stands by, where there is one. Its tasks run on.
#[derive(Args, Debug)]
pub struct Demote {
    /// Host name or id of the node
    name: String,
}

impl Demote {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such node, or its role cannot change now.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let node = super::set_role(&client, &self.name, "worker").await?;
        output::say(format_args!("{} becomes a worker", node.hostname));
        Ok(())
    }
}
