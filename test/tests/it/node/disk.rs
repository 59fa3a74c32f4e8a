//! A disk that is full: writes are refused with the reason, nothing is lost, and it goes on once there is room.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use warren_test::cluster::{Node, Runtime};
use warren_test::{http, wait};

use super::{SOON, create_web, resolve, tasks};

/// The small disk: room for the log and for copies of the workload.
const SIZE: &str = "size=96m";

/// A disk of its own, taken away with the value.
struct Disk(PathBuf);

impl Disk {
    /// Mounts one, where this user may.
    fn mount(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "warren-test"]).arg(at);
        let done = mount.output().is_ok_and(|output| output.status.success());
        done.then(|| Self(at.to_owned()))
    }

    /// Fills it to the last byte.
    fn fill(&self) -> anyhow::Result<PathBuf> {
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

#[tokio::test]
async fn a_full_disk_refuses_writes_and_loses_nothing() {
    let mut node = Node::stopped(Runtime::Process, &[]).unwrap();
    let Some(disk) = Disk::mount(&node.make_data_dir().unwrap()) else {
        let name = concat!(module_path!(), "::a_full_disk_refuses_writes_and_loses_nothing");
        return warren_test::skip(name, "this user may not mount a small disk");
    };
    node.resume().await.unwrap();
    check(&mut node, &disk).await.unwrap();
    drop(node);
}

async fn check(node: &mut Node, disk: &Disk) -> anyhow::Result<()> {
    create_web(node, Runtime::Process, "web", &["--replicas", "2"]).await?;
    let addresses = resolve(node, "web.warren.", 2).await?;
    let ballast = disk.fill()?;
    // What the log has preallocated takes some more; then it is over, and the caller hears why.
    let mut refused = None;
    for round in 0..2_000 {
        let label = format!("round={round}-{}", "x".repeat(2_000));
        let said =
            node.command(&["service", "update", "web", "--detach", "--label", &label]).await?;
        if said.code != Some(0) {
            refused = Some(said);
            break;
        }
    }
    let said = refused.context("a full disk takes no more writes")?;
    let words = said.talk.to_lowercase();
    ensure!(words.contains("space") || words.contains("disk"), "it says why: {said:?}");
    for address in &addresses {
        ensure!(http::get(*address, "/").await?.0 == 200, "tasks run on");
    }
    ensure!(resolve(node, "web.warren.", 2).await? == addresses, "names resolve on");

    std::fs::remove_file(ballast)?;
    wait::until("there is room and the node takes writes", SOON, async || {
        if node.has_ended()? {
            node.resume().await?;
        }
        let said =
            node.command(&["service", "update", "web", "--detach", "--label", "a=b"]).await?;
        ensure!(said.code == Some(0), "{said:?}");
        Ok(())
    })
    .await?;
    ensure!(tasks(node, "web").await?.len() == 2, "nothing was lost");
    Ok(())
}
