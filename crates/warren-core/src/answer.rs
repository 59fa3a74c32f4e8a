//! Which endpoints answer one question: the names of the zone, and who stands behind each.
//!
//! | name, before the zone | leads to |
//! |---|---|
//! | `NAME` | the service's ready tasks, in the shares of its split |
//! | `vN.NAME`, `stable.NAME`, `canary.NAME`, `preview.NAME`, `green.NAME`, `blue.NAME` | ready tasks of one revision |
//! | `tID.NAME` | one ready task |
//! | `_PORT._PROTOCOL.` before any of the first two rows | the same tasks, with a named port |
//! | `HOST.node` | a machine |
//!
//! In a release `blue.` is the revision that it started from and `green.` (or `preview.`, `canary.`) the one that
//! comes in, whatever the shares are; at rest `blue.` is the stable one. Reverse names of tasks and machines are
//! answered too.
//!
//! A name of a service that the zone knows is never denied: without a ready task it has no data, so
//! that no cache remembers a service as absent because it was down for a moment.

mod names;
mod pool;
#[cfg(test)]
mod tests;

use names::{Names, unready_of};
pub use pool::{ANSWER_SIZE_MAX, Drawn, Pool, Target};

use crate::id::TaskId;
use crate::spec::{HostName, ServiceName};
use crate::traffic::{Host, TrafficView};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// How long it may be remembered that a name does not exist or has no data: as long as the shortest
/// positive answer, so that a service is found within a second of its first ready task.
pub const TTL_NEGATIVE: Duration = crate::traffic::TTL_LIVE;

/// One question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question<'a> {
    /// The labels of the name, leftmost first, in lower case, without the empty one of the root.
    pub labels: Vec<&'a [u8]>,
    /// What is asked of the name.
    pub kind: Kind,
}

impl<'a> Question<'a> {
    /// A question about a name in its text form, in lower case, with or without the final dot.
    #[must_use]
    pub fn new(name: &'a str, kind: Kind) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name);
        let labels = name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
        Self { labels: labels.collect(), kind }
    }
}

/// What a question asks of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Where a named port is served.
    Srv,
    /// The name of an address.
    Ptr,
    /// The state of a service's traffic, for people and scripts.
    Txt,
    /// The zone's own record.
    Soa,
    /// Everything at once, which is refused: it helps only those who want large answers sent to
    /// others.
    Any,
    /// A type of which the zone has no data.
    Other,
}

/// What to say to one question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The name is not of this cluster: somebody else knows.
    Foreign,
    /// The zone has no such name.
    NoSuchName,
    /// The name exists and has nothing of the wanted kind now.
    NoData,
    /// The question is not answered here.
    Refused,
    /// Records of the wanted kind.
    Records {
        /// How long they may be kept.
        ttl: Duration,
        /// What the name has, in the order in which to give it.
        data: Vec<Data>,
        /// Addresses of names that `data` mentions.
        extra: Vec<(String, Ipv4Addr)>,
    },
}

/// The content of one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A port of a task; all have the same priority and weight, because the draw has already
    /// weighed.
    Srv {
        /// The port, 1 to 65535.
        port: u16,
        /// The name of the task, absolute, without the final dot.
        target: String,
    },
    /// A name, absolute, without the final dot.
    Ptr(String),
    /// Short texts, each below 256 bytes.
    Txt(Vec<String>),
    /// The zone's own record; its serial is the epoch.
    Soa,
}

/// Answers one question from a view. A server, which answers many, keeps an [`Index`].
#[must_use]
pub fn answer(view: &TrafficView, question: &Question<'_>, draw: u64) -> Answer {
    Index::new(view, &BTreeSet::new(), None).answer(question, draw)
}

