//! The names of one service.

use super::{Answer, Data, Kind, Pool, Target, id, records};
use crate::id::{RevisionNumber, TaskId};
use crate::spec::{Port, Protocol};
use crate::traffic::{Endpoint, ServiceTraffic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the names of one service lead to.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) traffic: Arc<ServiceTraffic>,
    /// The tasks of this service that are left out although the view has them ready.
    pub(super) unready: Vec<TaskId>,
    all: Pool,
    revisions: Vec<(RevisionNumber, Pool)>,
    nothing: Pool,
}

impl Names {
    pub(super) fn new(traffic: &Arc<ServiceTraffic>, unready: Vec<TaskId>) -> Self {
        let ready =
            |endpoint: &&Endpoint| endpoint.ready && unready.binary_search(&endpoint.task).is_err();
        let mut by_revision: BTreeMap<RevisionNumber, Vec<Target>> = BTreeMap::new();
        let named = traffic.weights.iter().map(|(revision, _)| *revision);
        for revision in named.chain(traffic.stable).chain(traffic.incoming).chain(traffic.outgoing)
        {
            by_revision.entry(revision).or_default();
        }
        for endpoint in &traffic.endpoints {
            by_revision.entry(endpoint.revision).or_default();
        }
        for endpoint in traffic.endpoints.iter().filter(ready) {
            let target = Target { task: endpoint.task, address: endpoint.address };
            by_revision.entry(endpoint.revision).or_default().push(target);
        }
        let all = if traffic.weights.is_empty() {
            Pool::even(by_revision.values().flatten().copied().collect())
        } else {
            let track = |(revision, weight)| (weight, by_revision[&revision].as_slice());
            Pool::weighted(traffic.weights.iter().copied().map(track))
        };
        let revisions = by_revision.into_iter().map(|(n, targets)| (n, Pool::even(targets)));
        let revisions = revisions.collect();
        Self { traffic: traffic.clone(), unready, all, revisions, nothing: Pool::default() }
    }

    pub(super) fn pool(&self, qualifier: Option<&[u8]>) -> Option<&Pool> {
        let of = |revision: RevisionNumber| {
            let found = self.revisions.binary_search_by_key(&revision, |(number, _)| *number);
            found.ok().map(|at| &self.revisions[at].1)
        };
        match qualifier {
            None => Some(&self.all),
            Some(b"stable") => self.traffic.stable.map_or(Some(&self.nothing), of),
            Some(b"blue") => {
                self.traffic.outgoing.or(self.traffic.stable).map_or(Some(&self.nothing), of)
            }
            Some(b"canary" | b"preview" | b"green") => {
                self.traffic.incoming.map_or(Some(&self.nothing), of)
            }
            Some(label) => of(id(label)?),
        }
    }

    pub(super) fn task(&self, task: TaskId, kind: Kind) -> Answer {
        let found = self.traffic.endpoints.iter().find(|endpoint| endpoint.task == task);
        match found {
            None => Answer::NoSuchName,
            Some(endpoint)
                if kind == Kind::A
                    && endpoint.ready
                    && self.unready.binary_search(&task).is_err() =>
            {
                records(self.traffic.ttl(), vec![Data::A(endpoint.address)])
            }
            Some(_) => Answer::NoData,
        }
    }

    pub(super) fn port(&self, port: &[u8], protocol: &[u8]) -> Option<u16> {
        let port = port.strip_prefix(b"_")?;
        let named = |candidate: &&Port| {
            label_of(candidate.protocol) == protocol
                && candidate.name.as_ref().is_some_and(|name| name.as_str().as_bytes() == port)
        };
        self.traffic.ports.iter().find(named).map(|port| port.container)
    }

    /// Whether `_PROTOCOL` has names below it, so that it exists without data.
    pub(super) fn has_protocol(&self, before: &[&[u8]]) -> bool {
        self.traffic.ports.iter().any(|port| before == [label_of(port.protocol)])
    }

    pub(super) fn text(&self, epoch: u64) -> Data {
        let traffic = &self.traffic;
        let mut facts =
            vec![format!("epoch={epoch}"), format!("split-epoch={}", traffic.split_epoch)];
        facts.extend(traffic.stable.map(|revision| format!("stable={revision}")));
        facts.extend(traffic.incoming.map(|revision| format!("incoming={revision}")));
        for (revision, pool) in &self.revisions {
            let weight = traffic.weights.iter().find(|(weighted, _)| weighted == revision);
            let weight = match weight {
                Some((_, weight)) => weight.per_mille().to_string(),
                None if traffic.weights.is_empty() => "even".to_owned(),
                None => "0".to_owned(),
            };
            facts.push(format!("{revision} weight={weight} ready={}", pool.ready()));
        }
        Data::Txt(facts)
    }
}

pub(super) fn unready_of(traffic: &ServiceTraffic, unready: &BTreeSet<TaskId>) -> Vec<TaskId> {
    if unready.is_empty() {
        return Vec::new();
    }
    let tasks = traffic.endpoints.iter().map(|endpoint| endpoint.task);
    let mut out: Vec<_> = tasks.filter(|task| unready.contains(task)).collect();
    out.sort_unstable();
    out
}

fn label_of(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Tcp => b"_tcp",
        Protocol::Udp => b"_udp",
    }
}
