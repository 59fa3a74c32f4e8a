//! How fast traffic moves: from the entry that moves it to the last answer of the old split, and to the last request
//! that the version served which users are taken away from.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use warren_test::cluster::{Node, Runtime};
use warren_test::load::Load;
use warren_test::release::{Change, Web, steps};
use warren_test::wait;
use warren_test::watch::Watch;
use warren_wire::v1::{ApprovalRule, DeploymentStrategy, Rollout, UpdateConfig};

use crate::managers::Managers;
use crate::{Figure, Unit, row};

/// Services, each switched over and back once a round.
const SERVICES: usize = 25;
/// Of each.
const ROUNDS: usize = 2;
/// The same where three resolvers are looked at: 30 switches in all.
const SERVICES_EVERYWHERE: usize = 10;
const ROUNDS_EVERYWHERE: usize = 3;
/// Services whose clients run at a time.
const AT_A_TIME: usize = 5;
/// Longer than a record may be kept in a release, with a second to spare.
const QUIET_REQUESTS: Duration = Duration::from_secs(2);
const TIME_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn run() -> anyhow::Result<()> {
    let node = Node::start(Runtime::Process).await?;
    let names: Vec<String> = (0..SERVICES).map(|number| format!("web-{number}")).collect();
    let webs = names.iter().map(|name| Web::create(&node, Runtime::Process, name, 1));
    let webs = try_join_all(webs).await?;
    let (mut over, mut back, mut served) = (vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let change = change(round);
        try_join_all(webs.iter().map(|web| web.update(&change))).await?;
        for web in &webs {
            web.asked(0).await?;
            over.push(switch_over(&node, web).await?);
        }
        for some in webs.chunks(AT_A_TIME) {
            let mut last_requests = Vec::new();
            for web in some {
                let load = Load::start(&node, &[&web.name]).await?;
                load.answered_by(&web.name, change.version).await?;
                let asked = Instant::now();
                back.push(switch_back(&node, web).await?);
                last_requests.push(last_request(load, &web.name, change.version, asked));
            }
            served.extend(try_join_all(last_requests).await?);
        }
        try_join_all(webs.iter().map(Web::end)).await?;
    }
    let count = over.len();
    percentiles(&format!("traffic switch: entry → last old answer, {count} switches"), over, "–");
    // req: B34
    percentiles("rollback: asked → last answer with the bad version", back, "< 1 s");
    percentiles("rollback: asked → last request it served (TTL 1 s)", served, "< 3 s");
    Ok(())
}

/// The same on three managers: when the last of their resolvers has changed over.
pub(crate) async fn everywhere() -> anyhow::Result<()> {
    let managers = Managers::start(None).await?;
    let node = &managers.nodes[0];
    let names: Vec<String> = (0..SERVICES_EVERYWHERE).map(|one| format!("web-{one}")).collect();
    let webs = names.iter().map(|name| Web::create(node, Runtime::Process, name, 1));
    let webs = try_join_all(webs).await?;
    let mut over = Vec::new();
    for round in 0..ROUNDS_EVERYWHERE {
        let change = change(round);
        try_join_all(webs.iter().map(|web| web.update(&change))).await?;
        for web in &webs {
            web.asked(0).await?;
            let old = web.service().await?.stable_revision;
            let watches = managers.nodes.iter().map(|node| web.watch(node, old));
            let watches = try_join_all(watches).await?;
            web.approve().await?;
            let changes = try_join_all(watches.into_iter().map(Watch::over)).await?;
            let last = changes.iter().filter_map(|change| change.last_old).max();
            let proposed = proposed(&web.rollout().await?, "shifted").context("a shift")?;
            let last = last.context("an old answer")?;
            over.push(last.saturating_duration_since(proposed));
            web.roll_back().await?;
        }
        try_join_all(webs.iter().map(Web::end)).await?;
    }
    let what = "traffic switch: entry → last old answer of all three resolvers";
    percentiles(&format!("{what}, {} switches", over.len()), over, "≤ 250 ms");
    Ok(())
}

/// Both revisions at full size, and a word before the switch; after it time enough to go back.
fn change(round: usize) -> Change {
    let mut gate = steps(&[(0, 0)]);
    gate[0].approve = Some(ApprovalRule { roles: vec![], min: 1 });
    let config = UpdateConfig {
        steps: gate,
        monitor_ms: Some(600_000),
        min_ready_ms: Some(0),
        ..UpdateConfig::default()
    };
    let version = ["v2", "v3", "v4", "v5"][round];
    Change { version, strategy: DeploymentStrategy::BlueGreen, config, ..Change::default() }
}

/// From the moment that the entry with the new split was proposed to the last answer by the old one.
async fn switch_over(node: &Node, web: &Web) -> anyhow::Result<Duration> {
    let watch = web.watch(node, 1).await?;
    web.approve().await?;
    let last = watch.over().await?.last_old.context("an old answer")?;
    let rollout = web.rollout().await?;
    let proposed = proposed(&rollout, "shifted").context("a shift")?;
    Ok(last.saturating_duration_since(proposed))
}

/// From the call to the last answer with the version that goes.
async fn switch_back(node: &Node, web: &Web) -> anyhow::Result<Duration> {
    let watch = web.watch(node, web.service().await?.revision).await?;
    let asked = Instant::now();
    web.roll_back().await?;
    let last = watch.over().await?.last_old.context("an answer before")?;
    Ok(last.saturating_duration_since(asked))
}

/// From `asked` to the last request that `version` served, once it has served none for long enough.
async fn last_request(
    load: Load,
    name: &str,
    version: &'static str,
    asked: Instant,
) -> anyhow::Result<Duration> {
    let last = wait::until("the version that goes serves nobody", TIME_MAX, async || {
        let last = load.seen(name)?.last_of(version).context("it has served")?;
        ensure!(last.elapsed() > QUIET_REQUESTS, "it served just now");
        Ok(last)
    })
    .await?;
    let seen = load.seen(name)?;
    ensure!(seen.failed == 0, "{seen}");
    Ok(last.saturating_duration_since(asked))
}

/// When the last entry of this kind was proposed, on this machine's clock.
fn proposed(rollout: &Rollout, action: &str) -> Option<Instant> {
    let moment = rollout.timeline.iter().rfind(|moment| moment.action == action)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Instant::now().checked_sub(now.saturating_sub(Duration::from_millis(moment.at_unix_ms)))
}

pub(crate) fn percentiles(what: &str, mut took: Vec<Duration>, aim: &str) {
    took.sort_unstable();
    for percent in [50, 99] {
        let at = (took.len() * percent / 100).min(took.len() - 1);
        let ms = took[at].as_secs_f64() * 1000.0;
        row(
            &format!("{what}, p{percent}"),
            Figure { value: ms, unit: Unit::Milliseconds },
            None,
            aim,
        );
    }
}
