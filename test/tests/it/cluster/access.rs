//! Who may call what on the port that is open to other machines.

use anyhow::{Context as _, ensure};
use tonic::Code;
use warren_test::cluster::{Node, Runtime};
use warren_wire::channel::{Dialer, Target, connect_stranger};
use warren_wire::trust::{Credentials, MANAGER_NAME, install_provider};
use warren_wire::v1;

use super::joined;

/// What a node shows, from its data directory.
pub(super) fn credentials(node: &Node) -> anyhow::Result<Credentials> {
    let read = |name: &str| std::fs::read_to_string(node.data_dir().join("pki").join(name));
    Ok(Credentials {
        authority: read("authority.crt")?,
        certificate: read("node.crt")?,
        key: read("node.key")?.into(),
    })
}

#[tokio::test]
async fn strangers_and_workers_may_not_do_what_people_do() {
    install_provider();
    refused().await.unwrap();
}

async fn refused() -> anyhow::Result<()> {
    let manager = Node::start(Runtime::Process).await?;
    let worker = joined(&manager, "worker", "w1").await?;
    let shown = credentials(&worker)?;
    let stranger = connect_stranger(manager.listen(), &shown.authority).await?;
    let target: Target = manager.listen().parse()?;
    let (_keep, watched) = tokio::sync::watch::channel(Some(shown));
    let as_worker = Dialer::new(watched).connect(&target, MANAGER_NAME).await?;
    for (channel, code) in [(stranger, Code::Unauthenticated), (as_worker, Code::PermissionDenied)]
    {
        let mut services = v1::services_client::ServicesClient::new(channel.clone());
        let looked = services.list_services(v1::ListServicesRequest {}).await;
        ensure!(looked.as_ref().err().map(tonic::Status::code) == Some(code), "{looked:?}");
        let mut nodes = v1::nodes_client::NodesClient::new(channel.clone());
        let removed = v1::RemoveNodeRequest { node_id: "n1".to_owned(), force: true };
        let removed = nodes.remove_node(removed).await;
        ensure!(removed.as_ref().err().map(tonic::Status::code) == Some(code), "{removed:?}");
        let mut raft = v1::raft_client::RaftClient::new(channel);
        let vote = raft.vote(v1::RaftMessage::default()).await;
        ensure!(vote.as_ref().err().map(tonic::Status::code) == Some(code), "{vote:?}");
    }
    let said = manager.json(&["cluster", "info"]).await?;
    ensure!(said["managers"].as_array().context("managers")?.len() == 1);
    Ok(())
}
