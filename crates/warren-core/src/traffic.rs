//! Where traffic goes: what every resolver and proxy answers from.

use crate::id::{NodeId, RevisionNumber, TaskId};
use crate::lease::LEASES;
use crate::node::{Encryption, Node, NodeFacts};
use crate::observed::Observed;
use crate::rollout::{Phase, Rollout};
use crate::service::Service;
use crate::spec::{HostName, Port, ServiceName};
use crate::state::State;
use crate::time::ClusterTime;
use crate::units::Weight;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may be cached while a service is at rest.
pub const TTL: Duration = Duration::from_secs(5);
/// How long an answer may be cached while a service changes its tasks or its split.
pub const TTL_LIVE: Duration = Duration::from_secs(1);
/// How much longer than that an answer may be in use: caches count whole seconds from when the answer reached them, and
/// what was begun in the last moment is still on its way to a task.
pub const TTL_SLACK: Duration = Duration::from_secs(1);

/// How long the leader's word on where traffic goes holds, from when the node asked for it: a beat that the leader
/// answers renews it, if the resolver answers with all that was agreed when the beat arrived. Without, a resolver goes
/// by [`TrafficView::cut_off`]. This is the shortest; see [`word`].
pub const TRAFFIC_LEASE: Duration = Duration::from_secs(3);

/// How much longer a resolver is waited for that does not acknowledge: what was agreed reaches those who answer beats
/// after its moment, by a write to disks and a turn of a busy machine.
pub const TRAFFIC_LATE: Duration = Duration::from_secs(1);

/// How long the leader's word holds where nodes have this `lease`: in large clusters they beat less often.
#[must_use]
pub fn word(lease: Duration) -> Duration {
    lease.max(TRAFFIC_LEASE)
}

/// What a resolver does that does not hear what is agreed, and by when. Both spans follow from the lease of nodes:
///
/// - Until `heeded` it may answer as if nothing had been agreed. From then on it answers as
///   [`TrafficView::cut_off`] says: with short lives, and with nothing of a release that is taken back. What is stable
///   it goes on to name.
/// - Until `given_up` the leader waits for it before a task stops, which may be a stable one; by then a silent node is
///   down. A machine that only stood still for a while comes back to tasks that are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unheard {
    /// When the word has lapsed that it had.
    pub heeded: Duration,
    /// When nobody waits for it any more.
    pub given_up: Duration,
}

impl Unheard {
    /// In a cluster of so many nodes.
    #[must_use]
    pub fn among(nodes: usize) -> Self {
        let leases = LEASES.for_nodes(nodes);
        let silence = leases.lease.saturating_mul(leases.grace);
        Self { heeded: heeded_within(leases.lease), given_up: silence + TRAFFIC_LATE }
    }
}

fn heeded_within(lease: Duration) -> Duration {
    word(lease) + TRAFFIC_LATE
}

/// How long after a task was given up somebody may be led to it by a resolver that hears the leader, where nodes have
/// this `lease`: until its word has lapsed, and what it had answered has expired.
#[must_use]
pub fn forgotten_within(lease: Duration) -> Duration {
    heeded_within(lease) + TTL + TTL_SLACK
}

/// Everything that names of the cluster's zone lead to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TrafficView {
    /// The state's traffic epoch that this view holds; a resolver acknowledges it once it answers from the view.
    pub epoch: u64,
    /// The zone, without dots at the ends, as in `warren`.
    pub zone: String,
    /// By service name.
    pub services: BTreeMap<ServiceName, Arc<ServiceTraffic>>,
    /// The nodes, by host name (`HOST.node`).
    pub hosts: BTreeMap<HostName, Host>,
}

/// A node, as others reach it and what runs there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Which.
    pub node: NodeId,
    /// The machine's own address.
    pub address: IpAddr,
    /// The addresses of its containers; absent where its tasks are processes, which are reached at loopback.
    pub subnet: Option<Ipv4Net>,
    /// Whether and how what passes between its containers and those of others is encrypted.
    pub encryption: Encryption,
}

impl Host {
    /// A machine whose tasks are processes.
    #[must_use]
    pub fn plain(node: NodeId, address: IpAddr) -> Self {
        Self { node, address, subnet: None, encryption: Encryption::default() }
    }

    /// What others are told of `node`.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let subnet = node.facts.has_containers().then_some(node.subnet);
        let NodeFacts { address, encryption, .. } = node.facts;
        Self { node: node.id, address, subnet, encryption }
    }
}

