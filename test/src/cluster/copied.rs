//! A node's data, copied by somebody who should not.

use std::process::Command;

use anyhow::{Context as _, ensure};

use super::Node;

impl Node {
    /// Copies its data as it is now to where `other` keeps its own, as an operator copies a folder.
    ///
    /// # Errors
    /// Where `cp` fails.
    pub fn copy_data_to(&self, other: &Self) -> anyhow::Result<()> {
        let cp = Command::new("cp").arg("-a").args([self.data_dir(), other.data_dir()]).output();
        let cp = cp.context("cp runs")?;
        ensure!(cp.status.success(), "cp: {}", String::from_utf8_lossy(&cp.stderr));
        Ok(())
    }
}
