//! What `warren rebalance` promises: it only makes the spread better, breaks no limit, and is done at once.

use super::plan;
use super::tests::World;
use crate::command::{Command, Rejection};
use crate::id::{NodeId, ServiceId};
use crate::node::Availability;
use crate::scheduler::{Left, Relocation, Why, rebalance};
use crate::service::{Actor, Service};
use crate::spec::{Constraint, LabelKey, Order, Quantity};
use crate::state::State;
use crate::task::Task;
use crate::units::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn by() -> Actor {
    Actor::named("test")
}

fn set(world: &mut World, node: NodeId, availability: Availability) {
    world.apply(Command::SetAvailability { node, availability, within: None, by: by() });
}

fn label(world: &mut World, node: NodeId, value: &str) {
    let set = BTreeMap::from([(LabelKey::parse("zone").unwrap(), value.to_owned())]);
    world.apply(Command::LabelNode { node, set, remove: BTreeSet::new(), by: by() });
}

/// Everything on one node of so many, as after the loss of all others.
fn huddled(names: &[&str], replicas: &[u32]) -> (World, Vec<ServiceId>) {
    let mut world = World::with_nodes(names);
    for node in world.nodes.clone().into_iter().skip(1) {
        set(&mut world, node, Availability::Drain);
    }
    let create = |(i, count): (usize, &u32)| world.feed.create(&format!("s{i}"), *count);
    let services = replicas.iter().enumerate().map(create).collect();
    world.settle();
    for node in world.nodes.clone() {
        set(&mut world, node, Availability::Active);
    }
    world.settle();
    (world, services)
}

fn wanted_on(state: &State, service: ServiceId) -> BTreeMap<NodeId, u32> {
    let mut counts = BTreeMap::new();
    for task in state.tasks_of(service).filter(|task| task.is_wanted()) {
        *counts.entry(task.node).or_default() += 1;
    }
    counts
}

fn moves(world: &World) -> Vec<Relocation> {
    rebalance(&world.feed.state, None).moves
}