/// A view arranged for answering: a question costs a search and a draw, whatever the size of the
/// cluster.
#[derive(Clone, Debug)]
pub struct Index {
    epoch: u64,
    zone: String,
    services: Vec<(ServiceName, Arc<Names>)>,
    hosts: Arc<Hosts>,
    tasks: imbl::OrdMap<Ipv4Addr, (ServiceName, TaskId)>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Hosts {
    by_name: BTreeMap<HostName, Host>,
    by_address: BTreeMap<IpAddr, Vec<HostName>>,
    /// The ends of names of several labels, as in `example` for `a.example`: they exist and have no
    /// data.
    suffixes: BTreeSet<String>,
}

impl Index {
    /// Arranges a view. Tasks in `unready` are left out, whatever the view says of them: they are
    /// those of which this node's own agent knows better. Parts of `previous` that did not change
    /// are taken over.
    #[must_use]
    pub fn new(view: &TrafficView, unready: &BTreeSet<TaskId>, previous: Option<&Self>) -> Self {
        let mut services = Vec::with_capacity(view.services.len());
        let mut tasks = previous.map(|index| index.tasks.clone()).unwrap_or_default();
        let mut added = Vec::new();
        for (name, _) in previous.into_iter().flat_map(|index| &index.services) {
            if !view.services.contains_key(name) {
                let gone = previous.and_then(|index| index.names(name.as_str().as_bytes()));
                remove_tasks(&mut tasks, name, gone);
            }
        }
        for (name, traffic) in &view.services {
            let out = unready_of(traffic, unready);
            let old = previous.and_then(|index| index.names(name.as_str().as_bytes()));
            let names = match old {
                Some(old) if Arc::ptr_eq(&old.traffic, traffic) && old.unready == out => {
                    old.clone()
                }
                Some(_) | None => {
                    remove_tasks(&mut tasks, name, old);
                    added.push((name, traffic));
                    Arc::new(Names::new(traffic, out))
                }
            };
            services.push((name.clone(), names));
        }
        for (name, traffic) in added {
            for endpoint in &traffic.endpoints {
                tasks.insert(endpoint.address, (name.clone(), endpoint.task));
            }
        }
        let hosts = match previous {
            Some(index) if index.hosts.by_name == view.hosts => index.hosts.clone(),
            Some(_) | None => Arc::new(Hosts::new(&view.hosts)),
        };
        Self { epoch: view.epoch, zone: view.zone.to_ascii_lowercase(), services, hosts, tasks }
    }

    /// The traffic epoch of the view.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The zone, in lower case, without dots at the ends; empty before there is a cluster.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// What `SERVICE` or `QUALIFIER.SERVICE` leads to and for how long, labels in lower case; `None`
    /// where it is no such name (a task's own name is not one of these).
    #[must_use]
    pub fn pool(&self, service: &[u8], qualifier: Option<&[u8]>) -> Option<(&Pool, Duration)> {
        let names = self.names(service)?;
        names.pool(qualifier).map(|pool| (pool, names.traffic.ttl()))
    }

    /// Answers one question. The same question, index and draw have the same answer.
    #[must_use]
    pub fn answer(&self, question: &Question<'_>, draw: u64) -> Answer {
        debug_assert!(
            question.labels.iter().all(|label| !label.iter().any(u8::is_ascii_uppercase)),
            "names are asked in lower case"
        );
        if let Some(address) = reverse_address(&question.labels) {
            return self.reverse(address, question.kind);
        }
        let Some(labels) = self.inside(&question.labels) else { return Answer::Foreign };
        if question.kind == Kind::Any {
            return Answer::Refused;
        }
        match labels {
            [] if question.kind == Kind::Soa => records(TTL_NEGATIVE, vec![Data::Soa]),
            [] | [b"node"] => Answer::NoData,
            [host @ .., b"node"] => self.host(host, question.kind),
            [rest @ .., service] => match self.names(service) {
                Some(names) => self.service(names, rest, service, question.kind, draw),
                None => Answer::NoSuchName,
            },
        }
    }

