//! The Docker runtime: the contract, and what only Docker does.

mod engine;
mod images;
mod options;

use crate::support::tar::{Entry, archive};
use crate::support::{Check, and_then_clean, probe, random, scope, skip};
use async_trait::async_trait;
use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ListContainersOptionsBuilder,
    ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptions, RemoveVolumeOptions,
};
use futures::StreamExt;
use ipnet::Ipv4Net;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use warren_core::spec::{Image, Template};
use warren_drivers::runtime::contract::{Broken, Fixture};
use warren_drivers::runtime::docker::DockerOptions;
use warren_drivers::runtime::{
    ContainerRuntime, NetworkSpec, Options, RuntimeError, Scope, label, open,
};

warren_drivers::runtime_contract!(check);

async fn check(name: &str, check: Check) {
    with_engine(name, async |engine| check(engine).await.unwrap()).await;
}

/// Runs a test on the engine of this machine and cleans up after it; without one the test is skipped aloud.
async fn with_engine(name: &str, test: impl AsyncFnOnce(&Engine)) {
    let engine = match Engine::new().await {
        Ok(engine) => engine,
        Err(error) => return skip(&format!("docker::{name}"), &error.to_string()),
    };
    and_then_clean(test(&engine), engine.clean()).await;
}

/// The engine of this machine, with an image and a network of this test alone.
struct Engine {
    docker: Docker,
    scope: Scope,
    network: NetworkSpec,
    image: String,
}

impl Engine {
    async fn new() -> Result<Self, RuntimeError> {
        let scope = scope();
        let runtime = open(Options::Docker(DockerOptions::new(scope.clone()))).await?;
        let docker = Docker::connect_with_unix_defaults().unwrap();
        let network = network(&*runtime).await?;
        let image = format!("warren-test-{}:v1", &scope.cluster);
        let engine = Self { docker, scope, network, image };
        engine.import().await;
        Ok(engine)
    }

    /// Makes an image out of the probe program alone.
    async fn import(&self) {
        let program = std::fs::read(probe()).unwrap();
        let files = [
            Entry { path: "proc/", mode: 0o755, content: b"" },
            Entry { path: "probe", mode: 0o755, content: &program },
        ];
        let (repo, tag) = self.image.split_once(':').unwrap();
        let query = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo(repo)
            .tag(tag)
            .changes(vec!["ENTRYPOINT [\"/probe\"]".to_owned()])
            .build();
        let body = bollard::body_full(archive(&files).into());
        let mut steps = self.docker.create_image(Some(query), Some(body), None);
        while let Some(step) = steps.next().await {
            step.unwrap();
        }
    }

    async fn runtime(&self) -> Arc<dyn ContainerRuntime> {
        open(Options::Docker(DockerOptions::new(self.scope.clone()))).await.unwrap()
    }

    fn ours(&self) -> HashMap<String, Vec<String>> {
        let ours = format!("{}={}", label::CLUSTER, self.scope.cluster);
        HashMap::from([("label".to_owned(), vec![ours])])
    }

    /// Removes everything that carries this test's cluster, and nothing else.
    async fn clean(&self) {
        let query = ListContainersOptionsBuilder::new().all(true).filters(&self.ours()).build();
        for container in self.docker.list_containers(Some(query)).await.unwrap() {
            let force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            // It may be gone since it was listed.
            let _ = self.docker.remove_container(&container.id.unwrap(), Some(force)).await;
        }
        let query = ListNetworksOptionsBuilder::new().filters(&self.ours()).build();
        for network in self.docker.list_networks(Some(query)).await.unwrap() {
            self.docker.remove_network(&network.id.unwrap()).await.unwrap();
        }
        let mine = HashMap::from([("name".to_owned(), vec![self.scope.cluster.clone()])]);
        let query = ListVolumesOptionsBuilder::new().filters(&mine).build();
        for volume in self.docker.list_volumes(Some(query)).await.unwrap().volumes.unwrap() {
            self.docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>).await.unwrap();
        }
        let query = ListImagesOptionsBuilder::new().build();
        for image in self.docker.list_images(Some(query)).await.unwrap() {
            let is_mine = |tag: &String| tag.contains(&self.scope.cluster[..8]);
            if image.repo_tags.iter().any(is_mine) {
                for name in image.repo_tags.iter().chain(&image.repo_digests) {
                    // With its last tag the image itself is gone.
                    let _ = self.docker.remove_image(name, None::<RemoveImageOptions>, None).await;
                }
            }
        }
    }
}

/// A free network: others may have part of the range, so it is tried again.
async fn network(runtime: &dyn ContainerRuntime) -> Result<NetworkSpec, RuntimeError> {
    for _ in 0..50 {
        let random = random();
        let bytes = random.to_le_bytes();
        let base = Ipv4Addr::new(10, 200 + bytes[0] % 20, bytes[1], 0);
        let spec = NetworkSpec {
            name: format!("wt{random:016x}")[..12].to_owned(),
            subnet: Ipv4Net::new(base, 24).unwrap(),
            gateway: Ipv4Addr::from(u32::from(base) + 1),
            mtu: None,
        };
        match runtime.prepare_network(&spec).await {
            Ok(()) => return Ok(spec),
            Err(RuntimeError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    panic!("no subnet of 10.200.0.0 to 10.219.255.255 is free");
}

#[async_trait]
impl Fixture for Engine {
    async fn open(&self, scope: Scope) -> Result<Arc<dyn ContainerRuntime>, RuntimeError> {
        open(Options::Docker(DockerOptions::new(scope))).await
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn image(&self) -> Image {
        self.image.parse().unwrap()
    }

    fn program(&self) -> String {
        "/probe".to_owned()
    }

    fn network(&self) -> NetworkSpec {
        self.network.clone()
    }

    fn absent_image(&self) -> Image {
        format!("warren-test-{}-absent:v1", self.scope.cluster).parse().unwrap()
    }

    async fn unrunnable(&self, template: Template) -> Result<Template, Broken> {
        Ok(Template { command: vec!["/no/such/program".into()], ..template })
    }

    async fn squat(&self, name: &str) -> Result<(), Broken> {
        let query = CreateContainerOptionsBuilder::new().name(name).build();
        let body = ContainerCreateBody {
            image: Some(self.image.clone()),
            // Enough for the test to find it again, not enough to be Warren's.
            labels: Some(HashMap::from([(label::CLUSTER.into(), self.scope.cluster.clone())])),
            ..Default::default()
        };
        self.docker.create_container(Some(query), body).await?;
        Ok(())
    }
}
