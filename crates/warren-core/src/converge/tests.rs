//! Whatever happens to containers, a node comes to run what is assigned, and stops.

use super::*;
use crate::id::Slot;
use crate::lease::LEASES;
use crate::spec::{
    HealthCheck, Image, Probe, RestartCondition, RestartPolicy, ServiceName, Template,
};
use proptest::prelude::*;
use std::net::Ipv4Addr;
use std::time::Duration;

const TASKS: u64 = 6;
const ATTEMPTS: u32 = 3;

fn assignment(task: u64) -> Assignment {
    Assignment {
        task: TaskId(task),
        service: ServiceId(1),
        name: ServiceName::parse("web").unwrap(),
        slot: Slot(1),
        revision: RevisionNumber(1),
        template: Template::new(Image::parse("web:v1").unwrap()),
        restart: RestartPolicy {
            attempts: ATTEMPTS,
            window: Duration::from_hours(1),
            ..RestartPolicy::default()
        },
        track: crate::task::Track {
            strategy: crate::spec::Strategy::Rolling,
            state: crate::task::DeploymentState::Active,
        },
        address: Ipv4Addr::new(10, 0, 0, 2),
        want: Want::Run,
    }
}

/// A node: what is assigned, a runtime in memory, what the agent remembers.
struct Node {
    assignments: Assignments,
    containers: Vec<Container>,
    memories: BTreeMap<TaskId, Memory>,
    busy: BTreeSet<TaskId>,
    sweep: Sweep,
    lease: Duration,
    now: Tick,
    wall: u64,
    /// Steps fail so long for this reason.
    broken: Option<FailureKind>,
    starts: BTreeMap<TaskId, u32>,
    phases: BTreeMap<TaskId, Phase>,
}

impl Node {
    fn new(tasks: impl IntoIterator<Item = u64>) -> Self {
        Self {
            assignments: tasks.into_iter().map(|id| (TaskId(id), assignment(id))).collect(),
            containers: Vec::new(),
            memories: BTreeMap::new(),
            busy: BTreeSet::new(),
            sweep: Sweep::AtMost(Some(u32::MAX)),
            lease: LEASES.lease,
            now: Tick::from_ms(1),
            wall: 0,
            broken: None,
            starts: BTreeMap::new(),
            phases: BTreeMap::new(),
        }
    }

    fn edit(&mut self, task: u64, change: impl FnOnce(&mut Assignment)) {
        if let Some(assignment) = self.assignments.get_mut(&TaskId(task)) {
            change(assignment);
        }
    }

    fn container(&mut self, task: u64) -> Option<&mut Container> {
        self.containers.iter_mut().find(|container| container.task == TaskId(task))
    }

    fn is_running(&self, task: u64) -> bool {
        self.containers.iter().any(|c| c.task == TaskId(task) && c.is_running())
    }

    fn converge(&mut self) -> Round {
        let inputs = Inputs {
            assignments: &self.assignments,
            containers: &self.containers,
            busy: &self.busy,
            epoch: 1,
            sweep: self.sweep,
            lease: self.lease,
        };
        converge(inputs, &mut self.memories, self.now)
    }

    /// One round, with its jobs done or failed.
    fn round(&mut self) -> Round {
        let round = self.converge();
        for (task, steps) in &round.jobs {
            self.job(*task, steps);
        }
        round
    }

    fn job(&mut self, task: TaskId, steps: &[Step]) {
        for step in steps {
            self.memories.entry(task).or_default().begin(step);
            if let Some(kind) = self.broken {
                let failure = Failure { kind, message: "broken".to_owned() };
                return self.memories.entry(task).or_default().failed(step, failure, self.now);
            }
            self.step(task, step);
        }
        self.memories.entry(task).or_default().done();
    }