impl TrafficView {
    /// A fingerprint of all of it: equal on leader and node, or they have diverged.
    ///
    /// # Panics
    /// Never: the view is plain data.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let head = (self.epoch, &self.zone, &self.hosts, self.services.len());
        hash_json(&mut hash, &head);
        for (name, service) in &self.services {
            // Endpoints are many, and numbers: they are hashed as such.
            let ServiceTraffic {
                split_epoch,
                weights,
                stable,
                incoming,
                outgoing,
                live,
                ports,
                endpoints,
            } = &**service;
            let of_service = (split_epoch, weights, stable, incoming, outgoing, live, ports);
            hash_json(&mut hash, &(name, of_service, endpoints.len()));
            for Endpoint { task, revision, node, address, ready } in endpoints {
                let mut bytes = [0; 25];
                bytes[..8].copy_from_slice(&task.0.to_le_bytes());
                bytes[8..16].copy_from_slice(&node.0.to_le_bytes());
                bytes[16..20].copy_from_slice(&revision.0.to_le_bytes());
                bytes[20..24].copy_from_slice(&address.octets());
                bytes[24] = u8::from(*ready);
                hash.update(bytes);
            }
        }
        hash.finalize().into()
    }

    /// What to answer from when nobody says any more whether the view is still good: the same tasks with the short
    /// TTL, and of a service that is being split only the stable revision, if a task of it is ready. So a release that
    /// is taken back gets no traffic from a resolver that cannot hear of it, and none is without an answer.
    #[must_use]
    pub fn cut_off(&self) -> Self {
        let services = self.services.iter();
        let services =
            services.map(|(name, traffic)| (name.clone(), Arc::new(traffic.cut_off()))).collect();
        Self { epoch: self.epoch, zone: self.zone.clone(), services, hosts: self.hosts.clone() }
    }
}

#[expect(clippy::expect_used, reason = "plain data with text for keys")]
fn hash_json(hash: &mut Sha256, part: &impl Serialize) {
    hash.update(serde_json::to_vec(part).expect("every part of a view has a JSON form"));
}

/// Where one service's names lead.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ServiceTraffic {
    /// The epoch of the split.
    pub split_epoch: u64,
    /// The share of each revision, summing to 1000; empty where every ready endpoint has an equal share.
    pub weights: Vec<(RevisionNumber, Weight)>,
    /// The revision that `stable.NAME` leads to.
    pub stable: Option<RevisionNumber>,
    /// The revision that is coming in, `canary.NAME` and `preview.NAME`; absent at rest.
    pub incoming: Option<RevisionNumber>,
    /// The revision that a release started from; absent at rest.
    pub outgoing: Option<RevisionNumber>,
    /// Whether tasks or split are changing, which shortens the TTL.
    pub live: bool,
    /// Named ports, for SRV; a port without a name is not listed.
    pub ports: Vec<Port>,
    /// The tasks that serve, by task id.
    pub endpoints: Vec<Endpoint>,
}

impl ServiceTraffic {
    /// How long an answer may be cached.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        if self.live { TTL_LIVE } else { TTL }
    }

    fn cut_off(&self) -> Self {
        let ready = |revision| {
            self.endpoints.iter().any(|endpoint| endpoint.ready && endpoint.revision == revision)
        };
        let mut alone = Self { live: true, ..self.clone() };
        if let Some(stable) = self.stable.filter(|stable| ready(*stable))
            && !self.weights.is_empty()
        {
            alone.weights = vec![(stable, Weight::FULL)];
        }
        alone
    }
}

/// One task that serves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// The task.
    pub task: TaskId,
    /// What it runs.
    pub revision: RevisionNumber,
    /// Where.
    pub node: NodeId,
    /// Its address.
    pub address: Ipv4Addr,
    /// Whether it is ready. Each resolver drops an endpoint of its own node as soon as its own agent says so.
    pub ready: bool,
}

/// When every resolver answers with `epoch`, which was made at `since`: each has acknowledged it, or has been waited
/// for until it is [given up](Unheard::given_up). One that has no session answers from what it has for as long; and a
/// new leader does not know yet of those that it has not heard, nor has it told anybody before it has listened to all.
#[must_use]
pub fn settled_at(
    state: &State,
    observed: &Observed,
    epoch: u64,
    since: ClusterTime,
) -> ClusterTime {
    let patience = Unheard::among(state.nodes().len()).given_up;
    let cut_off = since.max(observed.told_from).after(patience);
    let settled = state.nodes().filter_map(|node| match observed.nodes.get(&node.id) {
        Some(known) => {
            let waited = known.connected && node.up;
            let until = if waited { cut_off } else { known.heard.after(patience) };
            Some(known.acks.since(epoch).unwrap_or(until))
        }
        None => node.up.then(|| observed.since.after(patience)),
    });
    settled.max().unwrap_or(since).min(cut_off).max(since)
}

/// The nodes that are connected and do not answer with `epoch` yet.
#[must_use]
pub fn unacked(observed: &Observed, epoch: u64) -> Vec<NodeId> {
    let live = observed.nodes.iter().filter(|(_, node)| node.connected);
    live.filter(|(_, node)| node.acks.since(epoch).is_none()).map(|(id, _)| *id).collect()
}

/// The view of a state and of what has been heard.
#[must_use]
pub fn view(state: &State, observed: &Observed) -> TrafficView {
    let services = state.services().filter(|service| !service.deleting);
    TrafficView {
        epoch: state.traffic_epoch(),
        zone: state.cluster().map(|cluster| cluster.zone.clone()).unwrap_or_default(),
        services: services
            .map(|service| {
                (service.spec.name.clone(), Arc::new(service_traffic(state, observed, service)))
            })
            .collect(),
        hosts: state.nodes().map(|node| (node.facts.hostname.clone(), Host::of(node))).collect(),
    }
}

