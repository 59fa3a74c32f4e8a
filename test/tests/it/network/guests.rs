//! Guests of different machines, behind rules as Docker makes them: they reach each other by their own addresses.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use warren_drivers::network::Backend;
use warren_test::testbed::pump::{self, Figures, Sink};
use warren_test::testbed::{GUESTS, Namespace, Plan, Testbed};

use super::{build, read, settle_all, settle_one, subnet};

/// Far more than a packet on one machine needs.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a packet that is dropped is waited for.
const BRIEF: Duration = Duration::from_millis(400);

type Guest = (Arc<Namespace>, Ipv4Addr);

/// One guest for each machine.
fn bare_guests(bed: &Testbed) -> anyhow::Result<Vec<Guest>> {
    (0..bed.machines().len()).map(|index| bed.guest(index, subnet(index), 4)).collect()
}

/// One guest for each machine, and what Docker does to a machine: nothing is passed on but what it has published, and
/// what leaves is hidden behind the machine's own address.
fn guests(bed: &Testbed) -> anyhow::Result<Vec<Guest>> {
    let guests = bare_guests(bed)?;
    as_docker_does(bed)?;
    Ok(guests)
}

fn as_docker_does(bed: &Testbed) -> anyhow::Result<()> {
    for (index, machine) in bed.machines().iter().enumerate() {
        machine.namespace.run("iptables", &["-P", "FORWARD", "DROP"], "")?;
        let (from, to) = (["-i", GUESTS, "-j", "ACCEPT"], subnet(index).to_string());
        machine.namespace.run("iptables", &[&["-A", "FORWARD"], &from[..]].concat(), "")?;
        let hide = ["-t", "nat", "-A", "POSTROUTING", "-s", &to, "!", "-o", GUESTS];
        let hide = [&hide[..], &["-j", "MASQUERADE"]].concat();
        machine.namespace.run("iptables", &hide, "")?;
    }
    Ok(())
}

/// One guest reaches another, which sees its own address.
fn reaches(from: &Guest, to: &Guest) -> anyhow::Result<()> {
    let sink = Sink::open(&to.0, SocketAddrV4::new(to.1, 0), 1)?;
    pump::echo(&from.0, sink.address, PATIENCE)?;
    let seen = sink.seen()?;
    ensure!(seen.len() == 1 && seen[0].ip() == from.1, "{} came as {seen:?}", from.1);
    Ok(())
}

fn does_not_reach(from: &Guest, to: &Guest) -> anyhow::Result<()> {
    let sink = Sink::open(&to.0, SocketAddrV4::new(to.1, 0), 1)?;
    ensure!(pump::echo(&from.0, sink.address, BRIEF).is_err(), "{} reaches {}", from.1, to.1);
    Ok(())
}

async fn they_reach_each_other(test: &str, backend: Backend, links: usize) -> anyhow::Result<()> {
    let plan = Plan { links, ..Plan::machines(3) };
    let Some(bed) = build(test, plan).await else { return Ok(()) };
    let guests = guests(&bed)?;
    does_not_reach(&guests[0], &guests[1])?;
    settle_all(&bed, backend).await?;
    for from in &guests {
        for to in guests.iter().filter(|to| to.1 != from.1) {
            reaches(from, to)?;
        }
    }
    // A machine reaches its peers' guests as one of its own subnet.
    let machine = (bed.machine(0).namespace.clone(), Ipv4Addr::new(10, 210, 1, 1));
    reaches(&machine, &guests[2])?;
    // What nobody has is not looked for in the world.
    let nobody = SocketAddr::new(Ipv4Addr::new(10, 210, 250, 4).into(), 80);
    let error = pump::connect(&guests[0].0, nobody, PATIENCE).expect_err("nobody is there");
    ensure!(
        format!("{error:#}").contains("unreachable") || format!("{error:#}").contains("No route"),
        "{error:#}"
    );
    // What is cut between machines is cut between their guests.
    bed.part(&[0])?;
    does_not_reach(&guests[0], &guests[1])?;
    bed.heal()?;
    reaches(&guests[0], &guests[1])?;
    // Without a wish all is as before.
    let gone = settle_one(&bed, 1, None).await?;
    ensure!(gone.problems.is_empty(), "{gone:?}");
    let actual = read(&bed, 1).await?;
    ensure!(actual.routes.is_empty() && actual.tunnel.is_none(), "{actual:?}");
    does_not_reach(&guests[0], &guests[1])?;
    reaches(&guests[0], &guests[2])
}

