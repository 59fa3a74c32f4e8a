//! Images of a registry: accounts, digests, pulling, cleaning up.

use super::{Engine, with_engine};
use crate::support::probe;
use crate::support::registry::{PASSWORD, Registry, USER};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::query_parameters::{
    ListImagesOptionsBuilder, ListNetworksOptionsBuilder, RemoveImageOptions,
    TagImageOptionsBuilder,
};
use std::sync::Arc;
use tokio::sync::watch;
use warren_core::spec::{Image, PullPolicy};
use warren_drivers::runtime::contract::{Bench, Fixture};
use warren_drivers::runtime::docker::DockerOptions;
use warren_drivers::runtime::{
    ContainerRuntime, Credentials, Options, PullProgress, RuntimeError, open,
};

async fn registry() -> (Registry, Image, Credentials) {
    let registry = Registry::serve(&std::fs::read(probe()).unwrap()).await;
    let image = format!("{}/team/probe:v1", registry.address).parse().unwrap();
    let credentials = Credentials { username: USER.into(), password: PASSWORD.into() };
    (registry, image, credentials)
}

async fn tags(engine: &Engine) -> Vec<String> {
    let query = ListImagesOptionsBuilder::new().build();
    let images = engine.docker.list_images(Some(query)).await.unwrap();
    let short = &engine.scope.cluster[..8];
    images.into_iter().flat_map(|image| image.repo_tags).filter(|tag| tag.contains(short)).collect()
}

