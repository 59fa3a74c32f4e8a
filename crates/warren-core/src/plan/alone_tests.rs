//! What becomes of tasks of a node that is down and may run them still.

use super::tests::World;
use super::{STOP_SLACK, plan};
use crate::command::Command;
use crate::id::{NodeId, ServiceId};
use crate::report::WaitReason;
use crate::spec::{OnDisconnect, Order, Quantity};
use crate::task::Phase;
use crate::time::ClusterTime;
use std::time::Duration;

/// A service with one task, whose node goes down; where that was, and when.
fn lost(on_disconnect: OnDisconnect, stop_first: bool) -> (World, ServiceId, NodeId, ClusterTime) {
    let mut world = World::with_nodes(&["a", "b", "c"]);
    let web = world.feed.create("web", 1);
    world.change(web, |spec| {
        spec.restart.on_disconnect = on_disconnect;
        if stop_first {
            spec.update.order = Order::StopFirst;
            spec.update.max_unavailable = Quantity::Count(1);
        }
    });
    world.settle();
    let node = world.feed.state.tasks_of(web).find(|task| task.is_live()).unwrap().node;
    world.observed.nodes.entry(node).or_default().connected = false;
    world.apply(Command::SetNodeUp { node, up: false });
    let at = world.now;
    (world, web, node, at)
}

/// Tasks that may run, whoever hears of them.
fn may_run(world: &World, service: ServiceId) -> usize {
    world.feed.state.tasks_of(service).filter(|task| task.is_live()).count()
}

#[test]
fn by_default_another_task_takes_the_place_at_once() {
    let (mut world, web, node, _) = lost(OnDisconnect::Keep, false);
    world.round();
    let live = world.feed.state.tasks_of(web).find(|task| task.is_live()).unwrap();
    assert!(live.node != node && live.phase == Phase::Running, "{live:?}");
}

#[test]
fn what_stops_by_itself_is_replaced_once_it_must_have_and_never_before() {
    for stop_first in [false, true] {
        let span = Duration::from_secs(30);
        let (mut world, web, node, at) = lost(OnDisconnect::StopAfter(span), stop_first);
        let stop = world.feed.state.service(web).unwrap().spec.template.stop.timeout;
        let ended = at.after(span + stop + STOP_SLACK);
        while world.now < ended {
            let next = plan(&world.feed.state, &world.observed, world.now);
            assert_eq!(next.wake_at, Some(ended), "it wakes for nothing else");
            let waits = &next.report.services[&web].waits;
            let cut_off = |reason: &WaitReason| matches!(reason, WaitReason::CutOff { .. });
            assert!(waits.iter().any(|wait| cut_off(&wait.reason)), "{waits:?}");
            world.round();
            assert_eq!(may_run(&world, web), 1);
            assert!(world.feed.state.tasks_of(web).all(|task| task.node == node));
        }
        world.settle();
        let live = world.feed.state.tasks_of(web).find(|task| task.is_live()).unwrap();
        assert!(live.node != node && may_run(&world, web) == 1);
    }
}

#[test]
fn a_node_that_is_back_in_time_keeps_its_task() {
    let (mut world, web, node, _) = lost(OnDisconnect::StopAfter(Duration::from_secs(30)), false);
    let before = world.feed.state.tasks_of(web).find(|task| task.is_live()).unwrap().id;
    for _ in 0..5 {
        world.round();
    }
    world.observed.nodes.entry(node).or_default().connected = true;
    world.apply(Command::SetNodeUp { node, up: true });
    world.settle();
    let after = world.feed.state.tasks_of(web).find(|task| task.is_live()).unwrap();
    assert_eq!((after.id, world.serving(web)), (before, 1));
}
