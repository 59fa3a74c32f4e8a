//! `warren node rm`

use crate::client::{ClientArgs, of_node, request};
use crate::commands::confirm;
use crate::failure::Outcome;
use crate::output;
use clap::Args;
use warren_wire::v1;

/// Take a node out of the cluster
///
/// Its certificate is of no use from then on. Drain it and stop Warren there first; a machine that is gone for good is
/// removed with --force, which gives its tasks up.
#[derive(Args, Debug)]
pub struct Rm {
    /// Host name or id of the node
    name: String,
    /// Give up the tasks that it may still run; they are placed elsewhere
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Rm {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such node, or it still has work.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        if self.force {
            confirm(self.yes, &format!("Give up what {} runs, and take it out?", self.name))?;
        }
        let asked = v1::RemoveNodeRequest { node_id: self.name.clone(), force: self.force };
        client.nodes().remove_node(request(asked)).await.map_err(of_node)?;
        output::say(format_args!("{} is no node of the cluster any more", self.name));
        Ok(())
    }
}
