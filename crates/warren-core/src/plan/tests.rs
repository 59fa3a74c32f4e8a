//! What plans promise: a model of the world applies them, loses and delays things, and in the end everything wanted
//! runs and nothing is left to plan.

use super::plan;
use crate::command::{Command, TaskEdge};
use crate::id::{NodeId, ServiceId, TaskId};
use crate::invariant;
use crate::node::Availability;
use crate::observed::{NodeObserved, Observed, TaskObserved};
use crate::rollout::rolling::Limits;
use crate::scheduler::rebalance;
use crate::service::Actor;
use crate::spec::{Image, Order, Quantity, ServiceSpec};
use crate::state::State;
use crate::state::tests::Feed;
use crate::task::{Desired, End, Phase, StopReason, Task};
use crate::time::ClusterTime;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A cluster of three nodes whose agents do what they are told, in as many rounds as it takes.
pub(super) struct World {
    pub(super) feed: Feed,
    pub(super) observed: Observed,
    pub(super) now: ClusterTime,
    pub(super) nodes: Vec<NodeId>,
}

impl World {
    fn new() -> Self {
        Self::with_nodes(&["a", "b", "c"])
    }

    pub(super) fn with_nodes(names: &[&str]) -> Self {
        let mut feed = Feed::cluster();
        let nodes: Vec<_> = names.iter().map(|name| feed.node(name)).collect();
        let mut observed = Observed::default();
        for node in &nodes {
            let heard = NodeObserved { connected: true, ..NodeObserved::default() };
            observed.nodes.insert(*node, heard);
        }
        Self { feed, observed, now: ClusterTime::from_ms(100_000), nodes }
    }

    pub(super) fn apply(&mut self, command: Command) {
        self.feed.clock = Some(self.now);
        // A refusal is a normal answer; the next plan takes it up.
        let _refused = self.feed.apply(command);
        invariant::check(&self.feed.state).unwrap();
    }

    /// One round: plan, apply, let agents move one phase, let a second pass.
    pub(super) fn round(&mut self) -> bool {
        let commands = plan(&self.feed.state, &self.observed, self.now).commands;
        let idle = commands.is_empty();
        let before = self.feed.state.clone();
        for command in commands {
            self.apply(command);
        }
        self.check_limits(&before);
        let moved = self.agents_move();
        self.now = self.now.after(Duration::from_secs(1));
        let epoch = self.feed.state.traffic_epoch();
        for node in &self.nodes {
            self.observed.nodes.entry(*node).or_default().acks.add(epoch, self.now);
        }
        idle && !moved
    }

    fn agents_move(&mut self) -> bool {
        let up = |node: NodeId| self.feed.state.node(node).is_some_and(|node| node.up);
        let tasks = self.feed.state.tasks().filter(|task| task.is_live() && up(task.node));
        let edges: Vec<_> = tasks.filter_map(|task| Some((task.node, next_edge(task)?))).collect();
        let moved = !edges.is_empty();
        for (node, edge) in edges {
            let task = edge.task;
            let running = edge.phase == Phase::Running;
            self.apply(Command::ReportTasks { node, edges: vec![edge] });
            let heard = TaskObserved {
                phase: Phase::Running,
                ready_since: running.then_some(self.now),
                unready_since: None,
                unseen: false,
                healthy: None,
                restarts: 0,
                detail: String::new(),
            };
            self.observed.tasks.insert(task, heard);
        }
        moved
    }

