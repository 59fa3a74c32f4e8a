//! What is kept up to date step by step equals what is computed from scratch.

use super::site::service;
use crate::dispatcher;
use crate::traffic::Traffic;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use warren_core::assignment::{self, Assignments};
use warren_core::command::{Command, Entry, Placing, TaskEdge};
use warren_core::id::{LogIndex, NodeId, ServiceId, Slot, TaskId};
use warren_core::node::{Availability, NodeFacts, Role};
use warren_core::observed::{Observed, TaskObserved};
use warren_core::service::Actor;
use warren_core::spec::{HostName, RestartPolicy};
use warren_core::task::{Phase, StopReason};
use warren_core::time::{ClusterTime, WallTime};
use warren_core::traffic;
use warren_core::units::{Bytes, MilliCpu};
use warren_core::{ClusterId, State};
use warren_wire::convert;

#[derive(Clone, Debug)]
enum Op {
    Register(u8, u8),
    Create(u8),
    Delete(u8),
    Forget(u8),
    Restart(u8, u32),
    Place(u8, u8),
    Advance(u8, bool),
    Drain(u8),
    Stop(u8),
    ForgetTask(u8),
    Up(u8, bool),
    Ready(u8, bool),
    /// What follows from all since the last of these is told.
    Tell,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => (0..4_u8, 0..3_u8).prop_map(|(node, address)| Op::Register(node, address)),
        1 => (0..4_u8).prop_map(Op::Create),
        1 => (0..4_u8).prop_map(Op::Delete),
        1 => (0..4_u8).prop_map(Op::Forget),
        1 => (0..4_u8, 0..3_u32).prop_map(|(service, attempts)| Op::Restart(service, attempts)),
        8 => (0..4_u8, 0..4_u8).prop_map(|(service, node)| Op::Place(service, node)),
        8 => (any::<u8>(), any::<bool>()).prop_map(|(task, ends)| Op::Advance(task, ends)),
        1 => any::<u8>().prop_map(Op::Drain),
        1 => any::<u8>().prop_map(Op::Stop),
        1 => any::<u8>().prop_map(Op::ForgetTask),
        1 => (0..4_u8, any::<bool>()).prop_map(|(node, up)| Op::Up(node, up)),
        6 => (any::<u8>(), any::<bool>()).prop_map(|(task, ready)| Op::Ready(task, ready)),
        6 => Just(Op::Tell),
    ]
}

/// The committed state with what was heard, and a node's copy of what it was told.
pub(crate) struct World {
    pub(crate) state: State,
    index: u64,
    observed: Observed,
    touched: BTreeSet<ServiceId>,
}

impl World {
    fn new() -> Self {
        let observed = Observed::default();
        let mut world =
            Self { state: State::default(), index: 0, observed, touched: BTreeSet::new() };
        let pool = "10.210.0.0/16".parse().unwrap();
        world.apply(Command::InitCluster { id: ClusterId(7), zone: "warren".to_owned(), pool });
        world
    }

    /// So many nodes with so many assigned tasks each.
    pub(crate) fn with_tasks(nodes: u8, each: u32) -> Self {
        let mut world = Self::new();
        world.run(&Op::Create(0));
        for node in 0..nodes {
            world.apply(register(node, 0));
            for _ in 0..each {
                world.run(&Op::Place(0, node));
            }
        }
        assert_eq!(world.state.tasks().len(), usize::from(nodes) * each as usize);
        world
    }

    fn apply(&mut self, command: Command) {
        self.index += 1;
        let (index, at) = (LogIndex(self.index), ClusterTime::from_ms(self.index * 1000));
        // A refusal is fine: the operations are random.
        drop(self.state.apply(Entry { index, at, wall: WallTime(0), command }));
    }

    fn service(&self, nth: u8) -> Option<ServiceId> {
        let name = format!("svc-{nth}").parse().unwrap();
        self.state.service_named(&name).map(|service| service.id)
    }

    fn node(&self, nth: u8) -> Option<NodeId> {
        self.state.nodes().find(|node| node.key == format!("k{nth}")).map(|node| node.id)
    }

    fn task(&self, nth: u8) -> Option<TaskId> {
        let count = self.state.tasks().len();
        self.state.tasks().nth(usize::from(nth) % count.max(1)).map(|task| task.id)
    }

