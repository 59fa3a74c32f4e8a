//! Leaders that are killed in the middle of releases: who leads next goes on with them, and no request fails.

use anyhow::Context as _;
use futures::future::try_join_all;
use warren_test::cluster::{Node, Runtime};
use warren_test::leaders::{BAD, ended_well, killed_in_each_phase};
use warren_test::load::Load;
use warren_test::release::Web;
use warren_test::wait;

use super::{SOON, joined, three_managers};

/// Three tasks on average on each of the four nodes.
const REPLICAS: u32 = 3;

// req: A27
#[tokio::test]
async fn releases_go_on_under_the_next_leader_and_no_request_fails() {
    leaders_killed().await.unwrap();
}

async fn leaders_killed() -> anyhow::Result<()> {
    let mut managers = three_managers().await?;
    let names = ["rolling", "canary", "blue", BAD];
    // Clients ask a resolver that nobody stops: one that hangs has nothing to say, and its clients no way to go.
    let worker = joined(&managers[0], "worker", "w1").await?;
    let made = names.iter().map(|name| Web::create(&managers[0], Runtime::Process, name, REPLICAS));
    let webs = try_join_all(made).await?;
    let load = Load::start(&worker, &names).await?;
    killed_in_each_phase(&webs, async || {
        let at = leader_among(&managers).await?;
        managers[at].crash()?;
        managers[at].resume().await
    })
    .await?;
    ended_well(&webs, &load, &managers[0]).await
}

/// Which of `managers` leads, as one of them knows it.
async fn leader_among(managers: &[Node]) -> anyhow::Result<usize> {
    let ids = managers.iter().map(|manager| Ok(manager.run()?["node_id"].clone()));
    let ids = ids.collect::<anyhow::Result<Vec<_>>>()?;
    wait::until("one of the managers leads", SOON, async || {
        let cluster = managers[0].json(&["cluster", "info"]).await?;
        let leader = cluster["leader_id"].as_str().context("nobody leads")?;
        ids.iter().position(|id| *id == leader).with_context(|| format!("{leader:?} leads"))
    })
    .await
}
