//! Containers of two real engines on two machines.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bollard::models::{ContainerCreateBody, HostConfig, Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::{CreateContainerOptions, StartContainerOptions};
use warren_drivers::network::{Backend, Rules};
use warren_test::testbed::pump::{self, Sink};
use warren_test::testbed::{Engines, Namespace, Plan, Testbed};
use warren_test::wait;

use super::{build, read, settle_all, subnet};

/// Far more than a packet on one machine needs.
const PATIENCE: Duration = Duration::from_secs(5);
/// Long for anything here.
const SOON: Duration = Duration::from_secs(60);
/// The name of the network and of the container in each engine.
const NAME: &str = "tasks";

/// Starts a container with an address of the machine's subnet, on a network as Warren makes it.
async fn container(bed: &Testbed, index: usize) -> anyhow::Result<()> {
    let image = bed.machine(index).web_image("v1").await?;
    let docker = engine(bed, index)?;
    let pool = IpamConfig { subnet: Some(subnet(index).to_string()), ..IpamConfig::default() };
    let network = NetworkCreateRequest {
        name: NAME.to_owned(),
        driver: Some("bridge".to_owned()),
        ipam: Some(Ipam { config: Some(vec![pool]), ..Ipam::default() }),
        ..NetworkCreateRequest::default()
    };
    docker.create_network(network).await?;
    let body = ContainerCreateBody {
        image: Some(image),
        host_config: Some(HostConfig {
            network_mode: Some(NAME.to_owned()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let named = CreateContainerOptions { name: Some(NAME.to_owned()), platform: String::new() };
    docker.create_container(Some(named), body).await?;
    start(bed, index).await
}

async fn start(bed: &Testbed, index: usize) -> anyhow::Result<()> {
    Ok(engine(bed, index)?.start_container(NAME, None::<StartContainerOptions>).await?)
}

fn engine(bed: &Testbed, index: usize) -> anyhow::Result<bollard::Docker> {
    bed.machine(index).engine.as_ref().context("an engine")?.client()
}

/// The container's network and its address in it.
async fn inside(bed: &Testbed, index: usize) -> anyhow::Result<(Namespace, Ipv4Addr)> {
    let found = engine(bed, index)?.inspect_container(NAME, None).await?;
    let pid = found.state.and_then(|state| state.pid).context("a process")?;
    let networks = found.network_settings.and_then(|settings| settings.networks);
    let network = networks.and_then(|networks| networks.get(NAME).cloned()).context("a network")?;
    let address = network.ip_address.context("an address")?;
    Ok((Namespace::of_process(u32::try_from(pid)?)?, address.parse()?))
}

async fn reach_each_other(bed: &Testbed) -> anyhow::Result<()> {
    for (from, to) in [(0, 1), (1, 0)] {
        let (from, own) = inside(bed, from).await?;
        let (to, address) = inside(bed, to).await?;
        let sink = Sink::open(&to, SocketAddrV4::new(address, 0), 1)?;
        pump::echo(&from, sink.address, PATIENCE)?;
        let seen = sink.seen()?;
        ensure!(seen.len() == 1 && seen[0].ip() == own, "{own} came as {seen:?}");
    }
    Ok(())
}

async fn live_through_their_engine(bed: &mut Testbed, backend: Backend) -> anyhow::Result<()> {
    container(bed, 0).await?;
    container(bed, 1).await?;
    ensure!(reach_each_other(bed).await.is_err(), "Docker alone lets nothing through");
    settle_all(bed, backend).await?;
    reach_each_other(bed).await?;
    // The engine writes its own rules again when it comes back, some of them first.
    bed.engine(0).stop().await?;
    bed.engine(0).resume().await?;
    start(bed, 0).await?;
    settle_all(bed, backend).await?;
    ensure!(read(bed, 0).await?.rules == Rules::Right);
    wait::until("they reach each other again", SOON, async || reach_each_other(bed).await).await
}

#[tokio::test]
async fn containers_reach_each_other_directly() {
    let test = "containers_reach_each_other_directly";
    let plan = Plan { engines: Engines::Plain, ..Plan::machines(2) };
    let Some(mut bed) = build(test, plan).await else { return };
    live_through_their_engine(&mut bed, Backend::HostGw).await.unwrap();
}

#[tokio::test]
async fn containers_reach_each_other_through_a_tunnel() {
    let test = "containers_reach_each_other_through_a_tunnel";
    let plan = Plan { machines: 2, links: 2, engines: Engines::Plain };
    let Some(mut bed) = build(test, plan).await else { return };
    live_through_their_engine(&mut bed, Backend::Auto).await.unwrap();
}
