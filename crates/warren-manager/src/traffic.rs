//! Keeps the view of where traffic goes, at the cost of what changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use warren_core::id::ServiceId;
use warren_core::observed::Observed;
use warren_core::traffic::{self, Endpoint, Host, TrafficView};
use warren_core::{Changes, State};

/// The view as last computed, and what has changed under it.
pub(crate) struct Traffic {
    view: Arc<TrafficView>,
    /// The view as of the last refresh: what everybody was told.
    told: Arc<TrafficView>,
    dirty: BTreeSet<ServiceId>,
    /// Names or addresses of nodes changed.
    hosts: bool,
}

impl Traffic {
    /// The view of a state, before anything was heard.
    pub(crate) fn new(state: &State, observed: &Observed) -> Self {
        let view = Arc::new(traffic::view(state, observed));
        Self { told: Arc::clone(&view), view, dirty: BTreeSet::new(), hosts: false }
    }

    /// The view as of the last refresh.
    pub(crate) fn told(&self) -> &Arc<TrafficView> {
        &self.told
    }

    /// These services' endpoints changed in readiness.
    pub(crate) fn touch(&mut self, services: BTreeSet<ServiceId>) {
        self.dirty.extend(services);
    }

    /// The state went on from `old` to `new`.
    pub(crate) fn follow(&mut self, old: &State, new: &State, changes: &Changes) {
        self.dirty.extend(&changes.services);
        self.dirty.extend(changes.tasks.iter().map(|(_, service, _)| service));
        for id in &changes.nodes {
            let (old_node, new_node) = (old.node(*id), new.node(*id));
            if old_node.map(|node| node.up) != new_node.map(|node| node.up) {
                self.dirty.extend(new.tasks_on(*id).map(|task| task.service));
            }
            self.hosts |= old_node.map(|node| (&node.facts.hostname, Host::of(node)))
                != new_node.map(|node| (&node.facts.hostname, Host::of(node)));
        }
        self.remove_gone(old, new);
    }

    /// Takes out services that are gone at once, so that a new service of the same name is not taken for the old one.
    fn remove_gone(&mut self, old: &State, new: &State) {
        let is_gone = |id: &ServiceId| new.service(*id).is_none_or(|service| service.deleting);
        let gone: Vec<_> = self.dirty.iter().copied().filter(is_gone).collect();
        for id in gone {
            self.dirty.remove(&id);
            if let Some(service) = old.service(id).or_else(|| new.service(id))
                && new.service_named(&service.spec.name).is_none_or(|named| named.id == id)
                && self.view.services.contains_key(&service.spec.name)
            {
                Arc::make_mut(&mut self.view).services.remove(&service.spec.name);
            }
        }
    }

    /// Whether [`Self::refresh`] may find something new.
    pub(crate) fn is_behind(&self) -> bool {
        self.hosts || !self.dirty.is_empty() || !Arc::ptr_eq(&self.view, &self.told)
    }

    /// Brings the view up to date. Where anything differs, returns how many endpoints do.
    pub(crate) fn refresh(&mut self, state: &State, observed: &Observed) -> Option<usize> {
        let mut endpoints = 0;
        for id in std::mem::take(&mut self.dirty) {
            let Some(service) = state.service(id) else { continue };
            let name = &service.spec.name;
            let fresh = traffic::service_traffic(state, observed, service);
            let had = self.view.services.get(name);
            if had.is_none_or(|had| **had != fresh) {
                endpoints += news(had.map_or(&[][..], |had| &had.endpoints), &fresh.endpoints);
                let view = Arc::make_mut(&mut self.view);
                view.services.insert(name.clone(), Arc::new(fresh));
            }
        }
        let zone = state.cluster().map_or("", |cluster| &cluster.zone);
        if self.view.epoch != state.traffic_epoch() || self.view.zone != zone {
            let view = Arc::make_mut(&mut self.view);
            view.epoch = state.traffic_epoch();
            zone.clone_into(&mut view.zone);
        }
        if std::mem::take(&mut self.hosts) {
            let hosts = state.nodes().map(|node| (node.facts.hostname.clone(), Host::of(node)));
            Arc::make_mut(&mut self.view).hosts = hosts.collect();
        }
        let differs = !Arc::ptr_eq(&self.view, &self.told);
        self.told = Arc::clone(&self.view);
        differs.then_some(endpoints)
    }
}

/// How many of `fresh` are not in `had` as they are. Both are in the order of task ids.
fn news(had: &[Endpoint], fresh: &[Endpoint]) -> usize {
    let is_known = |one: &&Endpoint| {
        let at = had.binary_search_by_key(&one.task, |known| known.task);
        at.is_ok_and(|at| had[at] == **one)
    };
    fresh.len() - fresh.iter().filter(is_known).count()
}
