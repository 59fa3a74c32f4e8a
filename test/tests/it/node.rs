//! One real node, seen from outside: its commands, its DNS, its tasks, and what survives it.
//!
//! Each test takes a runtime and runs once with processes and once with containers.

mod api;
mod checks;
mod clock;
mod disk;
mod engine;
mod examples;
mod faults;
mod guide;
mod hostile;
mod input;
mod passphrase;
mod releases;
mod secrets;
mod service;
mod simulate;
mod survive;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use warren_test::cluster::{Node, PORT, Runtime};
use warren_test::{dns, wait};

/// Long for anything that a node of one does; only a broken one needs it.
const SOON: Duration = Duration::from_secs(60);

/// Makes two tests of each function `async fn(Runtime) -> anyhow::Result<()>`.
macro_rules! on_each_runtime {
    ($($name:ident),* $(,)?) => {
        mod process {
            $(#[tokio::test]
            async fn $name() {
                let runtime = warren_test::cluster::Runtime::Process;
                super::$name(runtime).await.unwrap();
            })*
        }
        mod docker {
            $(#[tokio::test]
            async fn $name() {
                if warren_test::image::docker().await.is_none() {
                    let name = concat!(module_path!(), "::", stringify!($name));
                    return warren_test::skip(name, "no Docker engine answers");
                }
                let runtime = warren_test::cluster::Runtime::Docker;
                super::$name(runtime).await.unwrap();
            })*
        }
    };
}
use on_each_runtime;

/// Creates a web service and waits, as the command does, until it runs.
async fn create_web(
    node: &Node,
    runtime: Runtime,
    name: &str,
    arguments: &[&str],
) -> anyhow::Result<()> {
    let image = runtime.web_image("v1").await?;
    create_of(node, &image, name, arguments).await
}

/// As [`create_web`], of an image that is there already.
async fn create_of(node: &Node, image: &str, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let create = ["service", "create", name, "--image", image, "--port", "http=8080"];
    let fast = ["--health-http", "8080/health", "--health-interval", "500ms"];
    let patient = ["--min-ready", "0s", "--wait-timeout", "60s"];
    node.ok(&[&create[..], &fast, &patient, arguments].concat()).await?;
    Ok(())
}

/// The tasks of a service that are to run.
async fn tasks(node: &Node, service: &str) -> anyhow::Result<Vec<Value>> {
    let tasks = node.json(&["service", "ps", service]).await?;
    Ok(tasks.as_array().context("a list of tasks")?.clone())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The addresses that a name has, sorted, once there are so many.
pub(crate) async fn resolve(
    node: &Node,
    name: &str,
    count: usize,
) -> anyhow::Result<Vec<SocketAddr>> {
    let server = node.dns_address()?;
    wait::until(&format!("{name} has {count} addresses"), SOON, async || {
        let mut found = dns::addresses(server, name).await?;
        found.sort_unstable();
        ensure!(found.len() == count, "{found:?}");
        Ok(found.into_iter().map(|address| SocketAddr::new(address, PORT)).collect())
    })
    .await
}
