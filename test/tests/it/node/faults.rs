//! What goes wrong beside Warren or is asked of it in vain, and what an operator reads then.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptions,
    RemoveContainerOptionsBuilder,
};
use warren_test::cluster::{Node, Runtime};
use warren_test::gate::Gate;
use warren_test::{http, image, wait};

use super::{SOON, create_web, on_each_runtime, resolve, tasks, text};

on_each_runtime!(
    a_check_that_never_passes_is_told_while_waiting,
    what_cannot_be_placed_says_why,
    nothing_wanted_is_nothing_done,
);

async fn a_check_that_never_passes_is_told_while_waiting(runtime: Runtime) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    let image = runtime.web_image("v1").await?;
    let create = ["service", "create", "sick", "--image", &image, "--port", "8080"];
    let check = ["--health-http", "8080/nowhere", "--health-interval", "200ms"];
    let wait = ["--wait-timeout", "3s"];
    let said = node.command(&[&create[..], &check, &wait].concat()).await?;
    ensure!(said.code == Some(4), "{said:?}");
    let why = node.ok(&["why", "sick"]).await?;
    ensure!(why.contains("sick.1"), "{why}");
    let shown = tasks(&node, "sick").await?;
    ensure!(shown.len() == 1 && shown[0]["ready"] == false, "{shown:?}");
    Ok(())
}

async fn what_cannot_be_placed_says_why(runtime: Runtime) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    let image = runtime.web_image("v1").await?;
    let cases: [(&str, &[&str], &str); 2] = [
        ("large", &["--reserve-memory", "4Ti"], "memory"),
        ("picky", &["--constraint", "node.labels.disk==ssd"], "disk==ssd"),
    ];
    for (name, arguments, word) in cases {
        let create = ["service", "create", name, "--image", &image, "--wait-timeout", "2s"];
        let said = node.command(&[&create[..], arguments].concat()).await?;
        ensure!(said.code == Some(4), "{said:?}");
        let why = node.ok(&["why", name]).await?;
        ensure!(why.contains(word), "`{word}` is not in: {why}");
    }
    // What was in vain comes true without another command.
    let nodes = node.json(&["node", "ls"]).await?;
    let id = nodes.pointer("/0/id").and_then(|id| id.as_str()).context("a node")?;
    node.ok(&["node", "label", id, "disk=ssd"]).await?;
    wait::until("the picky service runs", SOON, async || {
        let shown = tasks(&node, "picky").await?;
        ensure!(shown.iter().any(|task| text(task, "phase") == "running"), "{shown:?}");
        Ok(())
    })
    .await
}

async fn nothing_wanted_is_nothing_done(runtime: Runtime) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    create_web(&node, runtime, "web", &["--replicas", "0"]).await?;
    ensure!(tasks(&node, "web").await?.is_empty());
    node.ok(&["service", "scale", "web", "1"]).await?;
    resolve(&node, "web.warren.", 1).await?;
    Ok(())
}

/// The engine, or a note that this test did not run.
async fn engine(test: &str) -> Option<Docker> {
    let docker = image::docker().await;
    if docker.is_none() {
        warren_test::skip(&format!("{}::{test}", module_path!()), "no Docker engine answers");
    }
    docker
}

async fn containers(docker: &Docker, node: &Node) -> Vec<String> {
    let label = format!("warren.cluster={}", node.cluster().expect("it has run"));
    let filters = HashMap::from([("label", vec![label])]);
    let all = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let found = docker.list_containers(Some(all)).await.expect("a list");
    found.into_iter().filter_map(|container| container.id).collect()
}

async fn remove(docker: &Docker, container: &str) {
    let force = RemoveContainerOptionsBuilder::new().force(true).build();
    docker.remove_container(container, Some(force)).await.expect("it is removed");
}

