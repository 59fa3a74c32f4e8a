//! The programs that tasks run, kept by their content.

use crate::runtime::RuntimeError;
use crate::runtime::labels::hex;
use crate::runtime::process::files::{Root, blocking};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use warren_core::spec::{Image, PinnedImage};

/// A copy that is still unfinished after this time was cut short; the slowest disk is faster.
const COPY: Duration = Duration::from_secs(3600);

/// How much of a program is read at a time.
const CHUNK_BYTES: usize = 1 << 16;

/// Copies the program into the store and names it by its content.
pub(super) async fn resolve(root: &Root, image: &Image) -> Result<PinnedImage, RuntimeError> {
    let name = image.as_str().to_owned();
    if name.starts_with("sha256:") {
        let pinned = PinnedImage(name);
        return check(root, &pinned).await.map(|()| pinned);
    }
    let path = PathBuf::from(&name);
    if let Some(why) = unfit(&path) {
        return Err(RuntimeError::ImageMissing { image: name, why });
    }
    let store = root.store();
    blocking(root, move || add(&store, &path)).await
}

/// Why a path is not a program that can be run here.
fn unfit(path: &Path) -> Option<String> {
    if !path.is_absolute() {
        return Some(
            "to the process runtime an image is the absolute path of an executable: write that \
             path, or use a node with Docker"
                .to_owned(),
        );
    }
    match std::fs::metadata(path) {
        Err(error) => {
            Some(format!("{error}: put the program there on every node that shall run it"))
        }
        Ok(file) if !file.is_file() => Some("it is not a file".to_owned()),
        Ok(file) if file.permissions().mode() & 0o111 == 0 => {
            Some(format!("it is not executable: chmod +x {}", path.display()))
        }
        Ok(_) => None,
    }
}

fn add(store: &Path, path: &Path) -> io::Result<PinnedImage> {
    let mut source = std::fs::File::open(path)?;
    let copy = store.join(format!(".new-{}-{}", std::process::id(), hex(&unique())));
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(&copy);
    let outcome = made.and_then(|mut target| {
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = source.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            hash.update(&chunk[..read]);
            target.write_all(&chunk[..read])?;
        }
        target.sync_all()?;
        let digits = hex(&hash.finalize());
        std::fs::rename(&copy, store.join(&digits))?;
        Ok(PinnedImage(format!("sha256:{digits}")))
    });
    if outcome.is_err() {
        let _ = std::fs::remove_file(&copy);
    }
    outcome
}

/// Tells apart copies that one process makes at once.
fn unique() -> [u8; 8] {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COPIES: AtomicU64 = AtomicU64::new(0);
    COPIES.fetch_add(1, Ordering::Relaxed).to_be_bytes()
}

pub(super) async fn pull(
    root: &Root,
    image: &PinnedImage,
    name: &Image,
) -> Result<(), RuntimeError> {
    let missing = match check(root, image).await {
        Err(RuntimeError::ImageMissing { .. }) => resolve(root, name).await,
        checked => return checked,
    };
    match missing {
        Ok(found) if found == *image => Ok(()),
        Ok(_) => Err(RuntimeError::ImageMissing {
            image: image.to_string(),
            why: format!(
                "{name} of this node is another program by now: put the same one there, or update \
                 the service"
            ),
        }),
        Err(error) => Err(error),
    }
}

/// Whether the store has the program.
pub(super) async fn check(root: &Root, image: &PinnedImage) -> Result<(), RuntimeError> {
    let path = path(root, image)?;
    if blocking(root, move || path.try_exists()).await? {
        return Ok(());
    }
    Err(RuntimeError::ImageMissing {
        image: image.to_string(),
        why: "this node's store does not have it".to_owned(),
    })
}

/// Where the program is, if it is there.
pub(super) fn path(root: &Root, image: &PinnedImage) -> Result<PathBuf, RuntimeError> {
    let digits = image.0.strip_prefix("sha256:").filter(|digits| {
        digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    });
    let digits = digits.ok_or_else(|| RuntimeError::ImageMissing {
        image: image.to_string(),
        why: "it is of a registry, and the process runtime asks none".to_owned(),
    })?;
    Ok(root.store().join(digits))
}

pub(super) async fn cleanup(
    root: &Root,
    keep: &[PinnedImage],
) -> Result<Vec<PinnedImage>, RuntimeError> {
    let keep: BTreeSet<PinnedImage> = keep.iter().cloned().collect();
    let at = root.clone();
    blocking(root, move || remove_unused(&at, &keep)).await
}

fn remove_unused(root: &Root, keep: &BTreeSet<PinnedImage>) -> io::Result<Vec<PinnedImage>> {
    let mut used = BTreeSet::new();
    for (_, folder) in root.all()? {
        used.extend(folder.record()?.map(|record| record.program));
    }
    let mut removed = Vec::new();
    for entry in std::fs::read_dir(root.store())? {
        let entry = entry?;
        let path = entry.path();
        let digits = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let image = PinnedImage(format!("sha256:{digits}"));
        if digits.starts_with('.') {
            let made = entry.metadata()?.modified()?;
            if made.elapsed().is_ok_and(|age| age > COPY) {
                std::fs::remove_file(&path)?;
            }
            continue;
        }
        if keep.contains(&image) || used.contains(&path) {
            continue;
        }
        std::fs::remove_file(&path)?;
        removed.push(image);
    }
    Ok(removed)
}
