//! Where a task cannot go, and why.

use super::needs::{Need, needs};
use super::room::Room;
use super::{Group, Presence};
use crate::node::{Availability, Node};
use crate::spec::{Constraint, Operator, Subject};
use crate::units::{Bytes, MilliCpu};
use std::fmt;

/// Why a node does not fit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Obstacle {
    /// It is not heard.
    Down,
    /// An operator is draining it.
    Draining,
    /// A constraint does not hold; its text.
    Constraint(String),
    /// Its runtime does not have what the template needs.
    Runtime(Need),
    /// Not enough memory is left.
    Memory {
        /// What one task reserves.
        asked: Bytes,
        /// What is free; of several nodes the most.
        free: Bytes,
    },
    /// Not enough CPU is left.
    Cpu {
        /// What one task reserves.
        asked: MilliCpu,
        /// What is free; of several nodes the most.
        free: MilliCpu,
    },
    /// A host port is taken.
    HostPort(u16),
    /// It has as many tasks of the service as it may.
    MaxPerNode,
    /// Its subnet has no address left.
    Addresses,
    /// Others reach it, and the leader does not hear it: it could not be told.
    Unheard,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("down"),
            Self::Draining => f.write_str("draining"),
            Self::Constraint(text) => write!(f, "excluded by {text}"),
            Self::Runtime(need) => write!(f, "with a runtime that has no {need}s"),
            Self::Memory { asked, free } => {
                let free = free.whole_mib();
                write!(f, "insufficient memory ({asked} asked, at most {free} free)")
            }
            Self::Cpu { asked, free } => {
                write!(f, "insufficient CPU ({asked} asked, at most {free} free)")
            }
            Self::HostPort(port) => write!(f, "host port {port} taken"),
            Self::MaxPerNode => f.write_str("at the most tasks per node"),
            Self::Addresses => f.write_str("subnet full"),
            Self::Unheard => f.write_str("silent (see `warren node inspect`)"),
        }
    }
}

impl Obstacle {
    /// Whether both are counted as one when they are explained.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Memory { asked: one, .. }, Self::Memory { asked: two, .. }) => one == two,
            (Self::Cpu { asked: one, .. }, Self::Cpu { asked: two, .. }) => one == two,
            (one, two) => one == two,
        }
    }
}

/// How many nodes fit, and why the others do not. Printed as `0/3 nodes: 2 down, 1 draining`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Explain {
    fitting: usize,
    /// In order; no two alike.
    obstacles: Vec<(Obstacle, usize)>,
}

impl Explain {
    pub(super) fn add(&mut self, obstacle: Obstacle) {
        match self.obstacles.iter_mut().find(|(known, _)| known.is_like(&obstacle)) {
            Some((known, count)) => {
                *count += 1;
                // Alike, so the greater is the one with more room.
                if *known < obstacle {
                    *known = obstacle;
                }
            }
            None => {
                self.obstacles.push((obstacle, 1));
                self.obstacles.sort_unstable();
            }
        }
    }

    pub(super) fn fitting(&mut self, count: usize) {
        self.fitting = count;
    }

    /// One node's obstacle.
    #[must_use]
    pub fn one(obstacle: Obstacle) -> Self {
        let mut explain = Self::default();
        explain.add(obstacle);
        explain
    }
}

impl fmt::Display for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.fitting + self.obstacles.iter().map(|(_, count)| count).sum::<usize>();
        if all == 0 {
            return f.write_str("there are no nodes yet");
        }
        write!(f, "{}/{all} nodes", self.fitting)?;
        for (i, (obstacle, count)) in self.obstacles.iter().enumerate() {
            let separator = if i == 0 { ": " } else { ", " };
            write!(f, "{separator}{count} {obstacle}")?;
        }
        Ok(())
    }
}

/// The first reason why a task of `group` cannot go to `room`.
pub(super) fn obstacle(
    group: &Group<'_>,
    room: &Room<'_>,
    presence: &Presence<'_>,
) -> Option<Obstacle> {
    let node = room.node;
    if !node.up {
        return Some(Obstacle::Down);
    }
    if node.availability == Availability::Drain {
        return Some(Obstacle::Draining);
    }
    if room.unheard {
        return Some(Obstacle::Unheard);
    }
    if let Some(broken) = group.placement.constraints.iter().find(|c| !holds(c, node)) {
        return Some(Obstacle::Constraint(broken.to_string()));
    }
    if let Some(need) = needs(group.template).next().filter(|_| !node.facts.has_containers()) {
        return Some(Obstacle::Runtime(need));
    }
    let (on_node, _) = presence.on(node.id);
    if group.placement.max_per_node.is_some_and(|most| on_node >= most) {
        return Some(Obstacle::MaxPerNode);
    }
    let mut host_ports = group.template.ports.iter().filter_map(|p| Some((p.host?, p.protocol)));
    if let Some((port, _)) = host_ports.find(|port| room.host_ports.contains(port)) {
        return Some(Obstacle::HostPort(port));
    }
    let asked = group.template.resources.memory_reserved();
    if asked.0 > room.memory {
        return Some(Obstacle::Memory { asked, free: Bytes(room.memory) });
    }
    let asked = group.template.resources.cpu_reserved();
    if asked.0 > room.cpu {
        return Some(Obstacle::Cpu { asked, free: MilliCpu(room.cpu) });
    }
    (room.addresses == 0).then_some(Obstacle::Addresses)
}

/// Whether a constraint holds on a node.
pub(super) fn holds(constraint: &Constraint, node: &Node) -> bool {
    let id;
    let role;
    let value = match &constraint.subject {
        Subject::Id => {
            id = node.id.to_string();
            Some(id.as_str())
        }
        Subject::HostName => Some(node.facts.hostname.as_str()),
        Subject::Role => {
            role = node.role.to_string();
            Some(role.as_str())
        }
        Subject::Platform => Some(node.facts.platform.as_str()),
        Subject::Label(key) => node.labels.get(key).map(String::as_str),
    };
    let number = || value.and_then(|text| text.parse::<i64>().ok());
    match &constraint.operator {
        Operator::Equal(wanted) => value == Some(wanted),
        Operator::NotEqual(unwanted) => value != Some(unwanted),
        Operator::In(list) => value.is_some_and(|value| list.iter().any(|one| one == value)),
        Operator::Exists => value.is_some(),
        Operator::Greater(bound) => number().is_some_and(|number| number > *bound),
        Operator::Less(bound) => number().is_some_and(|number| number < *bound),
    }
}
