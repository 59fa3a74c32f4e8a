//! `warren up`

use crate::client::ClientArgs;
use crate::config::NodeFlags;
use crate::failure::Outcome;
use clap::Args;

/// Start this node: resume its cluster, or make a new one
#[derive(Args, Debug)]
pub struct Up {
    #[command(flatten)]
    node: NodeFlags,
    /// Return once the node is ready; it goes on in the background and logs to DATA_DIR/warren.log
    #[arg(long, short)]
    detach: bool,
}

impl Up {
    pub fn run(self, _client: &ClientArgs) -> Outcome {
        Ok(())
    }
}
