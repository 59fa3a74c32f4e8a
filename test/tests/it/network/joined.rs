//! Clusters that `warren up` makes of several machines with an engine each: their containers know each other's names
//! and reach each other, and what was made for that goes again.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use warren_test::cluster::Runtime;
use warren_test::fleet::Fleet;
use warren_test::load::{Load, Resolver};
use warren_test::release::{Change, Web};
use warren_test::testbed::pump::{self, Sink};
use warren_test::testbed::{self, Engines, Machine, Namespace, Plan, Testbed};
use warren_test::{dns, http, tree, wait};
use warren_wire::v1::DeploymentStrategy;

/// Far more than a packet on one machine needs.
const PATIENCE: Duration = Duration::from_secs(5);
/// Long for anything here.
const SOON: Duration = Duration::from_secs(60);
/// The nodes of these clusters.
const ALL: [usize; 3] = [0, 1, 2];

/// `None`, said aloud, where this machine cannot have it.
async fn fleet(test: &str, links: usize, managers: usize, backend: &str) -> Option<Fleet> {
    let plan = Plan { machines: 3, links, engines: Engines::Plain };
    let built = Fleet::build(plan, managers, &["--network", backend]).await;
    testbed::or_skip(&format!("{}::{test}", module_path!()), built)
}

/// One task of `web` on each machine.
struct Guest {
    network: Namespace,
    address: Ipv4Addr,
}

async fn guests(fleet: &Fleet, web: &Web) -> anyhow::Result<Vec<Guest>> {
    let tasks = web.tasks().await?;
    let mut guests = Vec::new();
    for (index, machine) in fleet.bed().machines().iter().enumerate() {
        let task = tasks.values().find(|task| task.node == machine.name);
        let task = task.with_context(|| format!("{} has a task: {tasks:?}", machine.name))?;
        let network = fleet.inside(index, &task.id).await?;
        guests.push(Guest { network, address: task.address.parse()? });
    }
    Ok(guests)
}

/// Every container resolves the service, asks each of its tasks, and is seen by its own address.
async fn know_and_reach_each_other(fleet: &Fleet, web: &Web) -> anyhow::Result<()> {
    let guests = guests(fleet, web).await?;
    let all: BTreeSet<IpAddr> = guests.iter().map(|guest| guest.address.into()).collect();
    ensure!(all.len() == guests.len(), "{all:?}");
    for guest in &guests {
        let _inside = guest.network.enter()?;
        for name in ["web.warren.", "v1.web.warren."] {
            let found = dns::addresses(Resolver::CONTAINERS, name).await?;
            ensure!(
                found.into_iter().collect::<BTreeSet<_>>() == all,
                "{name} in {}",
                guest.address
            );
        }
        for address in &all {
            let (status, said) = http::get((*address, 8080).into(), "/").await?;
            ensure!(status == 200, "{} of {address}: {status} {said}", guest.address);
        }
    }
    for from in &guests {
        for to in guests.iter().filter(|to| to.address != from.address) {
            let sink = Sink::open(&to.network, SocketAddrV4::new(to.address, 0), 3)?;
            pump::echo(&from.network, sink.address, PATIENCE)?;
            // And packets as large as they may be.
            pump::measure(&from.network, sink.address, 4 * 1024 * 1024)?;
            let seen = sink.seen()?;
            let own = seen.iter().all(|seen| seen.ip() == from.address);
            ensure!(own, "{} came as {seen:?}", from.address);
        }
    }
    Ok(())
}

/// The largest packet of each container.
async fn packets_are(fleet: &Fleet, web: &Web, mtu: &str) -> anyhow::Result<()> {
    for guest in guests(fleet, web).await? {
        let shown = guest.network.ip(&["-o", "link", "show", "eth0"])?;
        ensure!(shown.contains(&format!("mtu {mtu} ")), "{shown}");
    }
    Ok(())
}

/// What of Warren's there is in a machine's network: rules, routes, devices.
fn traces(fleet: &Fleet, index: usize) -> anyhow::Result<Vec<String>> {
    let machine = &fleet.bed().machine(index).namespace;
    let rules = machine.run("iptables-save", &[], "")?;
    let all = rules + &machine.ip(&["-o", "link"])? + &machine.ip(&["route"])?;
    let ours = |line: &&str| ["WARREN", "wrn-", "10.210."].iter().any(|mark| line.contains(mark));
    Ok(all.lines().filter(ours).map(str::to_owned).collect())
}

