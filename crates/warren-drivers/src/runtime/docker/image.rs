//! Which bytes a name means, bringing them here, and letting them go.
//!
//! What Warren keeps of images is written on the images themselves, as tags of two repositories of its
//! own: `warren-pin/…` on every image that a task may still need, which keeps `docker image prune` away
//! from it, and `warren-pulled/…` on those that Warren itself brought here, which it may remove again.

use crate::runtime::docker::DockerOptions;
use crate::runtime::docker::auth;
use crate::runtime::docker::client::{CHANGE, Client, READ, REGISTRY, ours, timeout};
use crate::runtime::{Credentials, PullProgress, RuntimeError, Scope};
use bollard::errors::Error;
use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
    RemoveImageOptions, TagImageOptionsBuilder,
};
use futures::StreamExt;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::sync::watch;
use warren_core::spec::{Image, PinnedImage, PullPolicy};

/// The longest silence of a pull: unpacking a large layer says nothing for minutes on a slow disk.
const PULL_SILENCE: Duration = Duration::from_secs(300);

/// Layers of one image that progress is counted for; an image has at most 127.
const LAYERS_MAX: usize = 256;

/// What image ids and digests begin with.
const SHA256: &str = "sha256:";

pub(super) async fn resolve(
    client: &Client,
    options: &DockerOptions,
    image: &Image,
    pull: PullPolicy,
    credentials: Option<&Credentials>,
) -> Result<PinnedImage, RuntimeError> {
    let name = image.as_str();
    let local = match pull {
        PullPolicy::Missing | PullPolicy::Never => find(client, name).await?,
        PullPolicy::Always => None,
    };
    match (local, pull) {
        (Some(found), _) => Ok(pinned(name, &found)),
        (None, PullPolicy::Never) => Err(RuntimeError::ImageMissing {
            image: name.to_owned(),
            why: "this machine does not have it and its pull policy is never: load it here \
                  (docker load, docker pull), or let it be pulled (--pull missing)"
                .to_owned(),
        }),
        (None, PullPolicy::Missing | PullPolicy::Always) => {
            ask_registry(client, options, name, credentials).await
        }
    }
}

