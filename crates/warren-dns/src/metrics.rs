//! The metrics of this crate, each with its kind and help for the reference page.

use crate::fast::Answered;
use crate::slow::{Reply, Transport};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use metrics::{Counter, Histogram, counter, gauge, histogram};
use std::time::Duration;

/// Queries answered.
pub(crate) const QUERIES: &str = "warren_dns_queries_total";
/// Packets that got no answer.
pub(crate) const DROPPED: &str = "warren_dns_dropped_total";
/// Questions that upstreams, or their cached answers, were asked for.
pub(crate) const FORWARDED: &str = "warren_dns_forwarded_total";
/// How long forwarded questions took.
pub(crate) const FORWARD_SECONDS: &str = "warren_dns_forward_seconds";
/// How long a batch of queries took.
pub(crate) const BATCH_SECONDS: &str = "warren_dns_batch_seconds";
/// The epoch that is answered from.
pub(crate) const EPOCH: &str = "warren_dns_epoch";
/// Whether the view is held for old.
pub(crate) const CUT_OFF: &str = "warren_dns_cut_off";
/// How many services are known.
pub(crate) const SERVICES: &str = "warren_dns_services";

/// Every metric: name, kind, help.
pub const ALL: &[(&str, &str, &str)] = &[
    (
        QUERIES,
        "counter",
        "DNS queries answered, by qtype, rcode (with NODATA beside the codes of the protocol) and path \
         (fast: in place; udp, tcp: through the full parser).",
    ),
    (
        DROPPED,
        "counter",
        "DNS packets without an answer, by reason (busy: too many on the slow path; limited: a foreign \
         network above its rate, also those answered as truncated; outdated: the leader's word had lapsed just \
         then; unsendable).",
    ),
    (
        FORWARDED,
        "counter",
        "Questions for names outside of the zone, by result (found, absent, refused, failed, timeout, busy).",
    ),
    (
        FORWARD_SECONDS,
        "histogram",
        "Duration of forwarded questions, answered from the cache or not.",
    ),
    (
        BATCH_SECONDS,
        "histogram",
        "Time from reading a batch of DNS packets off a socket to having sent its answers: the longest that \
         any of its queries waited for us.",
    ),
    (EPOCH, "gauge", "The traffic epoch that DNS answers are given from."),
    (
        CUT_OFF,
        "gauge",
        "1 while no leader has been heard for the traffic lease, so that answers fall back to what is stable.",
    ),
    (SERVICES, "gauge", "Services that DNS knows."),
];

/// Tells the recorder what the metrics mean. Call it once, after the recorder is installed.
pub fn describe() {
    for (name, kind, help) in ALL {
        match *kind {
            "counter" => metrics::describe_counter!(*name, *help),
            "gauge" => metrics::describe_gauge!(*name, *help),
            _ => metrics::describe_histogram!(*name, *help),
        }
    }
}

/// Why a packet has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dropped {
    Busy,
    Limited,
    Outdated,
    Unsendable,
}

/// Counts of one socket between two batches: the shared counters are touched once for each batch,
/// not once for each query.
pub(crate) struct Tally {
    found: Count,
    empty: Count,
    empty_v6: Count,
    busy: Count,
    limited: Count,
    outdated: Count,
    unsendable: Count,
    seconds: Histogram,
}

struct Count {
    since: u64,
    total: Counter,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let fast = |qtype: &'static str, rcode: &'static str| {
            Count::new(counter!(QUERIES, "qtype" => qtype, "rcode" => rcode, "path" => "fast"))
        };
        let dropped = |reason: &'static str| Count::new(counter!(DROPPED, "reason" => reason));
        Self {
            found: fast("A", "NOERROR"),
            empty: fast("A", "NODATA"),
            empty_v6: fast("AAAA", "NODATA"),
            busy: dropped("busy"),
            limited: dropped("limited"),
            outdated: dropped("outdated"),
            unsendable: dropped("unsendable"),
            seconds: histogram!(BATCH_SECONDS),
        }
    }

    pub(crate) fn answered(&mut self, answered: Answered) {
        let count = match (answered.v6, answered.found) {
            (true, _) => &mut self.empty_v6,
            (false, true) => &mut self.found,
            (false, false) => &mut self.empty,
        };
        count.since += 1;
    }

    pub(crate) fn dropped(&mut self, reason: Dropped, count: usize) {
        let counter = match reason {
            Dropped::Busy => &mut self.busy,
            Dropped::Limited => &mut self.limited,
            Dropped::Outdated => &mut self.outdated,
            Dropped::Unsendable => &mut self.unsendable,
        };
        counter.since += count as u64;
    }

    /// Hands the counts on, with the time that the batch took.
    pub(crate) fn flush(&mut self, took: Duration) {
        self.seconds.record(took);
        let queries = [&mut self.found, &mut self.empty, &mut self.empty_v6];
        let dropped = [&mut self.busy, &mut self.limited, &mut self.outdated, &mut self.unsendable];
        for count in queries.into_iter().chain(dropped) {
            if count.since > 0 {
                count.total.increment(count.since);
                count.since = 0;
            }
        }
    }
}

impl Count {
    fn new(total: Counter) -> Self {
        Self { since: 0, total }
    }
}

pub(crate) fn answered(transport: Transport, kind: RecordType, reply: &Reply) {
    let qtype = match kind {
        RecordType::A => "A",
        RecordType::AAAA => "AAAA",
        RecordType::SRV => "SRV",
        RecordType::PTR => "PTR",
        RecordType::TXT => "TXT",
        RecordType::SOA => "SOA",
        RecordType::ANY => "ANY",
        _ => "other",
    };
    let rcode = match reply.code {
        ResponseCode::NoError if reply.answers.is_empty() => "NODATA",
        code => name(code),
    };
    count(transport, qtype, rcode);
}

/// Counts a packet whose question was not read.
pub(crate) fn refused(transport: Transport, code: ResponseCode) {
    count(transport, "unread", name(code));
}

fn count(transport: Transport, qtype: &'static str, rcode: &'static str) {
    let path = match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    };
    counter!(QUERIES, "qtype" => qtype, "rcode" => rcode, "path" => path).increment(1);
}

fn name(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::BADVERS => "BADVERS",
        _ => "other",
    }
}

pub(crate) fn forwarded(result: &'static str, took: Duration) {
    counter!(FORWARDED, "result" => result).increment(1);
    histogram!(FORWARD_SECONDS).record(took);
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; an epoch stays below 2^53")]
pub(crate) fn published(epoch: u64, services: usize, cut_off: bool) {
    gauge!(CUT_OFF).set(f64::from(u8::from(cut_off)));
    gauge!(EPOCH).set(epoch as f64);
    gauge!(SERVICES).set(services as f64);
}
