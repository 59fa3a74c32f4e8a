//! Several machines on this one: network namespaces on a switch of their own, each with its own Docker engine where a
//! test wants one.
//!
//! The switch stands in a namespace of its own as well, the *hub*, so nothing of this machine's network is touched and
//! none of its firewall's rules apply. A test works in the hub, as an operator would from a desk in the same network:
//! it [enters](Testbed::enter) it, and from then on its thread sees the machines at their addresses.
//!
//! ```text
//!                       hub: the test, 198.18.0.1 and 198.18.1.1, routes between the links
//!          link 0, 198.18.0.0/24   |              |   link 1, 198.18.1.0/24
//!        m1, 198.18.0.11   m2, 198.18.0.12      m3, 198.18.1.11
//! ```
//!
//! Everything of a testbed has its id in its name. It goes with the value; what a killed test left is found by
//! [`sweep`], which each new testbed does first.

pub mod clock;
mod cuts;
pub mod disk;
pub mod engine;
mod ground;
mod namespace;
pub(crate) mod processes;
pub mod pump;
mod tool;
mod wireguard;
mod wiretap;

pub use ground::{HAND, sweep};
pub use namespace::{Inside, Namespace};
pub use tool::run;
pub use wireguard::{WireGuard, wireguard_possible};
pub use wiretap::{Heard, Wiretap};

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use ipnet::Ipv4Net;

use self::clock::Clock;
use self::cuts::Cuts;
use self::engine::Engine;
use self::ground::Ground;
use crate::cluster::{Node, Runtime, Seat};
use crate::image;

/// As many machines as a link has addresses for, by far more than two cores can run.
const MACHINES_MAX: usize = 64;
/// The last byte of a link's first machine; below are the hub and what a test adds.
const FIRST: usize = 11;

/// The bridge that guests of a machine are on.
pub const GUESTS: &str = "guests";

/// What a testbed has.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many machines.
    pub machines: usize,
    /// How many links; the machines are dealt out to them in turn, and the hub routes between them.
    pub links: usize,
    /// Whether each machine has a Docker engine, and what becomes of containers while it is away.
    pub engines: Engines,
}

/// The Docker engines of the machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engines {
    /// None: tasks are processes.
    None,
    /// Containers end with an engine that is told to stop.
    Plain,
    /// Containers outlive their engine (`--live-restore`).
    LiveRestore,
}

impl Plan {
    /// So many machines on one link, without engines.
    #[must_use]
    pub fn machines(machines: usize) -> Self {
        Self { machines, links: 1, engines: Engines::None }
    }
}

/// Something that this machine cannot do; a test that needs it says so with [`crate::skip`].
#[derive(Debug)]
pub struct NotHere(pub String);

impl fmt::Display for NotHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotHere {}

/// The machines. Dropping it ends every process in them and removes all that they had.
pub struct Testbed {
    // Dropped first: an engine that is still there must not restart what the ground takes away.
    machines: Vec<Machine>,
    cuts: Cuts,
    hub: Arc<Namespace>,
    ground: Ground,
}

/// One machine.
pub struct Machine {
    /// Its name: `m1`, `m2`, …
    pub name: String,
    /// Its address on its link.
    pub address: Ipv4Addr,
    /// Where its processes and interfaces are; its link is `eth0`.
    pub namespace: Arc<Namespace>,
    /// Its engine, where the plan has them.
    pub engine: Option<Engine>,
    folder: PathBuf,
}

/// The value, or `None` with a note that the test did not run, where this machine cannot have what the error names.
///
/// # Panics
/// At any other error.
pub fn or_skip<T>(test: &str, outcome: anyhow::Result<T>) -> Option<T> {
    match outcome.map_err(anyhow::Error::downcast::<NotHere>) {
        Ok(value) => Some(value),
        Err(Ok(why)) => {
            crate::skip(test, &why.0);
            None
        }
        Err(Err(error)) => panic!("{test}: {error:?}"),
    }
}

/// Whether testbeds can be made here at all.
///
/// # Errors
/// What is missing.
pub fn possible() -> Result<(), NotHere> {
    if !nix::unistd::geteuid().is_root() {
        return Err(NotHere("network namespaces need root".into()));
    }
    for program in ["ip", "nft"] {
        tool::find(program)?;
    }
    Ok(())
}

impl Testbed {
    /// Makes the machines, after sweeping away what killed tests have left.
    ///
    /// # Errors
    /// [`NotHere`] where this machine cannot have them; else what went wrong.
    pub async fn build(plan: Plan) -> anyhow::Result<Self> {
        possible()?;
        sweep()?;
        Self::build_on(Ground::claim()?, plan).await
    }

    /// Makes the one that stays until [`take_down_by_hand`], for a person to try things on.
    ///
    /// # Errors
    /// As [`Self::build`], and where it is there already.
    pub async fn build_by_hand(plan: Plan) -> anyhow::Result<Self> {
        possible()?;
        let bed = Self::build_on(Ground::claim_by_hand()?, plan).await?;
        Ok(bed)
    }

