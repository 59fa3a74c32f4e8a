//! What is parsed renders to what parses the same, and what is wrong is refused by its name.

use super::strategies;
use super::*;
use crate::v1;
use ipnet::Ipv4Net;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use v1::health_check::Probe;
use warren_core::assignment::{Assignment, Want};
use warren_core::converge::Status;
use warren_core::id::{NodeId, RevisionNumber, ServiceId, Slot, TaskId};
use warren_core::node::{Encryption, WireGuard, WireGuardKey};
use warren_core::spec::{REPLICAS_MAX, UpdateSettings, profile};
use warren_core::task::{DeploymentState, End, Phase, Track};
use warren_core::traffic::{Endpoint, Host, ServiceTraffic, TrafficView};
use warren_core::units::Weight;

proptest! {
    #[test]
    fn specs_come_back_as_they_went(spec in strategies::service_spec()) {
        let message = spec::render(&spec);
        let bytes = prost::Message::encode_to_vec(&message);
        let message: v1::ServiceSpec = prost::Message::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(spec::parse_over(message, &spec.update.hooks), Ok(spec));
    }

    #[test]
    fn rendered_settings_replace_all_others(
        wanted in strategies::update(),
        base in strategies::update(),
    ) {
        // What cannot be said stays: steps, a time of monitoring and a profile that are absent.
        let keyed = UpdateSettings { hooks: wanted.hooks.clone(), ..base };
        let merged = update::merge(keyed.clone(), &update::render(&wanted)).unwrap();
        let under = wanted.profile.map_or(keyed, profile);
        let expected = UpdateSettings {
            strategy: under.strategy,
            profile: under.profile,
            steps: if wanted.steps.is_empty() { under.steps } else { wanted.steps.clone() },
            monitor: wanted.monitor.or(under.monitor),
            ..wanted
        };
        prop_assert_eq!(merged, expected);
    }

    #[test]
    fn empty_settings_keep_all(base in strategies::update()) {
        prop_assert_eq!(update::merge(base.clone(), &v1::UpdateConfig::default()), Ok(base));
    }

    #[test]
    fn assignments_come_back_as_they_went(
        name in strategies::service_name(),
        template in strategies::template(),
        restart in strategies::restart(),
        ids in any::<(u64, u64, u32, u32)>(),
        address in any::<Ipv4Addr>(),
        want in prop_oneof![Just(Want::Run), Just(Want::Stop), Just(Want::Keep)],
        strategy in proptest::sample::select(&warren_core::spec::Strategy::ALL[..]),
        state in proptest::sample::select(&DeploymentState::ALL[..]),
    ) {
        let (task, service, slot, revision) = ids;
        let assignment = Assignment {
            task: TaskId(task),
            service: ServiceId(service),
            slot: Slot(slot),
            revision: RevisionNumber(revision),
            track: Track { strategy, state },
            name, template, restart, address, want,
        };
        prop_assert_eq!(assignment::parse(assignment::render(&assignment)), Ok(assignment));
    }

    #[test]
    fn changes_lead_from_any_view_to_any_other(old in view(), new in view()) {
        let start = merge_into(&TrafficView::default(), traffic::full(&old, old.digest()));
        prop_assert_eq!(&start, &old);
        match traffic::changes(&old, &new, new.digest()) {
            Some(message) => prop_assert_eq!(merge_into(&start, message), new.clone()),
            None => prop_assert_eq!(&old, &new),
        }
        prop_assert_eq!(old == new, old.digest() == new.digest());
        let same = traffic::confirm(&old, old.digest());
        prop_assert_eq!(&merge_into(&old, same), &old);
        prop_assert_eq!(merge_into(&old, traffic::full(&new, new.digest())), new);
    }

    #[test]
    fn reports_come_back_as_they_went(
        id in any::<u64>(),
        phase in prop_oneof![Just(Phase::Assigned), Just(Phase::Running), Just(Phase::Failed)],
        flags in any::<(bool, Option<bool>, u32, bool)>(),
        detail in ".{0,40}",
        end in any::<(Option<i32>, bool)>(),
    ) {
        let (ready, healthy, restarts, waiting) = flags;
        let (code, out_of_memory) = end;
        let end = End { code, out_of_memory, message: detail.clone() };
        let end = phase.is_final().then_some(end);
        let task = TaskId(id);
        let status = Status { phase, ready, healthy, restarts, waiting, unseen: waiting, detail, end };
        prop_assert_eq!(task::parse(task::render(task, &status)), Ok((task, status)));
    }
}