/// With a `config.json` as `docker login` writes it.
async fn logged_in(engine: &Engine, registry: &Registry) -> Arc<dyn ContainerRuntime> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let config = serde_json::json!({"auths": {&registry.address: {"auth": auth}}});
    std::fs::write(&file, config.to_string()).unwrap();
    let options =
        DockerOptions { registry_config: Some(file), ..DockerOptions::new(engine.scope.clone()) };
    let runtime = open(Options::Docker(options)).await.unwrap();
    let image = format!("{}/team/probe:v1", registry.address).parse().unwrap();
    let pinned = runtime.resolve(&image, PullPolicy::Always, None).await.unwrap();
    assert!(pinned.0.ends_with(&registry.digest));
    runtime
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_wants_an_account_and_says_so() {
    with_engine("a_registry_wants_an_account_and_says_so", async |engine| {
        let (registry, image, right) = registry().await;
        let runtime = engine.runtime().await;
        let wrong = Credentials { password: "wrong".into(), ..right.clone() };
        for credentials in [None, Some(&wrong)] {
            match runtime.resolve(&image, PullPolicy::Missing, credentials).await {
                Err(error @ RuntimeError::Refused { .. }) => {
                    let text = error.to_string();
                    assert!(text.contains("docker login") && !text.contains("wrong"), "{text}");
                }
                other => panic!("{other:?}"),
            }
        }
        let pinned = runtime.resolve(&image, PullPolicy::Missing, Some(&right)).await.unwrap();
        assert_eq!(pinned.0, format!("{}/team/probe@{}", registry.address, registry.digest));
        match runtime.resolve(&image, PullPolicy::Never, Some(&right)).await {
            Err(RuntimeError::ImageMissing { why, .. }) => assert!(why.contains("never"), "{why}"),
            other => panic!("{other:?}"),
        }
        let absent = format!("{}/team/probe:v2", registry.address).parse().unwrap();
        match runtime.resolve(&absent, PullPolicy::Missing, Some(&right)).await {
            Err(RuntimeError::ImageMissing { why, .. }) => assert!(why.contains("tag"), "{why}"),
            other => panic!("{other:?}"),
        }
        logged_in(engine, &registry).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulled_image_runs_and_goes_when_nothing_needs_it() {
    with_engine("a_pulled_image_runs_and_goes_when_nothing_needs_it", async |engine| {
        let (registry, image, account) = registry().await;
        let bench = Bench::new(engine).await.unwrap();
        let runtime = &bench.runtime;
        let pinned = runtime.resolve(&image, PullPolicy::Missing, Some(&account)).await.unwrap();
        let (progress, seen) = watch::channel(PullProgress::default());
        let refused = runtime.pull(&pinned, &image, None, &progress).await;
        assert!(matches!(refused, Err(RuntimeError::Refused { .. })), "{refused:?}");
        runtime.pull(&pinned, &image, Some(&account), &progress).await.unwrap();
        let done = *seen.borrow();
        assert_eq!((done.layers, done.layers_done), (1, 1), "{done:?}");
        // The registry is not asked again.
        drop(registry);
        runtime.pull(&pinned, &image, None, &progress).await.unwrap();
        let local = runtime.resolve(&pinned.0.parse().unwrap(), PullPolicy::Never, None).await;
        assert_eq!(local.as_ref(), Ok(&pinned));

        runtime.pin(&pinned).await.unwrap();
        let mut spec = bench.spec(1, &["exit", "4"]);
        spec.image = pinned.clone();
        let (id, exit, _) = bench.output(&spec).await.unwrap();
        assert_eq!(exit.code, Some(4));
        assert_eq!(runtime.cleanup(&[]).await.unwrap(), [], "a container needs it");
        runtime.remove(&id).await.unwrap();
        assert_eq!(runtime.cleanup(std::slice::from_ref(&pinned)).await.unwrap(), []);
        assert_eq!(runtime.cleanup(&[]).await.unwrap(), std::slice::from_ref(&pinned));
        let gone = runtime.pin(&pinned).await;
        assert!(matches!(gone, Err(RuntimeError::ImageMissing { .. })), "{gone:?}");
        let missing = runtime.resolve(&image, PullPolicy::Missing, Some(&account)).await;
        assert!(matches!(missing, Err(RuntimeError::Unavailable { .. })), "{missing:?}");
    })
    .await;
}

#[tokio::test]
async fn images_of_others_lose_only_our_pins() {
    with_engine("images_of_others_lose_only_our_pins", async |engine| {
        let bench = Bench::new(engine).await.unwrap();
        bench.runtime.pin(&bench.image).await.unwrap();
        assert_eq!(tags(engine).await.len(), 2);
        assert_eq!(bench.runtime.cleanup(&[]).await.unwrap(), []);
        assert_eq!(tags(engine).await, std::slice::from_ref(&engine.image));
        let name = engine.image.parse().unwrap();
        let still = bench.runtime.resolve(&name, PullPolicy::Never, None).await;
        assert_eq!(still.as_ref(), Ok(&bench.image));
    })
    .await;
}

#[tokio::test]
async fn a_pin_goes_unless_it_is_the_only_name() {
    with_engine("a_pin_goes_unless_it_is_the_only_name", async |engine| {
        let bench = Bench::new(engine).await.unwrap();
        bench.runtime.pin(&bench.image).await.unwrap();
        let before = tags(engine).await;
        let pin = before.iter().find(|tag| **tag != engine.image).unwrap();
        engine.docker.remove_image(&engine.image, None::<RemoveImageOptions>, None).await.unwrap();
        bench.runtime.unpin().await.unwrap();
        assert_eq!(tags(engine).await, std::slice::from_ref(pin), "the image would be gone");
        let (repo, tag) = engine.image.rsplit_once(':').unwrap();
        let query = TagImageOptionsBuilder::new().repo(repo).tag(tag).build();
        engine.docker.tag_image(pin, Some(query)).await.unwrap();
        bench.runtime.unpin().await.unwrap();
        assert_eq!(tags(engine).await, std::slice::from_ref(&engine.image));
    })
    .await;
}

#[tokio::test]
async fn leaving_keeps_only_what_is_not_ours() {
    with_engine("leaving_keeps_only_what_is_not_ours", async |engine| {
        let bench = Bench::new(engine).await.unwrap();
        bench.runtime.pin(&bench.image).await.unwrap();
        bench.run(&bench.spec(1, &["sleep"])).await.unwrap();
        let foreign = format!("foreign-{}", engine.scope.cluster);
        // A container of somebody else holds no pin of ours.
        engine.squat(&foreign).await.unwrap();
        bench.runtime.leave().await.unwrap();
        assert_eq!(tags(engine).await, std::slice::from_ref(&engine.image));
        let query = ListNetworksOptionsBuilder::new().filters(&engine.ours()).build();
        assert_eq!(engine.docker.list_networks(Some(query)).await.unwrap(), []);
        engine.docker.inspect_container(&foreign, None).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulled_image_that_somebody_named_stays() {
    with_engine("a_pulled_image_that_somebody_named_stays", async |engine| {
        let (_registry, image, account) = registry().await;
        let runtime = engine.runtime().await;
        let pinned = runtime.resolve(&image, PullPolicy::Missing, Some(&account)).await.unwrap();
        let (progress, _) = watch::channel(PullProgress::default());
        runtime.pull(&pinned, &image, Some(&account), &progress).await.unwrap();
        let repo = format!("warren-test-{}-mine", engine.scope.cluster);
        let query = TagImageOptionsBuilder::new().repo(&repo).tag("v1").build();
        engine.docker.tag_image(&pinned.0, Some(query)).await.unwrap();
        assert_eq!(runtime.cleanup(&[]).await.unwrap(), []);
        let mut left = tags(engine).await;
        left.sort();
        assert_eq!(left, [format!("{repo}:v1"), engine.image.clone()]);
        engine.docker.remove_image(&pinned.0, None::<RemoveImageOptions>, None).await.unwrap();
    })
    .await;
}
