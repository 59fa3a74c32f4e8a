//! What becomes of tasks while there is no leader, or no memory.

use super::manager::told;
use super::{Machine, check, task, within};
use std::collections::BTreeSet;
use std::time::Duration;
use warren_core::id::TaskId;
use warren_core::spec::{OnDisconnect, STOP_AFTER_MIN};
use warren_wire::v1;
use warren_wire::v1::manager_message::Message as ToAgent;

#[tokio::test]
async fn without_a_manager_tasks_are_kept_and_restarted() {
    let machine = Machine::new();
    let (manager, mut agent, mut session) = machine.up().await;
    session.full(1, &[task(1, 5)], None).await;
    session.until_ready(1).await;
    drop((session, manager));
    let gone = agent.published.connected.wait_for(|connected| !connected);
    within("the session ends", gone).await.unwrap();
    machine.sim.crash(1, 1, true);
    machine.sim.until("it is restarted", |world| world.starts[&TaskId(1)] == 2).await;
    agent.until_ready(1, true).await;

    let mut manager = machine.manager().await;
    let mut session = manager.welcome().await;
    session.until_status(1, "the leader hears of it", |s| s.ready && s.restarts == 1).await;
}

#[tokio::test]
async fn without_a_leader_what_must_not_run_on_is_stopped_and_the_rest_goes_on() {
    let machine = Machine::new();
    let (manager, mut agent, mut session) = machine.up().await;
    let mut alone = task(1, 5);
    alone.restart.on_disconnect = OnDisconnect::StopAfter(STOP_AFTER_MIN);
    let mut patient = task(2, 5);
    patient.restart.on_disconnect = OnDisconnect::StopAfter(Duration::from_secs(3600));
    session.full(1, &[alone, patient, task(3, 5)], None).await;
    for id in 1..=3 {
        session.until_ready(id).await;
    }
    session.until("a beat is answered", |s| s.beat.is_some()).await;
    drop((session, manager));
    let stopped = BTreeSet::from([2, 3]);
    agent.until_ready(1, false).await;

    // Whoever leads next hears of its end; it is not begun again, since another one may run by now.
    let mut manager = machine.manager().await;
    let mut session = manager.welcome().await;
    let ended = session.until_status(1, "it has ended", |status| status.end.is_some()).await;
    assert_eq!(ended.phase, "stopped");
    session.until_ready(3).await;
    assert_eq!(machine.sim.running(), stopped);
}

#[tokio::test]
async fn an_agent_that_comes_back_adopts_its_tasks_without_a_gap_in_readiness() {
    let machine = Machine::new();
    let (manager, mut agent, mut session) = machine.up().await;
    let mut checked = task(1, 5);
    checked.template.readiness = Some(check());
    session.full(1, &[checked, task(2, 5)], None).await;
    session.until_ready(1).await;
    session.until_ready(2).await;
    session.send(told(4, true)).await;
    within("traffic", agent.published.traffic.wait_for(|view| view.epoch == 4)).await.unwrap();
    drop((session, manager));
    agent.end().await;
    machine.sim.crash(2, 1, false);

    // No manager anywhere: the cache alone says what is to run.
    let mut agent = machine.agent();
    let traffic = agent.published.traffic.wait_for(|view| view.epoch == 4);
    within("names resolve as they did", traffic).await.unwrap();
    let first = agent.published.readiness.wait_for(|all| all.contains_key(&TaskId(1)));
    let first = within("readiness is known", first).await.unwrap().clone();
    assert!(first[&TaskId(1)], "never taken out of answers");
    machine.sim.until("what died meanwhile runs", |world| world.starts[&TaskId(2)] == 2).await;
    agent.until_ready(2, true).await;
    assert_eq!(machine.sim.world().starts[&TaskId(1)], 1, "what ran was not touched");

    let mut manager = machine.manager().await;
    let mut session = manager.welcome().await;
    assert_eq!((session.hello.cluster_id, session.hello.revision), (7, 1));
    session.until_ready(1).await;
}

#[tokio::test]
async fn a_damaged_cache_costs_a_resync_and_no_task() {
    let machine = Machine::new();
    let (mut manager, agent, mut session) = machine.up().await;
    let tasks = session.ready_tasks(3).await;
    let key = session.hello.key.clone();
    drop(session);
    agent.end().await;
    for entry in std::fs::read_dir(machine.data().join("cache")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::write(path, b"rubbish").unwrap();
        }
    }

    let _agent = machine.agent();
    let mut session = manager.welcome().await;
    assert_eq!((session.hello.key, session.hello.revision), (key, 0));
    // The node knows of nothing to run, and of three containers that belong to nothing: they stay.
    session.hello = v1::Hello::default();
    let tasks = [tasks[0].clone(), tasks[1].clone()];
    session.full(1, &tasks, None).await;
    session.until_ready(1).await;
    session.until_ready(2).await;
    machine.sim.until("the one that is not assigned goes", |w| w.containers.len() == 2).await;
    assert_eq!(machine.sim.running(), BTreeSet::from([1, 2]));
    assert_eq!(machine.sim.world().starts[&TaskId(1)], 1);
}

#[tokio::test]
async fn a_restored_cluster_stops_nothing_by_itself() {
    let machine = Machine::new();
    let (mut manager, _agent, mut session) = machine.up().await;
    session.full(9, &[task(1, 5)], None).await;
    session.until_ready(1).await;
    drop(session);
    let mut session = manager.accept().await;
    session.send(ToAgent::Welcome(super::manager::welcome(2))).await;
    session.full(3, &[], None).await;
    let held = |s: &super::manager::Session| s.applied.as_ref().is_some_and(|a| !a.held.is_empty());
    session.until("it is held", held).await;
    assert!(session.applied.as_ref().unwrap().held.contains("the cluster was restored"));
    assert_eq!(machine.sim.running(), BTreeSet::from([1]));
    session.full(4, &[task(1, 5)], None).await;
    session.until("it is let go", |s| !held(s)).await;
    session.until_ready(1).await;
    assert_eq!(machine.sim.world().starts[&TaskId(1)], 1);
}
