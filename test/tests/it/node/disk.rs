//! A disk that is full: writes are refused with the reason, nothing is lost, and it goes on once there is room.

use anyhow::{Context as _, ensure};
use warren_test::cluster::{Node, Runtime};
use warren_test::testbed::disk::Disk;
use warren_test::{http, wait};

use super::{SOON, create_web, resolve, tasks};

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