/// The revision that a release started from; once it is stopped for good, no more.
fn outgoing(live: &Rollout, endpoints: &[Endpoint]) -> Option<RevisionNumber> {
    let serves = |from: &RevisionNumber| endpoints.iter().any(|one| one.revision == *from);
    live.from.filter(|from| live.phase != Phase::Finalizing || serves(from))
}

/// Where one service's names lead.
#[must_use]
pub fn service_traffic(state: &State, observed: &Observed, service: &Service) -> ServiceTraffic {
    let up = |node| state.node(node).is_some_and(|node| node.up);
    let mut leaving = false;
    let mut endpoints = Vec::new();
    for task in state.tasks_of(service.id) {
        if task.serves() && up(task.node) {
            endpoints.push(Endpoint {
                task: task.id,
                revision: task.revision,
                node: task.node,
                address: task.address,
                ready: observed.is_ready(task.id),
            });
        } else {
            leaving |= task.is_live() && !task.is_wanted();
        }
    }
    let live_rollout = service.rollout.as_ref();
    let incoming = live_rollout.filter(|live| live.from.is_some()).map(|live| live.to);
    let changing = service.stable.is_some() && live_rollout.is_some();
    ServiceTraffic {
        split_epoch: service.split.epoch,
        weights: service.split.weights.clone(),
        stable: service.stable,
        incoming,
        outgoing: live_rollout.and_then(|live| outgoing(live, &endpoints)),
        live: changing || leaving,
        ports: service
            .spec
            .template
            .ports
            .iter()
            .filter(|port| port.name.is_some())
            .cloned()
            .collect(),
        endpoints,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::observed::NodeObserved;
    use crate::simulate::play;
    use crate::state::tests::Feed;

    /// Seen on three managers whose leader was killed in a rolling update: the next one stopped drained tasks before it
    /// had told any resolver that they were out of traffic.
    #[test]
    fn a_new_leader_waits_until_it_has_told_what_the_old_one_had_agreed_on() {
        let at = |seconds: u64| ClusterTime::from_ms(seconds * 1000);
        let mut feed = Feed::cluster();
        let id = feed.node("n1");
        let node = NodeObserved { connected: true, heard: at(11), ..NodeObserved::default() };
        let mut observed = Observed { since: at(10), told_from: at(20), ..Observed::default() };
        observed.nodes.insert(id, node);
        let settled = |observed: &Observed| settled_at(&feed.state, observed, 7, at(9));
        assert_eq!(settled(&observed), at(30), "told at 20 s, at the latest");
        observed.told_from = at(15);
        assert_eq!(settled(&observed), at(25), "told earlier");
        if let Some(node) = observed.nodes.get_mut(&id) {
            node.acks.add(7, at(16));
        }
        assert_eq!(settled(&observed), at(16), "acknowledged");
    }

    #[test]
    fn a_silent_resolver_is_waited_for_until_its_node_is_down() {
        let at = |seconds: u64| ClusterTime::from_ms(seconds * 1000);
        let mut feed = Feed::cluster();
        let (quick, silent) = (feed.node("n1"), feed.node("n2"));
        let mut observed = Observed { told_from: at(1), ..Observed::default() };
        for (id, heard, connected) in [(quick, 100, true), (silent, 95, false)] {
            let known = NodeObserved { connected, heard: at(heard), ..NodeObserved::default() };
            observed.nodes.insert(id, known);
        }
        if let Some(node) = observed.nodes.get_mut(&quick) {
            node.acks.add(7, at(101));
        }
        assert_eq!(settled_at(&feed.state, &observed, 7, at(100)), at(105), "10 s of silence");
        if let Some(node) = observed.nodes.get_mut(&silent) {
            node.connected = true;
        }
        assert_eq!(settled_at(&feed.state, &observed, 7, at(100)), at(110), "its session stands");
        feed.apply(Command::SetNodeUp { node: silent, up: false }).unwrap();
        assert_eq!(settled_at(&feed.state, &observed, 7, at(100)), at(105), "it is down");
        observed.nodes.remove(&silent);
        assert_eq!(settled_at(&feed.state, &observed, 7, at(100)), at(101), "down for long");
    }

    // What `blue.NAME` leads to while the old tasks are stopped was nothing, for a second.
    #[test]
    fn the_name_of_the_old_revision_is_never_without_an_answer() {
        let text = play(
            "> cluster 3\n> create web --replicas 3 --image web:1 --strategy blue-green --monitor 5s --standby 5s\n\
             > wait web completed\n> update web --image web:2\n> wait web finalizing\n> advance 2s\n\
             > dns 20 blue.web\n> advance 500ms\n> dns 20 blue.web\n> wait web completed\n> dns 20 blue.web\n",
        );
        assert!(!text.contains("no answer"), "{text}");
        assert!(text.contains("v2 20"), "{text}");
    }
}