#[test]
fn what_a_failover_left_on_one_node_is_spread_again_when_somebody_asks() {
    let (mut world, services) = huddled(&["a", "b", "c"], &[3]);
    let web = services[0];
    let before = world.feed.state.clone();
    for _ in 0..20 {
        world.round();
    }
    assert_eq!(wanted_on(&world.feed.state, web), wanted_on(&before, web), "nothing by itself");
    let found = moves(&world);
    let words: Vec<_> = found.iter().map(|one| one.why.to_string()).collect();
    assert_eq!(words.len(), 2, "{words:?}");
    assert!(words.contains(&"3 of the service there, 0 here".to_owned()), "{words:?}");
    world.rebalance();
    assert_eq!(moves(&world), [], "what is on its way is not planned again");
    world.settle();
    assert_eq!(wanted_on(&world.feed.state, web).into_values().collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(world.serving(web), 3);
    assert_eq!(moves(&world), []);
    assert!(world.feed.state.service(web).unwrap().moves.is_empty(), "all done");
}

#[test]
fn services_of_one_task_are_spread_over_nodes_too() {
    let (mut world, services) = huddled(&["a", "b"], &[1, 1, 1, 1]);
    let found = moves(&world);
    assert_eq!(found.len(), 2);
    assert!(matches!(found[0].why, Why::All { .. }), "{found:?}");
    world.rebalance();
    world.settle();
    let on = |node: NodeId| world.feed.state.tasks_on(node).filter(|task| task.is_wanted()).count();
    assert_eq!((on(world.nodes[0]), on(world.nodes[1])), (2, 2));
    assert!(services.iter().all(|service| world.serving(*service) == 1));
    assert_eq!(moves(&world), []);
}

#[test]
fn old_tasks_that_go_first_come_back_where_they_are_to_be() {
    let (mut world, services) = huddled(&["a", "b"], &[4]);
    let web = services[0];
    world.change(web, |spec| {
        spec.update.order = Order::StopFirst;
        spec.update.max_unavailable = Quantity::Count(1);
    });
    world.settle();
    let to: BTreeSet<_> = moves(&world).into_iter().map(|one| (one.slot, one.to)).collect();
    world.rebalance();
    world.settle();
    let tasks = world.feed.state.tasks_of(web).filter(|task| task.is_wanted());
    let after: BTreeSet<_> = tasks.map(|task| (task.slot, task.node)).collect();
    assert!(!to.is_empty() && to.is_subset(&after), "{to:?} {after:?}");
    assert!(world.feed.state.service(web).unwrap().moves.is_empty());
}

#[test]
fn a_release_comes_first_and_a_node_that_goes_ends_its_moves() {
    let (mut world, services) = huddled(&["a", "b"], &[4]);
    let web = services[0];
    let other = world.nodes[1];
    world.rebalance();
    set(&mut world, other, Availability::Drain);
    assert!(world.feed.state.service(web).unwrap().moves.is_empty(), "b takes none");
    set(&mut world, other, Availability::Active);
    world.rebalance();
    world.update(web, "web:v2");
    let service = world.feed.state.service(web).unwrap().clone();
    assert!(service.moves.is_empty(), "the release replaces them anyway");
    let found = rebalance(&world.feed.state, None);
    let release = service.rollout.as_ref().unwrap().id;
    assert_eq!((found.moves, found.left), (vec![], vec![(web, Left::Release(release))]));
    let moves = BTreeMap::new();
    let refused = Command::MoveTasks { service: web, expect: service.generation, moves, by: by() };
    assert!(matches!(world.feed.apply(refused), Err(Rejection::Busy { .. })));
}

#[derive(Clone, Debug)]
struct Wish {
    replicas: u32,
    memory_mib: u64,
    spread: bool,
    only_east: bool,
    per_node: Option<u32>,
}

fn wish() -> impl Strategy<Value = Wish> {
    (1u32..6, 0u64..1_500, any::<bool>(), prop::bool::weighted(0.2), prop::option::of(1u32..4))
        .prop_map(|(replicas, memory_mib, spread, only_east, per_node)| Wish {
            replicas,
            memory_mib,
            spread,
            only_east,
            per_node,
        })
}

/// Nodes in two zones, services with wishes, and nodes that were away for a while.
fn lived_through(wishes: &[Wish], away: &[usize]) -> World {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let mut world = World::with_nodes(&NAMES);
    for (i, node) in world.nodes.clone().into_iter().enumerate() {
        label(&mut world, node, if i % 2 == 0 { "east" } else { "west" });
    }
    for (i, wish) in wishes.iter().enumerate() {
        let service = world.feed.create(&format!("s{i}"), wish.replicas);
        world.change(service, |spec| {
            spec.template.resources.memory_limit = Some(Bytes::from_mib(wish.memory_mib + 1));
            spec.placement.max_per_node = wish.per_node;
            if wish.spread {
                spec.placement.spread = vec![LabelKey::parse("zone").unwrap()];
            }
            if wish.only_east {
                let east: Constraint = "node.labels.zone==east".parse().unwrap();
                spec.placement.constraints = vec![east];
            }
        });
    }
    for node in away {
        let node = world.nodes[*node];
        set(&mut world, node, Availability::Drain);
        for _ in 0..60 {
            world.round();
        }
        set(&mut world, node, Availability::Active);
        for _ in 0..60 {
            world.round();
        }
    }
    world
}

/// How uneven a service is: over zones where it asks for that, then over nodes. Smaller is better.
fn unevenness(state: &State, service: &Service, at: impl Fn(&Task) -> NodeId) -> (u32, u32) {
    let (mut zones, mut nodes) = (BTreeMap::<String, u32>::new(), BTreeMap::<NodeId, u32>::new());
    for task in state.tasks_of(service.id).filter(|task| task.is_wanted()) {
        let node = state.node(at(task)).unwrap();
        *nodes.entry(node.id).or_default() += 1;
        let zone = service.spec.placement.spread.first().and_then(|key| node.labels.get(key));
        *zones.entry(zone.cloned().unwrap_or_default()).or_default() += 1;
    }
    let squares = |count: &u32| count * count;
    (zones.values().map(squares).sum(), nodes.values().map(squares).sum())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn moves_only_make_the_spread_better_and_break_no_limit(
        wishes in prop::collection::vec(wish(), 1..6),
        away in prop::collection::vec(0usize..5, 0..4),
    ) {
        let mut world = lived_through(&wishes, &away);
        let state = world.feed.state.clone();
        let found = rebalance(&state, None);
        let to: BTreeMap<_, _> = found.moves.iter().map(|one| (one.task, one.to)).collect();
        let after = |task: &Task| to.get(&task.id).copied().unwrap_or(task.node);
        for service in state.services() {
            let was = unevenness(&state, service, |task| task.node);
            prop_assert!(unevenness(&state, service, after) <= was, "{found:#?}");
        }
        for one in &found.moves {
            prop_assert!(one.from != one.to);
            let service = state.service(one.service).unwrap();
            let node = state.node(one.to).unwrap();
            let zone = node.labels.values().next().unwrap();
            prop_assert!(service.spec.placement.constraints.is_empty() || zone == "east");
        }
        for node in state.nodes() {
            let there = |task: &&std::sync::Arc<Task>| task.is_live() && after(task) == node.id;
            let used: u64 = state.tasks().filter(there).map(|task| {
                let service = state.service(task.service).unwrap();
                service.revisions[&task.revision].template.resources.memory_reserved().0
            }).sum();
            prop_assert!(used <= node.facts.memory.0);
            for service in state.services() {
                let most = service.spec.placement.max_per_node.unwrap_or(u32::MAX) as usize;
                let wanted = state.tasks_of(service.id).filter(there);
                let wanted = wanted.filter(|task| task.is_wanted());
                let was = state.tasks_of(service.id).filter(|task| task.node == node.id).count();
                prop_assert!(wanted.count() <= most.max(was));
            }
        }
        world.rebalance();
        prop_assert_eq!(moves(&world), [], "what is asked for is not planned again");
    }

    #[test]
    fn what_is_moved_is_done_once_and_where_it_was_said(
        replicas in prop::collection::vec(1u32..7, 1..5),
        nodes in 2usize..5,
    ) {
        let (mut world, services) = huddled(&["a", "b", "c", "d"][..nodes], &replicas);
        let found = moves(&world);
        world.rebalance();
        world.settle();
        for one in &found {
            let tasks = world.feed.state.tasks_of(one.service).filter(|task| task.slot == one.slot);
            let on: Vec<_> = tasks.filter(|task| task.is_wanted()).map(|task| task.node).collect();
            prop_assert_eq!(on, [one.to]);
        }
        for (service, replicas) in services.iter().zip(&replicas) {
            let counts = wanted_on(&world.feed.state, *service);
            let nodes = u32::try_from(nodes).unwrap();
            prop_assert!(counts.values().all(|count| *count <= replicas.div_ceil(nodes)));
            prop_assert_eq!(world.serving(*service), *replicas);
        }
        prop_assert_eq!(moves(&world), []);
        let next = plan(&world.feed.state, &world.observed, world.now);
        prop_assert!(next.commands.is_empty());
    }
}