/// What the guide has an operator look with finds something on a machine of such a cluster.
fn guide_shows_it(fleet: &Fleet) -> anyhow::Result<()> {
    let guide = std::fs::read_to_string(tree::root().join("docs/guides/networking.md"))?;
    let looks = guide.lines().filter_map(|line| line.strip_prefix("# "));
    let looks = looks.filter(|line| ["ip ", "iptables "].iter().any(|word| line.starts_with(word)));
    let machine = &fleet.bed().machine(0).namespace;
    let mut found = String::new();
    for look in looks {
        let words: Vec<&str> = look.split(' ').collect();
        found.push_str(&machine.run(words[0], &words[1..], "")?);
    }
    for mark in ["unreachable 10.210.0.0/16", "-A FORWARD -j WARREN-", "-A POSTROUTING -j WARREN-"]
    {
        ensure!(found.contains(mark), "no {mark} in what the guide looks at: {found}");
    }
    Ok(())
}

async fn no_problems(fleet: &Fleet) -> anyhow::Result<()> {
    for index in ALL {
        let seen = fleet.seen(0, index).await?;
        ensure!(seen["problems"] == serde_json::json!([]), "{seen}");
    }
    Ok(())
}

async fn live_together(fleet: &mut Fleet, mtu: &str) -> anyhow::Result<()> {
    let image = fleet.image().await?;
    let web = Web::create_of(fleet.node(0), &image, "web", 3).await?;
    fleet.settled(&ALL).await?;
    wait::until("they reach each other", SOON, async || {
        know_and_reach_each_other(fleet, &web).await
    })
    .await?;
    packets_are(fleet, &web, mtu).await?;
    no_problems(fleet).await?;
    guide_shows_it(fleet)?;
    // As a program in a container asks: by the search domain.
    for slot in 1..=3 {
        let task = format!("web.{slot}");
        let resolve = ["service", "exec", &task, "--", "/web", "resolve", "web"];
        let said = fleet.node(0).ok(&resolve).await?;
        ensure!(said.lines().count() == 3, "{task}: {said}");
    }
    // A node that is taken down takes everything with it; the others stay as they are.
    ensure!(!traces(fleet, 2)?.is_empty(), "there was something");
    fleet.node(2).ok(&["down", "--yes"]).await?;
    let left = traces(fleet, 2)?;
    ensure!(left.is_empty(), "{left:?}");
    ensure!(fleet.node_mut(2).has_ended()?, "it has ended");
    fleet.is(0, 2, "down").await?;
    fleet.settled(&[0, 1]).await?;
    fleet.node_mut(2).resume().await?;
    fleet.settled(&ALL).await
}

#[tokio::test]
async fn nodes_on_one_link_join_and_their_containers_meet() {
    let test = "nodes_on_one_link_join_and_their_containers_meet";
    let Some(mut fleet) = fleet(test, 1, 1, "host-gw").await else { return };
    live_together(&mut fleet, "1500").await.unwrap();
}

#[tokio::test]
async fn nodes_on_different_links_join_and_their_containers_meet() {
    let test = "nodes_on_different_links_join_and_their_containers_meet";
    let Some(mut fleet) = fleet(test, 2, 3, "vxlan").await else { return };
    live_together(&mut fleet, "1450").await.unwrap();
}

async fn switch_everywhere(fleet: &Fleet) -> anyhow::Result<()> {
    let image = fleet.image().await?;
    let web = Web::create_of(fleet.node(0), &image, "web", 3).await?;
    fleet.settled(&ALL).await?;
    // Clients that ask the resolver of each node, and cannot reach a task that has stopped.
    let beside = fleet.bed().machine(0).namespace.enter()?;
    let mut loads = Vec::new();
    for node in fleet.nodes() {
        loads.push(Load::start(node, &["web"]).await?);
    }
    drop(beside);
    for (version, strategy) in
        [("v2", DeploymentStrategy::Rolling), ("v3", DeploymentStrategy::BlueGreen)]
    {
        let change = Change { version, strategy, ..Change::default() };
        let ended = web.release(&change).await?;
        ensure!(ended.outcome == "completed", "{ended:?}");
        for (load, machine) in loads.iter().zip(fleet.bed().machines()) {
            load.answered_by("web", version).await?;
            load.all_answered("web", &format!("by the resolver of {}", machine.name))?;
        }
    }
    fleet.settled(&ALL).await
}

