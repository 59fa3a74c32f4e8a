//! Where traffic goes, in full and as a difference.

mod columns;

use super::{given, item, narrow, node, template, text};
use crate::v1;
use prost::Message as _;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use warren_core::id::{RevisionNumber, TaskId};
use warren_core::spec::FieldError;
use warren_core::traffic::{Endpoint, Host, ServiceTraffic, TrafficView};
use warren_core::units::Weight;

/// Endpoints, or hosts, in one message: about 40 KiB. What waits for a slow node is one message, not a view of
/// thousands of tasks.
const ITEMS_PER_MESSAGE: usize = 4_000;

/// The whole view, whose fingerprint is `digest`.
#[must_use]
pub fn full(view: &TrafficView, digest: [u8; 32]) -> v1::Traffic {
    v1::Traffic { digest: digest.to_vec(), ..diff(&TrafficView::default(), view, true) }
}

/// What turns `old` into `new`, whose fingerprint is `digest`; absent where they are equal.
#[must_use]
pub fn changes(old: &TrafficView, new: &TrafficView, digest: [u8; 32]) -> Option<v1::Traffic> {
    (old != new).then(|| v1::Traffic { digest: digest.to_vec(), ..diff(old, new, false) })
}

/// What tells a node that holds `view` already that it is the one to answer from.
#[must_use]
pub fn confirm(view: &TrafficView, digest: [u8; 32]) -> v1::Traffic {
    v1::Traffic { digest: digest.to_vec(), ..diff(view, view, false) }
}

/// The messages that `traffic` is sent in, encoded.
#[must_use]
pub fn encode(mut traffic: v1::Traffic) -> Vec<Vec<u8>> {
    let digest = std::mem::take(&mut traffic.digest);
    let mut parts = split(traffic);
    let last = parts.len().saturating_sub(1);
    for (at, part) in parts.iter_mut().enumerate() {
        part.more = at < last;
    }
    parts[last].digest = digest;
    parts.iter().map(v1::Traffic::encode_to_vec).collect()
}

/// Reads one of the messages that [`encode`] made.
///
/// # Errors
/// It is none.
pub fn decode(bytes: &[u8]) -> Result<v1::Traffic, FieldError> {
    v1::Traffic::decode(bytes).map_err(|error| FieldError::new("traffic", error.to_string()))
}

/// The same as messages of bounded size, to be merged in this order.
fn split(mut traffic: v1::Traffic) -> Vec<v1::Traffic> {
    let services = std::mem::take(&mut traffic.services);
    let hosts = std::mem::take(&mut traffic.hosts);
    let next = v1::Traffic { epoch: traffic.epoch, zone: traffic.zone.clone(), ..<_>::default() };
    let (mut parts, mut part, mut room) = (Vec::new(), traffic, ITEMS_PER_MESSAGE);
    for piece in services.into_iter().flat_map(pieces) {
        let items = columns::count(piece.endpoints.as_ref()).max(1);
        if items > room {
            parts.push(std::mem::replace(&mut part, next.clone()));
            room = ITEMS_PER_MESSAGE;
        }
        room -= items;
        part.services.push(piece);
    }
    for host in hosts {
        if room == 0 {
            parts.push(std::mem::replace(&mut part, next.clone()));
            room = ITEMS_PER_MESSAGE;
        }
        room -= 1;
        part.hosts.push(host);
    }
    parts.push(part);
    parts
}

/// A service as pieces that fit into messages: the first says all but the endpoints that the others add.
fn pieces(mut service: v1::ServiceTraffic) -> Vec<v1::ServiceTraffic> {
    let parts = columns::split(service.endpoints.take().unwrap_or_default(), ITEMS_PER_MESSAGE);
    let added = v1::ServiceTraffic { partial: true, removed_steps: Vec::new(), ..service.clone() };
    let mut pieces = Vec::with_capacity(parts.len());
    for endpoints in parts {
        let piece = if pieces.is_empty() { &service } else { &added };
        pieces.push(v1::ServiceTraffic { endpoints: Some(endpoints), ..piece.clone() });
    }
    pieces
}

fn diff(old: &TrafficView, new: &TrafficView, full: bool) -> v1::Traffic {
    let changed = new.services.iter().filter_map(|(name, service)| {
        let Some(had) = old.services.get(name) else { return Some(render(name.as_str(), service)) };
        let same = Arc::ptr_eq(had, service) || had == service;
        (!same).then(|| change(name.as_str(), had, service))
    });
    let gone = old.services.keys().filter(|name| !new.services.contains_key(name));
    let hosts = new.hosts.iter().filter(|(name, address)| old.hosts.get(name) != Some(address));
    let hosts_gone = old.hosts.keys().filter(|name| !new.hosts.contains_key(name));
    v1::Traffic {
        epoch: new.epoch,
        zone: new.zone.clone(),
        full,
        services: changed.collect(),
        removed_services: gone.map(ToString::to_string).collect(),
        hosts: hosts
            .map(|(name, host)| v1::Host {
                hostname: name.to_string(),
                address: host.address.to_string(),
                node_id: host.node.to_string(),
                subnet: host.subnet.map(|subnet| subnet.to_string()).unwrap_or_default(),
                encryption: node::render_encryption(host.encryption),
            })
            .collect(),
        removed_hosts: hosts_gone.map(ToString::to_string).collect(),
        ..v1::Traffic::default()
    }
}

