//! Everything that is not answered in place: any type, any name, any packet.

use crate::fast::{HEADER_BYTES, PAYLOAD_BYTES_MAX, SOA_TIMES, serial};
use crate::metrics;
use crate::server::Shared;
use hickory_proto::op::{Edns, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;
use hickory_server::zone_handler::MessageResponseBuilder;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use warren_core::answer::{Answer, Data, Index, Kind, Question, TTL_NEGATIVE};

/// The least that every client takes over UDP.
const UDP_BYTES_MIN: u16 = 512;

/// How a query came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// What to say, before it is written.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: ResponseCode,
    /// Whether we are the ones who know.
    pub(crate) authoritative: bool,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
    pub(crate) additionals: Vec<Record>,
}

impl Reply {
    pub(crate) fn code(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }
}

/// Answers one packet; `None` for one that is no query, which gets no answer at all.
pub(crate) async fn respond(
    shared: &Shared,
    packet: Vec<u8>,
    client: SocketAddr,
    transport: Transport,
    draw: u64,
) -> Option<Vec<u8>> {
    let header: [u8; HEADER_BYTES] = *packet.first_chunk()?;
    if !shared.holds(Instant::now()) {
        // Asked again in a moment, it is answered with what holds by then.
        return None;
    }
    if header[2] & 0x80 != 0 {
        // A response: to answer one is how two servers talk for ever.
        return None;
    }
    if header[2] & 0x78 != 0 {
        metrics::refused(transport, ResponseCode::NotImp);
        return Some(bare(&header, ResponseCode::NotImp));
    }
    let request = match Request::from_bytes(packet, client, Protocol::Udp) {
        Ok(request) if request.queries.len() == 1 => request,
        Ok(_) | Err(_) => {
            metrics::refused(transport, ResponseCode::FormErr);
            return Some(bare(&header, ResponseCode::FormErr));
        }
    };
    let reply = decide(shared, &request, client, draw).await;
    let kind = request.queries.queries().first()?.query_type();
    metrics::answered(transport, kind, &reply);
    Some(write(shared, &request, &reply, transport))
}

/// The shortest answer: a header that says no. There is no question in it, because what is not
/// understood cannot be repeated.
fn bare(header: &[u8; HEADER_BYTES], code: ResponseCode) -> Vec<u8> {
    let mut answer = [0; HEADER_BYTES];
    answer[..2].copy_from_slice(&header[..2]);
    answer[2] = 0x80 | header[2] & 0x79;
    answer[3] = code.low();
    answer.to_vec()
}

async fn decide(shared: &Shared, request: &Request, client: SocketAddr, draw: u64) -> Reply {
    let Some(query) = request.queries.queries().first() else {
        return Reply::code(ResponseCode::FormErr);
    };
    if request.version() > 0 {
        return Reply::code(ResponseCode::BADVERS);
    }
    if query.query_class() != DNSClass::IN {
        return Reply::code(ResponseCode::Refused);
    }
    let answer = {
        let published = shared.published.load();
        let question =
            Question { labels: query.name().iter().collect(), kind: kind(query.query_type()) };
        match published.index.answer(&question, draw) {
            Answer::Foreign => None,
            answer => Some(own(&published.index, query.original().name(), answer)),
        }
    };
    match (answer, shared.forwarder.load_full()) {
        (Some(reply), _) => reply,
        (None, Some(forwarder))
            if request.metadata.recursion_desired && shared.options.is_local(client.ip()) =>
        {
            forwarder.ask(query).await
        }
        (None, Some(_) | None) => Reply::code(ResponseCode::Refused),
    }
}

fn kind(kind: RecordType) -> Kind {
    match kind {
        RecordType::A => Kind::A,
        RecordType::AAAA => Kind::Aaaa,
        RecordType::SRV => Kind::Srv,
        RecordType::PTR => Kind::Ptr,
        RecordType::TXT => Kind::Txt,
        RecordType::SOA => Kind::Soa,
        RecordType::ANY => Kind::Any,
        _ => Kind::Other,
    }
}

/// An answer of core in records. The owner's name is as it was asked, letters in their case.
fn own(index: &Index, owner: &Name, answer: Answer) -> Reply {
    let mut reply = Reply::code(ResponseCode::NoError);
    reply.authoritative = true;
    match answer {
        Answer::Foreign | Answer::Refused => return Reply::code(ResponseCode::Refused),
        Answer::NoData => reply.authorities.extend(soa(index)),
        Answer::NoSuchName => {
            reply.code = ResponseCode::NXDomain;
            reply.authorities.extend(soa(index));
        }
        Answer::Records { ttl, data, extra } => {
            let ttl = seconds(ttl);
            for data in data {
                match data {
                    Data::Soa => reply.answers.extend(soa(index)),
                    data => reply.answers.extend(
                        rdata(data).map(|rdata| Record::from_rdata(owner.clone(), ttl, rdata)),
                    ),
                }
            }
            let extra = extra.into_iter().filter_map(|(target, address)| {
                Some(Record::from_rdata(name(&target)?, ttl, RData::A(A(address))))
            });
            reply.additionals.extend(extra);
        }
    }
    reply
}

