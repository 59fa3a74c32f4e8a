//! What `apply` promises.

use super::*;
use crate::command::{Applied, Command, Entry, Placing, Rejection};
use crate::id::{Generation, RevisionNumber, Slot};
use crate::node::{NodeFacts, Role};
use crate::service::Actor;
use crate::spec::HostName;
use crate::spec::tests::service;
use crate::time::WallTime;
use crate::units::{Bytes, MilliCpu};
use std::collections::BTreeMap;

/// A state that is fed commands one after the other, a second apart.
#[derive(Default)]
pub(crate) struct Feed {
    pub(crate) state: State,
    index: u64,
    /// The stamp of the next entries; a second apart where absent.
    pub(crate) clock: Option<ClusterTime>,
}

impl Feed {
    pub(crate) fn apply(&mut self, command: Command) -> Result<Applied, Rejection> {
        self.index += 1;
        self.state.apply(Entry {
            index: LogIndex(self.index),
            at: self.clock.unwrap_or_else(|| ClusterTime::from_ms(self.index * 1000)),
            wall: WallTime(0),
            command,
        })
    }

    pub(crate) fn node(&mut self, name: &str) -> NodeId {
        match self.register(name, None) {
            Ok(Applied::Node { id }) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn register(
        &mut self,
        name: &str,
        subnet: Option<ipnet::Ipv4Net>,
    ) -> Result<Applied, Rejection> {
        self.apply(Command::RegisterNode {
            key: name.to_owned(),
            role: Role::Worker,
            facts: Box::new(facts(name)),
            subnet,
            labels: BTreeMap::new(),
        })
    }

    pub(crate) fn create(&mut self, name: &str, replicas: u32) -> ServiceId {
        let spec = Box::new(service(name, replicas));
        match self.apply(Command::CreateService { spec, by: Actor::named("test".to_owned()) }) {
            Ok(Applied::Service { id, .. }) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn cluster() -> Self {
        let mut feed = Self::default();
        let pool = "10.210.0.0/16".parse().unwrap();
        let init = Command::InitCluster { id: ClusterId(7), zone: "warren".to_owned(), pool };
        feed.apply(init).unwrap();
        feed
    }
}

/// What a machine of this name says of itself.
pub(crate) fn facts(name: &str) -> NodeFacts {
    NodeFacts {
        hostname: HostName::parse(name).unwrap(),
        address: std::net::IpAddr::from([127, 0, 0, 1]),
        port: 0,
        platform: "linux/amd64".to_owned(),
        cpu: MilliCpu(4000),
        memory: Bytes::from_mib(4096),
        runtime: "sim".to_owned(),
        version: "0.1.0".to_owned(),
        level: crate::level::Level::OURS,
        encryption: crate::node::Encryption::default(),
        probe_port: 7400,
    }
}

#[test]
fn tasks_get_addresses_of_their_node_and_none_twice() {
    let mut feed = Feed::cluster();
    let (first, second) = (feed.node("a"), feed.node("b"));
    let web = feed.create("web", 4);
    let place = |slot, node| Placing { slot: Slot(slot), revision: RevisionNumber(1), node };
    let placements = vec![place(1, first), place(2, second), place(3, first)];
    let command = Command::PlaceTasks { service: web, expect: Generation(1), placements };
    feed.apply(command).unwrap();
    let addresses: Vec<_> = feed.state.tasks().map(|task| task.address.to_string()).collect();
    assert_eq!(addresses, ["10.210.0.2", "10.210.1.2", "10.210.0.3"]);
}

#[test]
fn a_stale_plan_is_refused_whole() {
    let mut feed = Feed::cluster();
    let node = feed.node("a");
    let web = feed.create("web", 2);
    let place = |slot, node| Placing { slot: Slot(slot), revision: RevisionNumber(1), node };
    let with = |expect, placements| Command::PlaceTasks { service: web, expect, placements };

    let wrong_node = with(Generation(1), vec![place(1, node), place(2, NodeId(99))]);
    assert!(matches!(feed.apply(wrong_node), Err(Rejection::Stale(_))));
    let wrong_generation = with(Generation(2), vec![place(1, node)]);
    assert!(matches!(feed.apply(wrong_generation), Err(Rejection::Stale(_))));
    assert_eq!(feed.state.tasks().len(), 0);

    feed.apply(with(Generation(1), vec![place(1, node)])).unwrap();
    let again = feed.apply(with(Generation(1), vec![place(1, node)]));
    assert!(matches!(again, Err(Rejection::Stale(_))), "a repeated plan fills no slot twice");
}

#[test]
fn a_snapshot_restores_to_the_same_state() {
    let mut feed = Feed::cluster();
    let node = feed.node("a");
    let web = feed.create("web", 1);
    let placements = vec![Placing { slot: Slot(1), revision: RevisionNumber(1), node }];
    feed.apply(Command::PlaceTasks { service: web, expect: Generation(1), placements }).unwrap();
    let bytes = postcard::to_stdvec(&feed.state).unwrap();
    let restored: State = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(restored, feed.state);
    assert_eq!(restored.tasks_on(node).count(), 1);
}

#[test]
fn events_are_kept_by_whole_entries() {
    let mut feed = Feed::cluster();
    let node = feed.node("a");
    let mut up = false;
    for _ in 0..crate::event::EVENTS_KEPT + 10 {
        feed.apply(Command::SetNodeUp { node, up }).unwrap();
        up = !up;
    }
    let oldest = feed.state.events().next().unwrap().index;
    assert_eq!(feed.state.events().len(), crate::event::EVENTS_KEPT);
    assert_eq!(feed.state.events_compacted(), LogIndex(oldest.0 - 1));

    // One entry with more events than are kept pushes out all others and stays whole.
    let index = LogIndex(feed.index + 1);
    for _ in 0..crate::event::EVENTS_KEPT + 10 {
        let command = Command::SetNodeUp { node, up };
        let entry = Entry { index, at: feed.state.time(), wall: WallTime(0), command };
        feed.state.apply(entry).unwrap();
        up = !up;
    }
    assert_eq!(feed.state.events().len(), crate::event::EVENTS_KEPT + 10);
    assert!(feed.state.events().all(|event| event.index == index));
    assert_eq!(feed.state.events_compacted(), LogIndex(index.0 - 1));
}

proptest::proptest! {
    #[test]
    fn nodes_get_the_first_free_subnets_and_none_overlap(
        asked in proptest::collection::vec(proptest::option::of((0..12_u8, 22..27_u8)), 1..20),
    ) {
        let mut feed = Feed::default();
        let pool: ipnet::Ipv4Net = "10.210.0.0/20".parse().unwrap();
        let init = Command::InitCluster { id: ClusterId(7), zone: "warren".to_owned(), pool };
        feed.apply(init).unwrap();
        for (i, asked) in asked.into_iter().enumerate() {
            let before = feed.state.clone();
            let subnet = asked.map(|(third, len)| format!("10.210.{third}.0/{len}").parse().unwrap());
            let applied = feed.register(&format!("n{i}"), subnet);
            let overlaps = |subnet: &ipnet::Ipv4Net| {
                before.nodes().any(|n| n.subnet.contains(subnet) || subnet.contains(&n.subnet))
            };
            let free: Vec<_> = pool.subnets(24).unwrap().filter(|share| !overlaps(share)).collect();
            match (applied, subnet) {
                (Ok(Applied::Node { id }), Some(subnet)) => {
                    proptest::prop_assert_eq!(feed.state.node(id).unwrap().subnet, subnet.trunc());
                }
                (Ok(Applied::Node { id }), None) => {
                    proptest::prop_assert_eq!(feed.state.node(id).unwrap().subnet, free[0]);
                }
                (_, Some(subnet)) => proptest::prop_assert!(overlaps(&subnet)),
                (_, None) => proptest::prop_assert!(free.is_empty()),
            }
        }
    }
}