/// A service that was there before: of its endpoints only those that differ.
fn change(name: &str, old: &ServiceTraffic, new: &ServiceTraffic) -> v1::ServiceTraffic {
    let (changed, removed) = endpoint_changes(old, new);
    v1::ServiceTraffic {
        partial: true,
        endpoints: Some(columns::render(changed)),
        removed_steps: columns::steps(removed),
        ..render_without_endpoints(name, new)
    }
}

/// The endpoints of `new` that `old` does not have so, and the tasks that serve no more. Both are in the order of task
/// ids, so one walk along both finds them.
fn endpoint_changes<'a>(
    old: &ServiceTraffic,
    new: &'a ServiceTraffic,
) -> (Vec<&'a Endpoint>, Vec<TaskId>) {
    let (mut changed, mut removed) = (Vec::new(), Vec::new());
    let mut before = old.endpoints.iter().peekable();
    for endpoint in &new.endpoints {
        while let Some(gone) = before.next_if(|had| had.task < endpoint.task) {
            removed.push(gone.task);
        }
        match before.peek().map(|had| had.task.cmp(&endpoint.task)) {
            Some(Ordering::Equal) if before.next() == Some(endpoint) => {}
            Some(_) | None => changed.push(endpoint),
        }
    }
    removed.extend(before.map(|gone| gone.task));
    (changed, removed)
}

/// The view after `message`: `view` with the changes, or all new where the message is full.
///
/// # Errors
/// The first field that cannot be what it is.
pub fn merge(view: &TrafficView, message: v1::Traffic) -> Result<TrafficView, FieldError> {
    let mut next = if message.full { TrafficView::default() } else { view.clone() };
    merge_into(&mut next, message)?;
    Ok(next)
}

/// The same in place, for a view that comes in many messages.
///
/// # Errors
/// As [`merge`]; the view is of no use then.
pub fn merge_into(next: &mut TrafficView, message: v1::Traffic) -> Result<(), FieldError> {
    if message.full {
        *next = TrafficView::default();
    }
    next.epoch = message.epoch;
    next.zone = message.zone;
    for name in &message.removed_services {
        next.services.remove(&text("removed_services", name)?);
    }
    for (i, service) in message.services.into_iter().enumerate() {
        let name = text(&format!("services[{i}].name"), &service.name)?;
        let had = if service.partial { next.services.get(&name) } else { None };
        let had = had.map(|had| had.endpoints.clone()).unwrap_or_default();
        let service = parse(service, had).map_err(|e| item(e, "services", i))?;
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
            encryption: node::encryption(host.encryption.as_ref())?,
        };
        next.hosts.insert(text("hosts.hostname", &host.hostname)?, known);
    }
    Ok(())
}

/// `had` are the endpoints that stay unless the message says otherwise.
fn parse(service: v1::ServiceTraffic, had: Vec<Endpoint>) -> Result<ServiceTraffic, FieldError> {
    let revision = |number: u32| (number > 0).then_some(RevisionNumber(number));
    let weights = service.weights.into_iter().map(weight);
    let ports = service.ports.into_iter().enumerate();
    let said = columns::parse(service.endpoints.unwrap_or_default())?;
    let removed = columns::tasks("removed_steps", &service.removed_steps)?;
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
        endpoints: merge_endpoints(had, said, removed),
    })
}

fn merge_endpoints(had: Vec<Endpoint>, said: Vec<Endpoint>, removed: Vec<TaskId>) -> Vec<Endpoint> {
    if had.is_empty() {
        return said;
    }
    let removed: BTreeSet<TaskId> = removed.into_iter().collect();
    let stays = had.into_iter().filter(|one| !removed.contains(&one.task));
    let merged: BTreeMap<_, _> = stays.chain(said).map(|one| (one.task, one)).collect();
    merged.into_values().collect()
}

fn render(name: &str, service: &ServiceTraffic) -> v1::ServiceTraffic {
    let endpoints = Some(columns::render(&service.endpoints));
    v1::ServiceTraffic { endpoints, ..render_without_endpoints(name, service) }
}

fn render_without_endpoints(name: &str, service: &ServiceTraffic) -> v1::ServiceTraffic {
    v1::ServiceTraffic {
        name: name.to_owned(),
        split_epoch: service.split_epoch,
        weights: render_weights(&service.weights),
        stable: service.stable.map_or(0, |number| number.0),
        incoming: service.incoming.map_or(0, |number| number.0),
        outgoing: service.outgoing.map_or(0, |number| number.0),
        live: service.live,
        ports: service.ports.iter().map(template::render_port).collect(),
        ..v1::ServiceTraffic::default()
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
