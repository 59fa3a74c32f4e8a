//! A manager of three whose disk is full: it leads nobody, the others go on, and with room again it catches up.

use anyhow::ensure;
use warren_test::cluster::{Node, Runtime};
use warren_test::history::story::Story;
use warren_test::testbed::disk::Disk;
use warren_test::wait;

use super::{SOON, joined, leader, voters};

async fn fill(managers: &mut Vec<Node>, disk: &Disk) -> anyhow::Result<()> {
    managers[0].resume().await?;
    for name in ["m2", "m3"] {
        let manager = joined(&managers[0], "manager", name).await?;
        managers.push(manager);
    }
    voters(&managers[0], 3).await?;
    let story = Story::begin(&managers.iter().collect::<Vec<_>>()).await?;
    // It leads, since nobody else did yet; the second time it follows.
    ensure!(leader(managers, 1).await? == 0, "the first manager leads");
    for _ in 0..2 {
        let ballast = disk.fill()?;
        // Whoever has room leads, and writes go on through everybody else.
        wait::until("another manager leads", SOON, async || {
            let leader = leader(managers, 1).await?;
            ensure!(leader != 0, "a manager with a full disk leads");
            Ok(())
        })
        .await?;
        for place in [1, 2] {
            story.goes_on(place).await?;
        }
        std::fs::remove_file(ballast)?;
        let (now, mut ended) = (story.now(), Vec::new());
        wait::until("it goes on with room", SOON, async || {
            // It may have stopped, where not even its vote had room: then it is started again, as systemd does.
            if managers[0].has_ended()? {
                ended.push(managers[0].log_end());
                managers[0].resume().await?;
            }
            story.went_on(0, now)
        })
        .await?;
        for log in ended {
            ensure!(log.contains("no space left"), "it says why it stopped: {log}");
        }
        for place in [1, 2] {
            story.goes_on(place).await?;
        }
    }
    story.check().await
}

#[tokio::test]
async fn a_manager_with_a_full_disk_leads_nobody_and_catches_up() {
    let name = concat!(module_path!(), "::a_manager_with_a_full_disk_leads_nobody_and_catches_up");
    let mut managers = vec![Node::stopped(Runtime::Process, &["--hostname", "m1"]).unwrap()];
    let Some(disk) = Disk::mount(&managers[0].make_data_dir().unwrap()) else {
        return warren_test::skip(name, "this user may not mount a small disk");
    };
    fill(&mut managers, &disk).await.unwrap();
}
