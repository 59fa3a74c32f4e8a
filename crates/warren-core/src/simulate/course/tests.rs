//! Releases whose course is known.

use super::*;
use crate::spec::{Image, Placement, RestartPolicy, ServiceName, Step, Template, UpdateSettings};
use std::collections::BTreeMap;

fn spec(strategy: Strategy) -> ServiceSpec {
    let update = UpdateSettings {
        strategy,
        steps: vec![Step::weight(Weight::from_per_mille(250).unwrap(), Duration::from_secs(60))],
        ..UpdateSettings::default()
    };
    ServiceSpec {
        name: ServiceName::parse("web").unwrap(),
        mode: crate::spec::Mode::Replicated { replicas: 4 },
        template: Template::new(Image::parse("web:v1").unwrap()),
        placement: Placement::default(),
        restart: RestartPolicy::default(),
        update,
        labels: BTreeMap::new(),
    }
}

fn simulation(strategy: Strategy, faults: &[&str]) -> Simulation {
    let one = RevisionNumber(1);
    Simulation {
        stable: spec(strategy),
        next: spec(strategy),
        numbers: (one, one),
        nodes: 3,
        seed: 1,
        faults: faults.iter().map(|text| ((*text).to_owned(), text.parse().unwrap())).collect(),
        approve: true,
        longest: Duration::from_secs(24 * 3_600),
    }
}

fn outcome(course: &Course) -> Option<Outcome> {
    match &course.finish {
        Finish::Ended { outcome, .. } => Some(*outcome),
        Finish::Waits(_) | Finish::TimeUp(_) | Finish::TooMuch | Finish::Broken(_) => None,
    }
}

#[test]
fn a_canary_shows_its_steps_and_costs_no_request() {
    let course = simulation(Strategy::Canary, &[]).play().unwrap();
    assert_eq!(outcome(&course), Some(Outcome::Completed), "{:?}", course.finish);
    let held = course.scenes.iter().find(|scene| scene.what.ends_with("holding")).unwrap();
    assert_eq!(held.share.per_mille(), 250, "{held:?}");
    assert_eq!((held.old.ready, held.new.ready), (4, 1), "{held:?}");
    assert!(held.waits[0].starts_with("holding for another"), "{held:?}");
    assert_eq!(course.risk.lost, Duration::ZERO);
    assert!(course.risk.met_new >= Duration::from_secs(15), "{:?}", course.risk);
    assert!(course.lasted >= Duration::from_secs(60), "{:?}", course.lasted);
}

#[test]
fn a_bad_version_goes_back_and_a_recreate_is_downtime() {
    for strategy in [Strategy::Rolling, Strategy::Canary, Strategy::BlueGreen] {
        let course = simulation(strategy, &["crash:v2"]).play().unwrap();
        assert_eq!(outcome(&course), Some(Outcome::RolledBack), "{strategy}: {course:?}");
        let last = course.scenes.last().unwrap();
        assert_eq!((last.old.ready, last.new.ready), (4, 0), "{strategy}: {last:?}");
    }
    let course = simulation(Strategy::Recreate, &[]).play().unwrap();
    assert_eq!(outcome(&course), Some(Outcome::Completed));
    assert_eq!(course.risk.worst, Weight::FULL);
    assert!(course.risk.lost > Duration::from_millis(500), "{:?}", course.risk);
}

#[test]
fn a_lost_node_is_told_at_its_time_and_costs_its_share() {
    let course = simulation(Strategy::Canary, &["node-loss@30s"]).play().unwrap();
    let lost = course.scenes.iter().find(|scene| scene.what == "fault: node-loss@30s").unwrap();
    assert!(lost.after >= Duration::from_secs(30) && lost.after < Duration::from_secs(31));
    assert!(course.scenes.iter().any(|scene| scene.what.ends_with("is down")), "{course:?}");
    assert!(course.risk.lost > Duration::ZERO && course.risk.worst < Weight::FULL, "{course:?}");
    assert_eq!(outcome(&course), Some(Outcome::Completed), "{:?}", course.finish);
}

#[test]
fn revisions_have_the_numbers_that_they_have_in_the_cluster() {
    let numbers = (RevisionNumber(7), RevisionNumber(9));
    let course = Simulation { numbers, ..simulation(Strategy::Rolling, &["crash:v10"]) };
    let course = course.play().unwrap();
    assert_eq!((course.from.0, course.to.0), (7, 10));
    assert_eq!(outcome(&course), Some(Outcome::RolledBack));
}

#[test]
fn a_release_that_nobody_agrees_to_waits() {
    let mut asked = simulation(Strategy::Canary, &[]);
    asked.next.update.approve = Some(crate::spec::ApprovalRule { roles: vec![], min: 2 });
    let course = asked.play().unwrap();
    assert_eq!(outcome(&course), Some(Outcome::Completed), "{:?}", course.finish);
    asked.approve = false;
    let Finish::Waits(waits) = asked.play().unwrap().finish else { panic!("it goes on") };
    assert_eq!(waits, ["0 of 2 approvals: `warren rollout approve` gives one"]);
    let mut asked = simulation(Strategy::Canary, &["never-ready:v2"]);
    asked.next.update.failure_action = crate::spec::FailureAction::Pause;
    let Finish::Waits(waits) = asked.play().unwrap().finish else { panic!("it goes on") };
    assert!(waits[0].starts_with("paused"), "{waits:?}");
    let soon = Simulation { longest: Duration::from_secs(5), ..simulation(Strategy::Canary, &[]) };
    assert!(matches!(soon.play().unwrap().finish, Finish::TimeUp(_)));
}

#[test]
fn what_a_model_cannot_hold_is_refused() {
    let none = Simulation { nodes: 0, ..simulation(Strategy::Rolling, &[]) };
    assert!(none.play().unwrap_err().contains("1 to 100 machines"));
    let mut large = simulation(Strategy::Rolling, &[]);
    large.stable.mode = crate::spec::Mode::Replicated { replicas: 501 };
    assert!(large.play().unwrap_err().contains("500 tasks at the most"));
    let nowhere = simulation(Strategy::Rolling, &["node-loss:node-9@1s"]);
    assert!(nowhere.play().unwrap_err().contains("no such machine"));
}

// req: D8 D9 D10 D12 D13
#[test]
fn the_enterprise_profile_takes_its_documented_time() {
    let mut played = simulation(Strategy::Canary, &[]);
    played.next.update = crate::spec::profile(crate::spec::ProfileName::Enterprise);
    let course = played.play().unwrap();
    assert_eq!(outcome(&course), Some(Outcome::Completed), "{:?}", course.finish);
    let minutes = course.lasted.as_secs() / 60;
    assert!((105..=125).contains(&minutes), "{minutes} minutes");
    let held = course.scenes.iter().filter(|scene| scene.what.ends_with("holding"));
    let held: Vec<_> = held.map(|scene| (scene.share.per_mille(), scene.after)).collect();
    assert_eq!(held.iter().map(|(share, _)| *share).collect::<Vec<_>>(), [0, 50, 250, 500]);
    for pair in held[1..].windows(2) {
        let kept = pair[1].1 - pair[0].1;
        assert!(kept >= Duration::from_secs(1_800) && kept < Duration::from_secs(1_860));
    }
    // A canary that does not get ready is waited for two minutes.
    played.faults = vec![("never-ready:v2".to_owned(), "never-ready:v2".parse().unwrap())];
    let course = played.play().unwrap();
    assert_eq!(outcome(&course), Some(Outcome::RolledBack), "{:?}", course.finish);
    assert!(course.lasted < Duration::from_secs(240), "{:?}", course.lasted);
}
