//! Clusters whose nodes are told to encrypt: their keys come to each other by themselves, containers meet, and nobody
//! between the machines hears what they ask.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use warren_test::fleet::Fleet;
use warren_test::release::Web;
use warren_test::testbed::{self, Engines, Namespace, Plan, WireGuard};
use warren_test::{http, wait};

/// Long for anything here.
const SOON: Duration = Duration::from_secs(90);
/// What a container asks another for, and nobody else is to hear of.
const PATH: &str = "/the-canary-sings-for-itself";
/// The nodes of these clusters.
const ALL: [usize; 2] = [0, 1];

/// `None`, said aloud, where this machine cannot have it.
async fn fleet(test: &str, backend: &str) -> Option<Fleet> {
    let name = format!("{}::{test}", module_path!());
    testbed::or_skip(&name, testbed::wireguard_possible().map_err(Into::into))?;
    if super::encrypted::kernel_speaks().await {
        // Then the nodes can from the start, and there is no moment before to look at.
        warren_test::skip(&name, "the kernel would speak before the programs do");
        return None;
    }
    let plan = Plan { machines: 2, links: 2, engines: Engines::Plain };
    let built = Fleet::build_with(plan, 1, |machine| {
        let sockets = machine.wireguard_sockets().display().to_string();
        // All that a log can hold: no key is to be in it.
        let arguments = ["--log", "trace", "--network", backend, "--wireguard-sockets", &sockets];
        arguments.map(str::to_owned).to_vec()
    });
    testbed::or_skip(&name, built.await)
}

/// The name of Warren's device in this cluster.
fn device(fleet: &Fleet) -> anyhow::Result<String> {
    let run = fleet.node(0).run()?;
    let cluster = run["cluster_id"].as_str().context("a cluster")?.to_owned();
    Ok(format!("wrg-{}", cluster.get(..8).context("an id")?))
}

async fn speak(fleet: &Fleet) -> anyhow::Result<Vec<WireGuard>> {
    let mut programs = Vec::new();
    for index in ALL {
        programs.push(fleet.bed().machine(index).speak_wireguard(&device(fleet)?).await?);
    }
    Ok(programs)
}

/// The container of each machine, with its address.
async fn guests(fleet: &Fleet, web: &Web) -> anyhow::Result<Vec<(Namespace, IpAddr)>> {
    let tasks = web.tasks().await?;
    let mut guests = Vec::new();
    for index in ALL {
        let machine = &fleet.bed().machine(index).name;
        let task = tasks.values().find(|task| task.node == *machine);
        let task = task.with_context(|| format!("{machine} has a task: {tasks:?}"))?;
        guests.push((fleet.inside(index, &task.id).await?, task.address.parse()?));
    }
    Ok(guests)
}

/// Both containers ask each other. How often somebody heard what for.
async fn ask_each_other(fleet: &Fleet, web: &Web) -> anyhow::Result<usize> {
    let guests = guests(fleet, web).await?;
    let tap = fleet.bed().wiretap(PATH)?;
    for (from, to) in [(0, 1), (1, 0)] {
        let _inside = guests[from].0.enter()?;
        http::get((guests[to].1, 8080).into(), PATH).await?;
    }
    let heard = tap.heard()?;
    ensure!(heard.packets > 0, "something passed: {heard:?}");
    Ok(heard.in_the_clear)
}

async fn problems(fleet: &Fleet, index: usize) -> anyhow::Result<String> {
    Ok(fleet.seen(0, index).await?["problems"].to_string())
}

/// The secret halves of the nodes' keys, which nobody else has ever seen.
fn secrets(fleet: &Fleet) -> anyhow::Result<Vec<String>> {
    let mut secrets = Vec::new();
    for index in ALL {
        let file = fleet.node(index).data_dir().join("pki/wireguard.key");
        ensure!(file.metadata()?.permissions().mode() & 0o777 == 0o600, "{}", file.display());
        secrets.push(std::fs::read_to_string(&file)?);
    }
    ensure!(secrets[0] != secrets[1], "each its own");
    Ok(secrets)
}

/// What an operator, a program and a log reader see holds no part of a secret.
async fn shown_nowhere(fleet: &Fleet) -> anyhow::Result<()> {
    let mut shown = String::new();
    for command in [
        &["status"][..],
        &["node", "inspect", "m1"],
        &["node", "inspect", "m2"],
        &["node", "ls", "--output", "json"],
        &["events"],
        &["audit"],
        &["cluster", "info"],
    ] {
        shown += &fleet.node(0).ok(command).await?;
    }
    for node in fleet.nodes() {
        shown += &http::get(node.http_address()?, "/metrics").await?.1;
        shown += &http::get(node.http_address()?, "/readyz").await?.1;
        shown += &std::fs::read_to_string(node.scratch("warren.log"))?;
    }
    for secret in secrets(fleet)? {
        ensure!(!shown.contains(secret.trim()), "a secret is shown");
        ensure!(!shown.contains(&secret[..12]), "a part of a secret is shown");
    }
    Ok(())
}