fn merge_into(view: &TrafficView, message: v1::Traffic) -> TrafficView {
    traffic::merge(view, message).unwrap()
}

fn view() -> impl Strategy<Value = TrafficView> {
    use proptest::collection::{btree_map, vec};
    let name = prop_oneof![Just("api"), Just("web"), Just("db")].prop_map(|n| n.parse().unwrap());
    let host = prop_oneof![Just("one"), Just("two")].prop_map(|n| n.parse().unwrap());
    let endpoint = (0..9_u64, 1..3_u32, any::<Ipv4Addr>(), any::<bool>()).prop_map(
        |(task, revision, address, ready)| Endpoint {
            task: TaskId(task),
            revision: RevisionNumber(revision),
            node: NodeId(1),
            address,
            ready,
        },
    );
    // In the order of task ids, each task once, as a view has them.
    let endpoints = vec(endpoint, 0..6).prop_map(|endpoints: Vec<Endpoint>| {
        let by_task = endpoints.into_iter().map(|endpoint| (endpoint.task, endpoint));
        by_task.collect::<BTreeMap<_, _>>().into_values().collect::<Vec<_>>()
    });
    let weight = (1..4_u32, 0..=1000_u16)
        .prop_map(|(v, w)| (RevisionNumber(v), Weight::from_per_mille(w).unwrap()));
    let revision = || proptest::option::of((1..4_u32).prop_map(RevisionNumber));
    let names = (vec(strategies::port(), 0..3), endpoints, vec(weight, 0..3));
    let revisions = (revision(), revision(), revision());
    let service = (names, revisions, any::<(u64, bool)>()).prop_map(
        |((ports, endpoints, weights), (stable, incoming, outgoing), (split_epoch, live))| {
            Arc::new(ServiceTraffic {
                split_epoch,
                weights,
                stable,
                incoming,
                outgoing,
                live,
                ports,
                endpoints,
            })
        },
    );
    let services = btree_map(name, service, 0..4);
    let address = any::<std::net::IpAddr>();
    let subnet =
        prop::option::of((0..255_u8).prop_map(|c| Ipv4Net::new_assert([10, 210, c, 0].into(), 24)));
    let at = (0..9_u64, address, subnet, encryption());
    let at = at.prop_map(|(node, address, subnet, encryption)| Host {
        node: NodeId(node),
        address,
        subnet,
        encryption,
    });
    let hosts = btree_map(host, at, 0..3);
    (0..9_u64, "[a-z]{1,5}", services, hosts)
        .prop_map(|(epoch, zone, services, hosts)| TrafficView { epoch, zone, services, hosts })
}

fn encryption() -> impl Strategy<Value = Encryption> {
    let known = (any::<[u8; 32]>(), 1..=u16::MAX);
    let known = known.prop_map(|(key, port)| WireGuard { key: WireGuardKey(key), port });
    (prop::option::of(known), any::<bool>())
        .prop_map(|(wireguard, only)| Encryption { wireguard, only })
}

/// A spec with nothing but what it must have.
fn least() -> v1::ServiceSpec {
    v1::ServiceSpec {
        name: "web".to_owned(),
        template: Some(v1::TaskTemplate { image: "web:v1".to_owned(), ..Default::default() }),
        ..Default::default()
    }
}

