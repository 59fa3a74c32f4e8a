//! Where traffic goes, in full and as a difference.

use super::{given, item, narrow, template, text};
use crate::v1;
use std::sync::Arc;
use warren_core::id::RevisionNumber;
use warren_core::spec::FieldError;
use warren_core::traffic::{Endpoint, Host, ServiceTraffic, TrafficView};
use warren_core::units::Weight;

/// The whole view.
#[must_use]
pub fn full(view: &TrafficView) -> v1::Traffic {
    diff(&TrafficView::default(), view, true)
}

/// What turns `old` into `new`; absent where they are equal.
#[must_use]
pub fn changes(old: &TrafficView, new: &TrafficView) -> Option<v1::Traffic> {
    (old != new).then(|| diff(old, new, false))
}

fn diff(old: &TrafficView, new: &TrafficView, full: bool) -> v1::Traffic {
    let unchanged = |name, service: &Arc<ServiceTraffic>| {
        old.services.get(name).is_some_and(|had| Arc::ptr_eq(had, service) || had == service)
    };
    let changed = new.services.iter().filter(|(name, service)| !unchanged(name, service));
    let gone = old.services.keys().filter(|name| !new.services.contains_key(name));
    let hosts = new.hosts.iter().filter(|(name, address)| old.hosts.get(name) != Some(address));
    let hosts_gone = old.hosts.keys().filter(|name| !new.hosts.contains_key(name));
    v1::Traffic {
        epoch: new.epoch,
        zone: new.zone.clone(),
        full,
        services: changed.map(|(name, service)| render(name.as_str(), service)).collect(),
        removed_services: gone.map(ToString::to_string).collect(),
        hosts: hosts
            .map(|(name, host)| v1::Host {
                hostname: name.to_string(),
                address: host.address.to_string(),
                node_id: host.node.to_string(),
                subnet: host.subnet.map(|subnet| subnet.to_string()).unwrap_or_default(),
            })
            .collect(),
        removed_hosts: hosts_gone.map(ToString::to_string).collect(),
    }
}

/// The view after `message`: `view` with the changes, or all new where the message is full.
///
/// # Errors
/// The first field that cannot be what it is.
pub fn merge(view: &TrafficView, message: v1::Traffic) -> Result<TrafficView, FieldError> {
    let mut next = if message.full { TrafficView::default() } else { view.clone() };
    next.epoch = message.epoch;
    next.zone = message.zone;
    for name in &message.removed_services {
        next.services.remove(&text("removed_services", name)?);
    }
    for (i, service) in message.services.into_iter().enumerate() {
        let name = text(&format!("services[{i}].name"), &service.name)?;
        let service = parse(service).map_err(|e| item(e, "services", i))?;
        next.services.insert(name, Arc::new(service));
    }
    for name in &message.removed_hosts {
        next.hosts.remove(&text("removed_hosts", name)?);
    }
    for host in message.hosts {
        let known = Host {
            node: text("hosts.node_id", &host.node_id)?,
            address: text("hosts.address", &host.address)?,
            subnet: given(host.subnet).map(|net| text("hosts.subnet", &net)).transpose()?,
        };
        next.hosts.insert(text("hosts.hostname", &host.hostname)?, known);
    }
    Ok(next)
}

fn parse(service: v1::ServiceTraffic) -> Result<ServiceTraffic, FieldError> {
    let revision = |number: u32| (number > 0).then_some(RevisionNumber(number));
    let weights = service.weights.into_iter().map(weight);
    let ports = service.ports.into_iter().enumerate();
    let endpoints = service.endpoints.into_iter().enumerate();
    Ok(ServiceTraffic {
        split_epoch: service.split_epoch,
        weights: weights.collect::<Result<_, _>>()?,
        stable: revision(service.stable),
        incoming: revision(service.incoming),
        outgoing: revision(service.outgoing),
        live: service.live,
        ports: ports
            .map(|(i, port)| template::parse_port(port).map_err(|e| item(e, "ports", i)))
            .collect::<Result<_, _>>()?,
        endpoints: endpoints
            .map(|(i, endpoint)| parse_endpoint(&endpoint).map_err(|e| item(e, "endpoints", i)))
            .collect::<Result<_, _>>()?,
    })
}

fn render(name: &str, service: &ServiceTraffic) -> v1::ServiceTraffic {
    v1::ServiceTraffic {
        name: name.to_owned(),
        split_epoch: service.split_epoch,
        weights: render_weights(&service.weights),
        stable: service.stable.map_or(0, |number| number.0),
        incoming: service.incoming.map_or(0, |number| number.0),
        outgoing: service.outgoing.map_or(0, |number| number.0),
        live: service.live,
        ports: service.ports.iter().map(template::render_port).collect(),
        endpoints: service.endpoints.iter().map(render_endpoint).collect(),
    }
}

/// The shares of revisions.
#[must_use]
pub fn render_weights(weights: &[(RevisionNumber, Weight)]) -> Vec<v1::RevisionWeight> {
    let share = |(revision, weight): &(RevisionNumber, Weight)| v1::RevisionWeight {
        revision: revision.0,
        per_mille: weight.per_mille().into(),
    };
    weights.iter().map(share).collect()
}

fn weight(share: v1::RevisionWeight) -> Result<(RevisionNumber, Weight), FieldError> {
    let rule = "a share: write 0 to 1000";
    let per_mille = narrow("weights.per_mille", share.per_mille, rule)?;
    let weight = Weight::from_per_mille(per_mille).ok_or_else(|| {
        FieldError::new("weights.per_mille", format!("{per_mille} is not {rule}"))
    })?;
    Ok((RevisionNumber(share.revision), weight))
}

fn parse_endpoint(endpoint: &v1::Endpoint) -> Result<Endpoint, FieldError> {
    Ok(Endpoint {
        task: text("task_id", &endpoint.task_id)?,
        revision: RevisionNumber(endpoint.revision),
        node: text("node_id", &endpoint.node_id)?,
        address: text("address", &endpoint.address)?,
        ready: endpoint.ready,
    })
}

fn render_endpoint(endpoint: &Endpoint) -> v1::Endpoint {
    v1::Endpoint {
        task_id: endpoint.task.to_string(),
        revision: endpoint.revision.0,
        node_id: endpoint.node.to_string(),
        address: endpoint.address.to_string(),
        ready: endpoint.ready,
    }
}
