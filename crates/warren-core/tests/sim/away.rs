//! A machine that is away for minutes, with tasks that run on: when it returns, what it ran is of another time.

use crate::history::{Op, secs};
use crate::managers::perform;
use std::collections::BTreeMap;
use warren_core::id::{NodeId, TaskId};
use warren_core::simulate::{Fleet, Trouble};
use warren_core::spec::UpdateSettings;
use warren_core::task::Phase;

/// In seconds: longer than every lease, grace, back-off and warm-up together.
const AWAY: u64 = 6 * 60;

/// The tasks that run, by where.
fn running(fleet: &Fleet) -> BTreeMap<TaskId, NodeId> {
    let running = fleet.state().tasks().filter(|task| task.phase == Phase::Running);
    running.map(|task| (task.id, task.node)).collect()
}

fn settings() -> UpdateSettings {
    UpdateSettings { min_ready: secs(1), ..UpdateSettings::default() }
}

/// What happens while it is away: nothing, a release, a release that is under way when it returns, or another leader.
fn meanwhile(fleet: &mut Fleet, seed: u64) {
    fleet.advance(secs(60));
    if seed.is_multiple_of(3) {
        perform(fleet, &Op::Update { image: 2, update: None });
    }
    if seed.is_multiple_of(4) {
        fleet.trouble(&Trouble::HandOver);
    }
    fleet.advance(secs(AWAY - 60 - 2));
    if seed.is_multiple_of(5) {
        perform(fleet, &Op::Update { image: 3, update: None });
    }
}

// req: C32
#[test]
fn a_node_that_returns_after_minutes_with_old_tasks_costs_no_other_task() {
    for seed in 1..=60 {
        let mut fleet = Fleet::new(3, 3, seed);
        let create = Op::Create { replicas: 6, update: Box::new(settings()) };
        perform(&mut fleet, &create);
        fleet.advance(secs(30));
        let before = running(&fleet);
        assert_eq!(before.len(), 6, "history {seed}");
        let (node, power) = (usize::try_from(seed % 3).unwrap(), seed.is_multiple_of(2));
        let away = fleet.state().nodes().nth(node).unwrap().id;
        fleet.trouble(&Trouble::Gone { node, power, length: secs(AWAY) });
        meanwhile(&mut fleet, seed);

        let replaced = running(&fleet);
        assert!(!fleet.state().node(away).unwrap().up, "history {seed}: it is given up");
        assert!(replaced.values().all(|node| *node != away), "history {seed}: {replaced:?}");
        assert!(replaced.len() >= 6, "history {seed}: {replaced:?}");
        fleet.advance(secs(120));
        assert_eq!(fleet.broken().map(ToString::to_string), None, "history {seed}");
        assert!(fleet.state().node(away).unwrap().up, "history {seed}: it is back");
        let after = running(&fleet);
        if !seed.is_multiple_of(5) {
            assert_eq!(after, replaced, "history {seed}: what should live lives, where it was");
        }
        for (task, node) in before.iter().filter(|(_, node)| **node == away) {
            assert!(!after.contains_key(task), "history {seed}: {task} of {node} was given up");
        }
        assert_eq!(fleet.converged(), Ok(()), "history {seed}");
    }
}
