//! How long nobody can write: leaders of three real managers that are killed, and leaders that are asked to stop, while
//! a client writes without a pause.

use std::time::{Duration, Instant};

use anyhow::ensure;
use warren_test::wait;

use crate::managers::{Managers, metric};
use crate::switch::percentiles;
use crate::writer::Writer;

const KILLS: usize = 30;
/// How long a manager that comes back may take to catch up.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(60);
/// After a stop the gap is looked for until so long after the process has ended.
const AFTERWARDS: Duration = Duration::from_secs(1);

pub(crate) async fn run() -> anyhow::Result<()> {
    let mut managers = Managers::start(None).await?;
    let writer = Writer::start(&managers.nodes).await?;
    let mut killed = Vec::new();
    for _ in 0..KILLS {
        let leader = steady(&managers, &writer).await?;
        let begun = Instant::now();
        managers.nodes[leader].crash()?;
        killed.push(writer.acknowledged_after(begun).await?);
        managers.nodes[leader].resume().await?;
    }
    let what = format!("leader killed → next write acknowledged, {KILLS} kills");
    percentiles(&what, killed, "≤ 3 s p99");
    let mut stopped = Vec::new();
    for _ in 0..KILLS {
        let leader = steady(&managers, &writer).await?;
        let begun = Instant::now();
        managers.nodes[leader].stop().await?;
        let until = Instant::now() + AFTERWARDS;
        writer.acknowledged_after(until).await?;
        stopped.push(writer.longest_gap(begun, until));
        managers.nodes[leader].resume().await?;
    }
    let what = format!("leader asked to stop: longest time without a write, {KILLS} times");
    percentiles(&what, stopped, "≤ 500 ms");
    Ok(())
}

/// Waits until writes pass and every manager has what the leader has, and says which one leads.
async fn steady(managers: &Managers, writer: &Writer) -> anyhow::Result<usize> {
    writer.acknowledged_after(Instant::now()).await?;
    let leader = managers.leader().await?;
    let wanted = metric(&managers.nodes[leader], "warren_raft_last_index").await?;
    wait::until("all managers have caught up", CAUGHT_UP_WITHIN, async || {
        for node in &managers.nodes {
            let applied = metric(node, "warren_raft_applied_index").await?;
            ensure!(applied >= wanted, "one is at {applied} of {wanted}");
        }
        Ok(())
    })
    .await?;
    managers.leader().await
}
