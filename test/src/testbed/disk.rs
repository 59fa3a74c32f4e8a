//! A small disk that can be full.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Room for the log and for copies of the workload.
const SIZE: &str = "size=96m";

/// A disk of its own, taken away with the value.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one over a folder, where this user may.
    #[must_use]
    pub fn mount(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "warren-test"]).arg(at);
        let done = mount.output().is_ok_and(|output| output.status.success());
        done.then(|| Self(at.to_owned()))
    }

    /// Fills it to the last byte, with one file that can be removed.
    ///
    /// # Errors
    /// Where it has no end.
    pub fn fill(&self) -> anyhow::Result<PathBuf> {
        let ballast = self.0.join("ballast");
        let status = Command::new("dd")
            .args(["if=/dev/zero", "bs=64k"])
            .arg(format!("of={}", ballast.display()))
            .output()
            .context("dd")?;
        ensure!(!status.status.success(), "the disk has an end");
        Ok(ballast)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the node, which is dropped after it, may still have files open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}
