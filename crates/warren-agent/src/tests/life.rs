//! What becomes of tasks while there is a leader.

use super::manager::{Session, told, welcome};
use super::sim::is_running;
use super::{Machine, check, options, task, with, within};
use crate::Options;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::sync::watch;
use warren_core::assignment::Want;
use warren_core::id::TaskId;
use warren_core::node::{Encryption, WireGuard, WireGuardKey};
use warren_core::spec::Image;
use warren_drivers::runtime::RuntimeError;
use warren_wire::convert;
use warren_wire::v1;
use warren_wire::v1::manager_message::Message as ToAgent;

#[tokio::test]
async fn tasks_come_up_stop_and_go_away() {
    let machine = Machine::new();
    let (_manager, agent, mut session) = machine.up().await;
    assert_eq!((session.hello.cluster_id, session.hello.key.as_str()), (0, "the-key-of-box"));

    let tasks = [task(1, 3), task(2, 3)];
    session.full(5, &tasks, None).await;
    session.until_ready(1).await;
    session.until_ready(2).await;
    session.until("the list is taken over", |s| s.applied.is_some()).await;
    assert_eq!(session.applied.as_ref().unwrap().revision, 5);
    let spec = machine.sim.spec(2);
    assert_eq!(spec.address, Ipv4Addr::new(10, 210, 0, 3));
    assert_eq!(spec.dns.servers, [Ipv4Addr::new(10, 210, 0, 1)]);
    assert_eq!((&spec.dns.search[..], spec.labels.epoch), (&["warren".to_owned()][..], 1));

    let next = [with(task(1, 3), Want::Stop), task(2, 3), task(3, 3)];
    session.change(5, &tasks, &next).await;
    session.until_ready(3).await;
    let stopped = session.until_status(1, "a task stops", |status| status.end.is_some()).await;
    assert_eq!((stopped.phase.as_str(), stopped.ready), ("stopped", false));
    assert_eq!(stopped.end.unwrap().message, "stopped: ended by signal 15");
    assert_eq!(machine.sim.running(), BTreeSet::from([2, 3]));

    session.change(6, &next, &next[1..]).await;
    machine.sim.until("the stopped container goes away", |world| world.containers.len() == 2).await;
    let phases = &session.phases["t1"];
    let order = ["assigned", "preparing", "starting", "running", "stopped"];
    let places: Vec<_> =
        phases.iter().map(|phase| order.iter().position(|known| known == phase)).collect();
    assert!(places.is_sorted(), "{phases:?}");
    agent.end().await;
    assert_eq!(machine.sim.running(), BTreeSet::from([2, 3]), "tasks outlive their agent");
}

#[tokio::test]
async fn a_crash_loop_is_restarted_in_place_and_given_up() {
    let machine = Machine::new();
    let (_manager, _agent, mut session) = machine.up().await;
    session.full(1, &[task(1, 2)], None).await;
    session.until_ready(1).await;
    machine.sim.crash(1, 3, true);
    session.until_status(1, "it runs again", |status| status.ready && status.restarts == 1).await;
    assert_eq!(session.statuses["t1"].detail, "restarted: exit code 3");

    machine.sim.change(|world| world.crash_at_start = Some(3));
    machine.sim.crash(1, 3, true);
    let failed = session.until_status(1, "it is given up", |status| status.end.is_some()).await;
    assert_eq!(failed.phase, "failed");
    let end = failed.end.unwrap();
    assert_eq!(end.code, Some(3));
    assert!(
        end.message.contains("restarted 2 times within 300s, another task comes instead"),
        "{}",
        end.message
    );
    assert_eq!(machine.sim.world().starts[&TaskId(1)], 3);
}

#[tokio::test]
async fn an_unhealthy_task_is_restarted() {
    let machine = Machine::new();
    let (_manager, _agent, mut session) = machine.up().await;
    let mut sick = task(1, 5);
    sick.template.health = Some(check());
    sick.restart.delay = Duration::from_secs(1);
    session.full(1, &[sick], None).await;
    let well = session.until_status(1, "a task is well", |status| status.ready).await;
    assert_eq!(well.health, "healthy");
    machine.sim.change(|world| world.failing.insert(TaskId(1)));
    let waits = "unhealthy: the command exited with 1: restart 1 of 5 after 1s";
    let sick = session.until_status(1, "it is restarted", |status| status.detail == waits).await;
    assert_eq!((sick.ready, sick.restarts), (false, 1));
    machine.sim.change(|world| world.failing.clear());
    session.until_ready(1).await;
    assert!(machine.sim.world().starts[&TaskId(1)] >= 2);
}