fn refused(change: impl FnOnce(&mut v1::ServiceSpec)) -> FieldError {
    let mut spec = least();
    change(&mut spec);
    spec::parse(spec).unwrap_err()
}

fn refused_in(change: impl FnOnce(&mut v1::TaskTemplate)) -> String {
    refused(|spec| change(spec.template.as_mut().unwrap())).field
}

fn refused_update(change: impl FnOnce(&mut v1::UpdateConfig)) -> String {
    refused(|spec| change(spec.update_config.get_or_insert_default())).field
}

#[test]
fn the_least_spec_has_every_default() {
    let spec = spec::parse(least()).unwrap();
    assert_eq!(spec.mode, warren_core::spec::Mode::Replicated { replicas: 1 });
    assert_eq!(spec.update, UpdateSettings::default());
    assert_eq!(spec.restart, warren_core::spec::RestartPolicy::default());
    assert_eq!(spec.template, warren_core::spec::Template::new("web:v1".parse().unwrap()));
}

#[test]
fn specs_are_refused_by_the_name_of_the_field() {
    let replicas = |n| v1::service_spec::Mode::Replicated(v1::Replicated { replicas: Some(n) });
    assert_eq!(refused(|s| s.name = "Web".into()).field, "name");
    assert_eq!(refused(|s| s.mode = Some(replicas(REPLICAS_MAX + 1))).field, "replicated.replicas");
    assert_eq!(refused(|s| s.strategy = Some(9)).field, "strategy");
    assert_eq!(refused(|s| s.template = None).field, "template.image");
    let restart = |change: fn(&mut v1::RestartPolicy)| {
        refused(|s| change(s.restart.get_or_insert_default())).field
    };
    assert_eq!(restart(|r| r.condition = "sometimes".into()), "restart.condition");
    assert_eq!(restart(|r| r.delay_ms = Some(0)), "restart.delay_ms");
    assert_eq!(restart(|r| r.delay_max_ms = Some(999)), "restart.delay_max_ms");
    assert_eq!(restart(|r| r.window_ms = Some(0)), "restart.window_ms");
    assert_eq!(restart(|r| r.stop_after_ms = Some(9_999)), "restart.stop_after_ms");
    let placement = |change: fn(&mut v1::Placement)| {
        refused(|s| change(s.placement.get_or_insert_default())).field
    };
    assert_eq!(placement(|p| p.constraints = vec!["node.id".into()]), "placement.constraints[0]");
    assert_eq!(
        placement(|p| p.constraints = vec!["node.id==n1".into(); 33]),
        "placement.constraints"
    );
    assert_eq!(placement(|p| p.spread = vec!["a".into(), "!".into()]), "placement.spread[1]");
    for (key, value) in [("warren.service", "web"), ("", "x"), ("a", "\0")] {
        let error = refused(|s| drop(s.labels.insert(key.into(), value.into())));
        assert_eq!(error.field, "labels", "{key}");
    }
}