    /// Leaves everything as it is when the value goes.
    pub fn leave_standing(mut self) {
        self.ground.leave_standing();
        for machine in &mut self.machines {
            if let Some(engine) = &mut machine.engine {
                engine.leave_standing();
            }
        }
    }

    async fn build_on(ground: Ground, plan: Plan) -> anyhow::Result<Self> {
        ensure!((1..=MACHINES_MAX).contains(&plan.machines), "1 to {MACHINES_MAX} machines");
        ensure!((1..=plan.machines).contains(&plan.links), "as many links as machines at most");
        let hub = Arc::new(Namespace::make(&ground.name_of("hub"))?);
        for link in 0..plan.links {
            hub.ip(&["link", "add", &bridge(link), "type", "bridge"])?;
            hub.ip(&["addr", "add", &format!("{}/24", on_link(link, 1)), "dev", &bridge(link)])?;
            hub.ip(&["link", "set", &bridge(link), "up"])?;
        }
        hub.sysctl("net.ipv4.ip_forward", "1")?;
        // A switch has no firewall. Where the kernel's bridge filter is not loaded, there is nothing to turn off.
        let _ = hub.sysctl("net.bridge.bridge-nf-call-iptables", "0");
        let cuts = Cuts::prepare(hub.clone(), plan.machines)?;
        let mut bed = Self { machines: Vec::new(), cuts, hub, ground };
        for index in 0..plan.machines {
            let machine = bed.add(index, plan)?;
            bed.machines.push(machine);
        }
        if plan.engines != Engines::None {
            let starting = bed.machines.iter().map(|machine| machine.start_engine(plan.engines));
            let engines = futures::future::try_join_all(starting).await?;
            for (machine, engine) in bed.machines.iter_mut().zip(engines) {
                machine.engine = Some(engine);
            }
        }
        Ok(bed)
    }

    fn add(&self, index: usize, plan: Plan) -> anyhow::Result<Machine> {
        let (link, place) = (index % plan.links, index / plan.links);
        let name = format!("m{}", index + 1);
        let namespace = Arc::new(Namespace::make(&self.ground.name_of(&name))?);
        let address = on_link(link, FIRST + place);
        let own = format!("{address}/24");
        let into = (&*self.hub, &*bridge(link), &*name);
        plug(&namespace, &own, on_link(link, 1), into)?;
        // As a machine comes: an engine that finds it so turns it on, and then lets nothing through but its own.
        namespace.sysctl("net.ipv4.ip_forward", "0")?;
        let folder = self.ground.folder().join(&name);
        std::fs::create_dir_all(&folder)?;
        Ok(Machine { name, address, namespace, engine: None, folder })
    }

    /// Puts this thread into the hub until the value goes.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn enter(&self) -> anyhow::Result<Inside> {
        self.hub.enter()
    }

    /// The machines, in the order of their names.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// One machine, from 0 on.
    ///
    /// # Panics
    /// Where there are not so many.
    #[must_use]
    pub fn machine(&self, index: usize) -> &Machine {
        &self.machines[index]
    }

    /// The engine of a machine, to be stopped and started.
    ///
    /// # Panics
    /// Where there are not so many machines, or without engines.
    pub fn engine(&mut self, index: usize) -> &mut Engine {
        self.machines[index].engine.as_mut().expect("the plan has engines")
    }

    /// Lets nothing more pass from one machine to another, of what they send themselves or for their containers. The
    /// other way stays open.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn cut(&self, from: usize, to: usize) -> anyhow::Result<()> {
        self.cuts.cut(&[(from, to)])
    }

    /// Lets nothing more pass between these machines and all others, in both directions. The test still sees all.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn part(&self, these: &[usize]) -> anyhow::Result<()> {
        let all = 0..self.machines.len();
        let (inside, outside): (Vec<_>, Vec<_>) = all.partition(|index| these.contains(index));
        let pairs = inside.iter().flat_map(|a| outside.iter().map(move |b| (*a, *b)));
        let both: Vec<_> = pairs.flat_map(|(a, b)| [(a, b), (b, a)]).collect();
        self.cuts.cut(&both)
    }

    /// Undoes every cut.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn heal(&self) -> anyhow::Result<()> {
        self.cuts.heal()
    }

    /// Something with an address of its own behind a machine, as a container is: on a bridge of that machine, which has
    /// the subnet's first address and stands for it to the world.
    ///
    /// # Errors
    /// Where the kernel refuses, or the subnet has no such address.
    pub fn guest(
        &self,
        machine: usize,
        subnet: Ipv4Net,
        place: usize,
    ) -> anyhow::Result<(Arc<Namespace>, Ipv4Addr)> {
        let address = |place| subnet.hosts().nth(place).context("the subnet is too small");
        let (gateway, own) = (address(0)?, address(place)?);
        let host = self.machine(machine);
        let name = format!("{}-g{place}", host.name);
        let guest = Arc::new(Namespace::make(&self.ground.name_of(&name))?);
        let prefix = subnet.prefix_len();
        if host.namespace.ip(&["link", "show", GUESTS]).is_err() {
            host.namespace.ip(&["link", "add", GUESTS, "type", "bridge"])?;
            let gateway = format!("{gateway}/{prefix}");
            host.namespace.ip(&["addr", "add", &gateway, "dev", GUESTS])?;
            host.namespace.ip(&["link", "set", GUESTS, "up"])?;
        }
        let port = format!("g{place}");
        plug(&guest, &format!("{own}/{prefix}"), gateway, (&*host.namespace, GUESTS, &*port))?;
        Ok((guest, own))
    }

    /// Holds back all that a machine sends for so long; no time at all undoes it.
    ///
    /// # Errors
    /// [`NotHere`] where the kernel has no `netem`.
    pub fn delay(&self, machine: usize, by: Duration) -> anyhow::Result<()> {
        let namespace = &self.machine(machine).namespace;
        let ms = format!("{}ms", by.as_millis());
        let words = ["qdisc", "replace", "dev", "eth0", "root", "netem", "delay", &ms];
        let said = namespace.run("tc", &words, "");
        said.map(drop).map_err(|error| match error.to_string() {
            why if why.contains("qdisc kind is unknown") => {
                NotHere("this kernel has no netem, so nothing can be delayed".into()).into()
            }
            _ => error,
        })
    }
}