#[tokio::test]
async fn an_end_of_readiness_is_published_first_and_needs_no_timer() {
    let machine = Machine::new();
    let (_manager, mut agent, mut session) = machine.up().await;
    let mut slow = task(1, 5);
    slow.restart.delay = Duration::from_secs(3600);
    slow.restart.delay_max = slow.restart.delay;
    session.full(1, &[slow], None).await;
    session.until_ready(1).await;
    agent.until_ready(1, true).await;
    // From here on the manager hears nothing, and the resolver of the node knows all the same.
    machine.sim.crash(1, 1, true);
    let prompt = Duration::from_secs(5);
    assert!(prompt < super::super::agent::LIST_EVERY, "the next look by the clock comes later");
    tokio::time::timeout(prompt, agent.until_ready(1, false)).await.unwrap();
    session.until_status(1, "the leader hears of it", |status| !status.ready).await;
}

#[tokio::test]
async fn readiness_follows_its_check_and_restarts_nothing() {
    let machine = Machine::new();
    let (_manager, mut agent, mut session) = machine.up().await;
    let mut shy = task(1, 5);
    shy.template.readiness = Some(check());
    machine.sim.change(|world| world.failing.insert(TaskId(1)));
    session.full(1, &[shy], None).await;
    let up = session.until_status(1, "it runs", |status| status.phase == "running").await;
    assert!(!up.ready);
    machine.sim.change(|world| world.failing.clear());
    agent.until_ready(1, true).await;
    machine.sim.change(|world| world.failing.insert(TaskId(1)));
    agent.until_ready(1, false).await;
    assert_eq!(machine.sim.world().starts[&TaskId(1)], 1);
}

#[tokio::test]
async fn a_container_removed_behind_our_back_comes_back() {
    let machine = Machine::new();
    let (_manager, _agent, mut session) = machine.up().await;
    session.full(1, &[task(1, 5)], None).await;
    session.until_ready(1).await;
    machine.sim.crash(1, 137, true);
    machine.sim.change(|world| world.containers.clear());
    let again = session.until_status(1, "it runs again", |s| s.ready && s.restarts > 0).await;
    assert_eq!((again.restarts, machine.sim.running()), (1, BTreeSet::from([1])));
}

#[tokio::test]
async fn what_cannot_start_is_rejected_with_the_reason() {
    let machine = Machine::new();
    let (_manager, _agent, mut session) = machine.up().await;
    let mut missing = task(1, 5);
    missing.template.image = Image::parse("missing").unwrap();
    session.full(1, &[missing], None).await;
    let rejected = session.until_status(1, "it is rejected", |status| status.end.is_some()).await;
    assert_eq!(rejected.phase, "rejected");
    let message = rejected.end.unwrap().message;
    assert_eq!(message, "image missing is not there: nobody has it: check the name");

    let what = "mount /srv/data".to_owned();
    let why = "there is no such directory on this node: make it, or move the service".to_owned();
    machine.sim.change(|world| world.create_error = Some(RuntimeError::Refused { what, why }));
    session.full(2, &[task(2, 5)], None).await;
    let rejected = session.until_status(2, "it is rejected", |status| status.end.is_some()).await;
    assert!(rejected.end.unwrap().message.starts_with("mount /srv/data: there is no such"));
}

#[tokio::test]
async fn a_pull_is_called_off_when_the_task_is_not_wanted_any_more() {
    let machine = Machine::new();
    machine.sim.change(|world| world.pull_hangs = true);
    let (_manager, _agent, mut session) = machine.up().await;
    session.full(1, &[task(1, 5)], None).await;
    let pulling =
        session.until_status(1, "progress is told", |status| status.detail.contains("50 %")).await;
    assert_eq!(pulling.phase, "preparing");
    session.change(1, &[task(1, 5)], &[with(task(1, 5), Want::Stop)]).await;
    let stopped = session.until_status(1, "it stops", |status| status.end.is_some()).await;
    assert_eq!(stopped.end.unwrap().message, "stopped before it started");
    assert_eq!(machine.sim.world().pulls_called_off, 1);
}

