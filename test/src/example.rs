//! What the README's tour runs: the demo workload in three versions, as programs and as images.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bollard::query_parameters::TagImageOptions;

use crate::{binary, image};

/// The versions of the tour.
pub const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];

/// Writes `web-v1` and its sisters into a folder. Their content differs, so each is an image of its own.
///
/// # Errors
/// The server cannot be built, or the folder not be written.
pub fn programs(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)?;
    let program = std::fs::read(binary::web()?)?;
    let write = |version: &&str| -> anyhow::Result<PathBuf> {
        let path = folder.join(format!("web-{version}"));
        // A task may run the one that is there: it is replaced, not written over.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&program)?;
        // What stands behind a program's last section is not looked at.
        file.write_all(version.as_bytes())?;
        file.as_file().set_permissions(Permissions::from_mode(0o755))?;
        file.persist(&path)?;
        Ok(path)
    };
    VERSIONS.iter().map(write).collect()
}

/// Makes the images `web:v1` and its sisters where Docker answers, and gives their names.
///
/// # Errors
/// The server cannot be built, or the engine refuses an image.
pub async fn images() -> anyhow::Result<Vec<String>> {
    let Some(docker) = image::docker().await else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for version in VERSIONS {
        let made = image::web(&docker, version).await?;
        let tag = TagImageOptions { repo: Some("web".into()), tag: Some(version.into()) };
        docker.tag_image(&made, Some(tag)).await?;
        names.push(format!("web:{version}"));
    }
    image::forget().await?;
    Ok(names)
}