fn rdata(data: Data) -> Option<RData> {
    match data {
        Data::A(address) => Some(RData::A(A(address))),
        Data::Aaaa(address) => Some(RData::AAAA(AAAA(address))),
        Data::Srv { port, target } => Some(RData::SRV(SRV::new(0, 1, port, name(&target)?))),
        Data::Ptr(target) => Some(RData::PTR(PTR(name(&target)?))),
        Data::Txt(texts) => Some(RData::TXT(TXT::new(texts))),
        Data::Soa => None,
    }
}

/// The zone's SOA record, in every answer without data so that its absence may be remembered.
fn soa(index: &Index) -> Option<Record> {
    let zone = name(index.zone())?;
    let [refresh, retry, expire] = SOA_TIMES.map(|time| i32::try_from(time).unwrap_or(i32::MAX));
    let negative = seconds(TTL_NEGATIVE);
    let serial = serial(index.epoch());
    let soa = SOA::new(zone.clone(), Name::root(), serial, refresh, retry, expire, negative);
    Some(Record::from_rdata(zone, negative, RData::SOA(soa)))
}

/// An absolute name; `None` for one that is too long to be one, which then goes without a record.
fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn seconds(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)
}

fn write(shared: &Shared, request: &Request, reply: &Reply, transport: Transport) -> Vec<u8> {
    let limit = match (transport, &request.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => UDP_BYTES_MIN,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(UDP_BYTES_MIN, PAYLOAD_BYTES_MAX),
    };
    let whole = encode(shared, request, reply, false, u16::MAX);
    match whole {
        Some(whole) if whole.len() <= usize::from(limit) => whole,
        // What does not fit is asked for over TCP: half an answer is of no use. The OPT stays.
        Some(_) | None => {
            let empty = Reply { authoritative: reply.authoritative, ..Reply::code(reply.code) };
            encode(shared, request, &empty, true, limit).unwrap_or_default()
        }
    }
}

fn encode(
    shared: &Shared,
    request: &Request,
    reply: &Reply,
    truncated: bool,
    limit: u16,
) -> Option<Vec<u8>> {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = reply.code;
    metadata.authoritative = reply.authoritative;
    metadata.recursion_available = shared.forwarder.load().is_some();
    metadata.truncation = truncated;
    let mut edns = Edns::new();
    let mut builder = MessageResponseBuilder::from_message_request(request);
    if let Some(asked) = &request.edns {
        edns.set_max_payload(PAYLOAD_BYTES_MAX);
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        builder.edns(&edns);
    }
    let (answers, authorities) = (reply.answers.iter(), reply.authorities.iter());
    let response = builder.build(metadata, answers, authorities, [], reply.additionals.iter());
    let mut bytes = Vec::with_capacity(usize::from(UDP_BYTES_MIN));
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit);
    match response.destructive_emit(&mut encoder) {
        Ok(_) => Some(bytes),
        Err(error) => {
            tracing::debug!(%error, "cannot write a dns answer");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use std::collections::BTreeMap;
    use std::num::NonZeroUsize;
    use warren_core::traffic::TrafficView;

    /// A question for `example.` of type A, with recursion desired.
    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\0\0\x01\0\x01";

    /// Whoever may ask us for any name could have others flooded with the answers.
    #[tokio::test]
    async fn strangers_get_no_names_outside_of_the_zone() {
        // An upstream that denies every name.
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let upstream = socket.local_addr().unwrap();
        let mut loops = tokio::task::JoinSet::new();
        loops.spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut packet).await {
                packet[2] |= 0x80;
                packet[3] = 3;
                socket.send_to(&packet[..length], client).await.unwrap();
            }
        });
        let options = Options {
            listen: Vec::new(),
            upstreams: vec![upstream],
            workers: NonZeroUsize::MIN,
            local: vec!["10.210.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            foreign_answers_per_second: 1000,
        };
        let view = TrafficView { zone: "warren".to_owned(), ..TrafficView::default() };
        let shared = Shared::new(options, &view, &BTreeMap::new());
        shared.forward_around(&[]);
        for (client, code) in [
            ("10.210.7.1", ResponseCode::NXDomain),
            ("127.0.0.1", ResponseCode::NXDomain),
            ("::ffff:10.210.7.1", ResponseCode::NXDomain),
            ("2001:db8::1", ResponseCode::NXDomain),
            ("10.211.0.1", ResponseCode::Refused),
            ("192.0.2.1", ResponseCode::Refused),
            ("2001:db9::1", ResponseCode::Refused),
        ] {
            let client = SocketAddr::new(client.parse().unwrap(), 5353);
            for transport in [Transport::Udp, Transport::Tcp] {
                let answer = respond(&shared, QUESTION.to_vec(), client, transport, 0).await;
                assert_eq!(answer.unwrap()[3] & 0x0f, code.low(), "{client}");
            }
        }
    }
}
