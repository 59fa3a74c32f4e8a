//! Hooks that say yes, no, nothing and too much, and managers that change while they are asked.

use super::agent::Attached;
use super::site::{Home, OPTIONS, Site, with_node};
use super::soon;
use std::collections::BTreeSet;
use std::time::Duration;
use warren_core::State;
use warren_core::id::ServiceId;
use warren_core::rollout::{Happened, Outcome, Rollout};
use warren_core::spec::{Hook, HookKey, HookPoint, HookUrl};
use warren_drivers::hook::fake::{Answer, Receiver, Script};

/// A service that runs, and who is to be called.
async fn start() -> (Home, Site, Attached, ServiceId, Receiver) {
    let (home, site, mut node) = with_node("a").await;
    let web = site.create("web", 1).await;
    let up = site.until("it is accepted", |state| ended(state, web, 1).is_some());
    node.during("it is accepted", up).await;
    let receiver = Receiver::start(Script::default()).await.unwrap();
    (home, site, node, web, receiver)
}

fn hook(receiver: &Receiver, on: HookPoint, path: &str) -> Hook {
    Hook::new(on, HookUrl::parse(&receiver.url(path)).unwrap())
}

/// The last release, if so many have ended.
fn ended(state: &State, service: ServiceId, count: usize) -> Option<&Rollout> {
    let past = &state.service(service)?.past;
    (past.len() >= count).then(|| past.last().unwrap().as_ref())
}

/// How the second release ended, and why.
async fn end(site: &Site, node: &mut Attached, web: ServiceId) -> (Outcome, String) {
    let done = site.until("the release ends", |state| ended(state, web, 2).is_some());
    let state = node.during("the release ends", done).await;
    let end = ended(&state, web, 2).unwrap().end.clone().unwrap();
    (end.outcome, end.reason)
}

fn status(code: u16, body: &str) -> Answer {
    Answer::Status(code, body.to_owned())
}

// req: D25
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_says_no_ends_the_release_with_its_words() {
    let (_home, site, mut node, web, receiver) = start().await;
    receiver.script.answer("/gate", [status(403, "the error budget is spent")]);
    let gate = hook(&receiver, HookPoint::PreRollout, "/gate");
    site.update(web, "web:v2", |update| update.hooks = vec![gate]).await;
    let (outcome, reason) = end(&site, &mut node, web).await;
    assert_eq!(outcome, Outcome::Failed);
    assert!(reason.contains("403 Forbidden: the error budget is spent"), "{reason}");
    assert_eq!(receiver.script.heard().borrow().len(), 1, "a 403 is not asked again");
    let state = site.state();
    let told = ended(&state, web, 2).unwrap().timeline.iter().any(|moment| {
        matches!(&moment.what, Happened::HookFailed { why, .. } if why.contains("error budget"))
    });
    assert!(told, "it is not in the timeline");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_is_asked_again_after_errors_that_may_pass() {
    let (_home, site, mut node, web, receiver) = start().await;
    receiver.script.answer("/gate", [status(500, "later"), Answer::Close, Answer::Flood(10 << 20)]);
    let mut gate = hook(&receiver, HookPoint::PreRollout, "/gate");
    gate.key = Some(HookKey("a key".to_owned()));
    site.update(web, "web:v2", |update| update.hooks = vec![gate]).await;
    assert_eq!(end(&site, &mut node, web).await.0, Outcome::Completed);
    let heard = receiver.script.heard().borrow().clone();
    assert_eq!(heard.len(), 3);
    assert!(heard.iter().all(|call| *call == heard[0]), "a repetition differs");
    assert!(heard[0].1.headers.iter().any(|(name, _)| *name == "x-warren-signature"));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_stays_down_fails_after_all_attempts() {
    let (_home, site, mut node, web, receiver) = start().await;
    receiver.script.answer("/gate", [status(503, "")]);
    let gate = hook(&receiver, HookPoint::PreRollout, "/gate");
    site.update(web, "web:v2", |update| update.hooks = vec![gate]).await;
    let (outcome, reason) = end(&site, &mut node, web).await;
    assert_eq!(outcome, Outcome::Failed);
    assert!(reason.contains("503 Service Unavailable (3 attempts)"), "{reason}");
    assert_eq!(receiver.script.heard().borrow().len(), OPTIONS.hook_back_off.len() + 1);
    site.stop().await;
}

// req: D26 D42 E1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_that_hang_or_fail_hold_up_nothing_when_they_only_tell() {
    let (_home, site, mut node, web, receiver) = start().await;
    receiver.script.answer("/hangs", [Answer::Hang]);
    receiver.script.answer("/fails", [status(404, "nobody here")]);
    let mut hangs = hook(&receiver, HookPoint::Event, "/hangs");
    hangs.timeout = Duration::from_secs(600);
    let hooks = vec![
        hangs,
        hook(&receiver, HookPoint::Event, "/fails"),
        hook(&receiver, HookPoint::Event, "/told"),
        hook(&receiver, HookPoint::PreRollout, "/gate"),
    ];
    site.update(web, "web:v2", |update| update.hooks = hooks).await;
    assert_eq!(end(&site, &mut node, web).await.0, Outcome::Completed);

    let mut heard = receiver.script.heard();
    let last = |(path, message): &(String, warren_drivers::hook::Message)| {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        path == "/told" && body.contains(r#""action":"completed""#)
    };
    let told = heard.wait_for(|heard| heard.iter().any(last));
    let told = node.during("the end is told", told).await.unwrap().clone();
    let ids = told.iter().filter(|(path, _)| path == "/told").map(|(_, message)| {
        let id = message.headers.iter().find(|(name, _)| *name == "idempotency-key").unwrap();
        id.1[1..].parse::<u64>().unwrap()
    });
    let ids: Vec<u64> = ids.collect();
    assert!(ids.is_sorted(), "told out of order: {ids:?}");
    let hanging = told.iter().filter(|(path, _)| path == "/hangs").count();
    assert_eq!(hanging, 1, "one call at a time goes to one address");
    let left = site.until("only the hanging ones are left", |state| {
        state.notices().all(|notice| notice.hook.url.as_str().ends_with("/hangs"))
    });
    node.during("only the hanging ones are left", left).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_makes_the_call_that_the_old_one_did_not_finish() {
    let (home, site, mut node, web, receiver) = start().await;
    receiver.script.answer("/gate", [Answer::Hang]);
    let mut gate = hook(&receiver, HookPoint::PreRollout, "/gate");
    gate.timeout = Duration::from_secs(600);
    site.update(web, "web:v2", |update| update.hooks = vec![gate]).await;
    let mut heard = receiver.script.heard();
    let asked = heard.wait_for(|heard| heard.len() == 1);
    node.during("the gate is asked", asked).await.unwrap();
    let agent = node.cut();
    site.stop().await;

    receiver.script.answer("/gate", [Answer::yes()]);
    let site = home.start(OPTIONS).await;
    let mut node = agent.attach(&site).await;
    assert_eq!(end(&site, &mut node, web).await.0, Outcome::Completed);
    let heard = receiver.script.heard().borrow().clone();
    let ids: BTreeSet<_> = heard.iter().map(|(_, message)| message.headers.clone()).collect();
    assert_eq!((heard.len(), ids.len()), (2, 1), "the same call twice: {heard:?}");
    soon("it stops", site.stop()).await;
}
