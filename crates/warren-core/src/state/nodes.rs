//! How nodes change.

use super::{Now, State};
use crate::command::{Applied, Rejection};
use crate::event::{EventKind, NodeChange};
use crate::id::NodeId;
use crate::level;
use crate::node::{Availability, Node, NodeFacts, Role};
use crate::spec::{LABELS_MAX, LabelKey};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A node's share of the pool: 253 tasks, more than one machine of this size class runs.
const NODE_PREFIX_LEN: u8 = 24;

impl State {
    /// A node says who it is. With an authority, only machines that were let in are nodes, and the role is the
    /// cluster's to say; the very first node makes the cluster.
    pub(super) fn register_node(
        &mut self,
        now: Now,
        key: String,
        role: Role,
        facts: NodeFacts,
        subnet: Option<Ipv4Net>,
        labels: BTreeMap<LabelKey, String>,
    ) -> Result<Applied, Rejection> {
        if self.stored.trust.is_none() || self.stored.nodes.is_empty() {
            return self.admit_node(now, key, role, facts, subnet, labels);
        }
        let known = self.node_with_key(&key).map(|node| node.role);
        let role = known.ok_or_else(|| {
            Rejection::NotAdmitted(
                "this machine is no node of the cluster, or was removed: join it with an empty data directory and a \
                 token of `warren cluster token`"
                    .to_owned(),
            )
        })?;
        self.admit_node(now, key, role, facts, subnet, labels)
    }

    pub(super) fn admit_node(
        &mut self,
        now: Now,
        key: String,
        role: Role,
        facts: NodeFacts,
        subnet: Option<Ipv4Net>,
        labels: BTreeMap<LabelKey, String>,
    ) -> Result<Applied, Rejection> {
        if let Some(cluster) = self.cluster()
            && let Some(why) = level::too_old(facts.level, cluster.level, &facts.version)
        {
            return Err(Rejection::NotAdmitted(why));
        }
        let known = self.node_with_key(&key).map(|node| node.id);
        if let Some(known) = known {
            let node = self.node_mut(known)?;
            let was_up = node.up;
            node.facts = facts;
            node.role = role;
            node.labels.extend(labels);
            node.up = true;
            if !was_up {
                node.since = now.at;
                self.record_node(now, known, NodeChange::Up);
            }
            return Ok(Applied::Node { id: known });
        }
        let subnet = self.choose_subnet(subnet)?;
        let id = NodeId(self.next_id());
        let node = Node {
            id,
            key,
            facts,
            role,
            labels,
            availability: Availability::Active,
            drain_until: None,
            up: true,
            since: now.at,
            subnet,
            cursor: 1,
        };
        self.by_key.insert(node.key.clone(), id);
        self.stored.nodes.insert(id, Arc::new(node));
        self.stored.traffic_epoch += 1;
        self.record_node(now, id, NodeChange::Joined);
        Ok(Applied::Node { id })
    }

    fn choose_subnet(&self, wanted: Option<Ipv4Net>) -> Result<Ipv4Net, Rejection> {
        let taken = |subnet: &Ipv4Net| {
            self.nodes().find(|node| node.subnet.contains(subnet) || subnet.contains(&node.subnet))
        };
        if let Some(subnet) = wanted {
            return match taken(&subnet) {
                None => Ok(subnet.trunc()),
                Some(node) => Err(Rejection::NoSubnet(format!(
                    "{subnet} overlaps {} of {}",
                    node.subnet, node.id
                ))),
            };
        }
        let pool = self.cluster().map(|cluster| cluster.pool);
        let pool = pool.ok_or_else(|| Rejection::NoSubnet("there is no cluster yet".to_owned()))?;
        let shares = pool.subnets(NODE_PREFIX_LEN.max(pool.prefix_len()));
        let mut shares = shares.map_err(|error| Rejection::NoSubnet(error.to_string()))?;
        // Subnets of nodes do not overlap, so one walk along both finds the first gap.
        let taken = self.nodes().map(|node| (node.subnet.network(), node.subnet.broadcast()));
        let mut taken: Vec<_> = taken.collect();
        taken.sort_unstable();
        let mut taken = taken.into_iter().peekable();
        let free = shares.find(|share| {
            while taken.next_if(|(_, last)| *last < share.network()).is_some() {}
            taken.peek().is_none_or(|(first, _)| *first > share.broadcast())
        });
        free.ok_or_else(|| {
            let count = self.stored.nodes.len();
            Rejection::NoSubnet(format!("the pool {pool} is used up by {count} nodes"))
        })
    }

    pub(super) fn set_node_up(
        &mut self,
        now: Now,
        id: NodeId,
        up: bool,
    ) -> Result<Applied, Rejection> {
        let node = self.node_mut(id)?;
        if node.up == up {
            return Ok(Applied::Done);
        }
        node.up = up;
        node.since = now.at;
        self.stored.traffic_epoch += 1;
        self.settle_all_moves();
        self.record_node(now, id, if up { NodeChange::Up } else { NodeChange::Down });
        Ok(Applied::Done)
    }

    pub(super) fn set_availability(
        &mut self,
        now: Now,
        id: NodeId,
        availability: Availability,
        within: Option<Duration>,
    ) -> Result<Applied, Rejection> {
        let node = self.node_mut(id)?;
        let within = within.filter(|_| availability == Availability::Drain);
        let drain_until = within.map(|within| now.at.after(within));
        if node.availability != availability || node.drain_until != drain_until {
            node.availability = availability;
            node.drain_until = drain_until;
            self.settle_all_moves();
            self.record_node(now, id, NodeChange::Availability(availability, within));
        }
        Ok(Applied::Done)
    }

    pub(super) fn label(
        &mut self,
        now: Now,
        id: NodeId,
        set: BTreeMap<LabelKey, String>,
        remove: &BTreeSet<LabelKey>,
    ) -> Result<Applied, Rejection> {
        let node = self.node_mut(id)?;
        let mut labels = node.labels.clone();
        labels.retain(|key, _| !remove.contains(key));
        labels.extend(set);
        if labels.len() > LABELS_MAX {
            return Err(Rejection::TooMany {
                what: "labels of a node".to_owned(),
                count: labels.len() as u64,
                max: LABELS_MAX as u64,
            });
        }
        if labels != node.labels {
            node.labels = labels;
            self.record_node(now, id, NodeChange::Labels);
        }
        Ok(Applied::Done)
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> Result<&mut Node, Rejection> {
        self.stored.nodes.get_mut(&id).map(Arc::make_mut).ok_or(Rejection::NoNode(id))
    }

    pub(super) fn record_node(&mut self, now: Now, id: NodeId, change: NodeChange) {
        let Some(node) = self.node(id) else { return };
        let hostname = node.facts.hostname.clone();
        self.record(now, EventKind::Node { id, hostname, change });
    }
}
