//! Machines and nodes that have no place in a cluster: too old, with a clock that is wrong, copied, removed, or looking
//! in the wrong place. Each is told why and what to do, and the cluster goes on.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use futures::stream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use warren_core::level::Level;
use warren_test::cluster::{Node, Runtime};
use warren_test::{image, wait};
use warren_wire::channel::{Dialer, Target, connect_stranger};
use warren_wire::trust::{MANAGER_NAME, NodeKey, install_provider};
use warren_wire::v1::agent_message::Message;
use warren_wire::v1::membership_client::MembershipClient;
use warren_wire::v1::sessions_client::SessionsClient;
use warren_wire::v1::{self, AgentMessage};

use super::access::credentials;
use super::{SOON, joined, node_named, token};

const HOUR: Duration = Duration::from_secs(3_600);

/// What a machine says of itself that joins with `key`.
fn hello(key: &NodeKey) -> v1::Hello {
    v1::Hello {
        key: key.fingerprint().to_string(),
        boot: 1,
        protocol_min: 1,
        protocol_max: 1,
        hostname: "late".to_owned(),
        address: Ipv4Addr::LOCALHOST.to_string(),
        platform: "linux/amd64".to_owned(),
        runtime: "process".to_owned(),
        version: "0.0.9".to_owned(),
        feature_level: Level::OURS.0,
        ..v1::Hello::default()
    }
}

/// Asks `manager` to let a machine in that says `hello`.
async fn join(
    manager: &Node,
    key: &NodeKey,
    hello: v1::Hello,
) -> anyhow::Result<Result<(), Status>> {
    let token = token(manager, "worker").await?;
    let (_, secret) = token.rsplit_once('-').context("a token ends with its secret")?;
    let authority = credentials(manager)?.authority;
    let channel = connect_stranger(manager.listen(), &authority).await?;
    let request = v1::JoinRequest {
        secret: secret.to_owned(),
        certificate_request: key.request()?,
        hello: Some(hello),
    };
    Ok(MembershipClient::new(channel).join(request).await.map(drop))
}

