//! What answers promise, whatever the view and the draw.

use super::*;
use crate::id::{NodeId, RevisionNumber};
use crate::spec::{Port, PortName, Protocol};
use crate::traffic::{Endpoint, Host, ServiceTraffic};
use crate::units::Weight;
use proptest::prelude::*;

fn endpoint(task: u64, revision: u32, ready: bool) -> Endpoint {
    let [.., c, d] = u32::try_from(task).unwrap().to_be_bytes();
    let address = Ipv4Addr::new(10, 210, c, d);
    Endpoint {
        task: TaskId(task),
        revision: RevisionNumber(revision),
        node: NodeId(1),
        address,
        ready,
    }
}

fn service(weights: &[(u32, u16)], endpoints: Vec<Endpoint>) -> ServiceTraffic {
    let weight = |(revision, weight): &(u32, u16)| {
        (RevisionNumber(*revision), Weight::from_per_mille(*weight).unwrap())
    };
    let http = Port {
        name: Some(PortName::parse("http").unwrap()),
        container: 8080,
        protocol: Protocol::Tcp,
        host: None,
    };
    ServiceTraffic {
        split_epoch: 3,
        weights: weights.iter().map(weight).collect(),
        stable: Some(RevisionNumber(1)),
        incoming: Some(RevisionNumber(2)),
        outgoing: None,
        live: true,
        ports: vec![http],
        endpoints,
    }
}

