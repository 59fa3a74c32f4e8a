//! The demo workload as an image: it runs alone in a container, and its tools see the world from inside one.

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptions, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, WaitContainerOptions,
};
use futures::StreamExt as _;
use warren_test::image;

/// Runs the image with these arguments, and gives what it printed and its exit code.
async fn run(docker: &Docker, image: &str, arguments: &[&str]) -> anyhow::Result<(String, i64)> {
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(arguments.iter().map(|word| (*word).to_owned()).collect()),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let id = docker.create_container(None::<CreateContainerOptions>, body).await?.id;
    let outcome = run_created(docker, &id).await;
    let remove = RemoveContainerOptionsBuilder::new().force(true).build();
    docker.remove_container(&id, Some(remove)).await?;
    outcome
}

async fn run_created(docker: &Docker, id: &str) -> anyhow::Result<(String, i64)> {
    docker.start_container(id, None::<StartContainerOptions>).await?;
    let code = match docker.wait_container(id, None::<WaitContainerOptions>).next().await {
        Some(Ok(answer)) => answer.status_code,
        Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
        Some(Err(error)) => return Err(error.into()),
        None => anyhow::bail!("the engine said nothing of the container's end"),
    };
    let all = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
    let mut logs = docker.logs(id, Some(all));
    let mut text = String::new();
    while let Some(line) = logs.next().await {
        text.push_str(&line?.to_string());
    }
    Ok((text, code))
}

#[tokio::test]
async fn the_image_runs_and_versions_differ() {
    let Some(docker) = image::docker().await else {
        warren_test::skip("the_image_runs_and_versions_differ", "no Docker engine answers");
        return;
    };
    let first = image::web(&docker, "v1").await.expect("an image");
    let second = image::web(&docker, "v2").await.expect("an image");
    assert_ne!(first, second);
    assert_eq!(first, image::web(&docker, "v1").await.expect("the same image"));
    assert_eq!(run(&docker, &first, &["env", "VERSION"]).await.expect("runs").0, "v1\n");
    assert_eq!(run(&docker, &second, &["env", "VERSION"]).await.expect("runs").0, "v2\n");
    assert_eq!(run(&docker, &first, &["exit", "7"]).await.expect("runs").1, 7);
    let (said, code) = run(&docker, &first, &["resolve", "web.warren."]).await.expect("runs");
    assert_eq!(code, 1, "{said}");
}
