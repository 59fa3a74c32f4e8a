//! Guests of different machines, behind rules as Docker makes them: they reach each other by their own addresses.

use std::net::{Ipv4Addr, SocketAddrV4};
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

/// One guest for each machine, and what Docker does to a machine: nothing is passed on but what it has published, and
/// what leaves is hidden behind the machine's own address.
fn guests(bed: &Testbed) -> anyhow::Result<Vec<Guest>> {
    let all = bed.machines().iter().enumerate().map(|(index, machine)| {
        let guest = bed.guest(index, subnet(index), 4)?;
        machine.namespace.run("iptables", &["-P", "FORWARD", "DROP"], "")?;
        let (from, to) = (["-i", GUESTS, "-j", "ACCEPT"], subnet(index).to_string());
        machine.namespace.run("iptables", &[&["-A", "FORWARD"], &from[..]].concat(), "")?;
        let hide = ["-t", "nat", "-A", "POSTROUTING", "-s", &to, "!", "-o", GUESTS];
        let hide = [&hide[..], &["-j", "MASQUERADE"]].concat();
        machine.namespace.run("iptables", &hide, "")?;
        Ok(guest)
    });
    all.collect()
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

fn measured(from: &Guest, to: &Guest) -> anyhow::Result<Figures> {
    const BYTES: usize = 256 * 1024 * 1024;
    let sink = Sink::open(&to.0, SocketAddrV4::new(to.1, 0), 2)?;
    let figures = pump::measure(&from.0, sink.address, BYTES)?;
    sink.seen()?;
    Ok(figures)
}

/// Figures for people; what is asserted is only that all bytes arrive.
async fn compare(bed: &Testbed) -> anyhow::Result<()> {
    let guests = guests(bed)?;
    let at = |index: usize| {
        let machine = bed.machine(index);
        (machine.namespace.clone(), machine.address)
    };
    let plain = measured(&at(0), &at(1))?;
    show("machine to machine, plain veth", plain, plain);
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