#[tokio::test]
async fn a_runtime_that_is_gone_for_a_while_is_named_and_nothing_is_lost() {
    let machine = Machine::new();
    let (_manager, mut agent, mut session) = machine.up().await;
    session.full(1, &[task(1, 5)], None).await;
    session.until_ready(1).await;
    assert_eq!(*agent.published.silent.borrow(), "");
    machine.sim.change(|world| world.down = true);
    // A task that comes now makes the agent look.
    let tasks = [task(1, 5), task(2, 5)];
    session.change(1, &tasks[..1], &tasks).await;
    let named = |status: &v1::TaskStatus| status.detail.contains("sim is not available");
    let waiting = session.until_status(2, "the reason is told", named).await;
    assert!(waiting.end.is_none());
    let silent = agent.published.silent.wait_for(|why| why.contains("sim is not available"));
    within("the node knows why", silent).await.unwrap();
    let networks = machine.sim.world().networks;
    machine.sim.change(|world| world.down = false);
    session.until_ready(2).await;
    let silent = agent.published.silent.wait_for(String::is_empty);
    within("the node knows that it is back", silent).await.unwrap();
    assert_eq!(machine.sim.world().starts[&TaskId(1)], 1, "what ran runs on");
    assert!(machine.sim.world().networks > networks, "the network is looked after again");
}

#[tokio::test]
async fn a_change_that_does_not_fit_is_answered_with_where_the_node_stands() {
    let machine = Machine::new();
    let (_manager, _agent, mut session) = machine.up().await;
    session.full(4, &[task(1, 5)], None).await;
    session.until("the list is taken over", |s| s.applied.is_some()).await;
    session.applied = None;
    session.beat = None;
    session.change(9, &[task(1, 5)], &[]).await;
    session.until("it says where it stands", |s| s.applied.is_some() && s.beat.is_some()).await;
    assert_eq!(session.applied.as_ref().unwrap().revision, 4);
    assert_eq!(session.beat.as_ref().unwrap().revision, 4);
    session.until_ready(1).await;
}

#[tokio::test]
async fn a_list_that_empties_the_node_is_held_until_it_is_allowed() {
    let machine = Machine::new();
    let (_manager, _agent, mut session) = machine.up().await;
    let tasks = session.ready_tasks(4).await;
    session.full(2, &tasks[..1], None).await;
    let held = |s: &Session| s.applied.as_ref().is_some_and(|a| !a.held.is_empty());
    session.until("it is held", held).await;
    assert!(session.applied.as_ref().unwrap().held.contains("would stop 3 of 4 running tasks"));
    assert_eq!(machine.sim.running().len(), 4);
    session.full(2, &tasks[..1], Some(3)).await;
    session.until("it is let go", |s| !held(s)).await;
    machine.sim.until("three are gone", |world| world.containers.len() == 1).await;
    assert_eq!(machine.sim.running(), BTreeSet::from([1]));
}

#[tokio::test]
async fn strays_are_taken_away_within_the_brake() {
    let machine = Machine::new();
    let (_manager, _agent, mut session) = machine.up().await;
    let tasks = session.ready_tasks(4).await;
    // A change that forgets running tasks is no order to stop them: three of four are too many, two are not.
    session.change(1, &tasks, &tasks[..1]).await;
    let held = |s: &Session| s.applied.as_ref().is_some_and(|a| !a.held.is_empty());
    session.until("it is held", held).await;
    assert!(session.applied.as_ref().unwrap().held.starts_with("3 of 4 running containers"));
    assert_eq!(machine.sim.running().len(), 4);
    session.change(2, &tasks[..1], &tasks[..2]).await;
    machine.sim.until("two are gone", |world| world.containers.len() == 2).await;
    assert_eq!(machine.sim.running(), BTreeSet::from([1, 2]));
    assert_eq!(machine.sim.world().starts[&TaskId(2)], 1, "what is assigned again is adopted");
}