#[tokio::test]
async fn every_resolver_has_changed_over_before_an_old_task_stops() {
    let test = "every_resolver_has_changed_over_before_an_old_task_stops";
    let Some(fleet) = fleet(test, 1, 1, "auto").await else { return };
    switch_everywhere(&fleet).await.unwrap();
}

/// A peer that is not on the link, and a backend that knows no other way: said where an operator looks.
async fn say_what_is_in_the_way(fleet: &Fleet) -> anyhow::Result<()> {
    let why = "is not on this node's link";
    wait::until("the node says so", SOON, async || {
        let seen = fleet.seen(0, 1).await?;
        ensure!(seen["problems"].to_string().contains(why), "{seen}");
        Ok(())
    })
    .await?;
    for command in [&["status"][..], &["node", "inspect", "m2"]] {
        let said = fleet.node(0).ok(command).await?;
        ensure!(said.contains(why), "{said}");
    }
    let (status, report) = http::get(fleet.node(1).http_address()?, "/readyz").await?;
    ensure!(status == 200 && report.contains(why), "{status} {report}");
    Ok(())
}

#[tokio::test]
async fn what_keeps_containers_apart_is_told() {
    let test = "what_keeps_containers_apart_is_told";
    let plan = Plan { machines: 2, links: 2, engines: Engines::Plain };
    let built = Fleet::build(plan, 1, &["--network", "host-gw"]).await;
    let Some(fleet) = testbed::or_skip(&format!("{}::{test}", module_path!()), built) else {
        return;
    };
    say_what_is_in_the_way(&fleet).await.unwrap();
}

/// A machine whose own network lies under the cluster's pool is told so, and joins once it does not.
async fn refuse_and_let_in(bed: &Testbed) -> anyhow::Result<()> {
    let _inside = bed.enter()?;
    let first = bed.machine(0);
    let mut manager = first.node(Runtime::Docker, &["--hostname", "m1"])?;
    let in_the_way = ["10.210.3.0/24", "dev", "eth0"];
    let route = |machine: &Machine, verb: &str| {
        machine.namespace.ip(&[&["route", verb], &in_the_way[..]].concat()).map(drop)
    };
    let lies = "the pool 10.210.0.0/16 lies over 10.210.3.0/24";
    route(first, "add")?;
    let error = manager.resume().await.expect_err("the pool is taken");
    ensure!(format!("{error:#}").contains(lies), "{error:#}");
    ensure!(manager.has_ended()?, "it says so and ends");
    route(first, "del")?;
    manager.resume().await?;

    let second = bed.machine(1);
    let token = manager.ok(&["cluster", "token", "worker", "--quiet"]).await?;
    let join = ["--join", manager.listen(), "--token", token.trim(), "--hostname", "m2"];
    let mut worker = second.node(Runtime::Docker, &join)?;
    route(second, "add")?;
    let error = worker.resume().await.expect_err("the pool is taken there");
    ensure!(format!("{error:#}").contains(lies), "{error:#}");
    ensure!(worker.has_ended()?, "it says so and ends");
    route(second, "del")?;
    worker.resume().await?;
    let nodes = manager.json(&["node", "ls"]).await?;
    let nodes = nodes.as_array().context("a list")?;
    ensure!(nodes.len() == 2, "it is the node that it was about to become: {nodes:?}");
    ensure!(nodes.iter().all(|node| node["status"] == "up"), "{nodes:?}");
    Ok(())
}

#[tokio::test]
async fn a_machine_whose_networks_lie_under_the_pool_is_told_so() {
    let test = "a_machine_whose_networks_lie_under_the_pool_is_told_so";
    let plan = Plan { engines: Engines::Plain, ..Plan::machines(2) };
    let built = Testbed::build(plan).await;
    let Some(bed) = testbed::or_skip(&format!("{}::{test}", module_path!()), built) else {
        return;
    };
    refuse_and_let_in(&bed).await.unwrap();
}
