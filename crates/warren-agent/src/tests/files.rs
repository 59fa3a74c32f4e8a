//! Configs come with a task and go with it. (Secrets take memory that only root may mount: see the tests of nodes.)

use super::{Machine, task, until, with};
use warren_core::assignment::{Assignment, Want};
use warren_core::id::TaskId;
use warren_core::spec::{FileKind, FileName, FileRef, FileVersion};

fn using(mut task: Assignment, name: &str) -> Assignment {
    task.template.files = vec![FileRef {
        kind: FileKind::Config,
        name: FileName::parse(name).unwrap(),
        version: Some(FileVersion(3)),
        target: "/etc/app.toml".to_owned(),
        mode: FileRef::MODE,
        uid: None,
        gid: None,
    }];
    task
}

#[tokio::test]
async fn a_task_starts_with_its_files_and_they_go_with_it() {
    let machine = Machine::new();
    let (_manager, agent, mut session) = machine.up().await;
    let before = [using(task(1, 5), "app"), task(2, 5)];
    session.full(1, &before, None).await;
    session.until_ready(1).await;
    session.until_ready(2).await;
    let files = machine.sim.spec(1).files.unwrap();
    assert_eq!(files.targets, ["/etc/app.toml"]);
    let path = files.source("/etc/app.toml");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "t1 app 3");
    assert_eq!(machine.sim.spec(2).files, None);
    let after = [with(before[0].clone(), Want::Stop), before[1].clone()];
    session.change(1, &before, &after).await;
    session.until_status(1, "it is stopped", |status| status.phase == "stopped").await;
    until("the files go", || !path.exists()).await;
    agent.end().await;
}

#[tokio::test]
async fn a_task_waits_for_a_file_by_its_name_and_starts_again_without_a_manager() {
    let machine = Machine::new();
    let (manager, agent, mut session) = machine.up().await;
    session.full(1, &[using(task(1, 5), "app"), using(task(2, 5), "missing")], None).await;
    session.until_ready(1).await;
    let waits = "waits for config missing: nobody has it";
    session.until_status(2, "it says what it waits for", |status| status.detail == waits).await;
    drop((session, manager));
    machine.sim.crash(1, 1, true);
    machine.sim.until("it runs again", |world| world.starts[&TaskId(1)] == 2).await;
    agent.end().await;
}