    fn run(&mut self, op: &Op) -> Option<()> {
        let by = Actor::named("test".to_owned());
        let command = match op {
            Op::Register(node, address) => register(*node, *address),
            Op::Create(nth) => {
                let spec = Box::new(service(&format!("svc-{nth}"), 3));
                Command::CreateService { spec, by }
            }
            Op::Delete(nth) => Command::DeleteService { service: self.service(*nth)?, by },
            Op::Forget(nth) => Command::ForgetService { service: self.service(*nth)? },
            Op::Restart(nth, attempts) => {
                let service = self.state.service(self.service(*nth)?)?;
                let mut spec = Box::new(service.spec.clone());
                spec.restart = RestartPolicy { attempts: *attempts, ..spec.restart };
                let expect = service.generation;
                Command::UpdateService {
                    service: service.id,
                    expect,
                    spec,
                    by,
                    cause: String::new(),
                    freeze_override: None,
                }
            }
            Op::Place(nth, node) => {
                let service = self.state.service(self.service(*nth)?)?;
                let slot = Slot(u32::try_from(self.state.tasks().len()).unwrap() + 1);
                let placing = Placing { slot, revision: service.current, node: self.node(*node)? };
                let (service, expect) = (service.id, service.generation);
                Command::PlaceTasks { service, expect, placements: vec![placing] }
            }
            Op::Advance(nth, ends) => {
                let task = self.state.task(self.task(*nth)?)?;
                let phase = if *ends { Phase::Failed } else { Phase::Running };
                let edges = vec![TaskEdge { task: task.id, phase, end: None }];
                Command::ReportTasks { node: task.node, edges }
            }
            Op::Drain(nth) => {
                let task = self.state.task(self.task(*nth)?)?;
                let service = self.state.service(task.service)?;
                let (service, expect) = (service.id, service.generation);
                let (tasks, reason) = (vec![task.id], StopReason::Moved);
                Command::DrainTasks { service, expect, tasks, reason }
            }
            Op::Stop(nth) => {
                Command::StopTasks { tasks: vec![self.task(*nth)?], reason: StopReason::Moved }
            }
            Op::ForgetTask(nth) => Command::ForgetTasks { tasks: vec![self.task(*nth)?] },
            Op::Up(node, up) => Command::SetNodeUp { node: self.node(*node)?, up: *up },
            Op::Ready(nth, ready) => {
                let id = self.task(*nth)?;
                let heard = TaskObserved {
                    phase: Phase::Running,
                    ready_since: ready.then_some(ClusterTime::START),
                    unready_since: None,
                    unseen: false,
                    healthy: None,
                    restarts: 0,
                    detail: String::new(),
                };
                self.observed.tasks.insert(id, heard);
                self.touched.insert(self.state.task(id)?.service);
                return None;
            }
            Op::Tell => return None,
        };
        self.apply(command);
        None
    }
}

fn register(node: u8, address: u8) -> Command {
    Command::RegisterNode {
        key: format!("k{node}"),
        role: Role::Worker,
        facts: Box::new(NodeFacts {
            hostname: HostName::parse(&format!("host-{node}")).unwrap(),
            address: std::net::IpAddr::from([127, 0, 0, address]),
            port: 0,
            platform: "linux/amd64".to_owned(),
            cpu: MilliCpu(4000),
            memory: Bytes::from_mib(4096),
            runtime: "sim".to_owned(),
            version: "0.1.0".to_owned(),
            level: warren_core::level::Level::OURS,
            encryption: warren_core::node::Encryption::default(),
            probe_port: 0,
        }),
        subnet: None,
        labels: BTreeMap::new(),
    }
}

/// What a node holds after the messages that it got.
#[derive(Default)]
struct Copy {
    assignments: Assignments,
    revision: u64,
}

impl Copy {
    fn take(&mut self, assign: warren_wire::v1::Assign) {
        assert_eq!(assign.applies_to, self.revision);
        for task in assign.remove {
            assert!(self.assignments.remove(&task.parse().unwrap()).is_some(), "removes what is");
        }
        self.assignments.extend(convert::assignment::parse_all(assign.set).unwrap());
        self.revision = assign.results_in;
        assert_eq!(assign.digest, assignment::digest(&self.assignments));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn changes_add_up_to_the_whole(ops in proptest::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for node in 0..3 {
            world.apply(register(node, 0));
        }
        world.apply(Command::SetAvailability {
        node: NodeId(1),
        availability: Availability::Active,
            within: None,
        by: Actor::named("test"),
    });
        let mut told = world.state.clone();
        let mut traffic = Traffic::new(&told, &world.observed);
        let mut view = traffic::TrafficView::default();
        let all = convert::traffic::full(traffic.told(), traffic.told().digest());
        view = convert::traffic::merge(&view, all).unwrap();
        let mut copies: BTreeMap<NodeId, Copy> = BTreeMap::new();
        for op in ops.iter().chain([&Op::Tell]) {
            world.run(op);
            if !matches!(op, Op::Tell) {
                continue;
            }
            let changes = world.state.changes_since(&told);
            traffic.touch(std::mem::take(&mut world.touched));
            traffic.follow(&told, &world.state, &changes);
            let before = std::sync::Arc::clone(traffic.told());
            let changed = traffic.refresh(&world.state, &world.observed).is_some();
            prop_assert!(!traffic.is_behind());
            prop_assert!(changed || **traffic.told() == *before);
            let digest = traffic.told().digest();
            if let Some(message) = convert::traffic::changes(&before, traffic.told(), digest) {
                prop_assert!(digest != before.digest());
                view = convert::traffic::merge(&view, message).unwrap();
            }
            prop_assert_eq!(view.digest(), digest);
            let whole = traffic::view(&world.state, &world.observed);
            prop_assert_eq!(&**traffic.told(), &whole);
            prop_assert_eq!(&view, &whole);
            let affected = dispatcher::affected(&told, &world.state, &changes);
            for node in world.state.nodes() {
                let copy = copies.entry(node.id).or_default();
                let change = dispatcher::change(&told, &world.state, node.id, copy.revision);
                prop_assert!(change.is_none() || affected.contains(&node.id));
                if let Some((assign, _)) = change {
                    copy.take(assign);
                }
                let whole = assignment::assignments(&world.state, node);
                prop_assert_eq!(&copy.assignments, &whole);
            }
            told = world.state.clone();
        }
    }
}