#[test]
fn templates_are_refused_by_the_name_of_the_field() {
    let port = |container, host| v1::Port { container, host, ..Default::default() };
    for (field, at) in [("ports[1].host", port(81, 70_000)), ("ports[1].container", port(0, 0))] {
        let field = format!("template.{field}");
        assert_eq!(refused_in(|t| t.ports = vec![port(80, 0), at.clone()]), field);
    }
    let ports = |port: v1::Port| refused_in(|t| t.ports = vec![port]);
    assert_eq!(ports(v1::Port { protocol: 7, ..port(80, 0) }), "template.ports[0].protocol");
    assert_eq!(ports(v1::Port { name: "a b".into(), ..port(80, 0) }), "template.ports[0].name");
    assert_eq!(refused_in(|t| t.image = "a b".into()), "template.image");
    assert_eq!(refused_in(|t| t.pull = 3), "template.pull");
    assert_eq!(refused_in(|t| t.stop_signal = "SIGNAL".into()), "template.stop_signal");
    assert_eq!(refused_in(|t| t.stop_timeout_ms = Some(u64::MAX)), "template.stop_timeout_ms");
    assert_eq!(refused_in(|t| t.working_dir = "app".into()), "template.working_dir");
    assert_eq!(refused_in(|t| t.user = "a b".into()), "template.user");
    assert_eq!(refused_in(|t| t.command = vec!["a".into(), "\0".into()]), "template.command[1]");
    assert_eq!(refused_in(|t| t.pinned = "a b".into()), "template.pinned");
    for name in ["", "A=B", "A B", "A\n", "A\0"] {
        assert_eq!(refused_in(|t| drop(t.env.insert(name.into(), String::new()))), "template.env");
    }
    assert_eq!(refused_in(|t| drop(t.env.insert("A".into(), "\0".into()))), "template.env");
    let megabyte = "x".repeat(1 << 20);
    assert_eq!(refused_in(|t| drop(t.env.insert("A".into(), megabyte))), "template.env");
    let mount = |target: &str, source| {
        let mount = v1::Mount { target: target.into(), read_only: false, source };
        refused_in(|t| t.mounts = vec![mount])
    };
    let bind = |path: &str| Some(v1::mount::Source::Bind(path.into()));
    assert_eq!(mount("data", bind("/data")), "template.mounts[0].target");
    assert_eq!(mount("//", bind("/data")), "template.mounts[0].target");
    assert_eq!(mount("/data", bind("/data/../etc")), "template.mounts[0].bind");
    assert_eq!(mount("/data", None), "template.mounts[0].source");
    let resources = |change: fn(&mut v1::Resources)| {
        refused_in(|t| change(t.resources.get_or_insert_default()))
    };
    assert_eq!(
        resources(|r| r.memory_limit_bytes = 5 << 20),
        "template.resources.memory_limit_bytes"
    );
    assert_eq!(resources(|r| r.cpu_limit_milli = 9), "template.resources.cpu_limit_milli");
    let more = resources(|r| {
        r.memory_limit_bytes = 64 << 20;
        r.memory_reservation_bytes = Some(65 << 20);
    });
    assert_eq!(more, "template.resources.memory_reservation_bytes");
}

#[test]
fn checks_are_refused_by_the_name_of_the_field() {
    let tcp = || v1::HealthCheck {
        probe: Some(Probe::Tcp(v1::TcpProbe { port: 80 })),
        ..Default::default()
    };
    let with = |probe| v1::HealthCheck { probe: Some(probe), ..Default::default() };
    let http = |path: &str| with(Probe::Http(v1::HttpProbe { port: 80, path: path.into() }));
    let cases = [
        ("probe", v1::HealthCheck::default()),
        ("tcp.port", with(Probe::Tcp(v1::TcpProbe { port: 0 }))),
        ("http.path", http("health")),
        ("http.path", http("/a b")),
        ("exec.command", with(Probe::Exec(v1::ExecProbe { command: vec![] }))),
        ("interval_ms", v1::HealthCheck { interval_ms: Some(99), ..tcp() }),
        ("timeout_ms", v1::HealthCheck { timeout_ms: Some(0), ..tcp() }),
        ("retries", v1::HealthCheck { retries: Some(0), ..tcp() }),
        ("successes", v1::HealthCheck { successes: Some(0), ..tcp() }),
    ];
    for (field, check) in cases {
        let (health, readiness) = (check.clone(), check);
        assert_eq!(refused_in(|t| t.health = Some(health)), format!("template.health.{field}"));
        let field = format!("template.readiness.{field}");
        assert_eq!(refused_in(|t| t.readiness = Some(readiness)), field);
    }
    assert!(health::parse(tcp()).is_ok() && health::parse(http("")).is_ok());
}

