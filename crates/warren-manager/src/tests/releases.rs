//! What is counted and shown of releases that really happen.

use super::agent::Attached;
use super::site::{Site, with_node};
use crate::metrics;
use crate::releases::{Count, counts, gauges, since};
use std::sync::Arc;
use std::time::Duration;
use warren_core::State;
use warren_core::command::Command;
use warren_core::id::{LogIndex, ServiceId};
use warren_core::rollout::{Back, Outcome, Phase, Trigger};
use warren_core::service::Actor;
use warren_core::spec::{Step, Strategy, UpdateSettings};
use warren_core::units::Weight;

const LONG: Duration = Duration::from_secs(3_600);

fn percent(percent: u16, hold: Duration) -> Step {
    Step::weight(Weight::from_per_mille(percent * 10).unwrap(), hold)
}

fn quick(update: &mut UpdateSettings, strategy: Strategy) {
    update.strategy = strategy;
    update.monitor = Some(Duration::ZERO);
    update.standby = Duration::ZERO;
    update.scale_down_delay = Duration::ZERO;
}

/// All that was to be counted since entry `seen`, without times.
fn counted(state: &State, seen: LogIndex) -> Vec<Count> {
    let mut all = counts(state, &since(state, seen));
    for count in &mut all {
        match count {
            Count::Deployed { took, .. } => *took = None,
            Count::SwitchSeen(took) => *took = Duration::ZERO,
            Count::Promoted | Count::RolledBack { .. } | Count::Switched => {}
        }
    }
    all
}

/// A person goes back.
fn back(service: ServiceId, by: &Actor) -> Command {
    let (back, reason) = (Back::Immediate, "it is slow".to_owned());
    Command::RollbackService { service, to: None, careful: false, back, by: by.clone(), reason }
}

async fn live(site: &Site, node: &mut Attached, web: ServiceId, phase: Phase) -> Arc<State> {
    let there = site.until("the release gets there", |state| {
        let live = state.service(web).and_then(|web| web.rollout.as_ref());
        live.is_some_and(|live| live.phase == phase)
    });
    node.during("the release gets there", there).await
}

async fn rest(site: &Site, node: &mut Attached, web: ServiceId) -> Arc<State> {
    let there = site.until("the release ends", |state| {
        state.service(web).is_some_and(|web| web.rollout.is_none())
    });
    node.during("the release ends", there).await
}

// req: B25 B27 B28 B29 B36 A31 A34
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_is_shown_while_it_runs_and_counted_once() {
    let (_home, site, mut node) = with_node("a").await;
    let web = site.create("web", 2).await;
    let state = rest(&site, &mut node, web).await;
    let ended = |strategy, outcome| Count::Deployed { strategy, outcome, took: None };
    assert_eq!(counted(&state, LogIndex(0)), [ended(Strategy::Rolling, Outcome::Completed)]);
    assert!(
        gauges(&state)
            .contains("warren_canary_traffic_weight{service=\"web\",version=\"v1\"} 100\n")
    );

    let seen = state.applied();
    site.update(web, "web:v2", |update| {
        quick(update, Strategy::Canary);
        update.steps = vec![percent(10, Duration::ZERO), percent(25, LONG)];
    })
    .await;
    let held = site.until("it holds at 25%", |state| {
        let live = state.service(web).and_then(|web| web.rollout.as_ref());
        live.is_some_and(|live| live.phase == Phase::Holding && live.step == 1)
    });
    let state = node.during("it holds at 25%", held).await;
    let text = gauges(&state);
    for series in [
        "# TYPE warren_canary_traffic_weight gauge\n",
        "warren_canary_traffic_weight{service=\"web\",version=\"v1\"} 75\n",
        "warren_canary_traffic_weight{service=\"web\",version=\"v2\"} 25\n",
        "warren_rollout_incoming{service=\"web\",version=\"v2\"} 1\n",
        "warren_canary_progress{service=\"web\"} 25\n",
        "warren_rollout_phase{service=\"web\",phase=\"holding\"} 1\n",
    ] {
        assert!(text.contains(series), "{series} is not in {text}");
    }
    assert_eq!(counted(&state, seen), [Count::Promoted, Count::Promoted]);

    let seen = state.applied();
    let by = Actor::named("mira".to_owned());
    site.apply(back(web, &by)).await.unwrap();
    let state = rest(&site, &mut node, web).await;
    let (strategy, trigger) = (Strategy::Canary, Trigger::Manual);
    let went = Count::RolledBack { strategy, trigger };
    assert_eq!(counted(&state, seen), [went, ended(strategy, Outcome::RolledBack)]);
    let text = gauges(&state);
    assert!(!text.contains("warren_rollout_phase") && !text.contains("v2"), "{text}");

    site.apply(Command::DeleteService { service: web, by }).await.unwrap();
    let gone = site.until("it is gone", |state| state.services().len() == 0);
    let state = node.during("it is gone", gone).await;
    assert_eq!(gauges(&state), "", "series of a deleted service stay");
    site.stop().await;
}

// req: A35 A36 A37 B26
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_is_counted_and_timed() {
    let (_home, site, mut node) = with_node("a").await;
    let web = site.create("web", 1).await;
    let seen = rest(&site, &mut node, web).await.applied();
    site.update(web, "web:v2", |update| {
        quick(update, Strategy::BlueGreen);
        update.monitor = Some(LONG);
    })
    .await;
    let state = live(&site, &mut node, web, Phase::Monitoring).await;
    let times = counts(&state, &since(&state, seen));
    let [Count::Switched, Count::SwitchSeen(took)] = times[..] else { panic!("{times:?}") };
    assert!(took < Duration::from_secs(30), "{took:?}");
    let seen = state.applied();
    site.apply(back(web, &Actor::named("mira".to_owned()))).await.unwrap();
    let state = rest(&site, &mut node, web).await;
    let (strategy, trigger, outcome) = (Strategy::BlueGreen, Trigger::Manual, Outcome::RolledBack);
    let ended = Count::Deployed { strategy, outcome, took: None };
    assert_eq!(counted(&state, seen), [Count::RolledBack { strategy, trigger }, ended]);
    site.stop().await;
}

// req: A32 A33 B30
#[test]
fn names_that_others_ask_for_are_there() {
    for name in [
        "warren_deployments_total",
        "warren_deployment_duration_seconds",
        "warren_canary_promotion_steps_total",
        "warren_rollbacks_total",
        "warren_deployments_rolled_back_total",
        "warren_canary_traffic_weight",
        "warren_canary_error_rate",
        "warren_canary_progress",
        "warren_canary_analysis_total",
        "warren_canary_analysis_failed",
        "warren_canary_rollback_total",
        "warren_bluegreen_switch_total",
        "warren_bluegreen_switch_duration_seconds",
        "warren_bluegreen_rollback_total",
        "warren_rollout_phase",
    ] {
        assert!(!metrics::help(name).is_empty(), "{name}");
    }
}