#[tokio::test]
async fn guests_reach_each_other_directly_on_one_link() {
    let test = "guests_reach_each_other_directly_on_one_link";
    they_reach_each_other(test, Backend::HostGw, 1).await.unwrap();
}

#[tokio::test]
async fn guests_reach_each_other_through_a_tunnel_on_one_link() {
    let test = "guests_reach_each_other_through_a_tunnel_on_one_link";
    they_reach_each_other(test, Backend::Vxlan, 1).await.unwrap();
}

#[tokio::test]
async fn guests_reach_each_other_by_the_way_that_each_peer_needs() {
    let test = "guests_reach_each_other_by_the_way_that_each_peer_needs";
    // m1 and m3 are on one link, m2 on another.
    they_reach_each_other(test, Backend::Auto, 2).await.unwrap();
}

fn show(name: &str, figures: Figures, beside: Figures) {
    let speed = figures.bytes_per_second / beside.bytes_per_second;
    let trip = figures.round_trip.as_secs_f64() / beside.round_trip.as_secs_f64();
    let gigabits = figures.bytes_per_second * 8.0 / 1e9;
    warren_test::say(&format!(
        "{name}: {gigabits:.1} Gbit/s ({speed:.2}x), round trip {:?} ({trip:.2}x)",
        figures.round_trip
    ));
}

/// The best of a few runs: the one that the rest of the machine has disturbed least.
fn measured(from: &Guest, to: &Guest) -> anyhow::Result<Figures> {
    const BYTES: usize = 128 * 1024 * 1024;
    const RUNS: usize = 3;
    let sink = Sink::open(&to.0, SocketAddrV4::new(to.1, 0), 2 * RUNS)?;
    let mut best = pump::measure(&from.0, sink.address, BYTES)?;
    for _ in 1..RUNS {
        let figures = pump::measure(&from.0, sink.address, BYTES)?;
        best.bytes_per_second = best.bytes_per_second.max(figures.bytes_per_second);
        best.round_trip = best.round_trip.min(figures.round_trip);
    }
    sink.seen()?;
    Ok(best)
}

/// Routes written by hand and no rules at all: what the veths themselves give.
fn route_by_hand(bed: &Testbed, verb: &str) -> anyhow::Result<()> {
    for (from, machine) in bed.machines().iter().enumerate() {
        machine.namespace.sysctl("net.ipv4.ip_forward", "1")?;
        for (to, peer) in bed.machines().iter().enumerate().filter(|(to, _)| *to != from) {
            let (subnet, address) = (subnet(to).to_string(), peer.address.to_string());
            machine.namespace.ip(&["route", verb, &subnet, "via", &address])?;
        }
    }
    Ok(())
}

/// Figures for people; what is asserted is only that all bytes arrive.
async fn compare(bed: &Testbed) -> anyhow::Result<()> {
    let guests = bare_guests(bed)?;
    route_by_hand(bed, "add")?;
    let plain = measured(&guests[0], &guests[1])?;
    show("guest to guest, plain routes and veths", plain, plain);
    route_by_hand(bed, "del")?;
    as_docker_does(bed)?;
    for backend in [Backend::HostGw, Backend::Vxlan] {
        settle_all(bed, backend).await?;
        show(&format!("guest to guest, {backend}"), measured(&guests[0], &guests[1])?, plain);
    }
    Ok(())
}

#[tokio::test]
async fn all_bytes_arrive_and_how_fast() {
    let test = "all_bytes_arrive_and_how_fast";
    let Some(bed) = build(test, Plan::machines(2)).await else { return };
    compare(&bed).await.unwrap();
}
