//! `warren down`

use crate::client::ClientArgs;
use crate::failure::Outcome;
use clap::Args;

/// Stop this node's tasks and the node
#[derive(Args, Debug)]
pub struct Down {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Down {
    pub async fn run(self, _client: &ClientArgs) -> Outcome {
        Ok(())
    }
}
