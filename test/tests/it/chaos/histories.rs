//! What concurrent clients were answered while leaders were cut off, as one history: there is an order of all calls
//! that explains every answer, also to those who asked the leader that was cut off, and every watcher was sent every
//! change.

use warren_test::fleet::Fleet;
use warren_test::history::story::Story;

use super::{all, of_processes, others};

async fn cut_off(fleet: &mut Fleet) -> anyhow::Result<()> {
    let story = Story::begin(&fleet.nodes().iter().collect::<Vec<_>>()).await?;
    for fault in ["from all", "in one direction", "while it is killed"] {
        for place in all(fleet) {
            story.goes_on(place).await?;
        }
        let leader = fleet.leader(0).await?;
        let rest = others(fleet, leader);
        match fault {
            "from all" => fleet.bed().part(&[leader])?,
            "in one direction" => {
                for other in &rest {
                    fleet.bed().cut(*other, leader)?;
                }
            }
            _ => {
                fleet.bed().part(&[leader])?;
                fleet.node_mut(leader).crash()?;
            }
        }
        for place in &rest {
            story.goes_on(*place).await?;
        }
        fleet.bed().heal()?;
        if fault == "while it is killed" {
            fleet.resume(&[leader]).await?;
        }
    }
    for place in all(fleet) {
        story.goes_on(place).await?;
    }
    story.check().await
}

#[tokio::test]
async fn one_order_explains_all_answers_while_leaders_are_cut_off() {
    let test = "one_order_explains_all_answers_while_leaders_are_cut_off";
    let Some(mut fleet) = of_processes(test, 3, 3).await else { return };
    cut_off(&mut fleet).await.unwrap();
}
