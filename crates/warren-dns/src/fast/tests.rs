//! The answers in place, against hickory and against the slow path, for any packet.

use super::*;
use crate::options::Options;
use crate::server::Shared;
use crate::slow::{self, Transport};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use warren_core::id::{NodeId, RevisionNumber, TaskId};
use warren_core::spec::ServiceName;
use warren_core::traffic::{Endpoint, ServiceTraffic, TrafficView};

/// `web` with nine ready tasks of v1 and two of v2 at 900 to 100, and `down` with none.
fn view() -> TrafficView {
    let endpoint = |task: u8| Endpoint {
        task: TaskId(task.into()),
        revision: RevisionNumber(if task > 9 { 2 } else { 1 }),
        node: NodeId(1),
        address: Ipv4Addr::new(10, 210, 0, task),
        ready: true,
    };
    let weight = warren_core::units::Weight::from_per_mille;
    let web = ServiceTraffic {
        weights: vec![
            (RevisionNumber(1), weight(900).unwrap()),
            (RevisionNumber(2), weight(100).unwrap()),
        ],
        stable: Some(RevisionNumber(1)),
        incoming: Some(RevisionNumber(2)),
        live: true,
        endpoints: (1..=11).map(endpoint).collect(),
        ..ServiceTraffic::default()
    };
    let named = |(name, traffic)| (ServiceName::parse(name).unwrap(), Arc::new(traffic));
    TrafficView {
        epoch: (1 << 32) + 7,
        zone: "warren".to_owned(),
        services: [("web", web), ("down", ServiceTraffic::default())].map(named).into(),
        hosts: BTreeMap::new(),
    }
}

fn shared() -> Shared {
    let options = Options {
        listen: Vec::new(),
        upstreams: Vec::new(),
        workers: NonZeroUsize::MIN,
        local: Vec::new(),
        foreign_answers_per_second: 0,
    };
    Shared::new(options, &view(), &BTreeMap::new())
}

fn query(name: &str, kind: RecordType, edns: Option<u16>) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(payload) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        edns.set_dnssec_ok(payload.is_multiple_of(2));
        message.set_edns(edns);
    }
    message
}

fn fast(shared: &Shared, packet: &[u8], draw: u64) -> Option<Vec<u8>> {
    let mut out = [0; ANSWER_BYTES_MAX];
    match answer(packet, &shared.published.load(), false, draw, &mut out) {
        Outcome::Answered(answered) => Some(out[..answered.length].to_vec()),
        Outcome::Slow => None,
    }
}

fn slow(shared: &Shared, packet: &[u8], transport: Transport, draw: u64) -> Option<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let client = SocketAddr::from(([127, 0, 0, 1], 5353));
    runtime.block_on(slow::respond(shared, packet.to_vec(), client, transport, draw))
}

#[test]
fn a_plain_question_is_answered_in_place_and_the_case_comes_back() {
    let shared = shared();
    let asked = query("wEb.WaRRen.", RecordType::A, None);
    let packet = asked.to_vec().unwrap();
    let answer = Message::from_vec(&fast(&shared, &packet, 1).unwrap()).unwrap();
    assert_eq!(answer.metadata.id, 4711);
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.metadata.authoritative && answer.metadata.recursion_desired);
    assert!(!answer.metadata.truncation);
    assert!(answer.queries[0].name().eq_case(asked.queries[0].name()));
    assert_eq!(answer.answers.len(), 8);
    assert!(answer.answers.iter().all(|record| record.ttl == 1));
    assert!(answer.edns.is_none());
}

#[test]
fn what_is_not_a_plain_question_is_left_to_the_slow_path() {
    let shared = shared();
    let plain = query("web.warren.", RecordType::A, Some(1232)).to_vec().unwrap();
    assert!(fast(&shared, &plain, 1).is_some());
    let mut trailing = plain.clone();
    trailing.push(0);
    let changed = |at: usize, value: u8| {
        let mut packet = plain.clone();
        packet[at] = value;
        packet
    };
    let opt = plain.len() - 11;
    for (what, packet) in [
        ("a response", changed(2, 0x80)),
        ("another opcode", changed(2, 0x28)),
        ("truncated", changed(2, 0x02)),
        ("no question", changed(5, 0)),
        ("an answer", changed(7, 1)),
        ("two extra records", changed(11, 2)),
        ("an extra record that is not counted", changed(11, 0)),
        ("a compressed name", changed(12, 0xc0)),
        ("a label that runs over the end", changed(12, 63)),
        ("another class", changed(opt - 1, 3)),
        ("a newer EDNS", changed(opt + 6, 1)),
        ("options that are not there", changed(opt + 10, 9)),
        ("trailing bytes", trailing),
        ("a text question", query("web.warren.", RecordType::TXT, None).to_vec().unwrap()),
        ("the zone", query("warren.", RecordType::A, None).to_vec().unwrap()),
        ("the root", query(".", RecordType::A, None).to_vec().unwrap()),
        ("another zone", query("web.xwarren.", RecordType::A, None).to_vec().unwrap()),
        ("a deep name", query("a.b.web.warren.", RecordType::A, None).to_vec().unwrap()),
        ("an unknown name", query("nobody.warren.", RecordType::A, None).to_vec().unwrap()),
    ] {
        assert_eq!(fast(&shared, &packet, 1), None, "{what}");
    }
}

