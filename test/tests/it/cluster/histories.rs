//! What concurrent clients were answered while leaders were killed and stood still, as one history: there is an order
//! of all calls that explains every answer, and every watcher was sent every change.

use anyhow::ensure;
use warren_test::history::story::Story;

use super::{leader, three_managers};

/// Every manager has a write acknowledged that begins now.
async fn all_go_on(story: &Story) -> anyhow::Result<()> {
    for place in 0..3 {
        story.goes_on(place).await?;
    }
    Ok(())
}

async fn killed_and_hung() -> anyhow::Result<()> {
    let mut managers = three_managers().await?;
    let story = Story::begin(&managers.iter().collect::<Vec<_>>()).await?;
    all_go_on(&story).await?;
    for hung in [false, true, false, true] {
        let lost = leader(&managers, 0).await?;
        let rest = [0, 1, 2].into_iter().filter(|place| *place != lost);
        if hung {
            managers[lost].hang(true)?
        } else {
            managers[lost].crash()?
        }
        for place in rest.clone() {
            story.goes_on(place).await?;
        }
        let next = leader(&managers, rest.clone().next().unwrap_or_default()).await?;
        ensure!(next != lost, "writes go on under another leader");
        if hung {
            managers[lost].hang(false)?
        } else {
            managers[lost].resume().await?
        }
        all_go_on(&story).await?;
    }
    story.check().await
}

#[tokio::test]
async fn one_order_explains_all_answers_while_leaders_die_and_hang() {
    killed_and_hung().await.unwrap();
}