/// What `name` means on this machine.
async fn find(client: &Client, name: &str) -> Result<Option<ImageInspect>, RuntimeError> {
    let what = format!("image {name}");
    match client.call(&what, READ, client.docker.inspect_image(name)).await {
        Ok(found) => Ok(Some(found)),
        Err(RuntimeError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The image's digest in the registry of that name, else its id.
fn pinned(name: &str, found: &ImageInspect) -> PinnedImage {
    let wanted = familiar(repository(name));
    let digests = found.repo_digests.iter().flatten();
    let known = digests
        .filter(|digest| familiar(repository(digest)) == wanted)
        .find(|digest| name.split_once('@').is_none_or(|(_, asked)| digest.ends_with(asked)));
    let id = || found.id.clone().unwrap_or_default();
    PinnedImage(known.cloned().unwrap_or_else(id))
}

async fn ask_registry(
    client: &Client,
    options: &DockerOptions,
    name: &str,
    credentials: Option<&Credentials>,
) -> Result<PinnedImage, RuntimeError> {
    let config = options.registry_config.as_deref();
    let credentials = auth::credentials(name, credentials, config).await?;
    let call = client.docker.inspect_registry_image(name, credentials);
    let answer = match tokio::time::timeout(REGISTRY, call).await {
        Ok(answer) => answer.map_err(|error| registry_error(client, name, &error))?,
        Err(_) => return Err(timeout(&format!("asking the registry for {name}"), REGISTRY)),
    };
    let digest = answer.descriptor.digest.ok_or_else(|| {
        client.unavailable(format!("the registry of {name} did not say its digest"))
    })?;
    Ok(PinnedImage(format!("{}@{digest}", repository(name))))
}

pub(super) async fn pull(
    client: &Client,
    options: &DockerOptions,
    image: &PinnedImage,
    credentials: Option<&Credentials>,
    progress: &watch::Sender<PullProgress>,
) -> Result<(), RuntimeError> {
    let name = image.0.as_str();
    if find(client, name).await?.is_some() {
        return Ok(());
    }
    if name.starts_with(SHA256) {
        return Err(RuntimeError::ImageMissing {
            image: name.to_owned(),
            why: "no registry knows it, and this machine does not have it: load it on every node \
                  (docker save, docker load), or push it to a registry"
                .to_owned(),
        });
    }
    let config = options.registry_config.as_deref();
    let credentials = auth::credentials(name, credentials, config).await?;
    let query = CreateImageOptionsBuilder::new().from_image(name).build();
    let mut steps = client.docker.create_image(Some(query), None, credentials);
    let mut layers = HashMap::new();
    loop {
        let next = tokio::time::timeout(PULL_SILENCE, steps.next()).await;
        match next
            .map_err(|_| timeout(&format!("the next step of pulling {name}"), PULL_SILENCE))?
        {
            None => break,
            Some(Err(error)) => return Err(registry_error(client, name, &error)),
            Some(Ok(step)) => {
                count(&mut layers, step);
                progress.send_replace(sum(&layers));
            }
        }
    }
    tag(client, name, &repository_of(PULLED, &options.scope), hex_of(name)).await
}

#[derive(Default)]
struct Layer {
    done: bool,
    fetched: u64,
    size: u64,
}

fn count(layers: &mut HashMap<String, Layer>, step: CreateImageInfo) {
    let (Some(id), Some(status)) = (step.id, step.status) else { return };
    // Steps that name the image instead of a layer.
    if status.starts_with("Pulling from") || layers.len() >= LAYERS_MAX {
        return;
    }
    let layer = layers.entry(id).or_default();
    if matches!(status.as_str(), "Pull complete" | "Already exists") {
        layer.done = true;
        layer.fetched = layer.size;
    } else if let (Some(detail), "Downloading") = (step.progress_detail, status.as_str()) {
        let number = |value: Option<i64>| value.and_then(|n| u64::try_from(n).ok());
        layer.fetched = number(detail.current).unwrap_or(layer.fetched);
        layer.size = number(detail.total).unwrap_or(layer.size);
    }
}

fn sum(layers: &HashMap<String, Layer>) -> PullProgress {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    PullProgress {
        layers_done: count(layers.values().filter(|layer| layer.done).count()),
        layers: count(layers.len()),
        bytes_done: layers.values().map(|layer| layer.fetched).sum(),
        bytes: layers.values().map(|layer| layer.size).sum(),
    }
}

/// What the engine passes on from a registry: its status codes do not tell who is at fault, its words do.
fn registry_error(client: &Client, name: &str, error: &Error) -> RuntimeError {
    let why = match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error.trim().to_owned(),
        other => return client.meaning(name, other),
    };
    let text = why.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let registry = auth::registry(name);
    if says(&[
        "unauthorized",
        "no basic auth",
        "authentication required",
        "denied",
        "incorrect user",
    ]) {
        let what = format!("image {name}");
        let why = format!(
            "{registry} refuses it with these credentials ({why}): check the name, or log in on the \
             node (docker login {registry})"
        );
        return RuntimeError::Refused { what, why };
    }
    if says(&["manifest unknown", "not found", "name unknown", "no such", "does not exist"])
        && !says(&["no such host"])
    {
        return RuntimeError::ImageMissing {
            image: name.to_owned(),
            why: format!(
                "neither this machine nor {registry} has it ({why}): check the name and tag, or push it"
            ),
        };
    }
    let runtime = format!("the registry {registry}, needed for {name},");
    RuntimeError::Unavailable { runtime, why }
}

const PIN: &str = "warren-pin";
const PULLED: &str = "warren-pulled";

pub(super) async fn pin(
    client: &Client,
    scope: &Scope,
    image: &PinnedImage,
) -> Result<(), RuntimeError> {
    let name = image.0.as_str();
    tag(client, name, &repository_of(PIN, scope), hex_of(name)).await.map_err(|error| match error {
        RuntimeError::NotFound { .. } => RuntimeError::ImageMissing {
            image: name.to_owned(),
            why: "it is not on this machine: pull it first".to_owned(),
        },
        other => other,
    })
}

async fn tag(client: &Client, name: &str, repo: &str, tag: &str) -> Result<(), RuntimeError> {
    let query = TagImageOptionsBuilder::new().repo(repo).tag(tag).build();
    let call = client.docker.tag_image(name, Some(query));
    client.call(&format!("image {name}"), CHANGE, call).await
}

pub(super) async fn cleanup(
    client: &Client,
    scope: &Scope,
    keep: &[PinnedImage],
) -> Result<Vec<PinnedImage>, RuntimeError> {
    let keep: BTreeSet<&str> = keep.iter().map(|image| hex_of(&image.0)).collect();
    let mut removed = Vec::new();
    for (id, names) in named(client, scope).await? {
        let mut kept = names.pins.iter().chain(&names.pulled);
        let is_needed = in_use(client, &id, ours(scope)).await?;
        if is_needed || kept.any(|tag| keep.contains(hex_of(tag))) {
            continue;
        }
        for tag in &names.pins {
            untag(client, tag).await?;
        }
        if names.has_others {
            for tag in &names.pulled {
                untag(client, tag).await?;
            }
        }
        // Somebody else's container needs it now; it goes when that has.
        let is_free = !in_use(client, &id, HashMap::new()).await?;
        if names.pulled.is_empty() || names.has_others || !is_free {
            continue;
        }
        // The tag that says it is ours to remove goes last: an attempt cut short is taken up again.
        for name in names.digests.iter().chain(&names.pulled) {
            untag(client, name).await?;
        }
        removed.extend(names.digests.into_iter().map(PinnedImage));
    }
    Ok(removed)
}

pub(super) async fn unpin(client: &Client, scope: &Scope) -> Result<(), RuntimeError> {
    for (_, names) in named(client, scope).await? {
        if names.has_others || !names.pulled.is_empty() {
            for tag in &names.pins {
                untag(client, tag).await?;
            }
        }
    }
    Ok(())
}

/// The images that Warren has given a name to, by their ids.
async fn named(client: &Client, scope: &Scope) -> Result<Vec<(String, Names)>, RuntimeError> {
    let repositories = [PIN, PULLED].map(|kind| repository_of(kind, scope));
    let filters = HashMap::from([("reference".to_owned(), repositories.to_vec())]);
    let query = ListImagesOptionsBuilder::new().filters(&filters).build();
    let listing = client.docker.list_images(Some(query));
    let mut all = Vec::new();
    for image in client.call("listing images", READ, listing).await? {
        // A filtered list leaves out the names that the filter does not match.
        if let Some(found) = find(client, &image.id).await? {
            all.push((image.id, Names::of(found, &repositories)));
        }
    }
    Ok(all)
}

/// The names of one image.
struct Names {
    /// Tags of Warren that keep it.
    pins: Vec<String>,
    /// Tags of Warren that say that it brought the image here.
    pulled: Vec<String>,
    /// Whether anybody else has given it a name.
    has_others: bool,
    /// Its names in registries.
    digests: Vec<String>,
}

impl Names {
    fn of(image: ImageInspect, [pins, pulled]: &[String; 2]) -> Self {
        let tags = image.repo_tags.unwrap_or_default();
        let (pins, tags): (Vec<_>, Vec<_>) =
            tags.into_iter().partition(|tag| repository(tag) == pins);
        let (pulled, others): (Vec<_>, Vec<_>) =
            tags.into_iter().partition(|tag| repository(tag) == pulled);
        let digests = image.repo_digests.unwrap_or_default();
        Self { pins, pulled, has_others: !others.is_empty(), digests }
    }
}

/// Whether a container that passes `filters` is made from the image.
async fn in_use(
    client: &Client,
    image: &str,
    mut filters: HashMap<String, Vec<String>>,
) -> Result<bool, RuntimeError> {
    filters.insert("ancestor".to_owned(), vec![image.to_owned()]);
    let query = ListContainersOptionsBuilder::new().all(true).limit(1).filters(&filters).build();
    let listing = client.docker.list_containers(Some(query));
    Ok(!client.call("listing containers", READ, listing).await?.is_empty())
}

async fn untag(client: &Client, reference: &str) -> Result<(), RuntimeError> {
    let call = client.docker.remove_image(reference, None::<RemoveImageOptions>, None);
    match client.call(&format!("image {reference}"), CHANGE, call).await {
        // Gone already, or a container began to use it just now: the next cleanup sees to it.
        Ok(_) | Err(RuntimeError::NotFound { .. } | RuntimeError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Warren's repository of a kind: one for each node, as several nodes may share an engine.
fn repository_of(kind: &str, scope: &Scope) -> String {
    let cluster: String = scope.cluster.chars().take(8).collect();
    format!("{kind}/{}-{}", cluster.to_ascii_lowercase(), scope.node)
}

/// The digits of an id or a digest, which are the tag under which Warren keeps the image.
fn hex_of(pinned: &str) -> &str {
    pinned.rsplit(':').next().unwrap_or(pinned)
}

/// A reference without its tag and digest.
fn repository(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        Some(_) | None => name,
    }
}

/// A repository as the engine shows it.
fn familiar(repository: &str) -> &str {
    let short = repository.strip_prefix("docker.io/").unwrap_or(repository);
    short.strip_prefix("library/").unwrap_or(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_a_reference_without_tag_and_digest() {
        for (reference, wanted) in [
            ("web", "web"),
            ("web:v1", "web"),
            ("127.0.0.1:5000/web", "127.0.0.1:5000/web"),
            ("127.0.0.1:5000/web:v1", "127.0.0.1:5000/web"),
            ("r.example/team/web:v1@sha256:aa", "r.example/team/web"),
        ] {
            assert_eq!(repository(reference), wanted);
        }
        assert_eq!(familiar("docker.io/library/web"), "web");
        assert_eq!(familiar("docker.io/team/web"), "team/web");
    }

    #[test]
    fn an_image_is_pinned_by_the_digest_of_its_own_registry_or_else_by_its_id() {
        let found = ImageInspect {
            id: Some("sha256:1d".into()),
            repo_digests: Some(vec!["a.example/web@sha256:0a".into(), "web@sha256:0b".into()]),
            ..Default::default()
        };
        assert_eq!(pinned("a.example/web:v1", &found).0, "a.example/web@sha256:0a");
        assert_eq!(pinned("docker.io/library/web", &found).0, "web@sha256:0b");
        assert_eq!(pinned("other:v1", &found).0, "sha256:1d");
    }

    #[test]
    fn progress_counts_layers_and_bytes() {
        let step = |id: &str, status: &str, detail: Option<(i64, i64)>| CreateImageInfo {
            id: Some(id.into()),
            status: Some(status.into()),
            progress_detail: detail.map(|(current, total)| bollard::models::ProgressDetail {
                current: Some(current),
                total: Some(total),
            }),
            ..Default::default()
        };
        let mut layers = HashMap::new();
        count(&mut layers, step("v1", "Pulling from web", None));
        count(&mut layers, step("a", "Pulling fs layer", None));
        count(&mut layers, step("b", "Downloading", Some((10, 40))));
        let wanted = PullProgress { layers_done: 0, layers: 2, bytes_done: 10, bytes: 40 };
        assert_eq!(sum(&layers), wanted);
        count(&mut layers, step("b", "Pull complete", None));
        count(&mut layers, step("a", "Already exists", None));
        let wanted = PullProgress { layers_done: 2, layers: 2, bytes_done: 40, bytes: 40 };
        assert_eq!(sum(&layers), wanted);
    }
}
