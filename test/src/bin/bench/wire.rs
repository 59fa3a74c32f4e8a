//! How fast guests of two machines reach each other: through routes and tunnels as Warren makes them, beside plain
//! routes between the same veths.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use anyhow::Context as _;
use ipnet::Ipv4Net;
use warren_core::id::NodeId;
use warren_core::node::Encryption;
use warren_drivers::network::kernel::Kernel;
use warren_drivers::network::{Backend, Owner, Peer, Wish, settle};
use warren_test::testbed::pump::{self, Figures, Sink};
use warren_test::testbed::{Namespace, Plan, Testbed, or_skip};

use crate::{Figure, Unit, row};

/// In each run, and how many runs; the best counts: the one that the rest of the machine has disturbed least.
const BYTES: usize = 256 << 20;
const RUNS: usize = 5;

pub(crate) async fn run() -> anyhow::Result<()> {
    let Some(bed) = or_skip("bench wire", Testbed::build(Plan::machines(2)).await) else {
        return Ok(());
    };
    let guests = (0..2).map(|index| bed.guest(index, subnet(index)?, 4));
    let guests: Vec<_> = guests.collect::<anyhow::Result<_>>()?;
    route_by_hand(&bed, "add")?;
    let mut plain = measured(&guests[0], &guests[1])?;
    route_by_hand(&bed, "del")?;
    for (backend, aim) in [(Backend::HostGw, "≥ 0.95×"), (Backend::Vxlan, "≥ 0.8×")] {
        settle_all(&bed, backend).await?;
        let ours = measured(&guests[0], &guests[1])?;
        unsettle_all(&bed).await?;
        // Beside each other in time, so that a noisy minute hits both.
        route_by_hand(&bed, "add")?;
        let again = measured(&guests[0], &guests[1])?;
        route_by_hand(&bed, "del")?;
        plain = better(plain, again);
        show(backend, ours, plain, aim);
    }
    Ok(())
}

fn show(backend: Backend, ours: Figures, plain: Figures, aim: &str) {
    let mebibytes = |figures: Figures| figures.bytes_per_second / f64::from(1 << 20);
    let figure = |figures| Figure { value: mebibytes(figures), unit: Unit::MebibytesPerSecond };
    let peer = Some(("plain routes", figure(plain)));
    row(&format!("throughput between guests of two machines, {backend}"), figure(ours), peer, aim);
    let trip = |figures: Figures| figures.round_trip.as_secs_f64() * 1e3;
    let figure = |figures| Figure { value: trip(figures), unit: Unit::Milliseconds };
    let peer = Some(("plain routes", figure(plain)));
    row(&format!("round trip between guests of two machines, {backend}"), figure(ours), peer, "–");
}

fn subnet(index: usize) -> anyhow::Result<Ipv4Net> {
    format!("10.210.{}.0/24", index + 1).parse().context("a subnet")
}

fn owner() -> anyhow::Result<Owner> {
    Ok(Owner { tag: "0123abcd".into(), pool: "10.210.0.0/16".parse()? })
}

fn wish(bed: &Testbed, index: usize, backend: Backend) -> anyhow::Result<Wish> {
    let other = 1 - index;
    let address = bed.machine(other).address;
    let (node, encryption) = (NodeId(other as u64 + 1), Encryption::default());
    let peer = Peer { node, address, subnet: subnet(other)?, encryption };
    let (address, subnet) = (bed.machine(index).address, subnet(index)?);
    Ok(Wish { owner: owner()?, backend, address, subnet, wire: None, peers: vec![peer] })
}

async fn settle_all(bed: &Testbed, backend: Backend) -> anyhow::Result<()> {
    for index in 0..2 {
        let wish = wish(bed, index, backend)?;
        settle_one(bed, index, Some(&wish)).await?;
    }
    Ok(())
}

async fn unsettle_all(bed: &Testbed) -> anyhow::Result<()> {
    settle_one(bed, 0, None).await?;
    settle_one(bed, 1, None).await
}

async fn settle_one(bed: &Testbed, index: usize, wish: Option<&Wish>) -> anyhow::Result<()> {
    let _inside = bed.machine(index).namespace.enter()?;
    let settled = settle(&Kernel::new(owner()?), wish).await?;
    anyhow::ensure!(settled.problems.is_empty(), "{settled:?}");
    Ok(())
}

fn measured(
    from: &(Arc<Namespace>, Ipv4Addr),
    to: &(Arc<Namespace>, Ipv4Addr),
) -> anyhow::Result<Figures> {
    let sink = Sink::open(&to.0, SocketAddrV4::new(to.1, 0), 2 * RUNS)?;
    let mut best = pump::measure(&from.0, sink.address, BYTES)?;
    for _ in 1..RUNS {
        best = better(best, pump::measure(&from.0, sink.address, BYTES)?);
    }
    sink.seen()?;
    Ok(best)
}

fn better(one: Figures, other: Figures) -> Figures {
    Figures {
        bytes_per_second: one.bytes_per_second.max(other.bytes_per_second),
        round_trip: one.round_trip.min(other.round_trip),
    }
}

/// Routes written by hand and no rules at all: what the veths themselves give.
fn route_by_hand(bed: &Testbed, verb: &str) -> anyhow::Result<()> {
    for (from, to) in [(0, 1), (1, 0)] {
        let machine = &bed.machine(from).namespace;
        machine.sysctl("net.ipv4.ip_forward", "1")?;
        let (subnet, address) = (subnet(to)?.to_string(), bed.machine(to).address.to_string());
        machine.ip(&["route", verb, &subnet, "via", &address])?;
    }
    Ok(())
}