#[test]
fn update_numbers_are_refused_by_the_name_of_the_field() {
    type Change = fn(&mut v1::UpdateConfig);
    let cases: [(&str, Change); 10] = [
        ("failure_action", |u| u.failure_action = Some("explode".into())),
        ("order", |u| u.order = Some("random".into())),
        ("surge", |u| u.surge = Some("lots".into())),
        ("unavailable", |u| (u.max_unavailable, u.unavailable) = (Some(1), Some("1".into()))),
        ("delay_ms", |u| (u.delay_seconds, u.delay_ms) = (Some(1), Some(1000))),
        ("max_failure_percent", |u| u.max_failure_percent = Some(101)),
        ("canary_weight", |u| u.canary_weight = Some(400)),
        ("canary_steps[2]", |u| u.canary_steps = vec![10, 50, 20]),
        ("healthy_deadline_ms", |u| u.healthy_deadline_ms = Some(0)),
        ("max_surge, max_unavailable", |u| u.max_surge = Some(0)),
    ];
    for (field, change) in cases {
        assert_eq!(refused_update(change), format!("update_config.{field}"));
    }
}

#[test]
fn a_hello_asks_for_a_registration() {
    use warren_core::command::Command;
    let hello = v1::Hello {
        key: "k1".into(),
        hostname: "one".into(),
        address: "10.0.0.1".into(),
        platform: "linux/amd64".into(),
        cpu_milli: 2000,
        memory_bytes: 1 << 30,
        runtime: "process".into(),
        version: "0.1.0".into(),
        feature_level: warren_core::level::Level::OURS.0,
        manager: true,
        subnet: "10.210.1.0/24".into(),
        ..Default::default()
    };
    let mut facts = node::facts(&hello).unwrap();
    assert_eq!(facts.encryption, Encryption::default());
    let wireguard = Some(WireGuard { key: WireGuardKey([7; 32]), port: 7403 });
    facts.encryption = Encryption { wireguard, only: true };
    assert_eq!(node::facts(&node::hello(&facts)), Ok(facts));
    let Ok(Command::RegisterNode { key, subnet, .. }) = node::registration(hello.clone()) else {
        panic!("not a registration");
    };
    assert_eq!((key.as_str(), subnet), ("k1", Some("10.210.1.0/24".parse().unwrap())));
    let field = |hello: v1::Hello| node::registration(hello).unwrap_err().field;
    let said = v1::Encryption { wireguard_key: vec![7; 32], wireguard_port: 7403, only: false };
    let encrypts = |said| v1::Hello { encryption: Some(said), ..hello.clone() };
    for wireguard_port in [0, 65_536] {
        let nowhere = v1::Encryption { wireguard_port, ..said.clone() };
        assert_eq!(field(encrypts(nowhere)), "encryption.wireguard_port");
    }
    let short = v1::Encryption { wireguard_key: vec![7; 31], ..said };
    assert_eq!(field(encrypts(short)), "encryption.wireguard_key");
    assert_eq!(field(v1::Hello { hostname: "One!".into(), ..hello.clone() }), "hostname");
    assert_eq!(field(v1::Hello { address: "here".into(), ..hello.clone() }), "address");
    assert_eq!(field(v1::Hello { key: String::new(), ..hello.clone() }), "key");
    assert_eq!(field(v1::Hello { subnet: "10.0.0.0".into(), ..hello }), "subnet");
}

#[test]
fn reports_that_contradict_themselves_are_refused() {
    let status = |phase: &str, end| v1::TaskStatus {
        task_id: "t1".into(),
        phase: phase.into(),
        end,
        ..Default::default()
    };
    let end = Some(v1::TaskEnd::default());
    assert_eq!(task::parse(status("running", end)).unwrap_err().field, "end");
    assert_eq!(task::parse(status("exploded", None)).unwrap_err().field, "phase");
    let long = v1::TaskStatus { detail: "é".repeat(4000), ..status("failed", None) };
    let (_, status) = task::parse(long).unwrap();
    assert!(status.detail.len() <= task::DETAIL_BYTES_MAX);
    assert!(status.end.is_some());
}