    /// I2 and I3 of the rollout design: what one plan does to a service keeps to its limits.
    fn check_limits(&self, before: &State) {
        for service in self.feed.state.services() {
            let Some(report) =
                plan(before, &self.observed, self.now).report.services.remove(&service.id)
            else {
                continue;
            };
            let Some(was) = before.service(service.id) else { continue };
            let live = was.rollout.as_ref();
            let settings = live.map_or(&was.spec.update, |live| &live.settings);
            let limits = Limits::new(settings, &was.spec.template, report.desired);
            let serving = |state| serving(state, &self.observed, service.id);
            // What runs on beyond the deadline of a drain goes whatever the limits say.
            let overdue =
                |task: &Task| before.node(task.node).is_some_and(|node| node.is_overdue(self.now));
            let ready = |task: &&Arc<Task>| task.serves() && self.observed.is_ready(task.id);
            let tasks = before.tasks_of(service.id).filter(ready);
            let gone = u32::try_from(tasks.filter(|task| overdue(task)).count()).unwrap();
            let stay = serving(before).saturating_sub(gone);
            let least = report.desired.saturating_sub(limits.unavailable).min(stay);
            assert!(serving(&self.feed.state) >= least, "I2: too few serve");
            let live = |state: &State| state.tasks_of(service.id).filter(|t| t.is_live()).count();
            let most = (report.desired + limits.surge) as usize;
            assert!(live(&self.feed.state) <= most.max(live(before)), "I3: too many tasks");
        }
    }

    /// Rounds until nothing moves any more.
    pub(super) fn settle(&mut self) {
        for _ in 0..2_000 {
            let quiet = self.round();
            let next = plan(&self.feed.state, &self.observed, self.now);
            if quiet && next.wake_at.is_none() && next.commands.is_empty() {
                return;
            }
        }
        panic!("not quiet: {:?}", plan(&self.feed.state, &self.observed, self.now));
    }

    /// An operator has tasks moved to where they are better.
    pub(super) fn rebalance(&mut self) {
        let found = rebalance(&self.feed.state, None);
        let mut services: BTreeMap<ServiceId, BTreeMap<TaskId, NodeId>> = BTreeMap::new();
        for one in found.moves {
            services.entry(one.service).or_default().insert(one.task, one.to);
        }
        for (service, moves) in services {
            let Some(found) = self.feed.state.service(service) else { continue };
            let (expect, by) = (found.generation, Actor::named("test"));
            self.apply(Command::MoveTasks { service, expect, moves, by });
        }
    }

    fn end(&mut self, task: &Task, phase: Phase) {
        let end = End { code: Some(1), message: "exit code 1".to_owned(), ..End::default() };
        let edge = TaskEdge { task: task.id, phase, end: Some(end) };
        self.observed.tasks.remove(&task.id);
        self.apply(Command::ReportTasks { node: task.node, edges: vec![edge] });
    }

    pub(super) fn serving(&self, service: ServiceId) -> u32 {
        serving(&self.feed.state, &self.observed, service)
    }

    pub(super) fn update(&mut self, service: ServiceId, image: &str) {
        self.change(service, |spec| spec.template.image = Image::parse(image).unwrap());
    }

    pub(super) fn change(&mut self, service: ServiceId, change: impl FnOnce(&mut ServiceSpec)) {
        let Some(found) = self.feed.state.service(service) else { return };
        let mut spec = Box::new(found.spec.clone());
        change(&mut spec);
        let by = Actor::named("test".to_owned());
        let (expect, cause) = (found.generation, String::new());
        let freeze_override = None;
        self.apply(Command::UpdateService { service, expect, spec, by, cause, freeze_override });
    }
}

fn serving(state: &State, observed: &Observed, service: ServiceId) -> u32 {
    let up = |task: &Task| state.node(task.node).is_some_and(|node| node.up);
    let ready = |task: &&Arc<Task>| task.serves() && observed.is_ready(task.id) && up(task);
    u32::try_from(state.tasks_of(service).filter(ready).count()).unwrap()
}

fn next_edge(task: &Task) -> Option<TaskEdge> {
    let phase = match (task.phase, task.desired) {
        (_, Desired::Stop { .. }) => Phase::Stopped,
        (Phase::Running, _) => return None,
        (_, Desired::Run | Desired::Drain { .. }) => Phase::Running,
    };
    let end = phase.is_final().then(End::default);
    Some(TaskEdge { task: task.id, phase, end })
}