    /// The labels before the zone; `None` for a name outside of it.
    fn inside<'q, 'a>(&self, labels: &'q [&'a [u8]]) -> Option<&'q [&'a [u8]]> {
        if self.zone.is_empty() {
            return None;
        }
        let zone = self.zone.split('.').rev().map(str::as_bytes);
        let depth = zone.clone().count();
        let split = labels.len().checked_sub(depth)?;
        labels
            .iter()
            .rev()
            .zip(zone)
            .all(|(ours, theirs)| *ours == theirs)
            .then(|| &labels[..split])
    }

    fn names(&self, service: &[u8]) -> Option<&Arc<Names>> {
        let found =
            self.services.binary_search_by(|(name, _)| name.as_str().as_bytes().cmp(service));
        found.ok().map(|at| &self.services[at].1)
    }

    fn service(
        &self,
        names: &Names,
        before: &[&[u8]],
        service: &[u8],
        kind: Kind,
        draw: u64,
    ) -> Answer {
        let service = String::from_utf8_lossy(service);
        match before {
            [] if kind == Kind::Txt => records(names.traffic.ttl(), vec![names.text(self.epoch)]),
            [task] if let Some(task) = id::<TaskId>(task) => names.task(task, kind),
            [] | [_] => match names.pool(before.first().copied()) {
                Some(pool) => pool_answer(pool, kind, names.traffic.ttl(), draw),
                None if names.has_protocol(before) => Answer::NoData,
                None => Answer::NoSuchName,
            },
            [port, protocol, qualifier @ ..] if qualifier.len() <= 1 => {
                let pool = names.pool(qualifier.first().copied());
                match (names.port(port, protocol), pool) {
                    (Some(port), Some(pool)) if kind == Kind::Srv => {
                        self.srv(pool, port, &service, names.traffic.ttl(), draw)
                    }
                    (Some(_), Some(_)) => Answer::NoData,
                    (Some(_), None) | (None, Some(_) | None) => Answer::NoSuchName,
                }
            }
            [..] => Answer::NoSuchName,
        }
    }

    fn srv(&self, pool: &Pool, port: u16, service: &str, ttl: Duration, draw: u64) -> Answer {
        let drawn = pool.draw(draw);
        let extra: Vec<_> = drawn
            .iter()
            .map(|target| (format!("{}.{service}.{}", target.task, self.zone), target.address))
            .collect();
        if extra.is_empty() {
            return Answer::NoData;
        }
        let data = extra.iter().map(|(target, _)| Data::Srv { port, target: target.clone() });
        Answer::Records { ttl, data: data.collect(), extra }
    }

    fn host(&self, labels: &[&[u8]], kind: Kind) -> Answer {
        let name = String::from_utf8_lossy(&labels.join(&b'.')).into_owned();
        let Ok(host) = HostName::parse(&name) else { return Answer::NoSuchName };
        match (self.hosts.by_name.get(&host).map(|host| host.address), kind) {
            (Some(IpAddr::V4(address)), Kind::A) => {
                records(crate::traffic::TTL, vec![Data::A(address)])
            }
            (Some(IpAddr::V6(address)), Kind::Aaaa) => {
                records(crate::traffic::TTL, vec![Data::Aaaa(address)])
            }
            (Some(_), _) => Answer::NoData,
            (None, _) if self.hosts.suffixes.contains(&name) => Answer::NoData,
            (None, _) => Answer::NoSuchName,
        }
    }

    /// What a reverse name leads to. Addresses that are not the cluster's are somebody else's to
    /// name.
    fn reverse(&self, address: IpAddr, kind: Kind) -> Answer {
        let mut data = Vec::new();
        if let IpAddr::V4(address) = address
            && let Some((service, task)) = self.tasks.get(&address)
        {
            data.push(Data::Ptr(format!("{task}.{service}.{}", self.zone)));
        }
        let hosts = self.hosts.by_address.get(&address).into_iter().flatten();
        data.extend(hosts.map(|host| Data::Ptr(format!("{host}.node.{}", self.zone))));
        match kind {
            _ if data.is_empty() || self.zone.is_empty() => Answer::Foreign,
            Kind::Ptr => records(crate::traffic::TTL, data),
            Kind::Any => Answer::Refused,
            Kind::A | Kind::Aaaa | Kind::Srv | Kind::Txt | Kind::Soa | Kind::Other => {
                Answer::NoData
            }
        }
    }
}

impl Hosts {
    fn new(by_name: &BTreeMap<HostName, Host>) -> Self {
        let mut by_address: BTreeMap<IpAddr, Vec<HostName>> = BTreeMap::new();
        let mut suffixes = BTreeSet::new();
        for (name, host) in by_name {
            by_address.entry(host.address).or_default().push(name.clone());
            let mut rest = name.as_str();
            while let Some((_, suffix)) = rest.split_once('.') {
                suffixes.insert(suffix.to_owned());
                rest = suffix;
            }
        }
        Self { by_name: by_name.clone(), by_address, suffixes }
    }
}

fn pool_answer(pool: &Pool, kind: Kind, ttl: Duration, draw: u64) -> Answer {
    if kind != Kind::A || pool.ready() == 0 {
        return Answer::NoData;
    }
    records(ttl, pool.draw(draw).iter().map(|target| Data::A(target.address)).collect())
}

fn records(ttl: Duration, data: Vec<Data>) -> Answer {
    Answer::Records { ttl, data, extra: Vec::new() }
}

fn remove_tasks(
    tasks: &mut imbl::OrdMap<Ipv4Addr, (ServiceName, TaskId)>,
    service: &ServiceName,
    names: Option<&Arc<Names>>,
) {
    for endpoint in names.into_iter().flat_map(|names| &names.traffic.endpoints) {
        let ours = |(name, task): &(ServiceName, TaskId)| name == service && *task == endpoint.task;
        if tasks.get(&endpoint.address).is_some_and(ours) {
            tasks.remove(&endpoint.address);
        }
    }
}

fn id<T: std::str::FromStr>(label: &[u8]) -> Option<T> {
    std::str::from_utf8(label).ok()?.parse().ok()
}

/// The address that `4.3.2.1.in-addr.arpa` or the like is about.
fn reverse_address(labels: &[&[u8]]) -> Option<IpAddr> {
    match labels {
        [digits @ .., b"in-addr", b"arpa"] if digits.len() == 4 => {
            let mut octets = [0; 4];
            for (octet, label) in octets.iter_mut().rev().zip(digits) {
                *octet = id::<u8>(label).filter(|n| n.to_string().as_bytes() == *label)?;
            }
            Some(IpAddr::from(octets))
        }
        [digits @ .., b"ip6", b"arpa"] if digits.len() == 32 => {
            let mut bits: u128 = 0;
            for label in digits.iter().rev() {
                let [digit] = label else { return None };
                bits = bits << 4 | u128::from(char::from(*digit).to_digit(16)?);
            }
            Some(IpAddr::from(bits.to_be_bytes()))
        }
        [..] => None,
    }
}
