//! `warren node`

pub mod activate;
pub mod demote;
pub mod drain;
pub mod inspect;
pub mod label;
pub mod ls;
pub mod promote;
pub mod rm;

use crate::client::{Client, ClientArgs, of_node, request};
use crate::failure::Outcome;
use crate::output;
use clap::Subcommand;
use std::time::Duration;
use warren_core::time::millis;
use warren_wire::v1;

/// Show and steer nodes
#[derive(Subcommand, Debug)]
pub enum Node {
    /// List nodes
    #[command(visible_alias = "list")]
    Ls(ls::Ls),
    /// Show everything about a node
    Inspect(inspect::Inspect),
    /// Move all tasks away from a node
    Drain(drain::Drain),
    /// Let a node take tasks again
    Activate(activate::Activate),
    /// Change the labels of a node
    Label(label::Label),
    /// Make a worker a manager
    Promote(promote::Promote),
    /// Make a manager a worker again
    Demote(demote::Demote),
    /// Take a node out of the cluster
    Rm(rm::Rm),
}

impl Node {
    /// Runs it.
    ///
    /// # Errors
    /// What the user is told.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        match self {
            Self::Ls(command) => command.run(client).await,
            Self::Inspect(command) => command.run(client).await,
            Self::Drain(command) => command.run(client).await,
            Self::Activate(command) => command.run(client).await,
            Self::Label(command) => command.run(client).await,
            Self::Promote(command) => command.run(client).await,
            Self::Demote(command) => command.run(client).await,
            Self::Rm(command) => command.run(client).await,
        }
    }
}

/// All nodes.
async fn nodes(client: &Client) -> Outcome<Vec<v1::Node>> {
    let answer = client.nodes().list_nodes(request(v1::ListNodesRequest {})).await?;
    Ok(answer.into_inner().nodes)
}

/// Sets what a node is.
async fn set_role(client: &Client, name: &str, role: &str) -> Outcome<v1::Node> {
    let asked = v1::SetNodeRoleRequest { node_id: name.to_owned(), role: role.to_owned() };
    let answer = client.nodes().set_node_role(request(asked)).await.map_err(of_node)?;
    Ok(answer.into_inner().node.unwrap_or_default())
}

/// How long a drain leaves its node's tasks to what their services can spare; absent where it has no deadline.
pub(super) fn drain_left(node: &v1::Node) -> Option<String> {
    Some(match node.drain_left_ms? {
        0 => "its deadline has passed".to_owned(),
        left => format!("{} left", output::duration(Duration::from_millis(left))),
    })
}

/// Sets whether a node takes tasks.
async fn set_availability(
    client: &Client,
    name: &str,
    availability: &str,
    within: Option<Duration>,
) -> Outcome<v1::Node> {
    let asked = v1::SetNodeAvailabilityRequest {
        node_id: name.to_owned(),
        availability: availability.to_owned(),
        within_ms: within.map(millis),
    };
    let answer = client.nodes().set_node_availability(request(asked)).await.map_err(of_node)?;
    Ok(answer.into_inner().node.unwrap_or_default())
}