    fn step(&mut self, task: TaskId, step: &Step) {
        self.wall += 1;
        let wall = self.wall;
        let listed = |key: &ContainerKey, node: &mut Self| {
            let index = node.containers.iter().position(|container| container.key == *key);
            index.expect("a step names a container that was listed")
        };
        match step {
            Step::Fetch => {}
            Step::Create => {
                let assignment = &self.assignments[&task];
                self.containers.push(Container {
                    key: ContainerKey(format!("c-{task}")),
                    task,
                    service: assignment.service,
                    revision: assignment.revision,
                    epoch: 1,
                    state: ContainerState::Created,
                });
            }
            Step::StartCreated => self.start(&ContainerKey(format!("c-{task}"))),
            Step::Start(key) => self.start(key),
            Step::Stop(key, _) | Step::Kill(key) => {
                let index = listed(key, self);
                if self.containers[index].is_running() {
                    let exit = Exit { at: wall, code: Some(143), out_of_memory: false };
                    self.containers[index].state = ContainerState::Exited(exit);
                }
            }
            Step::Remove(key) => {
                let index = listed(key, self);
                self.containers.remove(index);
            }
        }
    }

    fn start(&mut self, key: &ContainerKey) {
        let wall = self.wall;
        let found = self.containers.iter_mut().find(|container| container.key == *key);
        let container = found.expect("a step names a container that was listed");
        assert!(!container.is_running(), "what runs is not started");
        container.state = ContainerState::Running(wall);
        *self.starts.entry(container.task).or_default() += 1;
    }

    fn crash(&mut self, task: u64, code: i32) {
        self.wall += 1;
        let at = self.wall;
        if let Some(container) = self.container(task)
            && container.is_running()
        {
            let exit = Exit { at, code: Some(code), out_of_memory: false };
            container.state = ContainerState::Exited(exit);
        }
    }

    fn unhealthy(&mut self, task: u64) {
        if let Some(memory) = self.memories.get_mut(&TaskId(task))
            && let Some(run) = memory.run()
        {
            memory.verdict(run, Check::Health, false, "connection refused".to_owned());
        }
    }

    /// Rounds and waits until there is nothing to do and nothing to wait for.
    fn settle(&mut self) -> Round {
        for _ in 0..200 {
            let round = self.round();
            match (round.jobs.is_empty(), round.wake_at) {
                (true, None) => return round,
                (true, Some(wake)) => self.now = wake,
                (false, _) => {}
            }
        }
        panic!("the node does not come to rest");
    }

