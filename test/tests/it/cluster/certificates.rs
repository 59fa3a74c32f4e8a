//! Certificates that end: renewed while the node runs, and got anew after it was off for longer than one lives.

use std::time::{Duration, SystemTime};

use anyhow::ensure;
use warren_test::cluster::{Node, Runtime};
use warren_test::{http, wait};
use warren_wire::trust::{Credentials, install_provider, validity_of};

use super::access::credentials;
use super::{SOON, joined, node_named};

/// Renewed after 6 to 10 seconds.
const LIFE: &str = "12s";

async fn manager() -> anyhow::Result<Node> {
    install_provider();
    Node::start_with(Runtime::Process, &["--hostname", "m1", "--certificate-life", LIFE]).await
}

fn ends(shown: &Credentials) -> anyhow::Result<SystemTime> {
    Ok(validity_of(&shown.certificate_der()?)?.to)
}

async fn expired(node: &Node) -> anyhow::Result<()> {
    let ends = ends(&credentials(node)?)?;
    wait::until("the certificate has expired", SOON, async || {
        ensure!(SystemTime::now() > ends + Duration::from_secs(1), "it is valid");
        Ok(())
    })
    .await
}

/// Waits until a node shows a later certificate than `before`.
async fn renewed(node: &Node, before: &Credentials) -> anyhow::Result<Credentials> {
    let then = ends(before)?;
    wait::until("the certificate is renewed", SOON, async || {
        let now = credentials(node)?;
        ensure!(ends(&now)? > then, "it is the old one");
        ensure!(*now.key == *before.key, "the key stays");
        Ok(now)
    })
    .await
}

async fn sessions_closed(node: &Node) -> anyhow::Result<f64> {
    let (_, page) = http::get(node.http_address()?, "/metrics").await?;
    let counts = page.lines().filter(|line| line.starts_with("warren_sessions_closed_total{"));
    Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

#[tokio::test]
async fn nodes_renew_before_the_end_and_sessions_go_on() {
    renews().await.unwrap();
}

async fn renews() -> anyhow::Result<()> {
    let manager = manager().await?;
    let worker = joined(&manager, "worker", "w1").await?;
    let closed = sessions_closed(&manager).await?;
    let first = [credentials(&manager)?, credentials(&worker)?];
    let mut shown = first.clone();
    // Until the first ones have expired: what stands was made with those.
    while SystemTime::now() < ends(&first[0])?.max(ends(&first[1])?) {
        let (of_manager, of_worker) =
            tokio::try_join!(renewed(&manager, &shown[0]), renewed(&worker, &shown[1]))?;
        shown = [of_manager, of_worker];
    }
    ensure!(node_named(&manager, "w1").await?["status"] == "up");
    ensure!(sessions_closed(&manager).await? <= closed, "a session was closed");
    // New connections are made with the new ones.
    let late = joined(&manager, "worker", "w2").await?;
    ensure!(node_named(&manager, "w2").await?["status"] == "up");
    drop(late);
    Ok(())
}

#[tokio::test]
async fn nodes_that_were_off_for_longer_come_back_with_their_keys() {
    were_off().await.unwrap();
}

async fn were_off() -> anyhow::Result<()> {
    let mut manager = manager().await?;
    let mut worker = joined(&manager, "worker", "w1").await?;
    let before = credentials(&worker)?;
    worker.stop().await?;
    expired(&worker).await?;
    worker.resume().await?;
    renewed(&worker, &before).await?;
    is_up(&manager).await?;
    // The whole site was off.
    worker.stop().await?;
    manager.stop().await?;
    expired(&manager).await?;
    expired(&worker).await?;
    manager.resume().await?;
    worker.resume().await?;
    is_up(&manager).await
}

async fn is_up(manager: &Node) -> anyhow::Result<()> {
    wait::until("the worker has a session", SOON, async || {
        let node = node_named(manager, "w1").await?;
        ensure!(node["status"] == "up" && node["problems"] == serde_json::json!([]), "{node}");
        let (_, page) = http::get(manager.http_address()?, "/metrics").await?;
        ensure!(page.lines().any(|line| line == "warren_sessions 2"), "not both have a session");
        Ok(())
    })
    .await
}
