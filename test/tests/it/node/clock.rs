//! A wall clock that is stepped while a node runs: it is for people to read, and decides nothing.

use anyhow::ensure;
use warren_test::cluster::{Node, Runtime};
use warren_test::testbed::clock::Clock;
use warren_test::testbed::{self, Plan, Testbed};
use warren_test::{http, wait};

use super::{SOON, create_web, resolve, tasks};

/// Ten days, so that the date alone tells which clock was read.
const STEP_S: i64 = 864_000;

async fn check(node: &mut Node, clock: &Clock) -> anyhow::Result<()> {
    node.resume().await?;
    create_web(node, Runtime::Process, "web", &["--replicas", "2"]).await?;
    let before = resolve(node, "web.warren.", 2).await?;
    for (step, replicas) in [(STEP_S, 3), (-STEP_S, 4)] {
        clock.show(step)?;
        node.ok(&["service", "scale", "web", &replicas.to_string()]).await?;
        let date = testbed::run("date", &["-u", "-d", &format!("{step} seconds"), "+%F"], "")?;
        wait::until("the node reads the stepped clock", SOON, async || {
            let log = node.log_end();
            ensure!(log.contains(date.trim()), "no {date} in {log}");
            Ok(())
        })
        .await?;
        let now = resolve(node, "web.warren.", replicas).await?;
        ensure!(before.iter().all(|address| now.contains(address)), "{before:?}, {now:?}");
        let shown = tasks(node, "web").await?;
        let well = |task: &serde_json::Value| task["ready"] == true && task["restarts"] == 0;
        ensure!(shown.len() == replicas && shown.iter().all(well), "{shown:?}");
        let (status, report) = http::get(node.http_address()?, "/readyz").await?;
        ensure!(status == 200, "{report}");
    }
    Ok(())
}

#[tokio::test]
async fn a_stepped_clock_restarts_nothing() {
    let test = concat!(module_path!(), "::a_stepped_clock_restarts_nothing");
    let built = Testbed::build(Plan::machines(1)).await;
    let Some(bed) = testbed::or_skip(test, built) else { return };
    let machine = bed.machine(0);
    let Some(clock) = testbed::or_skip(test, Clock::make(machine.folder())) else { return };
    let mut node =
        machine.node_with_clock(Runtime::Process, &[], Some(clock.clone())).expect("a folder");
    let _inside = machine.namespace.enter().expect("a thread may enter");
    check(&mut node, &clock).await.unwrap();
    drop(node);
}