// req: E10
#[tokio::test]
async fn a_container_removed_behind_its_back_comes_back() {
    let Some(docker) = engine("a_container_removed_behind_its_back_comes_back").await else {
        return;
    };
    let node = Node::start(Runtime::Docker).await.unwrap();
    create_web(&node, Runtime::Docker, "web", &["--restart-delay", "100ms"]).await.unwrap();
    let before = containers(&docker, &node).await;
    assert_eq!(before.len(), 1);
    remove(&docker, &before[0]).await;
    wait::until("another container serves", SOON, async || {
        let now = containers(&docker, &node).await;
        ensure!(now.len() == 1 && now != before, "{now:?}");
        let address = resolve(&node, "web.warren.", 1).await?[0];
        ensure!(http::get(address, "/").await?.0 == 200);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn down_leaves_nothing_of_a_node_but_the_images() {
    let Some(docker) = engine("down_leaves_nothing_of_a_node_but_the_images").await else { return };
    let node = Node::start(Runtime::Docker).await.unwrap();
    create_web(&node, Runtime::Docker, "web", &[]).await.unwrap();
    let cluster: String = node.cluster().unwrap().chars().take(8).collect();
    let pin = format!("warren-pin/{cluster}-");
    let pins = async || {
        let images = docker.list_images(None::<ListImagesOptions>).await.unwrap();
        let tags = images.into_iter().flat_map(|image| image.repo_tags);
        tags.filter(|tag| tag.starts_with(&pin)).count()
    };
    assert_eq!(pins().await, 1);
    node.ok(&["down", "--yes"]).await.unwrap();
    assert_eq!((containers(&docker, &node).await.len(), pins().await), (0, 0));
    let image = Runtime::Docker.web_image("v1").await.unwrap();
    docker.inspect_image(&image).await.expect("the user's image stays");
}

// req: D3
#[tokio::test]
async fn an_image_that_is_nowhere_is_refused_at_once() {
    if engine("an_image_that_is_nowhere_is_refused_at_once").await.is_none() {
        return;
    }
    let node = Node::start(Runtime::Docker).await.unwrap();
    let image = "warren-test-no-such-image:v1";
    let create = ["service", "create", "web", "--image", image, "--pull", "never"];
    let said = node.command(&create).await.unwrap();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.talk.contains(image), "{said:?}");
    assert_eq!(node.json(&["service", "ls"]).await.unwrap(), serde_json::json!([]));
}

#[tokio::test]
async fn a_users_own_containers_are_never_touched() {
    let Some(docker) = engine("a_users_own_containers_are_never_touched").await else { return };
    let node = Node::start(Runtime::Docker).await.unwrap();
    create_web(&node, Runtime::Docker, "web", &[]).await.unwrap();
    // Named as the next task's container would be, but without our labels.
    let cluster: String = node.cluster().unwrap().chars().take(8).collect();
    let shown = tasks(&node, "web").await.unwrap();
    let number: u64 = text(&shown[0], "id").trim_start_matches('t').parse().unwrap();
    let mut foreign = Vec::new();
    for next in number + 1..number + 8 {
        let name = format!("warren-{cluster}-web-2-t{next}");
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let image = Some(Runtime::Docker.web_image("v1").await.unwrap());
        let body = ContainerCreateBody { image, ..ContainerCreateBody::default() };
        foreign.push(docker.create_container(Some(options), body).await.unwrap().id);
    }
    let scaled = node.command(&["service", "scale", "web", "2", "--wait-timeout", "20s"]).await;
    let there = async |id: &String| docker.inspect_container(id, None).await.is_ok();
    let mut left = 0;
    for id in &foreign {
        left += usize::from(there(id).await);
        remove(&docker, id).await;
    }
    assert_eq!(left, foreign.len(), "{scaled:?}");
    let first = tasks(&node, "web").await.unwrap();
    assert!(first.iter().any(|task| task["ready"] == true), "the first task serves on: {first:?}");
    // Once the name is free the task starts, without a command.
    resolve(&node, "web.warren.", 2).await.unwrap();
}

#[tokio::test]
async fn an_engine_that_is_away_stops_nothing() {
    if engine("an_engine_that_is_away_stops_nothing").await.is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::open_at(&folder.path().join("docker.sock")).unwrap();
    let socket = gate.path().to_str().unwrap().to_owned();
    let arguments = ["--docker-socket", &socket];
    let node = Node::start_with(Runtime::Docker, &arguments).await.unwrap();
    create_web(&node, Runtime::Docker, "web", &["--replicas", "2"]).await.unwrap();
    let addresses = resolve(&node, "web.warren.", 2).await.unwrap();
    gate.shut();
    wait::until("the tasks say that the engine is away", SOON, async || {
        let shown = tasks(&node, "web").await?;
        let said = shown.iter().filter(|task| text(task, "detail").contains("does not answer"));
        ensure!(said.count() == 2, "{shown:?}");
        Ok(())
    })
    .await
    .unwrap();
    let http = node.http_address().unwrap();
    let (status, report) = http::get(http, "/readyz").await.unwrap();
    assert!(status == 503 && report.contains("docker"), "{status} {report}");
    // Its name still resolves to the tasks, and they still serve.
    assert_eq!(resolve(&node, "web.warren.", 2).await.unwrap(), addresses);
    for address in &addresses {
        assert_eq!(http::get(*address, "/").await.unwrap().0, 200);
    }
    let begun = std::time::Instant::now();
    node.ok(&["service", "scale", "web", "3", "--detach"]).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "a write needs no engine");
    gate.reopen();
    let after = resolve(&node, "web.warren.", 3).await.unwrap();
    assert!(addresses.iter().all(|address| after.contains(address)), "{addresses:?}, {after:?}");
    let shown = tasks(&node, "web").await.unwrap();
    assert!(shown.iter().all(|task| task["restarts"] == 0), "nothing was restarted: {shown:?}");
}