fn view(services: impl IntoIterator<Item = (&'static str, ServiceTraffic)>) -> TrafficView {
    let named = |(name, traffic)| (ServiceName::parse(name).unwrap(), Arc::new(traffic));
    let host = |name: &str, address: &str| {
        let address: IpAddr = address.parse().unwrap();
        (HostName::parse(name).unwrap(), Host::plain(NodeId(1), address))
    };
    TrafficView {
        epoch: 12,
        zone: "warren".to_owned(),
        services: services.into_iter().map(named).collect(),
        hosts: [host("one", "192.0.2.1"), host("two.rack", "2001:db8::2")].into(),
    }
}

/// `web` with one ready task of v1 and two of v2, of which one is ready, at 900 to 100.
fn canary() -> TrafficView {
    let endpoints = vec![endpoint(1, 1, true), endpoint(2, 2, true), endpoint(3, 2, false)];
    view([("web", service(&[(1, 900), (2, 100)], endpoints))])
}

fn ask(view: &TrafficView, name: &str, kind: Kind) -> Answer {
    answer(view, &Question::new(name, kind), 7)
}

fn addresses(answer: &Answer) -> Vec<Ipv4Addr> {
    let Answer::Records { data, .. } = answer else { return Vec::new() };
    let address = |data: &Data| match data {
        Data::A(address) => *address,
        other => panic!("{other:?} is no address"),
    };
    data.iter().map(address).collect()
}

fn a(text: &str) -> Data {
    Data::A(text.parse().unwrap())
}

fn found(seconds: u64, data: Vec<Data>) -> Answer {
    records(Duration::from_secs(seconds), data)
}

// req: B14
#[test]
fn each_name_leads_where_the_table_says() {
    let view = canary();
    for (name, expected) in [
        ("v1.web.warren", found(1, vec![a("10.210.0.1")])),
        ("v2.web.warren.", found(1, vec![a("10.210.0.2")])),
        ("stable.web.warren", found(1, vec![a("10.210.0.1")])),
        ("canary.web.warren", found(1, vec![a("10.210.0.2")])),
        ("preview.web.warren", found(1, vec![a("10.210.0.2")])),
        ("t1.web.warren", found(1, vec![a("10.210.0.1")])),
        ("t3.web.warren", Answer::NoData),
        ("t4.web.warren", Answer::NoSuchName),
        ("v3.web.warren", Answer::NoSuchName),
        ("v01.web.warren", Answer::NoSuchName),
        ("blue.web.warren", found(1, vec![a("10.210.0.1")])),
        ("green.web.warren", found(1, vec![a("10.210.0.2")])),
        ("a.v1.web.warren", Answer::NoSuchName),
        ("web.warren.lan", Answer::Foreign),
        ("web", Answer::Foreign),
        ("", Answer::Foreign),
        ("db.warren", Answer::NoSuchName),
        ("warren", Answer::NoData),
        ("node.warren", Answer::NoData),
        ("one.node.warren", found(5, vec![a("192.0.2.1")])),
        ("two.rack.node.warren", Answer::NoData),
        ("rack.node.warren", Answer::NoData),
        ("k.node.warren", Answer::NoSuchName),
        ("_tcp.web.warren", Answer::NoData),
        ("_udp.web.warren", Answer::NoSuchName),
        ("_http._tcp.web.warren", Answer::NoData),
        ("1.0.210.10.in-addr.arpa", Answer::NoData),
        ("1.0.0.11.in-addr.arpa", Answer::Foreign),
    ] {
        assert_eq!(ask(&view, name, Kind::A), expected, "{name}");
    }
}

#[test]
fn other_types_of_known_names() {
    let view = canary();
    assert_eq!(ask(&view, "web.warren", Kind::Aaaa), Answer::NoData);
    assert_eq!(ask(&view, "web.warren", Kind::Other), Answer::NoData);
    assert_eq!(ask(&view, "web.warren", Kind::Any), Answer::Refused);
    assert_eq!(ask(&view, "nobody.warren", Kind::Any), Answer::Refused);
    assert_eq!(ask(&view, "warren", Kind::Soa), found(1, vec![Data::Soa]));
    let v6 = Data::Aaaa("2001:db8::2".parse().unwrap());
    assert_eq!(ask(&view, "two.rack.node.warren", Kind::Aaaa), found(5, vec![v6]));
    let ptr = |name: &str| found(5, vec![Data::Ptr(name.to_owned())]);
    assert_eq!(ask(&view, "3.0.210.10.in-addr.arpa", Kind::Ptr), ptr("t3.web.warren"));
    assert_eq!(ask(&view, "1.2.0.192.in-addr.arpa", Kind::Ptr), ptr("one.node.warren"));
    let v6 = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    assert_eq!(ask(&view, v6, Kind::Ptr), ptr("two.rack.node.warren"));
    for odd in ["01.2.0.192.in-addr.arpa", "256.2.0.192.in-addr.arpa", "2.0.192.in-addr.arpa"] {
        assert_eq!(ask(&view, odd, Kind::Ptr), Answer::Foreign, "{odd}");
    }
    let text = Data::Txt(
        ["epoch=12", "split-epoch=3", "stable=v1", "incoming=v2", "v1 weight=900 ready=1"]
            .into_iter()
            .chain(["v2 weight=100 ready=1"])
            .map(str::to_owned)
            .collect(),
    );
    assert_eq!(ask(&view, "web.warren", Kind::Txt), found(1, vec![text]));
}

#[test]
fn srv_names_the_port_and_each_task() {
    let target = "t2.web.warren".to_owned();
    let expected = Answer::Records {
        ttl: Duration::from_secs(1),
        data: vec![Data::Srv { port: 8080, target: target.clone() }],
        extra: vec![(target, Ipv4Addr::new(10, 210, 0, 2))],
    };
    let view = canary();
    assert_eq!(ask(&view, "_http._tcp.canary.web.warren", Kind::Srv), expected);
    for wrong in ["_http._udp.web.warren", "_grpc._tcp.web.warren", "_http._tcp.x.web.warren"] {
        assert_eq!(ask(&view, wrong, Kind::Srv), Answer::NoSuchName, "{wrong}");
    }
    assert_eq!(ask(&view, "web.warren", Kind::Srv), Answer::NoData);
}

#[test]
fn a_known_service_without_a_ready_task_is_never_denied() {
    let mut down = service(&[(1, 1000)], vec![endpoint(1, 1, false), endpoint(2, 2, true)]);
    let known = view([("web", down.clone()), ("empty", service(&[], vec![]))]);
    for name in ["web", "stable.web", "v1.web", "empty", "v1.empty", "canary.empty"] {
        let name = format!("{name}.warren");
        for kind in [Kind::A, Kind::Aaaa, Kind::Other] {
            assert_eq!(ask(&known, &name, kind), Answer::NoData, "{name} {kind:?}");
        }
    }
    assert_eq!(ask(&known, "_http._tcp.web.warren", Kind::Srv), Answer::NoData);
    // A revision without a weight is not answered, but its own name is.
    assert_eq!(addresses(&ask(&known, "v2.web.warren", Kind::A)).len(), 1);
    down.stable = None;
    down.incoming = None;
    let resting = view([("web", down)]);
    for name in ["stable.web.warren", "canary.web.warren", "preview.web.warren"] {
        assert_eq!(ask(&resting, name, Kind::A), Answer::NoData, "{name}");
    }
}

#[test]
fn before_there_is_a_cluster_every_name_is_foreign() {
    let view = TrafficView::default();
    for name in ["", "web", "web.warren", "1.0.0.127.in-addr.arpa"] {
        assert_eq!(ask(&view, name, Kind::A), Answer::Foreign, "{name}");
    }
}

/// How often the first and how often a random record of an answer is a canary, of 100,000 draws.
fn shares(weight: u16, stable: u64, canary: u64) -> (f64, f64) {
    const DRAWS: u32 = 100_000;
    let endpoints = (1..=stable).map(|task| endpoint(task, 1, true));
    let canaries = (stable + 1..=stable + canary).map(|task| endpoint(task, 2, true));
    let traffic = service(&[(1, 1000 - weight), (2, weight)], endpoints.chain(canaries).collect());
    let index = Index::new(&view([("web", traffic)]), &BTreeSet::new(), None);
    let (pool, _) = index.pool(b"web", None).unwrap();
    let (mut first, mut any) = (0_u32, 0.0);
    for draw in 0..DRAWS {
        let drawn = pool.draw(u64::from(draw));
        let canary = |target: &&Target| target.task.0 > stable;
        first += u32::from(drawn.iter().next().filter(canary).is_some());
        let canaries = u32::try_from(drawn.iter().filter(canary).count()).unwrap();
        any += f64::from(canaries) / f64::from(u32::try_from(drawn.iter().len()).unwrap());
    }
    (f64::from(first) / f64::from(DRAWS), any / f64::from(DRAWS))
}

// req: B11
#[test]
fn shares_are_exact_for_clients_that_take_the_first_record_or_any() {
    for (weight, stable, canary) in [
        (100, 9, 1),
        (100, 3, 1),
        (10, 3, 1),
        (250, 3, 1),
        (333, 10, 5),
        (500, 4, 4),
        (500, 1, 7),
        (750, 10, 30),
        (999, 1, 3),
        (1000, 3, 3),
    ] {
        let wanted = f64::from(weight) / 1000.0;
        let (first, any) = shares(weight, stable, canary);
        for (client, share) in [("first", first), ("any", any)] {
            let off = (share - wanted).abs();
            assert!(off < 0.005, "{client} of {stable}+{canary} at {weight}: {share}");
        }
    }
}

#[test]
fn without_a_split_every_task_is_drawn_alike() {
    const DRAWS: u32 = 50_000;
    let tasks = (1..=20).map(|task| endpoint(task, 1 + u32::from(task > 15), true));
    let index = Index::new(&view([("web", service(&[], tasks.collect()))]), &BTreeSet::new(), None);
    let (pool, _) = index.pool(b"web", None).unwrap();
    let mut counts = [[0_u32; 21]; ANSWER_SIZE_MAX];
    for draw in 0..u64::from(DRAWS) {
        for (place, target) in pool.draw(draw).iter().enumerate() {
            counts[place][usize::try_from(target.task.0).unwrap()] += 1;
        }
    }
    for (place, counts) in counts.iter().enumerate() {
        for (task, count) in counts.iter().enumerate().skip(1) {
            let share = f64::from(*count) / f64::from(DRAWS);
            assert!((share - 0.05).abs() < 0.005, "task {task} at place {place}: {share}");
        }
    }
}

// req: B40
#[test]
fn answers_may_be_kept_for_five_seconds_at_rest_and_for_one_while_tasks_change() {
    let mut traffic = service(&[], vec![endpoint(1, 1, true)]);
    for (live, seconds) in [(false, 5), (true, 1)] {
        traffic.live = live;
        let view = view([("web", traffic.clone())]);
        let expected = found(seconds, vec![a("10.210.0.1")]);
        assert_eq!(ask(&view, "web.warren", Kind::A), expected);
        assert_eq!(ask(&view.cut_off(), "web.warren", Kind::A), found(1, vec![a("10.210.0.1")]));
    }
}

fn any_traffic() -> impl Strategy<Value = ServiceTraffic> {
    let endpoints = prop::collection::vec((1..4_u32, any::<bool>()), 0..24);
    let weights = prop_oneof![
        Just(vec![]),
        (0..=1000_u16).prop_map(|w| vec![(1, 1000 - w), (2, w)]),
        (0..=500_u16, 0..=500_u16).prop_map(|(v, w)| vec![(1, 1000 - v - w), (2, v), (3, w)]),
    ];
    (endpoints, weights, 1..1000_u64).prop_map(|(endpoints, weights, first)| {
        let endpoints = endpoints.into_iter().zip(first..);
        let endpoints = endpoints.map(|((revision, ready), task)| endpoint(task, revision, ready));
        service(&weights, endpoints.collect())
    })
}

fn any_view() -> impl Strategy<Value = TrafficView> {
    prop::collection::vec(any_traffic(), 0..4)
        .prop_map(|services| view(["db", "web", "api", "mail"].into_iter().zip(services)))
}

fn any_tasks() -> impl Strategy<Value = BTreeSet<u64>> {
    prop::collection::btree_set(1..40_u64, 0..6)
}

fn any_labels() -> impl Strategy<Value = Vec<String>> {
    let label = "[a-z0-9_.-]{1,8}|warren|node|web|arpa|in-addr|t1|v1|_tcp";
    prop::collection::vec(label, 0..7)
}

const NAMES: [&str; 16] = [
    "warren",
    "web.warren",
    "db.warren",
    "api.warren",
    "v1.web.warren",
    "v2.web.warren",
    "stable.db.warren",
    "canary.web.warren",
    "t2.web.warren",
    "_http._tcp.web.warren",
    "_http._tcp.v2.web.warren",
    "_tcp.web.warren",
    "one.node.warren",
    "5.0.210.10.in-addr.arpa",
    "1.2.0.192.in-addr.arpa",
    "example.com",
];
const KINDS: [Kind; 8] =
    [Kind::A, Kind::Aaaa, Kind::Srv, Kind::Ptr, Kind::Txt, Kind::Soa, Kind::Any, Kind::Other];

proptest! {
    /// Only ready tasks, each once, at most eight, and of each revision as many as its share of the
    /// answer rounded down or up.
    #[test]
    fn an_answer_holds_ready_tasks_of_revisions_that_have_a_share(
        traffic in any_traffic(),
        draw: u64,
    ) {
        let view = view([("web", traffic.clone())]);
        let given = addresses(&ask_with(&view, "web.warren", draw));
        let distinct: BTreeSet<_> = given.iter().collect();
        prop_assert_eq!(distinct.len(), given.len());
        prop_assert!(given.len() <= ANSWER_SIZE_MAX);
        let weight = |revision| {
            traffic.weights.iter().find(|(n, _)| *n == revision).map(|(_, weight)| *weight)
        };
        let eligible = |endpoint: &&Endpoint| {
            endpoint.ready
                && (traffic.weights.is_empty() || weight(endpoint.revision) > Some(Weight::ZERO))
        };
        let eligible: Vec<_> = traffic.endpoints.iter().filter(eligible).collect();
        prop_assert_eq!(given.is_empty(), eligible.is_empty());
        for address in &given {
            prop_assert!(eligible.iter().any(|endpoint| endpoint.address == *address));
        }
        let revisions: BTreeSet<_> = eligible.iter().map(|endpoint| endpoint.revision).collect();
        let total: usize =
            revisions.iter().filter_map(|n| weight(*n)).map(|w| usize::from(w.per_mille())).sum();
        for revision in revisions {
            let Some(weight) = weight(revision) else { continue };
            let ours = |address: &&Ipv4Addr| {
                eligible.iter().any(|e| e.revision == revision && e.address == **address)
            };
            let count = given.iter().filter(ours).count();
            let exact = given.len() * usize::from(weight.per_mille());
            prop_assert!(count >= exact / total && count <= exact.div_ceil(total));
        }
    }

    /// An index that grew from others answers as a new one does, and so does the same one again.
    #[test]
    fn an_index_forgets_its_past(
        views in prop::collection::vec((any_view(), any_tasks()), 1..5),
        keep in any::<bool>(),
        draw: u64,
    ) {
        let mut index: Option<Index> = None;
        let mut last: Option<TrafficView> = None;
        for (mut view, unready) in views {
            if let Some(last) = last.filter(|_| keep) {
                view.services.extend(last.services);
            }
            let unready = unready.into_iter().map(TaskId).collect();
            let grown = Index::new(&view, &unready, index.as_ref());
            let fresh = Index::new(&view, &unready, None);
            for (name, kind) in NAMES.into_iter().flat_map(|name| KINDS.map(|kind| (name, kind))) {
                let question = Question::new(name, kind);
                let answer = grown.answer(&question, draw);
                // Of two services with a task at one address, which gives the name is left open.
                if !name.ends_with("arpa") {
                    prop_assert_eq!(&answer, &fresh.answer(&question, draw), "{} {:?}", name, kind);
                }
                prop_assert_eq!(&answer, &grown.answer(&question, draw));
                let known = name.strip_suffix(".warren").and_then(|name| name.rsplit('.').next());
                let known = known.and_then(|name| ServiceName::parse(name).ok());
                if known.is_some_and(|name| view.services.contains_key(&name))
                    && !name.starts_with(['t', 'v', '_'])
                {
                    prop_assert_ne!(&answer, &Answer::NoSuchName);
                }
            }
            index = Some(grown);
            last = Some(view);
        }
    }

    /// What this node's agent says is down is in no answer.
    #[test]
    fn an_unready_task_is_left_out(traffic in any_traffic(), out: usize, draw: u64) {
        let view = view([("web", traffic.clone())]);
        let before = Index::new(&view, &BTreeSet::new(), None);
        prop_assume!(!traffic.endpoints.is_empty());
        let gone = &traffic.endpoints[out % traffic.endpoints.len()];
        let index = Index::new(&view, &[gone.task].into(), Some(&before));
        for name in ["web.warren".to_owned(), format!("{}.web.warren", gone.revision)] {
            let answer = index.answer(&Question::new(&name, Kind::A), draw);
            prop_assert!(!addresses(&answer).contains(&gone.address));
        }
        let own = format!("{}.web.warren", gone.task);
        prop_assert_eq!(index.answer(&Question::new(&own, Kind::A), draw), Answer::NoData);
    }

    /// Without a leader every task that was ready is kept, and a split falls back to the stable revision if it can.
    #[test]
    fn a_resolver_that_is_cut_off_answers_with_what_is_stable(traffic in any_traffic(), draw: u64) {
        let before = view([("web", traffic.clone())]);
        let view = before.cut_off();
        prop_assert_eq!(&view.services.values().next().unwrap().endpoints, &traffic.endpoints);
        let stable = |address: &Ipv4Addr| {
            let ours = |endpoint: &&Endpoint| endpoint.address == *address;
            traffic.endpoints.iter().find(ours).unwrap().revision == RevisionNumber(1)
        };
        let stable_ready =
            traffic.endpoints.iter().any(|e| e.ready && e.revision == RevisionNumber(1));
        let given = addresses(&ask_with(&view, "web.warren", draw));
        if stable_ready && !traffic.weights.is_empty() {
            prop_assert!(!given.is_empty() && given.iter().all(stable));
        } else {
            prop_assert_eq!(given, addresses(&ask_with(&before, "web.warren", draw)));
        }
    }

    /// No name, however odd, does harm, and only names of the zone are denied.
    #[test]
    fn any_labels_are_answered(
        labels in any_labels(),
        view in any_view(),
        kind in 0..KINDS.len(),
        draw: u64,
    ) {
        let labels: Vec<_> = labels.iter().map(String::as_bytes).collect();
        let inside = labels.last() == Some(&b"warren".as_slice());
        let answer = answer(&view, &Question { labels, kind: KINDS[kind] }, draw);
        prop_assert!(inside || answer != Answer::NoSuchName);
        prop_assert!(!inside || answer != Answer::Foreign);
    }
}

fn ask_with(view: &TrafficView, name: &str, draw: u64) -> Answer {
    answer(view, &Question::new(name, Kind::A), draw)
}