#[derive(Clone, Debug)]
enum Op {
    Scale(u32),
    Update(u8),
    Restart,
    Settings { surge: u32, unavailable: u32, parallelism: u32, stop_first: bool },
    Crash(usize),
    Down(usize),
    Up(usize),
    Drain(usize, Option<u64>),
    Activate(usize),
    Rebalance,
    Rounds(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0u32..20).prop_map(Op::Scale),
        (0u8..5).prop_map(Op::Update),
        Just(Op::Restart),
        (0u32..3, 0u32..3, 0u32..4, any::<bool>())
            .prop_filter("both 0 is refused", |(surge, unavailable, ..)| surge + unavailable > 0)
            .prop_map(|(surge, unavailable, parallelism, stop_first)| {
                Op::Settings { surge, unavailable, parallelism, stop_first }
            }),
        (0usize..50).prop_map(Op::Crash),
        (0usize..3).prop_map(Op::Down),
        (0usize..3).prop_map(Op::Up),
        (0usize..3, proptest::option::of(0u64..12)).prop_map(|(n, within)| Op::Drain(n, within)),
        (0usize..3).prop_map(Op::Activate),
        Just(Op::Rebalance),
        (1u8..8).prop_map(Op::Rounds),
    ]
}

fn perform(world: &mut World, web: ServiceId, op: &Op) {
    let by = Actor::named("test".to_owned());
    let availability = |node, availability, within: Option<u64>| Command::SetAvailability {
        node,
        availability,
        within: within.map(Duration::from_secs),
        by: Actor::named("test"),
    };
    match *op {
        Op::Scale(replicas) => {
            world.apply(Command::ScaleService { service: web, expect: None, replicas, by });
        }
        Op::Update(version) => world.update(web, &format!("web:v{version}")),
        Op::Restart => world.apply(Command::RestartService { service: web, by }),
        Op::Settings { surge, unavailable, parallelism, stop_first } => {
            world.change(web, |spec| {
                spec.update.max_surge = Quantity::Count(surge);
                spec.update.max_unavailable = Quantity::Count(unavailable);
                spec.update.parallelism = parallelism;
                spec.update.order = if stop_first { Order::StopFirst } else { Order::StartFirst };
            });
        }
        Op::Crash(nth) => {
            let live = world.feed.state.tasks_of(web).filter(|task| task.is_live());
            let tasks: Vec<_> = live.cloned().collect();
            if let Some(task) = tasks.get(nth) {
                world.end(task, Phase::Failed);
            }
        }
        Op::Down(n) => {
            world.observed.nodes.entry(world.nodes[n]).or_default().connected = false;
            world.apply(Command::SetNodeUp { node: world.nodes[n], up: false });
        }
        Op::Up(n) => {
            world.observed.nodes.entry(world.nodes[n]).or_default().connected = true;
            world.apply(Command::SetNodeUp { node: world.nodes[n], up: true });
        }
        Op::Drain(n, within) => {
            world.apply(availability(world.nodes[n], Availability::Drain, within))
        }
        Op::Activate(n) => world.apply(availability(world.nodes[n], Availability::Active, None)),
        Op::Rebalance => world.rebalance(),
        Op::Rounds(count) => {
            for _ in 0..count {
                world.round();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// After any sequence of operations and crashes a quiet system reaches desired = running with an empty plan.
    #[test]
    fn a_quiet_system_converges(ops in prop::collection::vec(op(), 0..40)) {
        let mut world = World::new();
        let web = world.feed.create("web", 3);
        for op in &ops {
            perform(&mut world, web, op);
        }
        for n in 0..3 {
            perform(&mut world, web, &Op::Up(n));
            perform(&mut world, web, &Op::Activate(n));
        }
        world.settle();
        let after = plan(&world.feed.state, &world.observed, world.now);
        prop_assert!(after.commands.is_empty());
        let report = &after.report.services[&web];
        prop_assert_eq!(world.serving(web), report.desired);
        prop_assert!(report.waits.is_empty(), "{:?}", report.waits);
        let service = world.feed.state.service(web).unwrap();
        let mut live = world.feed.state.tasks_of(web).filter(|task| task.is_live());
        let (current, round) = (service.current, service.round);
        let replaced = live.all(|task| task.revision == current && task.round == round);
        prop_assert!(replaced);
        prop_assert_eq!(service.stable, Some(service.current));
    }

    /// The same arguments give the same plan, also from a restored snapshot.
    #[test]
    fn plans_are_deterministic(ops in prop::collection::vec(op(), 0..20)) {
        let mut world = World::new();
        let web = world.feed.create("web", 3);
        for op in &ops {
            perform(&mut world, web, op);
        }
        let bytes = postcard::to_stdvec(&world.feed.state).unwrap();
        let restored: State = postcard::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&restored, &world.feed.state);
        let again = plan(&restored, &world.observed, world.now);
        prop_assert_eq!(plan(&world.feed.state, &world.observed, world.now), again);
    }
}

#[test]
fn an_update_never_serves_with_fewer_tasks() {
    let mut world = World::new();
    let web = world.feed.create("web", 4);
    world.settle();
    assert_eq!(world.serving(web), 4);
    world.update(web, "web:v2");
    let mut most = 0;
    while world.feed.state.service(web).unwrap().stable.unwrap().0 != 2 {
        world.round();
        assert!(world.serving(web) >= 4, "max_unavailable is 0");
        let live = world.feed.state.tasks_of(web).filter(|task| task.is_live()).count();
        most = most.max(live);
    }
    world.settle();
    assert_eq!(most, 5, "max_surge is 1");
}

/// One replica each on its own node, where nothing may be missing and nothing may come first.
fn drained_where_nothing_can_be_spared(within: Option<u64>) -> (World, ServiceId, NodeId) {
    let mut world = World::new();
    let web = world.feed.create("web", 3);
    world.change(web, |spec| spec.placement.max_per_node = Some(1));
    world.settle();
    let node = world.nodes[0];
    perform(&mut world, web, &Op::Drain(0, within));
    (world, web, node)
}

#[test]
fn a_drain_waits_for_what_a_service_can_spare_until_its_deadline() {
    let (mut world, web, node) = drained_where_nothing_can_be_spared(Some(60));
    let until = world.feed.state.node(node).unwrap().drain_until.unwrap();
    while world.now < until {
        let before = plan(&world.feed.state, &world.observed, world.now);
        assert!(before.wake_at.is_some_and(|at| at <= until), "it wakes for the deadline");
        world.round();
        assert_eq!(world.serving(web), 3, "nothing is moved that cannot be spared");
    }
    // A new leader knows the deadline from the state alone.
    let bytes = postcard::to_stdvec(&world.feed.state).unwrap();
    world.feed.state = postcard::from_bytes(&bytes).unwrap();
    let commands = plan(&world.feed.state, &world.observed, world.now).commands;
    let overdue = Command::DrainTasks {
        service: web,
        expect: world.feed.state.service(web).unwrap().generation,
        tasks: world.feed.state.tasks_on(node).map(|task| task.id).collect(),
        reason: StopReason::Overdue,
    };
    assert!(commands.contains(&overdue), "{commands:?}");
    for _ in 0..30 {
        world.round();
    }
    assert_eq!(world.feed.state.tasks_on(node).filter(|task| task.is_live()).count(), 0);
    assert_eq!(world.serving(web), 2, "the others are not touched");
}

#[test]
fn the_last_word_on_a_drain_counts() {
    let (mut world, web, node) = drained_where_nothing_can_be_spared(Some(60));
    let until = |world: &World| world.feed.state.node(node).unwrap().drain_until;
    let first = until(&world).unwrap();
    world.now = world.now.after(Duration::from_secs(10));
    perform(&mut world, web, &Op::Drain(0, Some(60)));
    assert_eq!(until(&world), Some(first.after(Duration::from_secs(10))));
    perform(&mut world, web, &Op::Drain(0, None));
    assert_eq!(until(&world), None);
    perform(&mut world, web, &Op::Drain(0, Some(0)));
    assert_eq!(until(&world), Some(world.now));
    perform(&mut world, web, &Op::Activate(0));
    assert_eq!(until(&world), None);
}

#[test]
fn a_deleted_service_leaves_nothing() {
    let mut world = World::new();
    let web = world.feed.create("web", 4);
    world.settle();
    world.apply(Command::DeleteService { service: web, by: Actor::named("test".to_owned()) });
    world.settle();
    assert!(world.feed.state.service(web).is_none());
    assert_eq!(world.feed.state.tasks().len(), 0);
}

#[test]
fn a_drained_task_stops_only_after_every_ack_and_the_ttl() {
    let mut world = World::new();
    let web = world.feed.create("web", 2);
    world.settle();
    let by = Actor::named("test".to_owned());
    world.apply(Command::ScaleService { service: web, expect: None, replicas: 1, by });
    let drained = plan(&world.feed.state, &world.observed, world.now).commands;
    assert!(matches!(drained[..], [Command::DrainTasks { .. }]), "{drained:?}");
    for command in drained {
        world.apply(command);
    }
    let next = plan(&world.feed.state, &world.observed, world.now);
    assert!(next.commands.is_empty(), "no ack yet");
    let let_go = crate::traffic::TTL + crate::traffic::TTL_SLACK;
    let since = world.feed.state.time();
    assert!(next.wake_at.unwrap() >= since.after(let_go));
    assert!(
        next.wake_at.unwrap() <= since.after(crate::traffic::Unheard::among(3).given_up + let_go)
    );
}

/// What a release does about a new task that has not been ready for longer than the deadline.
fn failures_of_an_unready_task(unseen: bool) -> Vec<Command> {
    let mut world = World::new();
    let web = world.feed.create("web", 2);
    world.settle();
    world.update(web, "web:v2");
    let new = |world: &World| {
        let new = world.feed.state.tasks_of(web).find(|task| task.revision.0 == 2);
        new.map(|task| (task.id, task.node))
    };
    let (id, node) = loop {
        if let Some(found) = new(&world) {
            break found;
        }
        for command in plan(&world.feed.state, &world.observed, world.now).commands {
            world.apply(command);
        }
        let epoch = world.feed.state.traffic_epoch();
        world.now = world.now.after(Duration::from_secs(1));
        for node in &world.nodes {
            world.observed.nodes.entry(*node).or_default().acks.add(epoch, world.now);
        }
    };
    let edge = TaskEdge { task: id, phase: Phase::Running, end: None };
    world.apply(Command::ReportTasks { node, edges: vec![edge] });
    let heard = TaskObserved {
        phase: Phase::Running,
        ready_since: None,
        unready_since: Some(world.now),
        unseen,
        healthy: None,
        restarts: 0,
        detail: String::new(),
    };
    world.observed.tasks.insert(id, heard);
    world.now = world.now.after(Duration::from_secs(5 * 60 + 1));
    let commands = plan(&world.feed.state, &world.observed, world.now).commands;
    let fails = |command: &Command| {
        use crate::rollout::Move::{Abort, FailSlot};
        matches!(command, Command::MoveRollout { to: FailSlot { .. } | Abort { .. }, .. })
    };
    commands.into_iter().filter(fails).collect()
}

#[test]
fn a_runtime_that_does_not_answer_is_no_fault_of_the_revision() {
    assert_eq!(failures_of_an_unready_task(false).len(), 1);
    assert_eq!(failures_of_an_unready_task(true), []);
}
