//! The network across nodes in real kernels: the driver's contract, and guests of different machines that reach each
//! other.

mod containers;
mod encrypted;
mod guests;
mod joined;
mod sealed;

use anyhow::Context as _;
use ipnet::Ipv4Net;
use warren_core::id::NodeId;
use warren_core::node::Encryption;
use warren_drivers::network::contract::Stage;
use warren_drivers::network::kernel::Kernel;
use warren_drivers::network::{
    Actual, Backend, NodeNetwork as _, Owner, Peer, Rules, Settled, Wish, check_pool, settle,
};
use warren_test::testbed::{self, Inside, Plan, Testbed};

fn owner() -> Owner {
    Owner { tag: "0123abcd".into(), pool: pool() }
}

fn pool() -> Ipv4Net {
    "10.210.0.0/16".parse().expect("a pool")
}

/// The subnet of a machine, counted from 0.
fn subnet(index: usize) -> Ipv4Net {
    format!("10.210.{}.0/24", index + 1).parse().expect("a subnet")
}

fn wish(bed: &Testbed, index: usize, backend: Backend) -> Wish {
    let peers = bed.machines().iter().enumerate().filter(|(other, _)| *other != index);
    let peers = peers.map(|(other, machine)| Peer {
        node: NodeId(other as u64 + 1),
        address: machine.address,
        subnet: subnet(other),
        encryption: Encryption::default(),
    });
    Wish {
        owner: owner(),
        backend,
        address: bed.machine(index).address,
        subnet: subnet(index),
        wire: None,
        peers: peers.collect(),
    }
}

/// Settles one machine.
async fn settle_one(bed: &Testbed, index: usize, wish: Option<&Wish>) -> anyhow::Result<Settled> {
    let _inside = bed.machine(index).namespace.enter()?;
    settle(&Kernel::new(owner()), wish).await.with_context(|| format!("machine {index}"))
}

/// Settles all machines, and once more to see that nothing is left to do.
async fn settle_all(bed: &Testbed, backend: Backend) -> anyhow::Result<()> {
    for index in 0..bed.machines().len() {
        let wish = wish(bed, index, backend);
        let settled = settle_one(bed, index, Some(&wish)).await?;
        anyhow::ensure!(settled.problems.is_empty(), "{settled:?}");
        let again = settle_one(bed, index, Some(&wish)).await?;
        anyhow::ensure!(again == Settled::default(), "{again:?}");
    }
    Ok(())
}

async fn read(bed: &Testbed, index: usize) -> anyhow::Result<Actual> {
    let _inside = bed.machine(index).namespace.enter()?;
    Ok(Kernel::new(owner()).read().await?)
}

/// `None`, said aloud, where this machine cannot have the testbed.
async fn build(test: &str, plan: Plan) -> Option<Testbed> {
    testbed::or_skip(&format!("{}::{test}", module_path!()), Testbed::build(plan).await)
}

async fn stage(check: &str) -> Option<(Stage, (Inside, Testbed))> {
    let bed = build(check, Plan::machines(1)).await?;
    let inside = bed.machine(0).namespace.enter().expect("a thread may enter");
    let network = Box::new(Kernel::new(owner()));
    Some((Stage { network, owner: owner(), wire: None }, (inside, bed)))
}

mod kernel_contract {
    warren_drivers::network_contract!(super::stage);
}

#[tokio::test]
async fn a_pool_over_a_network_of_this_machine_is_refused_by_name() {
    let test = "a_pool_over_a_network_of_this_machine_is_refused_by_name";
    let Some(bed) = build(test, Plan::machines(1)).await else { return };
    let actual = read(&bed, 0).await.unwrap();
    check_pool(pool(), &actual).unwrap();
    let error = check_pool("198.18.0.0/16".parse().unwrap(), &actual).unwrap_err().to_string();
    assert!(error.contains("198.18.0.0/24") && error.contains("--pool"), "{error}");
}

#[tokio::test]
async fn rules_that_others_reorder_are_put_back() {
    let test = "rules_that_others_reorder_are_put_back";
    let Some(bed) = build(test, Plan::machines(2)).await else { return };
    settle_all(&bed, Backend::HostGw).await.unwrap();
    let machine = bed.machine(0).namespace.clone();
    let masquerade = ["-t", "nat", "-I", "POSTROUTING", "-s", "10.210.1.0/24", "-j", "MASQUERADE"];
    let jump = ["-D", "FORWARD", "-j", "WARREN-0123abcd-FORWARD"];
    for meddling in [&masquerade[..], &jump, &["-F"]] {
        machine.run("iptables", meddling, "").unwrap();
        assert_eq!(read(&bed, 0).await.unwrap().rules, Rules::Wrong, "{meddling:?}");
        settle_all(&bed, Backend::HostGw).await.unwrap();
        assert_eq!(read(&bed, 0).await.unwrap().rules, Rules::Right, "{meddling:?}");
    }
    // What an operator forbids comes before what Warren allows.
    machine.run("iptables", &["-N", "DOCKER-USER"], "").unwrap();
    machine.run("iptables", &["-I", "FORWARD", "-j", "DOCKER-USER"], "").unwrap();
    machine.run("iptables", &["-D", "FORWARD", "-j", "WARREN-0123abcd-FORWARD"], "").unwrap();
    settle_all(&bed, Backend::HostGw).await.unwrap();
    let listed = machine.run("iptables", &["-S", "FORWARD"], "").unwrap();
    let user = listed.find("DOCKER-USER").unwrap();
    assert!(user < listed.find("WARREN-0123abcd-FORWARD").unwrap(), "{listed}");
    settle_one(&bed, 0, None).await.unwrap();
    let listed = machine.run("iptables-save", &[], "").unwrap();
    assert!(!listed.contains("WARREN") && listed.contains("MASQUERADE"), "{listed}");
}