fn shows(clock: SystemTime) -> u64 {
    let since = clock.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_keeps_a_machine_out() {
    install_provider();
    clocks().await.unwrap();
}

async fn clocks() -> anyhow::Result<()> {
    let manager = Node::start(Runtime::Process).await?;
    let key = NodeKey::generate()?;
    let now = SystemTime::now();
    for (clock, way) in [(now - HOUR, "behind"), (now + HOUR, "ahead of")] {
        let wrong = v1::Hello { wall_unix_ms: shows(clock), ..hello(&key) };
        let refused = join(&manager, &key, wrong).await?.expect_err("it is let in");
        let told = refused.message();
        ensure!(refused.code() == Code::FailedPrecondition, "{refused:?}");
        ensure!(told.contains(&format!("minutes {way} that of the manager")), "{told}");
        // Both clocks are named, with their dates.
        ensure!(told.matches("T").count() >= 2 && told.matches('Z').count() == 2, "{told}");
    }
    let never = v1::Hello { wall_unix_ms: u64::MAX, ..hello(&key) };
    ensure!(join(&manager, &key, never).await?.is_err());
    let right = v1::Hello { wall_unix_ms: shows(SystemTime::now()), ..hello(&key) };
    join(&manager, &key, right).await??;
    ensure!(node_named(&manager, "late").await?["role"] == "worker");
    Ok(())
}

/// The first answer to a session that begins with `hello`, as the node with these credentials.
async fn attach(channel: Channel, hello: v1::Hello) -> Result<(), Status> {
    let first = AgentMessage { message: Some(Message::Hello(hello)) };
    SessionsClient::new(channel).attach(stream::iter([first])).await.map(drop)
}

#[tokio::test]
async fn versions_that_are_too_old_are_told_to_upgrade_and_levels_are_shown() {
    install_provider();
    too_old().await.unwrap();
}

async fn too_old() -> anyhow::Result<()> {
    let manager = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let worker = joined(&manager, "worker", "w1").await?;
    let said = manager.json(&["cluster", "info"]).await?;
    ensure!(said["feature_level"] == Level::OURS.0, "{said}");
    ensure!(node_named(&manager, "w1").await?["feature_level"] == Level::OURS.0);
    let shown = manager.ok(&["cluster", "info"]).await?;
    ensure!(shown.contains("level"), "{shown}");
    let shown = manager.ok(&["node", "ls"]).await?;
    ensure!(shown.contains("LEVEL"), "{shown}");
    // A version from before there were levels.
    let why = format!("this node speaks level 0, the cluster needs {}: upgrade it", Level::OURS);
    let key = NodeKey::generate()?;
    let old = v1::Hello { feature_level: 0, ..hello(&key) };
    let refused = join(&manager, &key, old).await?.expect_err("it is let in");
    ensure!(refused.message().contains(&why), "{refused:?}");
    let channel = as_node(&worker, &manager).await?;
    let of_worker = NodeKey::from_pem(&credentials(&worker)?.key)?;
    let old = v1::Hello { feature_level: 0, ..hello(&of_worker) };
    let refused = attach(channel, old).await.expect_err("it has a session");
    ensure!(refused.message().contains(&why), "{refused:?}");
    ensure!(node_named(&manager, "w1").await?["status"] == "up", "its own session goes on");
    Ok(())
}

/// A connection to `manager` with the certificate of `node`.
async fn as_node(node: &Node, manager: &Node) -> anyhow::Result<Channel> {
    let target: Target = manager.listen().parse()?;
    let (keep, watched) = tokio::sync::watch::channel(Some(credentials(node)?));
    let channel = Dialer::new(watched).connect(&target, MANAGER_NAME).await?;
    drop(keep);
    Ok(channel)
}

#[tokio::test]
async fn a_copy_of_a_data_directory_is_refused_while_the_node_is_up() {
    install_provider();
    copied().await.unwrap();
}

async fn copied() -> anyhow::Result<()> {
    let manager = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let mut worker = joined(&manager, "worker", "w1").await?;
    let key = NodeKey::from_pem(&credentials(&worker)?.key)?;
    let refused = attach(as_node(&worker, &manager).await?, hello(&key)).await;
    let told = refused.expect_err("it has a second session").message().to_owned();
    ensure!(told.contains("(w1) has a session already, at 127.0.0.1"), "{told}");
    ensure!(told.contains("was its data directory copied? Stop one of the two"), "{told}");
    ensure!(node_named(&manager, "w1").await?["status"] == "up", "the node itself goes on");
    // It comes back at once, as another process that it is.
    worker.crash()?;
    worker.resume().await?;
    wait::until("the node is up", SOON, async || {
        ensure!(node_named(&manager, "w1").await?["status"] == "up");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_certificate_of_a_removed_node_opens_nothing() {
    install_provider();
    removed().await.unwrap();
}

async fn removed() -> anyhow::Result<()> {
    let manager = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let mut worker = joined(&manager, "worker", "w1").await?;
    let channel = as_node(&worker, &manager).await?;
    let key = NodeKey::from_pem(&credentials(&worker)?.key)?;
    manager.ok(&["node", "rm", "w1", "--force", "--yes"]).await?;
    // By the connection that stood before, and by a new one.
    for channel in [channel, as_node(&worker, &manager).await?] {
        let refused = attach(channel.clone(), hello(&key)).await.expect_err("it has a session");
        ensure!(refused.code() == Code::PermissionDenied, "{refused:?}");
        ensure!(refused.message().contains("or was removed"), "{refused:?}");
        let request = v1::RenewRequest { certificate_request: key.request()? };
        let refused = MembershipClient::new(channel).renew(request).await;
        let refused = refused.expect_err("it has a certificate");
        ensure!(refused.message().contains("or it was removed"), "{refused:?}");
    }
    worker.crash()
}

#[tokio::test]
async fn a_machine_that_looks_in_the_wrong_place_is_told_so() {
    wrong_places().await.unwrap();
}

async fn wrong_places() -> anyhow::Result<()> {
    let manager = Node::start(Runtime::Process).await?;
    let worker = joined(&manager, "worker", "w1").await?;
    let token = token(&manager, "worker").await?;
    let machine = Node::stopped(Runtime::Process, &[])?;
    let own = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string();
    let dir = machine.data_dir().display().to_string();
    let up = ["up", "--data-dir", &dir, "--runtime", "process", "--http", "off"];
    let itself = ["--dns", "127.0.0.1:0", "--listen", &own, "--join", &own, "--token", &token];
    let said = machine.command(&[&up[..], &itself].concat()).await?;
    ensure!(said.code == Some(2) && said.talk.contains("is this machine itself"), "{said:?}");
    // A worker has no port for others; what it serves is something else.
    let place = worker.http_address()?.to_string();
    let arguments = ["--http", "off", "--join", &place, "--token", &token];
    let said = machine.refused(&arguments).await?;
    ensure!(said.code == Some(1), "{said:?}");
    ensure!(said.talk.contains("names a manager of the cluster"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_pool_that_lies_over_a_route_of_the_machine_is_refused() {
    if image::docker().await.is_none() {
        let test = "a_pool_that_lies_over_a_route_of_the_machine_is_refused";
        let test = format!("{}::{test}", module_path!());
        return warren_test::skip(&test, "no Docker engine answers");
    }
    // The bridge of the engine is somewhere in it.
    let machine = Node::stopped(Runtime::Docker, &[]).unwrap().with_pool("172.16.0.0/12");
    let said = machine.refused(&["--http", "off"]).await.unwrap();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.talk.contains("172.16.0.0/12"), "{said:?}");
}
