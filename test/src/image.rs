//! Images of the demo workload, made without a registry: one static file, handed to the engine as an archive.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bollard::Docker;
use bollard::query_parameters::{ImportImageOptions, ListImagesOptions, RemoveImageOptions};
use futures::StreamExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::binary;

/// The repository of every image made here.
pub const REPOSITORY: &str = "warren-test-web";
/// Where there is no engine its socket says so at once; one that is there may be busy with what other tests start.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// The local engine; `None` where none answers, which a test turns into [`crate::skip`].
pub async fn docker() -> Option<Docker> {
    let docker = Docker::connect_with_local_defaults().ok()?.negotiate_version().await.ok()?;
    let answer = tokio::time::timeout(ANSWER_TIME_MAX, docker.ping()).await;
    answer.is_ok_and(|ping| ping.is_ok()).then_some(docker)
}

/// The name of an image of the web server that calls itself `version`. The name holds a hash of the content, so it is
/// made once and tests that want the same one share it. Images of earlier builds of this tree are removed.
///
/// # Errors
/// Where the server cannot be built or the engine refuses the archive.
pub async fn web(docker: &Docker, version: &str) -> anyhow::Result<String> {
    made(docker, version, version, None).await
}

/// As [`web`], of an image that tells the engine how to see whether the server is well, for peers that look there.
///
/// # Errors
/// As [`web`].
pub async fn checked(docker: &Docker, version: &str) -> anyhow::Result<String> {
    const HALF_A_SECOND_NS: u64 = 500_000_000;
    let test = ["CMD", "/web", "get", "http://127.0.0.1:8080/health"];
    let check = json!({ "Test": test, "Interval": HALF_A_SECOND_NS });
    made(docker, version, &format!("{version}-checked"), Some(check)).await
}

/// As [`web`], in an engine that goes with its images.
///
/// # Errors
/// As [`web`].
pub async fn web_for_once(docker: &Docker, version: &str) -> anyhow::Result<String> {
    let program = std::fs::read(binary::web()?)?;
    let name = format!("{REPOSITORY}:{version}");
    load(docker, archive(&program, &name, version, None)).await.with_context(|| name.clone())?;
    Ok(name)
}

async fn made(
    docker: &Docker,
    version: &str,
    tag: &str,
    check: Option<Value>,
) -> anyhow::Result<String> {
    let path = binary::web()?;
    let program = std::fs::read(path)?;
    let hash = hex(&program)[..12].to_owned();
    let name = format!("{REPOSITORY}:{hash}-{tag}");
    if docker.inspect_image(&name).await.is_err() {
        let archive = archive(&program, &name, version, check);
        load(docker, archive).await.with_context(|| name.clone())?;
        forget_earlier(docker, path, &hash).await?;
    }
    Ok(name)
}

async fn load(docker: &Docker, archive: Vec<u8>) -> anyhow::Result<()> {
    let body = bollard::body_full(archive.into());
    let mut answers = docker.import_image(ImportImageOptions::default(), body, None);
    while let Some(answer) = answers.next().await {
        if let Some(error) = answer?.error_detail.and_then(|error| error.message) {
            bail!("the engine refuses the image: {error}");
        }
    }
    Ok(())
}

/// Removes every image that this target folder has made; the next test that needs one makes it again in a second.
/// Other trees on this machine keep theirs.
///
/// # Errors
/// Where the engine stops answering.
pub async fn forget() -> anyhow::Result<()> {
    let Some(docker) = docker().await else { return Ok(()) };
    let note = note_beside(binary::web()?);
    if let Ok(hash) = std::fs::read_to_string(&note) {
        remove_made_of(&docker, &hash).await?;
        std::fs::remove_file(note)?;
    }
    Ok(())
}

async fn forget_earlier(docker: &Docker, path: &Path, hash: &str) -> anyhow::Result<()> {
    let note = note_beside(path);
    let earlier = std::fs::read_to_string(&note).unwrap_or_default();
    if earlier != hash && !earlier.is_empty() {
        remove_made_of(docker, &earlier).await?;
    }
    std::fs::write(note, hash)?;
    Ok(())
}

/// Where the hash of the content is kept of which there are images.
fn note_beside(program: &Path) -> PathBuf {
    program.with_file_name("images-of")
}

async fn remove_made_of(docker: &Docker, hash: &str) -> anyhow::Result<()> {
    untag(docker, &format!("{REPOSITORY}:{hash}-")).await
}

/// Removes every tag that begins so, and with its last tag the image.
///
/// # Errors
/// Where the engine gives no list.
pub async fn untag(docker: &Docker, prefix: &str) -> anyhow::Result<()> {
    for image in docker.list_images(None::<ListImagesOptions>).await? {
        for tag in image.repo_tags.iter().filter(|tag| tag.starts_with(prefix)) {
            // One that is still in use stays until the next time.
            let _ = docker.remove_image(tag, None::<RemoveImageOptions>, None).await;
        }
    }
    Ok(())
}

/// What `docker save` would give for an image of one layer with one file.
fn archive(program: &[u8], name: &str, version: &str, check: Option<Value>) -> Vec<u8> {
    let layer = tar(&[("web", 0o755, program)]);
    let config = json!({
        "architecture": match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        },
        "os": "linux",
        "config": {
            "Entrypoint": ["/web"],
            "Env": ["PATH=/", format!("VERSION={version}")],
            "ExposedPorts": { "8080/tcp": {} },
            "Labels": { "org.opencontainers.image.version": version },
            "Healthcheck": check,
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))] },
    });
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
    tar(&[
        ("config.json", 0o644, config.to_string().as_bytes()),
        ("layer.tar", 0o644, &layer),
        ("manifest.json", 0o644, manifest.to_string().as_bytes()),
    ])
}

/// A `ustar` archive of plain files, without owners and times, so that the same content gives the same bytes.
fn tar(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut archive = Vec::new();
    for (name, mode, content) in files {
        let mut header = [0_u8; BLOCK];
        let mut put = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", content.len()));
        put(136, "00000000000");
        // The checksum is taken with spaces in its own place.
        put(148, "        ");
        put(156, "0");
        put(257, "ustar");
        put(263, "00");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
