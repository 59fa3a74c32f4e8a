//! `make demo`: one node, one service, one accident, four releases. It says what one sees and leaves nothing
//! behind, also on Ctrl-C.
//!
//! Every line that begins with `$` is a command that a person would type; the same binary runs it.

mod releases;

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use warren_test::cluster::{Node, PORT, Runtime};
use warren_test::release::Web;
use warren_test::{dns, http, image, wait};

/// How long anything here may take; each step says what it waited for when it is over.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let start = Instant::now();
    tokio::select! {
        done = show() => done?,
        _ = tokio::signal::ctrl_c() => {
            say("\nInterrupted: the node, its tasks and its folder are being removed.");
            return image::forget().await;
        }
    }
    image::forget().await?;
    say(&format!(
        "\nThat took {:.0} s. Everything it made is gone.",
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads any more: the demo goes on to its end, where it cleans up.
    let _ = writeln!(out, "{text}");
}

fn step(number: u8, text: &str) {
    say(&format!("\n\x1b[1m{number}. {text}\x1b[0m"));
}

/// Runs a command of the node, shows it as typed, and what it printed.
async fn run(node: &Node, arguments: &[&str]) -> anyhow::Result<()> {
    say(&format!("   $ warren {}", arguments.join(" ")));
    for line in node.ok(arguments).await?.lines() {
        say(&format!("     {line}"));
    }
    Ok(())
}

async fn show() -> anyhow::Result<()> {
    let runtime = if image::docker().await.is_some() { Runtime::Docker } else { Runtime::Process };
    step(1, "A node. It is manager, agent and DNS server in one process.");
    let node = Node::start(runtime).await?;
    say(&format!("   It runs tasks with the {} runtime, in a folder of its own.", runtime.name()));
    run(&node, &["status"]).await?;

    step(2, "A service: three tasks of a small web server, probed over HTTP.");
    let image = runtime.web_image("v1").await?;
    let health = format!("{PORT}/health");
    let port = format!("http={PORT}");
    let create =
        ["service", "create", "web", "--image", &image, "--replicas", "3", "--port", &port];
    let fast = ["--health-http", &health, "--health-interval", "500ms", "--min-ready", "1s"];
    run(&node, &[&create[..], &fast[..]].concat()).await?;
    run(&node, &["service", "ps", "web"]).await?;
    let first = Web::of(&node, "web", image.clone()).end().await?;
    ensure!(first.outcome == "completed", "{first:#?}");
    say("   It was ready for long enough: v1 is stable, and what a later release goes back to.");

    step(3, "Its name resolves, and every address answers.");
    let before = addresses(&node, 3).await?;
    greet(&before).await?;

    step(4, "An accident: one task is told to crash.");
    let (status, _) = http::post(before[0], "/admin/faults", "crash_after_s=0").await?;
    say(&format!("   {} was told so (HTTP {status}).", before[0]));
    heal(&node, before[0]).await?;
    run(&node, &["service", "ps", "web"]).await?;

    step(5, "More of it.");
    run(&node, &["service", "scale", "web", "5"]).await?;
    greet(&addresses(&node, 5).await?).await?;

    step(
        6,
        "The node is to be drained. There is no other, so its tasks stay, and Warren says why.",
    );
    let name = node_name(&node).await?;
    run(&node, &["node", "drain", &name]).await?;
    run(&node, &["why", "web"]).await?;
    run(&node, &["node", "activate", &name]).await?;
    addresses(&node, 5).await?;
    say("   Active again; nothing was lost.");

    releases::show(&node, runtime).await?;

    step(11, "What happened, in order.");
    run(&node, &["events"]).await?;

    step(12, "The end: out of traffic first, then stopped, then gone.");
    run(&node, &["service", "rm", "web", "--yes"]).await
}

/// The addresses that the name resolves to, once there are as many as wanted.
async fn addresses(node: &Node, wanted: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let server = node.dns_address()?;
    wait::until("the name has all its addresses", STEP_TIME_MAX, async || {
        let mut found = dns::addresses(server, "web.warren.").await?;
        found.sort_unstable();
        ensure!(found.len() == wanted, "{} of {wanted}", found.len());
        Ok(found.into_iter().map(|address| SocketAddr::new(address, PORT)).collect())
    })
    .await
}

async fn greet(addresses: &[SocketAddr]) -> anyhow::Result<()> {
    for address in addresses {
        let (status, text) = http::get(*address, "/").await?;
        say(&format!("   web.warren -> {address} -> {status} {}", text.trim()));
    }
    Ok(())
}

/// Watches the crashed address leave the answers and come back.
async fn heal(node: &Node, crashed: SocketAddr) -> anyhow::Result<()> {
    let server = node.dns_address()?;
    let start = Instant::now();
    wait::until("the crashed task leaves the answers", STEP_TIME_MAX, async || {
        let found = dns::addresses(server, "web.warren.").await?;
        ensure!(!found.contains(&crashed.ip()), "it is still in the answers");
        Ok(())
    })
    .await?;
    say(&format!("   Out of the answers after {} ms.", start.elapsed().as_millis()));
    addresses(node, 3).await?;
    say(&format!("   Three again after {:.1} s.", start.elapsed().as_secs_f64()));
    Ok(())
}

async fn node_name(node: &Node) -> anyhow::Result<String> {
    let nodes = node.json(&["node", "ls"]).await?;
    let name = nodes.pointer("/0/hostname").or_else(|| nodes.pointer("/nodes/0/hostname"));
    Ok(name.and_then(|name| name.as_str()).context("the node has a name")?.to_owned())
}