#[tokio::test]
async fn an_epoch_of_traffic_is_told_once_the_resolver_answers_with_it() {
    let machine = Machine::new();
    let mut manager = machine.manager().await;
    let (resolver, acked) = watch::channel(0);
    let mut agent = machine.agent_with(Some(acked));
    let mut session = manager.welcome().await;
    session.send(told(9, true)).await;
    let view = agent.published.traffic.wait_for(|view| view.epoch == 9);
    within("the view is published", view).await.unwrap();
    session.until("the agent beats", |s| s.beat.is_some() && s.traffic.is_some()).await;
    assert_eq!(session.traffic, Some(0), "not before the resolver says so");
    resolver.send_replace(9);
    session.until("it is told", |s| s.traffic == Some(9)).await;
}

#[tokio::test]
async fn traffic_that_cannot_be_read_ends_the_session_and_the_next_one_tells_all_of_it() {
    let machine = Machine::new();
    let (mut manager, mut agent, session) = machine.up().await;
    session.send(told(1, true)).await;
    within("it is taken over", agent.published.traffic.wait_for(|view| view.epoch == 1))
        .await
        .unwrap();
    session.send(ToAgent::Traffic(vec![0xff; 8])).await;
    within("the session ends", agent.published.connected.wait_for(|up| !up)).await.unwrap();
    // It differs from what could not be read: nobody can build on it.
    session.send(told(3, false)).await;
    drop(session);
    let session = manager.welcome().await;
    assert_eq!(agent.published.traffic.borrow().epoch, 1);
    session.send(told(3, true)).await;
    within("all of it is told", agent.published.traffic.wait_for(|view| view.epoch == 3))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_change_of_encryption_is_told_at_once_by_another_session() {
    let machine = Machine::new();
    let mut manager = machine.manager().await;
    let (told, encryption) = watch::channel(Encryption { wireguard: None, only: true });
    let options = Options { encryption, ..options(&machine.data(), machine.socket()) };
    let agent = machine.agent_of(options, None);
    let session = manager.welcome().await;
    let said = |session: &Session| convert::node::encryption(session.hello.encryption.as_ref());
    assert_eq!(said(&session), Ok(*told.borrow()));
    let key = WireGuardKey([7; 32]);
    told.send_modify(|told| told.wireguard = Some(WireGuard { key, port: 7403 }));
    // The first one is still open here: it is the agent that ends it.
    let next = manager.welcome().await;
    assert_eq!(said(&next), Ok(*told.borrow()));
    assert_eq!(next.hello.boot, session.hello.boot, "it is the same process");
    agent.end().await;
}

#[tokio::test]
async fn statuses_are_sent_until_they_are_acknowledged_and_to_every_new_leader() {
    let machine = Machine::new();
    let (mut manager, _agent, mut session) = machine.up().await;
    session.acks = false;
    session.full(1, &[task(1, 5)], None).await;
    session.until_ready(1).await;
    session.statuses.clear();
    session.until_ready(1).await;
    drop(session);
    let mut session = manager.welcome().await;
    assert_eq!(session.hello.revision, 1);
    session.until_ready(1).await;
}

#[tokio::test]
async fn a_manager_of_another_cluster_is_not_obeyed() {
    let machine = Machine::new();
    let (mut manager, mut agent, mut session) = machine.up().await;
    session.full(1, &[task(1, 5)], None).await;
    session.until_ready(1).await;
    drop(session);
    let session = manager.accept().await;
    session.send(ToAgent::Welcome(v1::Welcome { cluster_id: 8, ..welcome(1) })).await;
    session.full(2, &[], Some(10)).await;
    // The agent hangs up and dials again; what it says then is what it said before.
    drop(session);
    let session = manager.accept().await;
    assert_eq!((session.hello.cluster_id, session.hello.revision), (7, 1));
    agent.until_ready(1, true).await;
    assert_eq!(machine.sim.running(), BTreeSet::from([1]));
}

#[tokio::test]
async fn what_is_left_of_an_agent_can_stop_everything() {
    let machine = Machine::new();
    let (_manager, agent, mut session) = machine.up().await;
    session.ready_tasks(3).await;
    assert!(machine.sim.world().containers.values().all(|c| is_running(&c.listed)));
    let residue = agent.end().await;
    assert_eq!(residue.stop_all(Duration::from_secs(10), true).await, Ok(3));
    assert!(machine.sim.world().containers.is_empty());
}