impl Machine {
    async fn start_engine(&self, engines: Engines) -> anyhow::Result<Engine> {
        let folder = self.folder.join("docker");
        let live_restore = engines == Engines::LiveRestore;
        Engine::start(self.namespace.clone(), folder, live_restore)
            .await
            .with_context(|| format!("the engine of {}", self.name))
    }

    /// A node in this machine, not yet started.
    ///
    /// # Errors
    /// Where it gets no folder.
    pub fn node(&self, runtime: Runtime, arguments: &[&str]) -> anyhow::Result<Node> {
        self.node_with_clock(runtime, arguments, None)
    }

    /// As [`Self::node`], with a wall clock that is not this machine's.
    ///
    /// # Errors
    /// As [`Self::node`].
    pub fn node_with_clock(
        &self,
        runtime: Runtime,
        arguments: &[&str],
        clock: Option<Clock>,
    ) -> anyhow::Result<Node> {
        let socket = self.engine.as_ref().map(|engine| engine.socket().display().to_string());
        let engine = socket.iter().flat_map(|socket| ["--docker-socket", socket]);
        let arguments: Vec<&str> = engine.chain(arguments.iter().copied()).collect();
        let seat = Seat { namespace: self.namespace.clone(), address: self.address, clock };
        Ok(Node::stopped(runtime, &arguments)?.seated(seat))
    }

    /// Kills what runs here with its network or its folder, and these processes besides.
    pub(crate) fn kill_all(&self, besides: &[u32]) {
        let namespaces = [self.namespace.name().to_owned()];
        // A supervisor that is killed after its task would have time to see it end.
        while processes::kill_all(&self.folder, &namespaces) > 0 {
            std::thread::yield_now();
        }
        processes::kill_these(besides);
    }

    /// What a test calls an image of the demo workload in this machine's engine.
    ///
    /// # Errors
    /// Where the machine has no engine, or it does not take the image.
    pub async fn web_image(&self, version: &str) -> anyhow::Result<String> {
        let engine = self.engine.as_ref().context("the plan has no engines")?;
        image::web_for_once(&engine.client()?, version).await
    }

    /// A folder for what belongs to this machine; gone with the testbed.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }
}

/// Takes the testbed of [`Testbed::build_by_hand`] away. Nothing happens where there is none.
///
/// # Errors
/// Where something of it cannot be removed.
pub fn take_down_by_hand() -> anyhow::Result<()> {
    ground::clear(HAND)
}

/// Where a machine of the testbed made by hand is to be entered, and its folder.
#[must_use]
pub fn by_hand(machine: &str) -> (String, PathBuf) {
    (ground::name(HAND, machine), ground::folder(HAND).join(machine))
}

/// Gives `guest` an interface with this address and this way to the rest of the world, by a port of a bridge that
/// another namespace has.
fn plug(
    guest: &Namespace,
    own: &str,
    gateway: Ipv4Addr,
    (host, bridge, port): (&Namespace, &str, &str),
) -> anyhow::Result<()> {
    let pair = ["link", "add", port, "type", "veth", "peer", "name", "eth0"];
    host.ip(&[&pair[..], &["netns", guest.name()]].concat())?;
    host.ip(&["link", "set", port, "master", bridge, "up"])?;
    guest.ip(&["addr", "add", own, "dev", "eth0"])?;
    guest.ip(&["link", "set", "eth0", "up"])?;
    guest.ip(&["route", "add", "default", "via", &gateway.to_string()])?;
    Ok(())
}

fn bridge(link: usize) -> String {
    format!("link{link}")
}

/// An address that no real network has: 198.18.0.0/15 is kept for trying networks out, and seen in the testbed only.
fn on_link(link: usize, place: usize) -> Ipv4Addr {
    let byte = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    Ipv4Addr::new(198, 18, byte(link), byte(place))
}
