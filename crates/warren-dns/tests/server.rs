//! The server through its sockets, asked as `dig` and the resolvers of containers ask.

#![expect(clippy::unwrap_used, reason = "a test ends where it is surprised")]

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use warren_core::id::{NodeId, RevisionNumber, TaskId};
use warren_core::spec::{HostName, Port, PortName, Protocol, ServiceName};
use warren_core::traffic::{Endpoint, Host, ServiceTraffic, TrafficView};
use warren_core::units::Weight;
use warren_dns::{Options, Server};

/// How long anything may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(10);

/// A running server, which ends with the test.
struct Running {
    address: SocketAddr,
    acked: watch::Receiver<u64>,
    views: watch::Sender<Arc<TrafficView>>,
    readiness: watch::Sender<Arc<BTreeMap<TaskId, bool>>>,
    _loops: JoinSet<()>,
}

fn options(upstreams: Vec<SocketAddr>) -> Options {
    Options {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        upstreams,
        workers: NonZeroUsize::new(2).unwrap(),
        local: Vec::new(),
        foreign_answers_per_second: 0,
    }
}

async fn start(options: Options, view: TrafficView) -> Running {
    let (views, views_out) = watch::channel(Arc::new(TrafficView::default()));
    let (readiness, readiness_out) = watch::channel(Arc::default());
    let server = Server::bind(options, views_out, readiness_out).unwrap();
    let (address, acked) = (server.addresses()[0], server.acked());
    let mut loops = JoinSet::new();
    loops.spawn(server.run(CancellationToken::new()));
    let mut running = Running { address, acked, views, readiness, _loops: loops };
    running.publish(view).await;
    running
}

impl Running {
    /// Shows the server a view and waits until it answers from it.
    async fn publish(&mut self, view: TrafficView) {
        let epoch = view.epoch;
        self.views.send_replace(Arc::new(view));
        let acked = self.acked.wait_for(|acked| *acked == epoch);
        tokio::time::timeout(DEADLINE, acked).await.unwrap().unwrap();
    }

    async fn udp(&self, message: &Message) -> Message {
        let answer = self.exchange(&message.to_vec().unwrap()).await;
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!(answer.metadata.id, message.metadata.id);
        answer
    }

    async fn exchange(&self, packet: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind((self.address.ip(), 0)).await.unwrap();
        socket.send_to(packet, self.address).await.unwrap();
        let mut answer = vec![0; 65_535];
        let received = tokio::time::timeout(DEADLINE, socket.recv(&mut answer)).await;
        answer.truncate(received.unwrap().unwrap());
        answer
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.udp(&question(name, kind)).await
    }