    fn status(&mut self, task: u64) -> Status {
        self.converge().statuses[&TaskId(task)].clone()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Crash(u64, i32),
    RemoveContainer(u64),
    Assign(u64),
    Want(u64, Want),
    Unassign(u64),
    Unhealthy(u64),
    RestartAgent,
    Break(Option<FailureKind>),
    Advance(u64),
    Round,
}

fn op() -> impl Strategy<Value = Op> {
    let task = 1..=TASKS;
    prop_oneof![
        (task.clone(), 0..3).prop_map(|(task, code)| Op::Crash(task, code)),
        task.clone().prop_map(Op::RemoveContainer),
        task.clone().prop_map(Op::Assign),
        (task.clone(), prop_oneof![Just(Want::Stop), Just(Want::Keep)])
            .prop_map(|(task, want)| Op::Want(task, want)),
        task.clone().prop_map(Op::Unassign),
        task.prop_map(Op::Unhealthy),
        Just(Op::RestartAgent),
        prop_oneof![
            Just(None),
            Just(Some(FailureKind::Passing)),
            Just(Some(FailureKind::Conflict)),
            Just(Some(FailureKind::Fatal)),
            Just(Some(FailureKind::Moot)),
        ]
        .prop_map(Op::Break),
        (0..20_000_u64).prop_map(Op::Advance),
        Just(Op::Round),
        Just(Op::Round),
        Just(Op::Round),
    ]
}

fn condition() -> impl Strategy<Value = RestartCondition> {
    prop_oneof![
        Just(RestartCondition::Any),
        Just(RestartCondition::OnFailure),
        Just(RestartCondition::Never),
    ]
}

fn play(node: &mut Node, op: Op, condition: RestartCondition) {
    match op {
        Op::Crash(task, code) => node.crash(task, code),
        Op::RemoveContainer(task) => node.containers.retain(|c| c.task != TaskId(task)),
        Op::Assign(task) => {
            let mut new = assignment(task);
            new.restart.condition = condition;
            node.assignments.entry(TaskId(task)).or_insert(new);
        }
        Op::Want(task, want) => node.edit(task, |assignment| assignment.want = want),
        Op::Unassign(task) => {
            node.assignments.remove(&TaskId(task));
            // Ids are never used twice, so neither is what the test counts of one.
            node.starts.remove(&TaskId(task));
            node.phases.remove(&TaskId(task));
        }
        Op::Unhealthy(task) => node.unhealthy(task),
        Op::RestartAgent => {
            node.memories.clear();
            node.starts.clear();
            node.phases.clear();
        }
        Op::Break(kind) => node.broken = kind,
        Op::Advance(ms) => node.now = node.now.after(Duration::from_millis(ms)),
        Op::Round => {
            let round = node.round();
            for (task, status) in &round.statuses {
                assert!(status.restarts <= ATTEMPTS, "{task} is over its budget");
                let before = node.phases.insert(*task, status.phase);
                assert!(before <= Some(status.phase), "{task} fell back from {before:?}");
                assert_eq!(status.phase.is_final(), status.end.is_some());
            }
        }
    }
}

proptest! {
    #[test]
    fn a_quiet_node_runs_what_is_assigned(
        ops in prop::collection::vec(op(), 0..80),
        condition in condition(),
    ) {
        let mut node = Node::new(1..=3);
        for op in ops {
            play(&mut node, op, condition);
        }
        node.broken = None;
        let last = node.settle();
        prop_assert_eq!(&last.held, &None);
        for (task, assignment) in node.assignments.clone() {
            let status = &last.statuses[&task];
            let runs = node.is_running(task.0);
            prop_assert_eq!(runs, assignment.want == Want::Run && !status.phase.is_final());
            prop_assert_eq!(status.ready, runs);
            if assignment.want == Want::Stop {
                prop_assert!(status.phase.is_final());
            }
        }
        for container in &node.containers {
            prop_assert!(node.assignments.contains_key(&container.task));
        }
        // Deciding again decides nothing.
        prop_assert_eq!(node.converge(), last);
    }

    #[test]
    fn a_task_is_not_started_more_often_than_its_policy_says(
        ops in prop::collection::vec(op(), 0..200),
        condition in condition(),
    ) {
        let mut node = Node::new(1..=3);
        for op in ops {
            play(&mut node, op, condition);
            for (task, starts) in &node.starts {
                prop_assert!(*starts <= ATTEMPTS + 1, "{} started {} times", task, starts);
            }
        }
    }

    #[test]
    fn a_job_may_be_done_twice(ops in prop::collection::vec(op(), 0..40)) {
        let mut node = Node::new(1..=3);
        for op in ops {
            play(&mut node, op, RestartCondition::Any);
        }
        node.broken = None;
        let before = node.memories.clone();
        let first = node.converge();
        let after = node.memories.clone();
        prop_assert_eq!(&node.converge(), &first, "a lost round is decided again");
        prop_assert_eq!(&node.memories, &after);
        // An agent that dies between rounds forgets, and still ends with the same containers running.
        node.memories = before;
        prop_assert_eq!(node.converge(), first);
    }
}

#[test]
fn a_crash_loop_waits_longer_each_time_and_then_fails() {
    let mut node = Node::new([1]);
    node.settle();
    let mut waits = Vec::new();
    for restart in 1..=ATTEMPTS {
        node.crash(1, 1);
        let round = node.converge();
        waits.push(round.wake_at.unwrap().since(node.now).as_millis());
        let status = &round.statuses[&TaskId(1)];
        assert_eq!((status.phase, status.restarts), (Phase::Running, restart));
        assert!(status.waiting && !status.ready);
        let detail = format!("exit code 1: restart {restart} of 3 after {}s", 1 << (restart - 1));
        assert_eq!(status.detail, detail);
        node.settle();
        let status = node.status(1);
        assert_eq!((status.waiting, &*status.detail), (false, "restarted: exit code 1"));
    }
    assert_eq!(waits, [1000, 2000, 4000]);
    node.crash(1, 1);
    node.settle();
    let status = node.status(1);
    assert_eq!(status.phase, Phase::Failed);
    let end = status.end.unwrap();
    assert_eq!(end.code, Some(1));
    assert_eq!(
        end.message,
        "exit code 1; restarted 3 times within 3600s, another task comes instead"
    );
    assert!(!node.is_running(1));
}

#[test]
fn an_end_and_the_removal_after_it_are_one_restart() {
    let mut node = Node::new([1]);
    node.settle();
    node.crash(1, 137);
    node.converge();
    node.containers.clear();
    node.settle();
    assert_eq!((node.status(1).restarts, node.is_running(1)), (1, true));
    node.containers.clear();
    node.settle();
    let detail = "restarted: its container was removed by somebody else";
    assert_eq!((node.status(1).restarts, node.status(1).detail.as_str()), (2, detail));
}

#[test]
fn restarts_older_than_the_window_are_forgotten() {
    let mut node = Node::new([1]);
    for _ in 0..20 {
        node.settle();
        node.now = node.now.after(Duration::from_hours(1));
        node.crash(1, 1);
    }
    assert_eq!(node.status(1).phase, Phase::Running);
    assert_eq!(node.status(1).restarts, 1);
}

#[test]
fn the_condition_decides_whether_an_end_is_the_end() {
    let after = |condition, code| {
        let mut node = Node::new([1]);
        node.edit(1, |assignment| assignment.restart.condition = condition);
        node.settle();
        node.crash(1, code);
        node.settle();
        node.status(1).phase
    };
    assert_eq!(after(RestartCondition::Any, 0), Phase::Running);
    assert_eq!(after(RestartCondition::OnFailure, 0), Phase::Completed);
    assert_eq!(after(RestartCondition::OnFailure, 1), Phase::Running);
    assert_eq!(after(RestartCondition::Never, 0), Phase::Completed);
    assert_eq!(after(RestartCondition::Never, 1), Phase::Failed);
}

#[test]
fn an_unhealthy_task_is_stopped_and_started_again() {
    let mut node = Node::new([1]);
    let probe = Probe::Tcp { port: 80 };
    node.edit(1, |assignment| assignment.template.health = Some(HealthCheck::new(probe)));
    node.settle();
    assert!(!node.status(1).ready, "not ready before the first verdict");
    let run = node.memories[&TaskId(1)].run().unwrap();
    let memory = node.memories.get_mut(&TaskId(1)).unwrap();
    memory.verdict(run, Check::Health, true, String::new());
    assert_eq!((node.status(1).ready, node.status(1).healthy), (true, Some(true)));

    node.unhealthy(1);
    assert_eq!((node.status(1).ready, node.status(1).healthy), (false, Some(false)));
    let round = node.round();
    assert!(matches!(round.jobs[&TaskId(1)][..], [Step::Stop(..)]));
    let status = node.status(1);
    assert_eq!(status.detail, "unhealthy: connection refused: restart 1 of 3 after 1s");
    node.settle();
    assert!(node.is_running(1));
    // A verdict about the earlier run says nothing about this one.
    let memory = node.memories.get_mut(&TaskId(1)).unwrap();
    memory.verdict(run, Check::Health, false, String::new());
    assert!(node.converge().jobs.is_empty());
}

#[test]
fn readiness_has_its_own_check_and_restarts_nothing() {
    let mut node = Node::new([1]);
    let probe = Probe::Tcp { port: 80 };
    node.edit(1, |assignment| assignment.template.readiness = Some(HealthCheck::new(probe)));
    node.settle();
    assert!(!node.status(1).ready);
    let memory = node.memories.get_mut(&TaskId(1)).unwrap();
    let run = memory.run().unwrap();
    memory.verdict(run, Check::Readiness, true, String::new());
    assert!(node.status(1).ready);
    let memory = node.memories.get_mut(&TaskId(1)).unwrap();
    memory.verdict(run, Check::Readiness, false, "503".to_owned());
    let status = node.status(1);
    assert_eq!((status.ready, status.detail.as_str()), (false, "503"));
    assert!(node.converge().jobs.is_empty());
}

#[test]
fn an_adopted_task_stays_ready_in_the_run_in_which_it_was() {
    let mut node = Node::new([1]);
    let probe = Probe::Tcp { port: 80 };
    node.edit(1, |assignment| assignment.template.readiness = Some(HealthCheck::new(probe)));
    node.settle();
    let run = node.memories[&TaskId(1)].run().unwrap();
    node.memories = BTreeMap::from([(TaskId(1), Memory::adopted(run))]);
    assert!(node.status(1).ready);
    node.memories = BTreeMap::from([(TaskId(1), Memory::adopted(run + 1))]);
    assert!(!node.status(1).ready, "another run must show that it is ready");
}

#[test]
fn what_cannot_ever_start_is_rejected_with_the_reason() {
    let mut node = Node::new([1]);
    node.broken = Some(FailureKind::Fatal);
    node.settle();
    let status = node.status(1);
    assert_eq!(status.phase, Phase::Rejected);
    assert_eq!(status.end.unwrap().message, "broken");
}

#[test]
fn a_conflict_is_tried_again_for_a_while() {
    let mut node = Node::new([1]);
    node.broken = Some(FailureKind::Conflict);
    let began = node.now;
    node.settle();
    assert_eq!(node.status(1).phase, Phase::Rejected);
    assert_eq!(node.now.since(began), Duration::from_secs(15));
}

#[test]
fn a_runtime_that_does_not_answer_costs_nothing_but_time() {
    let mut node = Node::new([1]);
    node.broken = Some(FailureKind::Passing);
    for _ in 0..50 {
        let wake = node.round().wake_at;
        node.now = wake.unwrap_or(node.now);
    }
    assert_eq!(node.status(1).phase, Phase::Preparing);
    assert_eq!(node.status(1).detail, "broken");
    node.broken = None;
    node.settle();
    assert!(node.status(1).ready);
}

#[test]
fn a_stop_that_takes_too_long_becomes_a_kill() {
    let mut node = Node::new([1]);
    node.settle();
    node.edit(1, |assignment| assignment.want = Want::Stop);
    node.broken = Some(FailureKind::Passing);
    node.round();
    node.broken = None;
    node.now = node.converge().wake_at.unwrap();
    assert!(matches!(node.round().jobs[&TaskId(1)][..], [Step::Kill(_)]));
    assert_eq!(node.status(1).phase, Phase::Stopped);
}

#[test]
fn stopped_tasks_keep_their_container_until_the_assignment_goes() {
    let mut node = Node::new([1]);
    node.settle();
    node.edit(1, |assignment| assignment.want = Want::Stop);
    node.settle();
    assert_eq!(node.status(1).end.unwrap().message, "stopped: ended by signal 15");
    node.edit(1, |assignment| assignment.want = Want::Keep);
    node.settle();
    assert_eq!(node.containers.len(), 1);
    node.assignments.clear();
    node.settle();
    assert_eq!(node.containers, []);
}

/// How long a task runs on that the cluster has given up, in a small cluster: 3 s until the leader's word has lapsed
/// and a second for what was late, 5 s that an answer is cached and a second more.
const RUNS_ON: Duration = Duration::from_secs(10);

/// Task 1 runs until `RUNS_ON` after it was given up, and then these steps end it.
fn runs_on(node: &mut Node, ends: impl Fn(&[Step]) -> bool) {
    let begun = node.now;
    let round = node.round();
    assert!(round.jobs.is_empty(), "{:?}", round.jobs);
    assert_eq!(round.wake_at, Some(begun.after(RUNS_ON)));
    assert!(node.is_running(1));
    node.now = begun.after(RUNS_ON);
    let round = node.round();
    assert!(ends(&round.jobs[&TaskId(1)]), "{:?}", round.jobs);
}

// Seen on a busy machine: a node that had been taken for lost came back a second later and stopped a task to which
// clients were still led.
#[test]
fn a_task_that_was_taken_for_lost_runs_on_until_nobody_is_led_to_it() {
    let mut node = Node::new([1]);
    node.settle();
    node.edit(1, |assignment| assignment.want = Want::Keep);
    runs_on(&mut node, |steps| matches!(steps, [Step::Stop(..)]));
    node.settle();
    assert!(!node.containers[0].is_running(), "kept, but stopped");
}

// Seen in the same place: the lost task had been replaced since, and its record was gone.
#[test]
fn a_task_that_nobody_knows_any_more_runs_on_as_long() {
    let mut node = Node::new([1, 2, 3, 4]);
    node.settle();
    node.assignments.remove(&TaskId(1));
    node.sweep = Sweep::AtMost(None);
    runs_on(&mut node, |steps| matches!(steps, [Step::Stop(..), Step::Remove(_)]));
}

#[test]
fn where_nodes_beat_less_often_a_task_that_was_given_up_runs_on_longer() {
    let mut node = Node::new([1]);
    node.lease = LEASES.for_nodes(5_000).lease;
    node.settle();
    node.edit(1, |assignment| assignment.want = Want::Keep);
    let later = RUNS_ON + (node.lease - LEASES.lease);
    assert_eq!(node.round().wake_at, Some(node.now.after(later)), "a word holds for 15 s");
}

#[test]
fn a_task_that_is_wanted_after_all_is_looked_after_as_any_other() {
    let mut node = Node::new([1]);
    node.settle();
    let assigned = node.assignments.remove(&TaskId(1)).unwrap();
    node.round();
    node.assignments.insert(TaskId(1), assigned);
    let round = node.round();
    assert_eq!((round.wake_at, node.status(1).detail.as_str()), (None, ""));
    node.now = node.now.after(Duration::from_hours(1));
    node.assignments.clear();
    runs_on(&mut node, |steps| matches!(steps, [Step::Stop(..), Step::Remove(_)]));
}

#[test]
fn too_many_strays_are_held_and_a_few_are_removed() {
    let mut node = Node::new(1..=10);
    node.settle();
    for task in 1..=4 {
        node.assignments.remove(&TaskId(task));
    }
    node.sweep = Sweep::AtMost(None);
    let held = node.settle().held.unwrap();
    assert!(held.starts_with("4 of 10 running containers"), "{held}");
    assert_eq!(node.containers.len(), 10);

    node.sweep = Sweep::Hold;
    node.assignments.insert(TaskId(4), assignment(4));
    assert_eq!(node.settle().held, None);
    assert_eq!(node.containers.len(), 10, "nothing is taken away before a manager was heard");

    node.sweep = Sweep::AtMost(None);
    assert_eq!(node.settle().held, None);
    assert_eq!(node.containers.len(), 7);

    for task in 4..=10 {
        node.assignments.remove(&TaskId(task));
    }
    assert!(node.settle().held.is_some());
    node.sweep = Sweep::AtMost(Some(7));
    assert_eq!(node.settle().held, None);
    assert_eq!(node.containers, []);
}

#[test]
fn a_container_of_another_epoch_is_adopted_but_never_removed() {
    let mut node = Node::new([1]);
    node.settle();
    node.container(1).unwrap().epoch = 0;
    node.settle();
    assert!(node.status(1).ready);
    node.assignments.clear();
    assert!(node.settle().held.unwrap().contains("before the cluster was restored"));
    assert!(node.is_running(1));
}

#[test]
fn a_container_of_another_epoch_that_is_stopped_as_a_task_leaves_nothing_behind() {
    let mut node = Node::new([1]);
    node.settle();
    node.container(1).unwrap().epoch = 0;
    node.settle();
    node.edit(1, |assignment| assignment.want = Want::Stop);
    node.settle();
    assert!(!node.is_running(1));
    node.assignments.clear();
    assert_eq!(node.settle().held, None);
    assert_eq!(node.containers, []);
}

#[test]
fn a_container_of_another_revision_is_not_the_tasks() {
    let mut node = Node::new([1]);
    node.settle();
    node.edit(1, |assignment| assignment.revision = RevisionNumber(2));
    node.sweep = Sweep::Hold;
    node.settle();
    assert_eq!(node.status(1).detail, "waits until an older container of the same name is gone");
    node.sweep = Sweep::AtMost(None);
    node.settle();
    assert_eq!(node.containers[0].revision, RevisionNumber(2));
    assert!(node.is_running(1));
}

#[test]
fn a_busy_task_is_left_alone() {
    let mut node = Node::new([1, 2]);
    node.busy.insert(TaskId(1));
    let round = node.converge();
    assert!(!round.jobs.contains_key(&TaskId(1)));
    assert!(round.jobs.contains_key(&TaskId(2)));
}

#[test]
fn a_silent_runtime_changes_no_phase_and_is_named() {
    let mut node = Node::new([1]);
    node.settle();
    let statuses = unknown(&node.assignments, &mut node.memories, "docker is silent", node.now);
    let status = &statuses[&TaskId(1)];
    assert_eq!((status.phase, status.ready), (Phase::Running, true));
    assert_eq!((status.unseen, &*status.detail), (true, "docker is silent"));
}
