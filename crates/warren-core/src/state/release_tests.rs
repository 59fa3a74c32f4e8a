//! What a steered release tells, and what it refuses.

use super::tests::Feed;
use super::*;
use crate::command::{Applied, Command, Rejection, Steer};
use crate::rollout::{Back, Move, Phase};
use crate::service::Actor;
use crate::spec::{ApprovalRule, Hook, HookPoint, HookUrl, Image, Step, Strategy, UpdateSettings};
use crate::units::Weight;
use std::time::Duration;

fn by() -> Actor {
    Actor("test".to_owned())
}

fn moved(feed: &mut Feed, service: ServiceId, to: Move) {
    let live = feed.state.service(service).unwrap().rollout.clone().unwrap();
    let (rollout, seq) = (live.id, live.seq);
    feed.apply(Command::MoveRollout { service, rollout, seq, to }).unwrap();
}

/// A service with a first release behind it, and a canary begun with `change`.
fn canary(change: impl FnOnce(&mut UpdateSettings)) -> (Feed, ServiceId) {
    let mut feed = Feed::cluster();
    let web = feed.create("web", 1);
    moved(&mut feed, web, Move::Accept);
    moved(&mut feed, web, Move::Finish);
    let found = feed.state.service(web).cloned().unwrap();
    let mut spec = Box::new(found.spec.clone());
    spec.template.image = Image::parse("web:v2").unwrap();
    spec.update.strategy = Strategy::Canary;
    change(&mut spec.update);
    let expect = found.generation;
    let (cause, freeze_override) = (String::new(), None);
    let by = by();
    feed.apply(Command::UpdateService { service: web, expect, spec, by, cause, freeze_override })
        .unwrap();
    (feed, web)
}

fn rollback(feed: &mut Feed, service: ServiceId) {
    let (to, careful, back, by) = (None, false, Back::Immediate, by());
    let reason = "too slow".to_owned();
    feed.apply(Command::RollbackService { service, to, careful, back, by, reason }).unwrap();
}

#[test]
fn a_hook_is_told_of_a_rollback_with_the_phase_that_it_has_come_to() {
    let url = HookUrl::parse("http://127.0.0.1:1/back").unwrap();
    let (mut feed, web) = canary(|update| update.hooks = vec![Hook::new(HookPoint::Rollback, url)]);
    moved(&mut feed, web, Move::Step(0));
    assert_eq!(feed.state.notices().len(), 0);
    rollback(&mut feed, web);
    let told: Vec<_> = feed.state.notices().map(|notice| notice.phase).collect();
    assert_eq!(told, [Phase::RollingBack]);
}

#[test]
fn an_approval_that_names_a_step_agrees_to_no_other() {
    let rule = || Some(ApprovalRule { roles: Vec::new(), min: 1 });
    let (mut feed, web) = canary(|update| {
        let tenth = Weight::from_per_mille(100).unwrap();
        let mut step = Step::weight(tenth, Duration::ZERO);
        step.approve = rule();
        update.approve = rule();
        update.steps = vec![step, Step::weight(Weight::FULL, Duration::ZERO)];
    });
    let approve = |feed: &mut Feed, who: &str, step| {
        let steer = Steer::Approve { roles: Vec::new(), comment: String::new(), step };
        let by = Actor(who.to_owned());
        feed.apply(Command::SteerRollout { service: web, steer, by })
    };
    let waits = |feed: &Feed| {
        let live = feed.state.service(web).unwrap().rollout.clone().unwrap();
        live.approval_wanted().map(|(step, _)| step)
    };
    assert_eq!(waits(&feed), Some(0));
    approve(&mut feed, "ann", Some(0)).unwrap();
    // Both looked at the start; the release has gone on before the second word comes.
    moved(&mut feed, web, Move::Step(0));
    assert_eq!(waits(&feed), Some(1));
    match approve(&mut feed, "bob", Some(0)) {
        Err(Rejection::NotNow(why)) => {
            assert!(why.contains("step 1 waits for approval now, not the start"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(waits(&feed), Some(1), "a refused approval counts for nothing");
    assert!(matches!(approve(&mut feed, "bob", Some(1)), Ok(Applied::Rollout { .. })));
    assert_eq!(waits(&feed), None);
}

#[test]
fn a_second_rollback_hurries_the_first_and_never_turns_it_round() {
    let (mut feed, web) = canary(|_| {});
    moved(&mut feed, web, Move::Accept);
    moved(&mut feed, web, Move::Finish);
    for _ in 0..2 {
        rollback(&mut feed, web);
        let live = feed.state.service(web).unwrap().rollout.clone().unwrap();
        assert_eq!((live.from, live.to.0), (Some(crate::id::RevisionNumber(2)), 1));
        assert!(!live.phase.is_back(), "{}", live.phase);
    }
}
