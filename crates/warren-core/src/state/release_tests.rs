//! What a steered release tells, and what it refuses.

use super::tests::Feed;
use super::*;
use crate::command::{Applied, Command, Rejection, Steer};
use crate::rollout::{Back, Haste, Move, Phase};
use crate::service::Actor;
use crate::spec::{
    ApprovalRule, FailureAction, Hook, HookPoint, HookUrl, Image, Step, Strategy, UpdateSettings,
};
use crate::time::ClusterTime;
use crate::units::Weight;
use std::time::Duration;

fn by() -> Actor {
    Actor::named("test".to_owned())
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

// req: D25
#[test]
fn the_hooks_before_a_release_are_called_once_whatever_the_split_becomes_meanwhile() {
    let url = HookUrl::parse("http://127.0.0.1:1/gate").unwrap();
    let (mut feed, web) =
        canary(|update| update.hooks = vec![Hook::new(HookPoint::PreRollout, url)]);
    moved(&mut feed, web, Move::CallHooks(HookPoint::PreRollout));
    let answered = feed.state.notices().map(|notice| (notice.id, None)).collect();
    feed.apply(Command::SettleNotices { results: answered }).unwrap();
    let asked = |feed: &Feed| {
        let live = feed.state.service(web).unwrap().rollout.clone().unwrap();
        live.called.as_ref().map(|called| (called.on, called.pending.len(), live.phase))
    };
    let before = Some((HookPoint::PreRollout, 0, Phase::Preparing));
    assert_eq!(asked(&feed), before);
    moved(&mut feed, web, Move::Shift { weight: Weight::ZERO, next: Phase::Preparing });
    assert_eq!(asked(&feed), before, "a split is no reason to ask again");
    moved(&mut feed, web, Move::Step(0));
    assert_eq!(asked(&feed), None, "the next gate asks anew");
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
        let by = Actor::named(who.to_owned());
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

#[test]
fn a_second_rollback_turns_round_the_first_where_nothing_moves_for_too_long() {
    let (mut feed, web) = canary(|update| {
        update.strategy = Strategy::Rolling;
        update.failure_action = FailureAction::Continue;
    });
    moved(&mut feed, web, Move::Accept);
    moved(&mut feed, web, Move::Finish);
    rollback(&mut feed, web);
    let live = |feed: &Feed| feed.state.service(web).unwrap().rollout.clone().unwrap();
    let late = live(&feed).progress_at.after(live(&feed).settings.progress_deadline);
    feed.clock = Some(ClusterTime::from_ms(late.as_ms() - 1));
    rollback(&mut feed, web);
    assert_eq!((live(&feed).phase, live(&feed).haste), (Phase::Updating, Haste::Full));
    feed.clock = Some(late);
    rollback(&mut feed, web);
    assert_eq!(live(&feed).phase, Phase::RollingBack);
    assert_eq!(feed.state.service(web).unwrap().current, crate::id::RevisionNumber(2));
}

#[test]
fn a_global_service_with_canaries_is_refused_before_it_is_made_and_when_it_becomes_one() {
    let mut feed = Feed::cluster();
    let mut spec = crate::spec::tests::service("all", 1);
    spec.mode = crate::spec::Mode::Global;
    spec.update.strategy = Strategy::Canary;
    let before = feed.state.clone();
    let create = Command::CreateService { spec: Box::new(spec), by: by() };
    match feed.apply(create) {
        Err(Rejection::Unfit(why)) => assert!(why.contains("use --strategy rolling"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(feed.state.services().len(), before.services().len());
    let web = feed.create("web", 1);
    let found = feed.state.service(web).cloned().unwrap();
    let mut spec = Box::new(found.spec.clone());
    spec.mode = crate::spec::Mode::Global;
    spec.update.strategy = Strategy::BlueGreen;
    let (expect, cause, freeze_override) = (found.generation, String::new(), None);
    let update =
        Command::UpdateService { service: web, expect, spec, by: by(), cause, freeze_override };
    assert!(matches!(feed.apply(update), Err(Rejection::Unfit(_))), "no template has changed");
}

#[test]
fn the_image_of_a_release_outlives_its_revision() {
    let (mut feed, web) = canary(|_| {});
    moved(&mut feed, web, Move::Step(0));
    for image in 3..20 {
        let found = feed.state.service(web).cloned().unwrap();
        let mut spec = Box::new(found.spec.clone());
        spec.template.image = Image::parse(&format!("web:v{image}")).unwrap();
        let (expect, cause, freeze_override) = (found.generation, String::new(), None);
        let by = by();
        feed.apply(Command::UpdateService {
            service: web,
            expect,
            spec,
            by,
            cause,
            freeze_override,
        })
        .unwrap();
    }
    let service = feed.state.service(web).unwrap();
    let second = service.past.iter().find(|past| past.to.0 == 2).unwrap();
    assert!(!service.revisions.contains_key(&second.to), "it is pruned");
    assert_eq!(second.to_runs.as_ref().unwrap().image.as_str(), "web:v2");
    assert_eq!(second.from_runs.as_ref().unwrap().image.as_str(), "web:v1");
}

#[test]
fn a_release_back_can_be_turned_round_by_the_name_of_what_it_leaves() {
    let (mut feed, web) = canary(|_| {});
    moved(&mut feed, web, Move::Accept);
    moved(&mut feed, web, Move::Finish);
    rollback(&mut feed, web);
    let (to, careful, back, by) =
        (Some(crate::id::RevisionNumber(2)), false, Back::Immediate, by());
    let reason = String::new();
    feed.apply(Command::RollbackService { service: web, to, careful, back, by, reason }).unwrap();
    let service = feed.state.service(web).unwrap();
    let turned = service.rollout.as_ref().or_else(|| service.past.last()).unwrap();
    assert!(turned.abort.is_some() || turned.end.is_some(), "{turned:?}");
    assert_eq!(service.current.0, 2);
}
