//! Who gets what a secret holds: the node whose task uses it, and nobody else.

use anyhow::{Context as _, ensure};
use tonic::Code;
use tonic::transport::Channel;
use warren_test::cluster::{Node, Runtime};
use warren_test::wait;
use warren_wire::channel::{Dialer, Target, connect_stranger};
use warren_wire::trust::{MANAGER_NAME, install_provider};
use warren_wire::v1;
use warren_wire::v1::sessions_client::SessionsClient;

use super::access::credentials;
use super::{SOON, joined};

#[tokio::test]
async fn a_node_gets_only_what_its_own_tasks_use() {
    install_provider();
    only_its_own().await.unwrap();
}

async fn make(node: &Node, words: &[&str], content: &str) -> anyhow::Result<()> {
    let said = node.command_with_input(words, content).await?;
    ensure!(said.code == Some(0), "{words:?}: {said:#?}");
    Ok(())
}

/// Makes a service of one task on `host` that uses `secret`; the id of the task.
async fn service(node: &Node, name: &str, host: &str, secret: &str) -> anyhow::Result<String> {
    let image = Runtime::Process.web_image("v1").await?;
    let place = format!("node.hostname=={host}");
    let words = ["service", "create", name, "--image", &image, "--constraint", &place];
    node.ok(&[&words[..], &["--secret", secret, "--min-ready", "0s"]].concat()).await?;
    let tasks = node.json(&["service", "ps", name]).await?;
    Ok(tasks[0]["id"].as_str().context("a task")?.to_owned())
}

async fn fetch(channel: &Channel, task: &str, secret: &str, version: u32) -> Result<Vec<u8>, Code> {
    let (task_id, name) = (task.to_owned(), secret.to_owned());
    let kind = v1::FileKind::Secret.into();
    let asked = v1::FetchFileRequest { task_id, kind, name, version };
    let answer = SessionsClient::new(channel.clone()).fetch_file(asked).await;
    answer.map(|answer| answer.into_inner().content).map_err(|status| status.code())
}

async fn only_its_own() -> anyhow::Result<()> {
    let first = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let second = joined(&first, "manager", "m2").await?;
    let worker = joined(&first, "worker", "w1").await?;
    // A manager that does not lead takes it too, and sends it on.
    make(&second, &["secret", "create", "near"], "for the worker").await?;
    make(&first, &["secret", "create", "far"], "for the manager").await?;
    let near = service(&first, "near", "w1", "near").await?;
    let far = service(&second, "far", "m2", "far").await?;

    let shown = credentials(&worker)?;
    let stranger = connect_stranger(first.listen(), &shown.authority).await?;
    let target: Target = first.listen().parse()?;
    let (_keep, watched) = tokio::sync::watch::channel(Some(shown));
    let itself = Dialer::new(watched).connect(&target, MANAGER_NAME).await?;
    ensure!(fetch(&itself, &near, "near", 1).await == Ok(b"for the worker".to_vec()));
    let denied = Err(Code::PermissionDenied);
    for (task, secret, version) in [
        (&far, "far", 1),
        (&near, "far", 1),
        (&far, "near", 1),
        (&near, "near", 2),
        (&"t999".to_owned(), "near", 1),
    ] {
        let got = fetch(&itself, task, secret, version).await;
        ensure!(got == denied, "{task} {secret} {version}: {got:?}");
    }
    let got = fetch(&stranger, &near, "near", 1).await;
    ensure!(got == Err(Code::Unauthenticated), "{got:?}");
    let (shown, watched) = tokio::sync::watch::channel(Some(credentials(&second)?));
    let manager = Dialer::new(watched).connect(&target, MANAGER_NAME).await?;
    let got = fetch(&manager, &near, "near", 1).await;
    ensure!(got == denied, "a manager has a key of its own and asks for no other's: {got:?}");
    drop(shown);

    let read = v1::GetFileRequest { name: "near".to_owned(), ..v1::GetFileRequest::default() };
    let mut files = v1::files_client::FilesClient::new(itself.clone());
    let got = files.get_file(read).await.map_err(|status| status.code());
    ensure!(got.is_err_and(|code| code == Code::PermissionDenied), "a node is no person");
    first.ok(&["service", "rm", "near", "--yes"]).await?;
    wait::until("what has ended gets nothing", SOON, async || {
        let got = fetch(&itself, &near, "near", 1).await;
        ensure!(got == denied, "{got:?}");
        Ok(())
    })
    .await
}