#[test]
fn a_limited_client_is_told_to_ask_over_tcp() {
    let packet = query("web.warren.", RecordType::A, Some(4096)).to_vec().unwrap();
    let mut out = [0; ANSWER_BYTES_MAX];
    let length = truncated(&packet, &mut out).unwrap();
    assert!(length <= packet.len(), "an answer to a stranger is not longer than his question");
    let answer = Message::from_vec(&out[..length]).unwrap();
    assert!(answer.metadata.truncation && answer.edns.is_some());
    assert_eq!(truncated(&packet[..20], &mut out), None);
}

fn any_query() -> impl Strategy<Value = Message> {
    let name = prop_oneof![
        5 => "(v1\\.|v2\\.|stable\\.|canary\\.|v9\\.|t3\\.)?(web|down|WEB|other)\\.(warren|WARREN)\\.",
        1 => "[a-zA-Z0-9_]{1,20}(\\.[a-z]{1,9}){0,3}\\.",
        1 => Just("warren.".to_owned()),
    ];
    let kind = prop_oneof![
        4 => Just(RecordType::A),
        2 => Just(RecordType::AAAA),
        1 => any::<u16>().prop_map(RecordType::from),
    ];
    (name, kind, prop::option::of(0..5000_u16), any::<bool>(), any::<bool>()).prop_map(
        |(name, kind, edns, recursion, checking)| {
            let mut message = query(&name, kind, edns);
            message.metadata.recursion_desired = recursion;
            message.metadata.checking_disabled = checking;
            message
        },
    )
}

/// A valid packet with some bytes changed, or cut short.
fn any_mutation() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (any_query(), changes, prop::option::of(any::<prop::sample::Index>())).prop_map(
        |(message, changes, cut)| {
            let mut packet = message.to_vec().unwrap();
            for (at, value) in changes {
                let at = at.index(packet.len());
                packet[at] = value;
            }
            if let Some(cut) = cut {
                packet.truncate(cut.index(packet.len() + 1));
            }
            packet
        },
    )
}

fn sane(packet: &[u8], answer: &[u8], transport: Transport) -> Result<(), TestCaseError> {
    prop_assert!(transport == Transport::Tcp || answer.len() <= usize::from(PAYLOAD_BYTES_MAX));
    let parsed = Message::from_vec(answer);
    prop_assert!(parsed.is_ok(), "{parsed:?}");
    prop_assert_eq!(&answer[..2], &packet[..2]);
    prop_assert_eq!(parsed.unwrap().metadata.message_type, MessageType::Response);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The two paths differ in speed alone.
    #[test]
    fn both_paths_say_the_same(message in any_query(), draw: u64) {
        let shared = shared();
        let packet = message.to_vec().unwrap();
        if let Some(answer) = fast(&shared, &packet, draw) {
            let ours = Message::from_vec(&answer).unwrap();
            let theirs = slow(&shared, &packet, Transport::Udp, draw).unwrap();
            prop_assert_eq!(ours, Message::from_vec(&theirs).unwrap());
            sane(&packet, &answer, Transport::Udp)?;
        }
    }

    #[test]
    fn changed_packets_do_no_harm(packet in any_mutation(), draw: u64) {
        let shared = shared();
        if let Some(answer) = fast(&shared, &packet, draw) {
            sane(&packet, &answer, Transport::Udp)?;
        }
        for transport in [Transport::Udp, Transport::Tcp] {
            if let Some(answer) = slow(&shared, &packet, transport, draw) {
                sane(&packet, &answer, transport)?;
            }
        }
        let mut out = [0; ANSWER_BYTES_MAX];
        if let Some(length) = truncated(&packet, &mut out) {
            sane(&packet, &out[..length], Transport::Udp)?;
        }
    }

    #[test]
    fn random_bytes_do_no_harm(packet in prop::collection::vec(any::<u8>(), 0..600), draw: u64) {
        let shared = shared();
        prop_assert_eq!(truncated(&packet, &mut [0; ANSWER_BYTES_MAX]), None);
        prop_assert_eq!(fast(&shared, &packet, draw), None);
        if let Some(answer) = slow(&shared, &packet, Transport::Udp, draw) {
            prop_assert!(answer.len() <= packet.len().max(HEADER_BYTES));
            sane(&packet, &answer, Transport::Udp)?;
        }
    }
}

#[test]
fn the_longest_name_is_answered() {
    let mut view = view();
    let label = "z".repeat(63);
    view.zone = [label.as_str(), &label, &label, &"y".repeat(57)].join(".");
    let shared = Shared::new(shared().options, &view, &BTreeMap::new());
    for kind in [RecordType::A, RecordType::AAAA] {
        let packet = query(&format!("web.{}.", view.zone), kind, Some(1232)).to_vec().unwrap();
        assert_eq!(packet[12..].len(), 255 + 4 + 11);
        let answer = Message::from_vec(&fast(&shared, &packet, 3).unwrap()).unwrap();
        let addresses: BTreeSet<_> = answer.answers.iter().map(|record| &record.data).collect();
        assert_eq!(addresses.len(), if kind == RecordType::A { 8 } else { 0 });
        let soa = answer.authorities.iter().filter(|record| matches!(record.data, RData::SOA(_)));
        assert_eq!(soa.count(), usize::from(kind == RecordType::AAAA));
    }
}