    async fn addresses(&self, name: &str) -> Vec<Ipv4Addr> {
        let answer = self.ask(name, RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
        let mut addresses: Vec<_> = answer.answers.iter().filter_map(ipv4).collect();
        addresses.sort_unstable();
        addresses
    }
}

fn ipv4(record: &Record) -> Option<Ipv4Addr> {
    match record.data {
        RData::A(A(address)) => Some(address),
        _ => None,
    }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(id(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

fn id() -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    u16::try_from(NEXT.fetch_add(1, Ordering::Relaxed) % 65_536).unwrap()
}

fn endpoint(task: u8, revision: u32, ready: bool) -> Endpoint {
    Endpoint {
        task: TaskId(task.into()),
        revision: RevisionNumber(revision),
        node: NodeId(1),
        address: Ipv4Addr::new(10, 210, 1, task),
        ready,
    }
}

fn web(endpoints: Vec<Endpoint>) -> ServiceTraffic {
    let http = Port {
        name: Some(PortName::parse("http").unwrap()),
        container: 8080,
        protocol: Protocol::Tcp,
        host: None,
    };
    ServiceTraffic {
        stable: Some(RevisionNumber(1)),
        ports: vec![http],
        endpoints,
        ..ServiceTraffic::default()
    }
}

fn view_of(epoch: u64, web: ServiceTraffic) -> TrafficView {
    let empty = ServiceTraffic::default();
    let named = |(name, traffic)| (ServiceName::parse(name).unwrap(), Arc::new(traffic));
    let host = |name: &str, address: &str| {
        let address: IpAddr = address.parse().unwrap();
        (HostName::parse(name).unwrap(), Host::plain(NodeId(1), address))
    };
    TrafficView {
        epoch,
        zone: "warren".to_owned(),
        services: [("web", web), ("down", empty)].map(named).into(),
        hosts: [host("one", "192.0.2.1"), host("two", "2001:db8::2")].into(),
    }
}

fn view() -> TrafficView {
    view_of(1, web(vec![endpoint(1, 1, true), endpoint(2, 1, true), endpoint(3, 2, false)]))
}

#[tokio::test]
async fn names_of_the_zone() {
    let dns = start(options(Vec::new()), view()).await;
    let [one, two] = [1, 2].map(|task| Ipv4Addr::new(10, 210, 1, task));
    assert_eq!(dns.addresses("web.warren.").await, [one, two]);
    assert_eq!(dns.addresses("WEB.warren.").await, [one, two]);
    assert_eq!(dns.addresses("v1.web.warren.").await, [one, two]);
    assert_eq!(dns.addresses("stable.web.warren.").await, [one, two]);
    assert_eq!(dns.addresses("t2.web.warren.").await, [two]);
    assert_eq!(dns.addresses("one.node.warren.").await, [Ipv4Addr::new(192, 0, 2, 1)]);
    let first = |answer: Message| answer.answers[0].data.to_string();
    let ask = async |name, kind| first(dns.ask(name, kind).await);
    assert_eq!(ask("two.node.warren.", RecordType::AAAA).await, "2001:db8::2");
    assert_eq!(ask("2.1.210.10.in-addr.arpa.", RecordType::PTR).await, "t2.web.warren.");
    assert_eq!(ask("1.2.0.192.in-addr.arpa.", RecordType::PTR).await, "one.node.warren.");
    assert!(ask("web.warren.", RecordType::TXT).await.contains("epoch=1"));
    let soa = ask("warren.", RecordType::SOA).await;
    assert!(soa.starts_with("warren. . 1 "), "{soa}");
    let services = dns.ask("_http._tcp.web.warren.", RecordType::SRV).await;
    let mut targets: Vec<_> = services.answers.iter().map(|r| r.data.to_string()).collect();
    targets.sort_unstable();
    assert_eq!(targets, ["0 1 8080 t1.web.warren.", "0 1 8080 t2.web.warren."]);
    assert_eq!(services.additionals.iter().filter_map(ipv4).count(), 2);
}

#[tokio::test]
async fn no_data_is_not_no_name_and_both_say_for_how_long() {
    let dns = start(options(Vec::new()), view()).await;
    for (name, kind, code) in [
        ("web.warren.", RecordType::AAAA, ResponseCode::NoError),
        ("web.warren.", RecordType::MX, ResponseCode::NoError),
        ("down.warren.", RecordType::A, ResponseCode::NoError),
        ("v2.web.warren.", RecordType::A, ResponseCode::NoError),
        ("t3.web.warren.", RecordType::A, ResponseCode::NoError),
        ("canary.web.warren.", RecordType::A, ResponseCode::NoError),
        ("warren.", RecordType::A, ResponseCode::NoError),
        ("nobody.warren.", RecordType::A, ResponseCode::NXDomain),
        ("v7.web.warren.", RecordType::AAAA, ResponseCode::NXDomain),
        ("a.b.c.web.warren.", RecordType::A, ResponseCode::NXDomain),
    ] {
        let answer = dns.ask(name, kind).await;
        assert_eq!(answer.metadata.response_code, code, "{name} {kind}");
        assert!(answer.metadata.authoritative && answer.answers.is_empty(), "{name} {kind}");
        let [soa] = answer.authorities.as_slice() else { panic!("{name} {kind}: {answer}") };
        assert_eq!((soa.name.to_string().as_str(), soa.ttl), ("warren.", 1));
        assert!(matches!(&soa.data, RData::SOA(soa) if soa.minimum == 1), "{soa}");
    }
}

#[tokio::test]
async fn what_is_not_answered_says_why() {
    let dns = start(options(Vec::new()), view()).await;
    let code = |answer: Message| answer.metadata.response_code;
    assert_eq!(code(dns.ask("web.warren.", RecordType::ANY).await), ResponseCode::Refused);
    assert_eq!(code(dns.ask("example.com.", RecordType::A).await), ResponseCode::Refused);
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(dns.udp(&chaos).await), ResponseCode::Refused);
    let mut notify = question("warren.", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(code(dns.udp(&notify).await), ResponseCode::NotImp);
    let mut twice = question("web.warren.", RecordType::A);
    twice.add_query(Query::query(Name::from_ascii("down.warren.").unwrap(), RecordType::A));
    assert_eq!(code(dns.udp(&twice).await), ResponseCode::FormErr);
    let mut torn = question("web.warren.", RecordType::A).to_vec().unwrap();
    torn.truncate(20);
    let answer = Message::from_vec(&dns.exchange(&torn).await).unwrap();
    assert_eq!(code(answer), ResponseCode::FormErr);
    let mut newer = with_edns(question("web.warren.", RecordType::A), 1232);
    newer.edns.as_mut().unwrap().set_version(1);
    let answer = dns.udp(&newer).await;
    assert_eq!(answer.edns.as_ref().unwrap().version(), 0);
    assert_eq!(u16::from(code(answer)), u16::from(ResponseCode::BADVERS));
}

/// A response and a stump of a packet get no answer; the next query does.
#[tokio::test]
async fn what_is_no_query_is_met_with_silence() {
    let dns = start(options(Vec::new()), view()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut response = question("web.warren.", RecordType::TXT);
    response.metadata.message_type = MessageType::Response;
    let query = question("web.warren.", RecordType::TXT);
    let long = [0; 4000];
    for packet in [&response.to_vec().unwrap(), &b"stump"[..], &long, &query.to_vec().unwrap()] {
        socket.send_to(packet, dns.address).await.unwrap();
    }
    let mut answer = [0; 1500];
    let length = tokio::time::timeout(DEADLINE, socket.recv(&mut answer)).await.unwrap().unwrap();
    let answer = Message::from_vec(&answer[..length]).unwrap();
    assert_eq!(answer.metadata.id, query.metadata.id);
}

#[tokio::test]
async fn edns_is_answered_with_edns_and_its_size_is_bounded() {
    // Texts of thirty revisions fill more than 1232 bytes.
    let endpoints = (1..=60).map(|task| endpoint(task, 1_000_000 + u32::from(task), true));
    let dns = start(options(Vec::new()), view_of(1, web(endpoints.collect()))).await;
    for (payload, limit) in [(None, 512), (Some(100), 512), (Some(1232), 1232), (Some(9000), 1232)]
    {
        let large = question("web.warren.", RecordType::TXT);
        let small = question("web.warren.", RecordType::A);
        for (message, truncated) in [(large, true), (small, false)] {
            let message = match payload {
                Some(payload) => with_edns(message, payload),
                None => message,
            };
            let bytes = dns.exchange(&message.to_vec().unwrap()).await;
            assert!(bytes.len() <= limit, "{} of {limit}", bytes.len());
            let answer = Message::from_vec(&bytes).unwrap();
            assert_eq!(answer.metadata.truncation, truncated);
            assert_eq!(answer.answers.is_empty(), truncated);
            assert_eq!(answer.edns.is_some(), payload.is_some());
            assert!(answer.edns.is_none_or(|edns| edns.max_payload() == 1232));
        }
    }
}

/// Asks two questions of one connection.
async fn tcp(address: SocketAddr, messages: [&Message; 2]) -> [Message; 2] {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut sent = Vec::new();
    for message in messages {
        let bytes = message.to_vec().unwrap();
        sent.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        sent.extend(bytes);
    }
    stream.write_all(&sent).await.unwrap();
    let mut answers = Vec::new();
    for _ in messages {
        let length = tokio::time::timeout(DEADLINE, stream.read_u16()).await.unwrap().unwrap();
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await.unwrap();
        answers.push(Message::from_vec(&bytes).unwrap());
    }
    answers.try_into().unwrap()
}

#[tokio::test]
async fn tcp_carries_what_udp_cannot() {
    let endpoints = (1..=60).map(|task| endpoint(task, 1_000_000 + u32::from(task), true));
    let dns = start(options(Vec::new()), view_of(1, web(endpoints.collect()))).await;
    let small = question("web.warren.", RecordType::A);
    let large = question("web.warren.", RecordType::TXT);
    let answers = tcp(dns.address, [&small, &large]).await;
    assert_eq!(answers[0].answers.len(), 8);
    assert_eq!(answers[0].metadata.id, small.metadata.id);
    assert!(!answers[1].metadata.truncation);
    assert!(answers[1].to_vec().unwrap().len() > 1232);
    // What is no query ends the connection, and no other.
    let mut stream = TcpStream::connect(dns.address).await.unwrap();
    stream.write_all(&[0, 3, 1, 2, 3]).await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.is_empty());
    let mut stream = TcpStream::connect(dns.address).await.unwrap();
    stream.write_all(&[0xff, 0xff, 1]).await.unwrap();
    let ended = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.unwrap();
    assert!(ended.is_err() || rest.is_empty());
    tcp(dns.address, [&small, &large]).await;
}

#[tokio::test]
async fn an_epoch_is_acked_only_once_it_is_answered_from() {
    let mut dns = start(options(Vec::new()), view()).await;
    for epoch in 2..200_u64 {
        let task = u8::try_from(epoch).unwrap();
        dns.publish(view_of(epoch, web(vec![endpoint(task, 1, true)]))).await;
        assert_eq!(dns.addresses("web.warren.").await, [Ipv4Addr::new(10, 210, 1, task)]);
    }
}

#[tokio::test]
async fn a_split_is_served_in_its_shares_and_a_flip_is_complete() {
    let weights = |first, second| {
        let weight = |n, w| (RevisionNumber(n), Weight::from_per_mille(w).unwrap());
        vec![weight(1, first), weight(2, second)]
    };
    let endpoints = vec![endpoint(1, 1, true), endpoint(2, 1, true), endpoint(3, 2, true)];
    let split = ServiceTraffic { weights: weights(500, 500), live: true, ..web(endpoints) };
    let mut dns = start(options(Vec::new()), view_of(1, split.clone())).await;
    let third = Ipv4Addr::new(10, 210, 1, 3);
    let mut first = 0_u32;
    for _ in 0..400 {
        let answer = dns.ask("web.warren.", RecordType::A).await;
        assert_eq!(answer.answers[0].ttl, 1);
        first += u32::from(ipv4(&answer.answers[0]) == Some(third));
    }
    assert!((140..=260).contains(&first), "{first} of 400 at 50 %");
    dns.publish(view_of(2, ServiceTraffic { weights: weights(1000, 0), ..split })).await;
    for _ in 0..100 {
        assert!(!dns.addresses("web.warren.").await.contains(&third));
    }
}

#[tokio::test]
async fn a_task_that_its_own_agent_finds_unready_leaves_at_once() {
    let dns = start(options(Vec::new()), view()).await;
    let one = Ipv4Addr::new(10, 210, 1, 1);
    let two = Ipv4Addr::new(10, 210, 1, 2);
    let wait_for = async |expected: &[Ipv4Addr]| {
        let start = Instant::now();
        while dns.addresses("web.warren.").await != expected {
            assert!(start.elapsed() < Duration::from_secs(1), "not {expected:?} within a second");
        }
    };
    dns.readiness.send_replace(Arc::new([(TaskId(1), false), (TaskId(3), true)].into()));
    wait_for(&[two]).await;
    assert!(dns.addresses("t1.web.warren.").await.is_empty());
    dns.readiness.send_replace(Arc::new([(TaskId(1), true)].into()));
    wait_for(&[one, two]).await;
    dns.readiness.send_replace(Arc::new([(TaskId(1), false), (TaskId(2), false)].into()));
    wait_for(&[]).await;
}

/// An upstream that knows a few names, over UDP, and over TCP what is too large for it.
struct Upstream {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _loops: JoinSet<()>,
}

impl Upstream {
    async fn start() -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let mut loops = JoinSet::new();
        let count = asked.clone();
        loops.spawn(async move {
            let mut packet = [0; 1500];
            while let Ok((length, client)) = udp.recv_from(&mut packet).await {
                count.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = knows(&packet[..length], false) {
                    udp.send_to(&answer, client).await.unwrap();
                }
            }
        });
        loops.spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                while let Ok(length) = stream.read_u16().await {
                    let mut packet = vec![0; usize::from(length)];
                    stream.read_exact(&mut packet).await.unwrap();
                    let answer = knows(&packet, true).unwrap();
                    stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
        Self { address, asked, _loops: loops }
    }
}

/// What the upstream says to a packet; nothing to questions for `silent`.
fn knows(packet: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(packet).unwrap();
    let name = query.queries[0].name().clone();
    let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    answer.add_queries(query.queries.clone());
    let record = |name: &Name, data| Record::from_rdata(name.clone(), 300, data);
    let address = |last| RData::A(A(Ipv4Addr::new(198, 51, 100, last)));
    let root = Name::from_ascii("example.").unwrap();
    let soa = SOA::new(root.clone(), root.clone(), 1, 1, 1, 1, 77);
    let lower = name.to_lowercase().to_string();
    if lower.ends_with("silent.example.") {
        return None;
    }
    match (lower.as_str(), query.queries[0].query_type()) {
        ("www.example.", RecordType::A) => {
            answer.add_answer(record(&name, address(1)));
        }
        ("alias.example.", RecordType::A) => {
            let target = Name::from_ascii("www.example.").unwrap();
            answer.add_answer(record(&name, RData::CNAME(CNAME(target.clone()))));
            answer.add_answer(record(&target, address(1)));
        }
        ("large.example.", RecordType::A) if over_tcp => {
            answer.add_answers((0..100).map(|last| record(&name, address(last))));
        }
        ("large.example.", RecordType::A) => answer.metadata.truncation = true,
        ("broken.example.", _) => answer.metadata.response_code = ResponseCode::ServFail,
        ("www.example.", _) => {
            answer.add_authority(record(&root, RData::SOA(soa)));
        }
        _ => {
            answer.metadata.response_code = ResponseCode::NXDomain;
            answer.add_authority(record(&root, RData::SOA(soa)));
        }
    }
    Some(answer.to_vec().unwrap())
}

#[tokio::test]
async fn other_names_are_asked_of_the_upstream_and_remembered() {
    let upstream = Upstream::start().await;
    let dns = start(options(vec![upstream.address]), view()).await;
    let www = Ipv4Addr::new(198, 51, 100, 1);
    assert_eq!(dns.addresses("www.example.").await, [www]);
    let asked = upstream.asked.load(Ordering::Relaxed);
    for name in ["www.example.", "WWW.eXample."] {
        assert_eq!(dns.addresses(name).await, [www]);
    }
    assert_eq!(upstream.asked.load(Ordering::Relaxed), asked, "the second time is from the cache");
    let alias = dns.ask("alias.example.", RecordType::A).await;
    assert_eq!(alias.answers.len(), 2);
    assert!(!alias.metadata.authoritative && alias.metadata.recursion_available);
    let refused = |answer: Message| answer.metadata.response_code;
    assert_eq!(refused(dns.ask("www.example.", RecordType::ANY).await), ResponseCode::Refused);
    assert_eq!(refused(dns.ask("www.example.", RecordType::AXFR).await), ResponseCode::Refused);
    let mut iterative = question("www.example.", RecordType::A);
    iterative.metadata.recursion_desired = false;
    assert_eq!(refused(dns.udp(&iterative).await), ResponseCode::Refused);
    // The zone's own names go nowhere.
    let asked = upstream.asked.load(Ordering::Relaxed);
    dns.ask("nobody.warren.", RecordType::A).await;
    assert_eq!(upstream.asked.load(Ordering::Relaxed), asked);
}

#[tokio::test]
async fn what_an_upstream_denies_is_denied_with_its_reason() {
    let upstream = Upstream::start().await;
    let dns = start(options(vec![upstream.address]), view()).await;
    for (name, kind, code, soas) in [
        ("nobody.example.", RecordType::A, ResponseCode::NXDomain, 1),
        ("www.example.", RecordType::AAAA, ResponseCode::NoError, 1),
        ("broken.example.", RecordType::A, ResponseCode::ServFail, 0),
        ("silent.example.", RecordType::A, ResponseCode::ServFail, 0),
    ] {
        let answer = dns.ask(name, kind).await;
        assert_eq!(answer.metadata.response_code, code, "{name} {kind}");
        assert_eq!(answer.answers, [], "{name} {kind}");
        let soa = answer.authorities.iter().filter(|r| matches!(r.data, RData::SOA(_)));
        assert_eq!(soa.count(), soas, "{name} {kind}: {answer}");
    }
}

#[tokio::test]
async fn an_answer_too_large_for_udp_comes_over_tcp_from_end_to_end() {
    let upstream = Upstream::start().await;
    let dns = start(options(vec![upstream.address]), view()).await;
    let large = question("large.example.", RecordType::A);
    assert!(dns.udp(&large).await.metadata.truncation);
    let answers = tcp(dns.address, [&large, &large]).await;
    assert_eq!(answers.map(|answer| answer.answers.len()), [100, 100]);
}

#[tokio::test]
async fn a_dead_upstream_does_not_slow_down_a_live_one() {
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let upstream = Upstream::start().await;
    let upstreams = vec![dead.local_addr().unwrap(), upstream.address];
    let dns = start(options(upstreams), view()).await;
    let start = Instant::now();
    assert_eq!(dns.addresses("www.example.").await.len(), 1);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// While an upstream is silent, a flood of questions for it takes no place from the zone's names.
#[tokio::test]
async fn a_silent_upstream_keeps_nobody_else_waiting() {
    let upstream = Upstream::start().await;
    let dns = start(options(vec![upstream.address]), view()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for n in 0..220 {
        let message = question(&format!("n{n}.silent.example."), RecordType::A);
        socket.send_to(&message.to_vec().unwrap(), dns.address).await.unwrap();
    }
    let start = Instant::now();
    assert_eq!(dns.ask("web.warren.", RecordType::TXT).await.answers.len(), 1);
    assert_eq!(dns.addresses("web.warren.").await.len(), 2);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// An address of this process alone, so that it can be named before a server has it.
fn own_address() -> SocketAddr {
    let [.., high, middle, low] = std::process::id().to_be_bytes();
    static NEXT: AtomicUsize = AtomicUsize::new(5300);
    let port = u16::try_from(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap();
    SocketAddr::from(([127, 128 | high, middle, low], port))
}

#[tokio::test]
async fn a_server_does_not_ask_itself() {
    let own = own_address();
    let mut options = options(vec![own]);
    options.listen = vec![own];
    let dns = start(options, view()).await;
    let answer = dns.ask("example.com.", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert!(!answer.metadata.recursion_available);
}

#[tokio::test]
async fn an_address_in_use_is_named_with_the_way_out() {
    let first = start(options(Vec::new()), view()).await;
    let mut second = options(Vec::new());
    second.listen = vec![first.address];
    let (_views, views) = watch::channel(Arc::default());
    let (_readiness, readiness) = watch::channel(Arc::default());
    let error = Server::bind(second, views, readiness).err().unwrap();
    let text = error.to_string();
    assert!(
        text.contains(&first.address.to_string()) && text.contains("another DNS server"),
        "{text}"
    );
}

/// The bridge of a node has its address only once its first container runs.
#[tokio::test]
async fn an_address_that_is_not_there_yet_can_be_taken() {
    let mut options = options(Vec::new());
    options.listen.push("192.0.2.53:0".parse().unwrap());
    let (_views, views) = watch::channel(Arc::default());
    let (_readiness, readiness) = watch::channel(Arc::default());
    let server = Server::bind(options, views, readiness).unwrap();
    assert_eq!(server.addresses()[1].ip(), IpAddr::from([192, 0, 2, 53]));
}

/// The cluster tells a node only after a while which network its bridge has.
#[tokio::test]
async fn an_address_that_becomes_known_later_is_listened_on_and_not_forwarded_to() {
    let later = own_address();
    let (_views, views) = watch::channel(Arc::new(view()));
    let (_readiness, readiness) = watch::channel(Arc::default());
    let (news, addresses) = watch::channel(Vec::new());
    let server = Server::bind(options(vec![later]), views, readiness).unwrap().also_at(addresses);
    let first = server.addresses()[0];
    let mut loops = JoinSet::new();
    loops.spawn(server.run(CancellationToken::new()));
    news.send_replace(vec![first, later]);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let message = question("example.com.", RecordType::A);
    let start = Instant::now();
    let answer = loop {
        assert!(start.elapsed() < DEADLINE, "{later} is not answered on");
        socket.send_to(&message.to_vec().unwrap(), later).await.unwrap();
        let mut answer = [0; 512];
        let pause = Duration::from_millis(50);
        if let Ok(Ok(length)) = tokio::time::timeout(pause, socket.recv(&mut answer)).await {
            break Message::from_vec(&answer[..length]).unwrap();
        }
    };
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert!(!answer.metadata.recursion_available);
}

#[tokio::test]
async fn shutdown_ends_every_loop() {
    let (_views, views) = watch::channel(Arc::new(view()));
    let (_readiness, readiness) = watch::channel(Arc::default());
    let server = Server::bind(options(Vec::new()), views, readiness).unwrap();
    let (address, shutdown) = (server.addresses()[0], CancellationToken::new());
    let mut loops = JoinSet::new();
    loops.spawn(server.run(shutdown.clone()));
    let _open = TcpStream::connect(address).await.unwrap();
    shutdown.cancel();
    tokio::time::timeout(DEADLINE, loops.join_next()).await.unwrap().unwrap().unwrap();
    assert!(std::net::UdpSocket::bind(address).is_ok(), "the address is free again");
}
