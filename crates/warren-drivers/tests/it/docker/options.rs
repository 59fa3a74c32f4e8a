//! What a template asks of Docker beside the contract: mounts, ports, limits, resolvers, networks.

use super::{Engine, with_engine};
use crate::support::eventually;
use bollard::models::{HostConfig, NetworkCreateRequest};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use warren_core::spec::{Mount, MountKind, Port, Protocol, VolumeName};
use warren_core::units::{Bytes, MilliCpu};
use warren_drivers::runtime::contract::Bench;
use warren_drivers::runtime::{ContainerRef, Dns, NetworkSpec, RuntimeError, label};

fn mount(kind: MountKind, read_only: bool) -> Mount {
    Mount { kind, target: "/mnt".into(), read_only }
}

async fn host_config(engine: &Engine, id: &ContainerRef) -> HostConfig {
    engine.docker.inspect_container(&id.0, None).await.unwrap().host_config.unwrap()
}

#[tokio::test]
async fn a_bind_mount_must_exist_and_can_be_read_only() {
    with_engine("a_bind_mount_must_exist_and_can_be_read_only", async |engine| {
        let bench = Bench::new(engine).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().to_str().unwrap().to_owned();
        let mut spec = bench.spec(1, &["write", "/mnt/file", "hello"]);
        spec.template.mounts = vec![mount(MountKind::Bind { source: source.clone() }, false)];
        let (_, exit, output) = bench.output(&spec).await.unwrap();
        assert_eq!(exit.code, Some(0), "{output}");
        assert_eq!(std::fs::read_to_string(folder.path().join("file")).unwrap(), "hello");

        let mut spec = bench.spec(2, &["write", "/mnt/file", "again"]);
        spec.template.mounts = vec![mount(MountKind::Bind { source }, true)];
        let (_, exit, output) = bench.output(&spec).await.unwrap();
        assert_eq!(exit.code, Some(1));
        assert!(output.contains("Read-only"), "{output}");

        let mut spec = bench.spec(3, &["sleep"]);
        let source = "/no/such/folder".to_owned();
        spec.template.mounts = vec![mount(MountKind::Bind { source }, false)];
        match bench.runtime.create(&spec).await {
            Err(RuntimeError::Refused { why, .. }) => assert!(why.contains("/no/such/folder")),
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_volume_outlives_its_task_and_memory_does_not() {
    with_engine("a_volume_outlives_its_task_and_memory_does_not", async |engine| {
        let bench = Bench::new(engine).await.unwrap();
        let name = VolumeName::parse(&format!("v-{}", engine.scope.cluster)).unwrap();
        let mut spec = bench.spec(1, &["write", "/mnt/file", "kept"]);
        spec.template.mounts = vec![mount(MountKind::Volume { name: name.clone() }, false)];
        let (id, exit, output) = bench.output(&spec).await.unwrap();
        assert_eq!(exit.code, Some(0), "{output}");
        bench.runtime.remove(&id).await.unwrap();
        let mut spec = bench.spec(2, &["read", "/mnt/file"]);
        spec.template.mounts = vec![mount(MountKind::Volume { name }, true)];
        assert_eq!(bench.output(&spec).await.unwrap().2, "kept");

        let mut spec = bench.spec(3, &["write", "/mnt/file", "gone"]);
        let size = Some(Bytes::from_mib(1));
        spec.template.mounts = vec![mount(MountKind::Tmpfs { size }, false)];
        let (id, exit, output) = bench.output(&spec).await.unwrap();
        assert_eq!(exit.code, Some(0), "{output}");
        let mounts = host_config(engine, &id).await.mounts.unwrap();
        let options = mounts[0].tmpfs_options.as_ref().unwrap();
        assert_eq!(options.size_bytes, Some(1 << 20));
    })
    .await;
}

#[tokio::test]
async fn a_host_port_leads_to_one_task() {
    with_engine("a_host_port_leads_to_one_task", async |engine| {
        let bench = Bench::new(engine).await.unwrap();
        // A port that was free a moment ago.
        let free = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let host = free.local_addr().unwrap().port();
        drop(free);
        let port = Port { name: None, container: 8080, protocol: Protocol::Tcp, host: Some(host) };
        let mut spec = bench.spec(1, &["serve", "8080"]);
        spec.template.ports = vec![port];
        bench.run(&spec).await.unwrap();
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, host));
        eventually("an answer on the host's port", async || {
            let Ok(mut stream) = TcpStream::connect(target).await else { return false };
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.is_ok() && answer == "t1\n"
        })
        .await;
        let mut second = bench.spec(2, &["serve", "8080"]);
        second.template.ports = spec.template.ports.clone();
        let id = bench.runtime.create(&second).await.unwrap();
        match bench.runtime.start(&id).await {
            Err(RuntimeError::Conflict { why, .. }) => assert!(why.contains("port"), "{why}"),
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn limits_logs_and_resolvers_arrive() {
    with_engine("limits_logs_and_resolvers_arrive", async |engine| {
        let bench = Bench::new(engine).await.unwrap();
        let mut spec = bench.spec(1, &["sleep"]);
        spec.template.resources.memory_limit = Some(Bytes::from_mib(32));
        spec.template.resources.cpu_limit = Some(MilliCpu(250));
        spec.template.resources.pids_limit = Some(40);
        spec.dns = Dns { servers: vec![engine.network.gateway], search: vec!["warren".to_owned()] };
        let id = bench.run(&spec).await.unwrap();
        let host = host_config(engine, &id).await;
        assert_eq!((host.memory, host.memory_swap), (Some(32 << 20), Some(32 << 20)));
        assert_eq!((host.nano_cpus, host.pids_limit), (Some(250_000_000), Some(40)));
        assert_eq!(host.dns, Some(vec![engine.network.gateway.to_string()]));
        assert_eq!(host.dns_search, Some(vec!["warren".to_owned()]));
        assert_eq!(host.init, Some(true));
        let log = host.log_config.unwrap();
        assert_eq!(log.typ.as_deref(), Some("json-file"));
        let log = log.config.unwrap();
        assert_eq!((log["max-size"].as_str(), log["max-file"].as_str()), ("10485760", "3"));

        let mut spec = bench.spec(2, &["sleep"]);
        spec.template.resources.cpu_limit = Some(MilliCpu(1_000_000));
        match bench.runtime.create(&spec).await {
            Err(RuntimeError::Refused { why, .. }) => assert!(why.contains("CPU"), "{why}"),
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_network_is_found_by_its_label_and_never_taken() {
    with_engine("a_network_is_found_by_its_label_and_never_taken", async |engine| {
        let runtime = engine.runtime().await;
        runtime.prepare_network(&engine.network).await.unwrap();
        // The same name with other addresses is not what was asked for.
        let mut bytes = engine.network.gateway.octets();
        bytes[2] ^= 1;
        let base = Ipv4Addr::new(bytes[0], bytes[1], bytes[2], 0);
        let other = NetworkSpec {
            subnet: ipnet::Ipv4Net::new(base, 24).unwrap(),
            gateway: Ipv4Addr::from(bytes),
            ..engine.network.clone()
        };
        match runtime.prepare_network(&other).await {
            Err(RuntimeError::Conflict { why, .. }) => {
                assert!(why.contains(&engine.network.subnet.to_string()), "{why}");
            }
            other => panic!("{other:?}"),
        }
        // The same addresses under another name belong to the first.
        let taken = NetworkSpec { name: "wt-taken".into(), ..engine.network.clone() };
        match runtime.prepare_network(&taken).await {
            Err(error @ RuntimeError::Conflict { .. }) => {
                assert!(error.to_string().contains("another subnet"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_foreign_network_of_our_name_is_a_conflict() {
    with_engine("a_foreign_network_of_our_name_is_a_conflict", async |engine| {
        let bench = Bench::new(engine).await.unwrap();
        let foreign = |name: &str| NetworkCreateRequest {
            name: name.to_owned(),
            // Removed with the test by this label; not of this node, so not ours.
            labels: Some(HashMap::from([(label::CLUSTER.into(), engine.scope.cluster.clone())])),
            internal: Some(true),
            ..Default::default()
        };
        let name = format!("{}x", engine.network.name);
        engine.docker.create_network(foreign(&name)).await.unwrap();
        let wanted = NetworkSpec { name, ..engine.network.clone() };
        match bench.runtime.prepare_network(&wanted).await {
            Err(RuntimeError::Conflict { why, .. }) => assert!(why.contains("not Warren's")),
            other => panic!("{other:?}"),
        }
        // One that comes later keeps new tasks from starting; it is a matter of waiting, not of the task.
        engine.docker.create_network(foreign(&engine.network.name)).await.unwrap();
        let id = bench.runtime.create(&bench.spec(1, &["sleep"])).await.unwrap();
        match bench.runtime.start(&id).await {
            Err(error @ RuntimeError::Conflict { .. }) => {
                assert!(error.to_string().contains("ambiguous"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
}
