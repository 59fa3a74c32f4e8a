//! What resolvers are told, and what they answer from.

use super::cluster::{Cluster, Event};
use crate::answer::{Answer, Data, Kind, Question, answer};
use crate::id::{NodeId, RevisionNumber};
use crate::traffic::{self, TRAFFIC_LEASE, TrafficView};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

impl Cluster {
    /// Nodes whose agents have a session.
    pub(super) fn sessions(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.machines.values().filter(|machine| machine.session).map(|machine| machine.id)
    }

    /// Resolvers that can hear of it will be told the newest view.
    pub(super) fn tell_resolvers(&mut self) {
        if !self.leads {
            return;
        }
        self.warm |= self.has_heard_all();
        if !self.warm {
            return;
        }
        let nodes: Vec<_> = self.sessions().collect();
        for node in nodes {
            let wait = self.chance.span(5, 80);
            self.later(wait, Event::View(node));
        }
    }

    /// Whether every node that is up has said how each of its tasks does, or had the time for it.
    fn has_heard_all(&self) -> bool {
        let waited = self.now - self.led_from.0 >= 2_000;
        let up = self.state.nodes().filter(|node| node.up);
        let mut tasks = up.flat_map(|node| self.state.tasks_on(node.id));
        waited || tasks.all(|t| !t.serves() || self.observed.tasks.contains_key(&t.id))
    }

    /// A resolver is told the newest view, answers from it, and says so.
    pub(super) fn show(&mut self, node: NodeId) {
        if !self.leads || !self.machines.get(&node).is_some_and(|m| m.session) {
            return;
        }
        let version = self.state.traffic_epoch() + (self.readiness << 32);
        if self.view.0 != version {
            let view = traffic::view(&self.state, &self.observed);
            self.view = (version, Arc::new(view));
        }
        let view = Arc::clone(&self.view.1);
        let epoch = view.epoch;
        self.answer_from(node, view);
        let acked = self.observed.nodes.get(&node).and_then(|node| node.acks.newest());
        if acked.is_none_or(|acked| acked < epoch) {
            let wait = self.chance.span(5, 40);
            self.later(wait, Event::Ack(node, epoch));
        }
    }

    /// The resolver of a node answers from what it was told just now.
    pub(super) fn answer_from(&mut self, node: NodeId, view: Arc<TrafficView>) {
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let resolver = &mut machine.resolver;
        let lease = super::machine::ms(TRAFFIC_LEASE);
        let was_cut_off = resolver.cut_since.is_some_and(|since| self.now >= since + lease);
        resolver.cut_since = None;
        resolver.told = Arc::clone(&view);
        resolver.answer_from(view, self.now);
        if was_cut_off {
            // Nobody has waited for what it answered meanwhile.
            resolver.expires.clear();
        }
    }

    /// The resolver of a node is told, and answers with it as far as the leader's word holds there.
    pub(super) fn answer_as_trusted(&mut self, node: NodeId, view: Arc<TrafficView>) {
        let (now, lease) = (self.now, super::machine::ms(TRAFFIC_LEASE));
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let resolver = &mut machine.resolver;
        resolver.told = Arc::clone(&view);
        let cut_off = resolver.cut_since.is_some_and(|since| now >= since + lease);
        resolver.answer_from(if cut_off { Arc::new(view.cut_off()) } else { view }, now);
    }

    /// A leader answered a beat that was sent at `sent`, when what was agreed had `epoch`.
    pub(super) fn renew(&mut self, node: NodeId, sent: u64, epoch: u64) {
        let (now, lease) = (self.now, super::machine::ms(TRAFFIC_LEASE));
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let resolver = &mut machine.resolver;
        if resolver.told.epoch < epoch || sent + lease <= now {
            return;
        }
        let was_cut_off = resolver.cut_since.is_some_and(|since| now >= since + lease);
        resolver.cut_since = Some(resolver.cut_since.map_or(sent, |since| since.max(sent)));
        if was_cut_off {
            // Nobody has waited for what it answered meanwhile.
            resolver.expires.clear();
            let told = Arc::clone(&resolver.told);
            resolver.answer_from(told, now);
        }
        self.later(Duration::from_millis(sent + lease - now), Event::CutOff(node));
    }

    pub(super) fn acknowledge(&mut self, node: NodeId, epoch: u64) {
        if !self.leads || !self.machines.get(&node).is_some_and(|m| m.session) {
            return;
        }
        let now = self.time();
        self.observed.nodes.entry(node).or_default().acks.add(epoch, now);
        self.dirty = true;
    }

    /// From now on the machine's resolver hears nothing of the leader.
    pub(super) fn silence(&mut self, node: NodeId) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(&node) else { return };
        machine.session = false;
        if machine.resolver.cut_since.is_none() {
            machine.resolver.cut_since = Some(now);
            self.later(TRAFFIC_LEASE, Event::CutOff(node));
        }
    }

    /// A resolver that still hears nothing answers as one that is cut off does.
    pub(super) fn cut_off(&mut self, node: NodeId) {
        let (now, lease) = (self.now, super::machine::ms(TRAFFIC_LEASE));
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let resolver = &mut machine.resolver;
        if resolver.cut_since.is_some_and(|since| now >= since + lease) {
            let alone = resolver.told.cut_off();
            resolver.answer_from(Arc::new(alone), now);
        }
    }

    /// What the resolver of a machine answers from.
    #[must_use]
    pub fn view_of(&self, node: &str) -> Option<&TrafficView> {
        let mut machines = self.machines.values();
        machines.find(|machine| machine.name == node).map(|m| m.resolver.view.as_ref())
    }

    /// Asks the resolver of a machine so many times for `name`. Returns how often the first address was one of each
    /// revision, and how often there was none.
    pub fn ask(
        &mut self,
        node: &str,
        name: &str,
        times: u32,
    ) -> (BTreeMap<RevisionNumber, u32>, u32) {
        let mut counts = BTreeMap::new();
        let mut none = 0;
        let Some(view) = self.view_of(node).cloned() else { return (counts, times) };
        let endpoints = view.services.values().flat_map(|service| &service.endpoints);
        let revisions: BTreeMap<Ipv4Addr, _> = endpoints.map(|e| (e.address, e.revision)).collect();
        let question = format!("{name}.{}", view.zone);
        for _ in 0..times {
            let draw = self.chance.draw();
            let first = match answer(&view, &Question::new(&question, Kind::A), draw) {
                Answer::Records { data, .. } => data.into_iter().next(),
                Answer::Foreign | Answer::NoSuchName | Answer::NoData | Answer::Refused => None,
            };
            let revision = match first {
                Some(Data::A(address)) => revisions.get(&address),
                Some(
                    Data::Aaaa(_) | Data::Srv { .. } | Data::Ptr(_) | Data::Txt(_) | Data::Soa,
                )
                | None => None,
            };
            match revision {
                Some(revision) => *counts.entry(*revision).or_default() += 1,
                None => none += 1,
            }
        }
        (counts, none)
    }
}
