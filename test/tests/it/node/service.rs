//! A service runs, resolves, answers, heals, scales and goes.

use anyhow::ensure;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use warren_test::cluster::{Node, Runtime};
use warren_test::dns::{self, Over};
use warren_test::{http, wait};

use super::{SOON, create_web, on_each_runtime, resolve, tasks, text};

on_each_runtime!(
    it_runs_resolves_and_answers,
    it_heals,
    it_scales_and_goes,
    an_unready_task_gets_no_traffic,
    a_task_that_crashes_again_and_again_is_shown_as_such,
    a_task_that_waits_for_its_restart_is_shown_as_such,
    its_logs_and_commands_can_be_had,
);

// req: B5
async fn it_runs_resolves_and_answers(runtime: Runtime) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    create_web(&node, runtime, "web", &["--replicas", "3"]).await?;
    let shown = tasks(&node, "web").await?;
    ensure!(shown.len() == 3, "{shown:?}");
    for task in &shown {
        ensure!(text(task, "phase") == "running" && text(task, "health") == "healthy", "{task}");
    }
    for address in resolve(&node, "web.warren.", 3).await? {
        let (status, answer) = http::get(address, "/").await?;
        ensure!(status == 200 && answer.contains("\"version\":\"v1\""), "{answer}");
        ensure!(
            shown.iter().any(|task| answer.contains(text(task, "id"))),
            "{answer} names no task of {shown:?}"
        );
    }
    let server = node.dns_address()?;
    for over in [Over::Udp, Over::Tcp] {
        // The case of a name is the asker's; resolvers vary it on purpose.
        let answer = dns::ask(server, "v1.WeB.warren.", RecordType::A, over).await?;
        ensure!(answer.answers.len() == 3, "{answer:?}");
        let answer = dns::ask(server, "_http._tcp.web.warren.", RecordType::SRV, over).await?;
        let ports = answer.answers.iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(srv.port),
            _ => None,
        });
        ensure!(ports.collect::<Vec<_>>() == [8080; 3], "{answer:?}");
        let answer = dns::ask(server, "nobody.warren.", RecordType::A, over).await?;
        ensure!(answer.metadata.response_code == ResponseCode::NXDomain, "{answer:?}");
    }
    Ok(())
}

async fn it_heals(runtime: Runtime) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    create_web(&node, runtime, "web", &["--replicas", "2", "--restart-delay", "100ms"]).await?;
    let addresses = resolve(&node, "web.warren.", 2).await?;
    let (status, _) = http::post(addresses[0], "/admin/faults", "crash_after_s=0").await?;
    ensure!(status == 200, "{status}");
    wait::until("the crashed task runs again", SOON, async || {
        let shown = tasks(&node, "web").await?;
        let restarted = shown.iter().any(|task| task["restarts"].as_u64() > Some(0));
        ensure!(restarted && shown.iter().all(|task| task["ready"] == true), "{shown:?}");
        Ok(())
    })
    .await?;
    for address in resolve(&node, "web.warren.", 2).await? {
        ensure!(http::get(address, "/").await?.0 == 200);
    }
    Ok(())
}

async fn it_scales_and_goes(runtime: Runtime) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    create_web(&node, runtime, "web", &[]).await?;
    for count in [4, 1] {
        node.ok(&["service", "scale", "web", &count.to_string()]).await?;
        resolve(&node, "web.warren.", count).await?;
    }
    node.ok(&["service", "rm", "web", "--yes"]).await?;
    let said = node.command(&["service", "inspect", "web"]).await?;
    ensure!(said.code == Some(3), "{said:?}");
    let answer = dns::ask(node.dns_address()?, "web.warren.", RecordType::A, Over::Udp).await?;
    ensure!(answer.metadata.response_code == ResponseCode::NXDomain, "{answer:?}");
    Ok(())
}

// req: B14
async fn an_unready_task_gets_no_traffic(runtime: Runtime) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    let ready = ["--ready-http", "8080/ready", "--ready-interval", "200ms", "--ready-retries", "1"];
    create_web(&node, runtime, "web", &[&ready[..], &["--replicas", "2"]].concat()).await?;
    let addresses = resolve(&node, "web.warren.", 2).await?;
    http::post(addresses[0], "/admin/faults", "never_ready=1").await?;
    let left = resolve(&node, "web.warren.", 1).await?;
    ensure!(left == addresses[1..], "{left:?} of {addresses:?}");
    http::post(addresses[0], "/admin/faults", "never_ready=0").await?;
    ensure!(resolve(&node, "web.warren.", 2).await? == addresses);
    let shown = tasks(&node, "web").await?;
    ensure!(
        shown.iter().all(|task| task["restarts"] == 0),
        "readiness restarts nothing: {shown:?}"
    );
    Ok(())
}

async fn a_task_that_crashes_again_and_again_is_shown_as_such(
    runtime: Runtime,
) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    let image = runtime.web_image("v1").await?;
    let create = ["service", "create", "sick", "--image", &image, "--restart-delay", "100ms"];
    let said = node.command(&[&create[..], &["--detach", "--", "exit", "9"]].concat()).await?;
    ensure!(said.code == Some(0), "{said:?}");
    wait::until("the crash loop is visible", SOON, async || {
        let why = node.ok(&["why", "sick"]).await?;
        let shown = node.ok(&["service", "ls"]).await?;
        ensure!(why.contains('9') && shown.contains("crash-looping"), "{why}\n{shown}");
        Ok(())
    })
    .await
}

async fn a_task_that_waits_for_its_restart_is_shown_as_such(
    runtime: Runtime,
) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    let image = runtime.web_image("v1").await?;
    let create = ["service", "create", "sick", "--image", &image, "--restart-delay", "1m"];
    node.ok(&[&create[..], &["--detach", "--", "exit", "9"]].concat()).await?;
    wait::until("the task waits for its restart", SOON, async || {
        let shown = node.ok(&["service", "ps", "sick"]).await?;
        ensure!(shown.contains("restarting") && shown.contains("restart 1 of 5"), "{shown}");
        Ok(())
    })
    .await
}

async fn its_logs_and_commands_can_be_had(runtime: Runtime) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    create_web(&node, runtime, "web", &[]).await?;
    let logs = node.ok(&["service", "logs", "web"]).await?;
    ensure!(logs.contains("web v1 listens on"), "{logs}");
    // Inside a container the program is at the root; a process runs its own copy, which has its path.
    let program = match runtime {
        Runtime::Docker => "/web".to_owned(),
        Runtime::Process => runtime.web_image("v1").await?,
    };
    let said = node.command(&["service", "exec", "web", "--", &program, "exit", "5"]).await?;
    ensure!(said.code == Some(5), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_neighbour_finds_it_by_its_short_name() {
    let runtime = Runtime::Docker;
    if warren_test::image::docker().await.is_none() {
        let name = "node::service::a_neighbour_finds_it_by_its_short_name";
        return warren_test::skip(name, "no Docker engine answers");
    }
    let node = Node::start(runtime).await.unwrap();
    create_web(&node, runtime, "web", &[]).await.unwrap();
    create_web(&node, runtime, "neighbour", &[]).await.unwrap();
    let get = ["/web", "get", "http://web:8080/"];
    let exec = ["service", "exec", "neighbour", "--"];
    let answer = node.ok(&[&exec[..], &get].concat()).await.unwrap();
    assert!(answer.contains("\"version\":\"v1\""), "{answer}");
}