async fn encrypt_or_stay_apart(fleet: &mut Fleet) -> anyhow::Result<()> {
    let image = fleet.image().await?;
    let web = Web::create_of(fleet.node(0), &image, "web", 2).await?;
    // Nobody speaks WireGuard yet: they say so and stay apart.
    let device = device(fleet)?;
    for index in ALL {
        wait::until("the node says what it needs", SOON, async || {
            let told = problems(fleet, index).await?;
            ensure!(told.contains("no WireGuard") && told.contains(&device), "{told}");
            Ok(())
        })
        .await?;
    }
    ensure!(ask_each_other(fleet, &web).await.is_err(), "nothing passes in the clear");
    // Programs that speak it are found while the nodes run.
    let mut programs = speak(fleet).await?;
    wait::until("they ask each other", SOON, async || ask_each_other(fleet, &web).await).await?;
    let heard = ask_each_other(fleet, &web).await?;
    ensure!(heard == 0, "{heard} packets in the clear");
    for index in ALL {
        wait::until("nothing is in the way", SOON, async || {
            let told = problems(fleet, index).await?;
            ensure!(told == "[]", "{told}");
            Ok(())
        })
        .await?;
        let container = &guests(fleet, &web).await?[index].0;
        let link = container.ip(&["-o", "link", "show", "eth0"])?;
        ensure!(link.contains("mtu 1420 "), "{link}");
    }
    shown_nowhere(fleet).await?;
    // A node that starts again has another way at no time: its key is the same, and is told with its first session.
    fleet.node_mut(1).stop().await?;
    ask_each_other(fleet, &web).await.context("while the node is away")?;
    fleet.node_mut(1).resume().await?;
    ask_each_other(fleet, &web).await.context("when it is back")?;
    // A node that takes another key is followed.
    let old = secrets(fleet)?;
    fleet.node_mut(1).stop().await?;
    std::fs::remove_file(fleet.node(1).data_dir().join("pki/wireguard.key"))?;
    fleet.node_mut(1).resume().await?;
    ensure!(secrets(fleet)?[1] != old[1], "another key");
    wait::until("they ask each other again", SOON, async || ask_each_other(fleet, &web).await)
        .await?;
    // And one that is taken down leaves nothing, but the device to its program.
    fleet.node(1).ok(&["down", "--yes"]).await?;
    let machine = &fleet.bed().machine(1).namespace;
    let left = machine.run("iptables-save", &[], "")? + &machine.ip(&["route"])?;
    ensure!(!left.contains("WARREN") && !left.contains("10.210."), "{left}");
    let link = machine.ip(&["-o", "link", "show", &device])?;
    ensure!(!link.contains(",UP"), "{link}");
    programs.clear();
    Ok(())
}

#[tokio::test]
async fn nodes_that_must_encrypt_stay_apart_until_they_can_and_are_heard_by_nobody() {
    let test = "nodes_that_must_encrypt_stay_apart_until_they_can_and_are_heard_by_nobody";
    let Some(mut fleet) = fleet(test, "wireguard").await else { return };
    encrypt_or_stay_apart(&mut fleet).await.unwrap();
}

async fn encrypt_once_both_can(fleet: &Fleet) -> anyhow::Result<()> {
    let image = fleet.image().await?;
    let web = Web::create_of(fleet.node(0), &image, "web", 2).await?;
    wait::until("they ask each other", SOON, async || ask_each_other(fleet, &web).await).await?;
    ensure!(ask_each_other(fleet, &web).await? > 0, "a tunnel hides nothing");
    let _programs = speak(fleet).await?;
    wait::until("nobody hears them any more", SOON, async || {
        let heard = ask_each_other(fleet, &web).await?;
        ensure!(heard == 0, "{heard} packets in the clear");
        Ok(())
    })
    .await?;
    for index in ALL {
        let told = problems(fleet, index).await?;
        ensure!(told == "[]", "{told}");
    }
    Ok(())
}

#[tokio::test]
async fn nodes_that_may_encrypt_do_so_once_both_can() {
    let test = "nodes_that_may_encrypt_do_so_once_both_can";
    let Some(fleet) = fleet(test, "auto").await else { return };
    encrypt_once_both_can(&fleet).await.unwrap();
}
