//! The slots that a service wants filled.

use super::Planner;
use crate::id::Slot;
use crate::scheduler;
use crate::service::Service;
use crate::spec::Mode;

/// The slots that a service wants filled.
pub(super) enum Wanted {
    /// 1 to so many, on any node that fits.
    Numbered(u32),
    /// One per node, numbered as the node is.
    PerNode(Vec<Slot>),
}

impl Wanted {
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Numbered(count) => *count,
            Self::PerNode(slots) => u32::try_from(slots.len()).unwrap_or(u32::MAX),
        }
    }

    /// The position of `slot` in [`Wanted::slots`]; absent where it is not wanted.
    pub(super) fn index(&self, slot: Slot) -> Option<usize> {
        match self {
            Self::Numbered(count) if slot.0 <= *count => slot.0.checked_sub(1).map(|i| i as usize),
            Self::Numbered(_) => None,
            Self::PerNode(slots) => slots.binary_search(&slot).ok(),
        }
    }

    /// All of them, in order.
    pub(super) fn slots(&self) -> Vec<Slot> {
        match self {
            Self::Numbered(count) => (1..=*count).map(Slot).collect(),
            Self::PerNode(slots) => slots.clone(),
        }
    }
}

impl Planner<'_> {
    pub(super) fn wanted(&self, service: &Service) -> Wanted {
        match service.spec.mode {
            Mode::Replicated { replicas } => Wanted::Numbered(replicas),
            Mode::Global => {
                let nodes = self.state.nodes();
                let fit = nodes.filter(|node| scheduler::wants(&service.spec.placement, node));
                Wanted::PerNode(
                    fit.filter_map(|node| u32::try_from(node.id.0).ok().map(Slot)).collect(),
                )
            }
        }
    }
}
