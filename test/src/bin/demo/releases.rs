//! The releases of the demo: a canary, a bad version, a blue-green switch and the way back, under clients that ask
//! without a pause.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use warren_test::cluster::{Node, Runtime};
use warren_test::load::Load;
use warren_test::release::Web;
use warren_test::wait;

use crate::{STEP_TIME_MAX, say, step};

/// Questions per look at the split: enough that a tenth shows as about a tenth.
const QUESTIONS: u32 = 300;
/// Between two looks at a split that does not change.
const LOOK: Duration = Duration::from_secs(2);
/// How wide a full bar is.
const BAR: u32 = 40;

pub(crate) async fn show(node: &Node, runtime: Runtime) -> anyhow::Result<()> {
    let images = [runtime.web_image("v1").await?, runtime.web_image("v2").await?];
    let web = Web::of(node, "web", images[0].clone());
    let load = Load::start(node, &["web"]).await?;

    step(7, "A canary: v2 gets 10, 25, 50 and 100 % of the traffic. Clients ask all the time.");
    let canary = ["--strategy", "canary", "--canary-steps", "10,25,50,100"];
    let short = ["--canary-window", "4s", "--min-ready", "1s", "--scale-down-delay", "1s"];
    update(node, &images[1], "v2", &[&canary[..], &short, &["--detach"]].concat(), 0).await?;
    follow(node, &web).await?;
    count(&load)?;

    step(8, "A bad one: v3 crashes as soon as it starts. Nobody does anything.");
    let crash = ["--env", "FAULT_CRASH_AFTER_S=0", "--strategy", "rolling"];
    update(node, &images[1], "v3", &crash, ROLLED_BACK).await?;
    count(&load)?;

    step(9, "Blue-green: v4 comes up beside v2 without traffic, then all of it moves at once.");
    let stable = web.service().await?.stable_revision;
    let watch = web.watch(node, stable).await?;
    let well = ["--env", "FAULT_CRASH_AFTER_S=off", "--strategy", "blue-green"];
    let watched = ["--monitor", "2m", "--detach"];
    update(node, &images[1], "v4", &[&well[..], &watched].concat(), 0).await?;
    let switch = watch.over().await?;
    let (last, first) = (switch.last_old.context("v2")?, switch.first_new.context("v4")?);
    let mixed = last.saturating_duration_since(first);
    say(&format!(
        "   From the first answer with v4 to the last with v2: {} ms.",
        mixed.as_millis()
    ));
    load.answered_by("web", "v4").await?;
    count(&load)?;

    step(10, "Second thoughts: back at once. Every task of v2 is still there.");
    let watch = web.watch(node, web.service().await?.revision).await?;
    let asked = Instant::now();
    type_in(node, &["service", "rollback", "web", "--detach"], 0).await?;
    let last = watch.over().await?.last_old.context("v4")?;
    let took = last.saturating_duration_since(asked);
    say(&format!("   From the command to the last answer with v4: {} ms.", took.as_millis()));
    web.end().await?;
    count(&load)
}

/// The exit code of a release that was rolled back.
const ROLLED_BACK: i32 = 6;

async fn update(
    node: &Node,
    image: &str,
    version: &str,
    how: &[&str],
    code: i32,
) -> anyhow::Result<()> {
    let env = format!("VERSION={version}");
    let update = ["service", "update", "web", "--image", image, "--env", &env];
    type_in(node, &[&update, how].concat(), code).await
}

/// Runs a command and shows what it says as well as what it prints.
async fn type_in(node: &Node, arguments: &[&str], code: i32) -> anyhow::Result<()> {
    say(&format!("   $ warren {}", arguments.join(" ")));
    let said = node.command(arguments).await?;
    for line in said.talk.lines().chain(said.out.lines()) {
        say(&format!("     {line}"));
    }
    ensure!(said.code == Some(code), "it ended with {:?}\n{}", said.code, node.log_end());
    Ok(())
}

/// Shows the split, as DNS answers, whenever the release has come further and now and then between.
async fn follow(node: &Node, web: &Web) -> anyhow::Result<()> {
    let mut shown: Option<(String, Instant)> = None;
    wait::until("the canary is over", STEP_TIME_MAX * 2, async || {
        let at = web.rollout().await?;
        ensure!(at.outcome.is_empty() || at.outcome == "completed", "{}", at.reason);
        let place = format!("step {} of {}, {}", at.step, at.steps, at.phase);
        let news = shown.as_ref().is_none_or(|(was, when)| *was != place || when.elapsed() > LOOK);
        if news && at.ended_unix_ms == 0 && at.step > 0 {
            bars(&web.split(node, QUESTIONS).await?, &place);
            shown = Some((place, Instant::now()));
        }
        ensure!(at.ended_unix_ms > 0, "{:?}", at.waits);
        Ok(())
    })
    .await
}

fn bars(split: &BTreeMap<u32, u32>, place: &str) {
    for (revision, count) in split {
        let full = "█".repeat((count * BAR / QUESTIONS) as usize);
        let percent = f64::from(*count) * 100.0 / f64::from(QUESTIONS);
        say(&format!("   v{revision} {full:<40} {percent:5.1} %  {place}"));
    }
}

fn count(load: &Load) -> anyhow::Result<()> {
    let seen = load.take("web")?;
    say(&format!("   Clients meanwhile: {seen}."));
    ensure!(seen.failed == 0, "{:?}", seen.failures);
    Ok(())
}
