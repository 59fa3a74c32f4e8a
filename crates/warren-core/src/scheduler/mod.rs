//! Which node gets a task. Filters say where it cannot go, and why; a score says where it goes best.
//!
//! Tasks of one (service, revision) are placed as a group: nodes are filtered once, then taken from a heap whose keys
//! only grow while tasks are placed, so that a group costs O(nodes) and each task O(log nodes).

mod filter;
mod needs;
mod rebalance;
mod room;
mod score;

pub use filter::{Explain, Obstacle};
pub use needs::{Need, check_needs};
pub use rebalance::{Left, MOVES_MAX, Rebalance, Relocation, Why, rebalance};
pub(crate) use room::Rooms;
pub(crate) use score::mix;

use crate::id::{NodeId, RevisionNumber, ServiceId};
use crate::node::Node;
use crate::spec::{Placement, Template};
use crate::task::Task;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Tasks that are to be placed alike.
pub(crate) struct Group<'a> {
    pub(crate) service: ServiceId,
    pub(crate) revision: RevisionNumber,
    pub(crate) template: &'a Template,
    pub(crate) placement: &'a Placement,
}

/// Where a service's tasks are already.
#[derive(Default)]
pub(crate) struct Presence<'a> {
    /// Wanted tasks of the service on each node: all, and of the group's revision.
    on: BTreeMap<NodeId, (u32, u32)>,
    /// Wanted tasks of the service by the values of the spread labels.
    domains: Vec<BTreeMap<&'a str, u32>>,
    /// Nodes on which the group's revision failed last.
    failed: BTreeSet<NodeId>,
}

impl<'a> Presence<'a> {
    /// Counts `tasks`, all of the group's service.
    pub(crate) fn of<'t>(
        group: &Group<'_>,
        tasks: impl Iterator<Item = &'t Task>,
        node: impl Fn(NodeId) -> Option<&'a Node>,
    ) -> Self {
        let mut presence = Self {
            domains: vec![BTreeMap::new(); group.placement.spread.len()],
            ..Self::default()
        };
        for task in tasks {
            let Some(place) = node(task.node) else { continue };
            if task.is_wanted() {
                presence.count(group, place, task.revision == group.revision);
            } else if !task.is_live() && task.end_was_failure() && task.revision == group.revision {
                presence.failed.insert(task.node);
            }
        }
        presence
    }

    fn count(&mut self, group: &Group<'_>, node: &'a Node, same_revision: bool) {
        let (all, same) = self.on.entry(node.id).or_default();
        *all += 1;
        *same += u32::from(same_revision);
        for (domain, key) in self.domains.iter_mut().zip(&group.placement.spread) {
            let value = node.labels.get(key).map_or("", String::as_str);
            *domain.entry(value).or_default() += 1;
        }
    }

    /// Takes a wanted task of the group's revision away from a node.
    fn uncount(&mut self, group: &Group<'_>, node: &Node) {
        if let Some((all, same)) = self.on.get_mut(&node.id) {
            *all = all.saturating_sub(1);
            *same = same.saturating_sub(1);
        }
        for (domain, key) in self.domains.iter_mut().zip(&group.placement.spread) {
            let value = node.labels.get(key).map_or("", String::as_str);
            if let Some(count) = domain.get_mut(value) {
                *count = count.saturating_sub(1);
            }
        }
    }

    fn on(&self, node: NodeId) -> (u32, u32) {
        self.on.get(&node).copied().unwrap_or_default()
    }
}

/// Chooses nodes for `wanted` tasks of `group` and takes the room they need.
///
/// # Errors
/// Fewer nodes than wanted come with the reasons of those that do not fit.
pub(crate) fn place<'a>(
    group: &Group<'_>,
    wanted: u32,
    rooms: &mut Rooms<'a>,
    presence: &mut Presence<'a>,
) -> (Vec<NodeId>, Explain) {
    let mut chosen = Vec::new();
    let mut explain = Explain::default();
    let mut heap = BinaryHeap::new();
    for index in 0..rooms.len() {
        match filter::obstacle(group, rooms.at(index), presence) {
            None => heap.push(score::Candidate::new(group, rooms.at(index), index, presence)),
            Some(obstacle) => explain.add(obstacle),
        }
    }
    while chosen.len() < wanted as usize {
        let Some(candidate) = heap.pop() else { break };
        let index = candidate.index();
        if let Some(obstacle) = filter::obstacle(group, rooms.at(index), presence) {
            explain.add(obstacle);
            continue;
        }
        let now = score::Candidate::new(group, rooms.at(index), index, presence);
        if now != candidate {
            heap.push(now);
            continue;
        }
        let node = rooms.at(index).node;
        rooms.take(index, group.template);
        presence.count(group, node, true);
        chosen.push(node.id);
        heap.push(score::Candidate::new(group, rooms.at(index), index, presence));
    }
    explain.fitting(heap.len());
    (chosen, explain)
}

/// Takes the room of a task of `group` on one node.
///
/// # Errors
/// Why it has no place there.
pub(crate) fn place_on<'a>(
    group: &Group<'_>,
    node: &'a Node,
    rooms: &mut Rooms<'a>,
    presence: &mut Presence<'a>,
) -> Result<(), Obstacle> {
    let index = rooms.index_of(node.id).ok_or(Obstacle::Down)?;
    if let Some(obstacle) = filter::obstacle(group, rooms.at(index), presence) {
        return Err(obstacle);
    }
    rooms.take(index, group.template);
    presence.count(group, node, true);
    Ok(())
}

/// Why `group` has no place on one node; `None` where it has.
pub(crate) fn obstacle_on(
    group: &Group<'_>,
    node: NodeId,
    rooms: &Rooms<'_>,
    presence: &Presence<'_>,
) -> Option<Obstacle> {
    let index = rooms.index_of(node)?;
    filter::obstacle(group, rooms.at(index), presence)
}

/// Whether a global service of `placement` wants a task on `node` at all.
pub(crate) fn wants(placement: &Placement, node: &Node) -> bool {
    node.is_open() && placement.constraints.iter().all(|c| filter::holds(c, node))
}

#[cfg(test)]
mod tests;
