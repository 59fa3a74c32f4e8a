//! What nodes have left.

use crate::id::NodeId;
use crate::node::Node;
use crate::spec::{Protocol, Resources, Template};
use crate::units::{Bytes, MilliCpu};
use std::collections::BTreeSet;

/// What one node has left.
pub(crate) struct Room<'a> {
    pub(crate) node: &'a Node,
    pub(crate) memory: u64,
    pub(crate) cpu: u32,
    pub(crate) addresses: u32,
    pub(crate) host_ports: BTreeSet<(u16, Protocol)>,
    /// It cannot be told of new tasks at the moment.
    pub(crate) unheard: bool,
}

impl Room<'_> {
    /// The fuller of memory and CPU, in thousandths used.
    pub(crate) fn used_per_mille(&self) -> u32 {
        let Bytes(memory) = self.node.facts.memory;
        let MilliCpu(cpu) = self.node.facts.cpu;
        let memory_used = used(self.memory, memory);
        let cpu_used = used(u64::from(self.cpu), u64::from(cpu));
        memory_used.max(cpu_used)
    }

    /// The same with one more task of `template`.
    pub(crate) fn used_with(&self, template: &Template) -> u32 {
        let Bytes(memory) = self.node.facts.memory;
        let MilliCpu(cpu) = self.node.facts.cpu;
        let memory_left = self.memory.saturating_sub(template.resources.memory_reserved().0);
        let cpu_left = self.cpu.saturating_sub(template.resources.cpu_reserved().0);
        used(memory_left, memory).max(used(u64::from(cpu_left), u64::from(cpu)))
    }
}

fn used(free: u64, all: u64) -> u32 {
    let used = all.saturating_sub(free).saturating_mul(1000);
    used.checked_div(all).and_then(|share| u32::try_from(share).ok()).unwrap_or(0)
}

/// What all nodes have left, by node id.
pub(crate) struct Rooms<'a> {
    rooms: Vec<Room<'a>>,
}

impl<'a> Rooms<'a> {
    /// Every node empty. `nodes` come by id.
    pub(crate) fn empty(nodes: impl Iterator<Item = &'a Node>) -> Self {
        let room = |node: &'a Node| Room {
            node,
            memory: node.facts.memory.0,
            cpu: node.facts.cpu.0,
            addresses: node.address_capacity(),
            host_ports: BTreeSet::new(),
            unheard: false,
        };
        Self { rooms: nodes.map(room).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }

    pub(crate) fn at(&self, index: usize) -> &Room<'a> {
        &self.rooms[index]
    }

    pub(crate) fn index_of(&self, node: NodeId) -> Option<usize> {
        self.rooms.binary_search_by_key(&node, |room| room.node.id).ok()
    }

    /// A node that takes no new tasks for now, since it cannot be told of them.
    pub(crate) fn unheard(&mut self, node: NodeId) {
        if let Some(index) = self.index_of(node) {
            self.rooms[index].unheard = true;
        }
    }

    /// Takes the room of one task of `template` on a node.
    pub(crate) fn take(&mut self, index: usize, template: &Template) {
        let room = &mut self.rooms[index];
        let resources: &Resources = &template.resources;
        room.memory = room.memory.saturating_sub(resources.memory_reserved().0);
        room.cpu = room.cpu.saturating_sub(resources.cpu_reserved().0);
        room.addresses = room.addresses.saturating_sub(1);
        for port in &template.ports {
            if let Some(host) = port.host {
                room.host_ports.insert((host, port.protocol));
            }
        }
    }

    /// Gives back what [`Self::take`] took. Where more was taken than there was, a little too much comes back.
    pub(crate) fn give(&mut self, index: usize, template: &Template) {
        let room = &mut self.rooms[index];
        let resources: &Resources = &template.resources;
        let memory = room.memory.saturating_add(resources.memory_reserved().0);
        room.memory = memory.min(room.node.facts.memory.0);
        let cpu = room.cpu.saturating_add(resources.cpu_reserved().0);
        room.cpu = cpu.min(room.node.facts.cpu.0);
        room.addresses = room.addresses.saturating_add(1).min(room.node.address_capacity());
        for port in &template.ports {
            if let Some(host) = port.host {
                room.host_ports.remove(&(host, port.protocol));
            }
        }
    }
}
