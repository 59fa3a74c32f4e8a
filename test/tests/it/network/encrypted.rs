//! Guests of different machines whose packets pass encrypted: nobody on the way hears what they say. By the kernel's
//! WireGuard where there is one, and by programs that stand in for it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use warren_core::id::NodeId;
use warren_core::node::{Encryption, WireGuard};
use warren_drivers::network::contract::Stage;
use warren_drivers::network::kernel::{Kernel, Speaks};
use warren_drivers::network::{
    Backend, Hop, NodeNetwork as _, Peer, Settled, WireSecret, Wish, settle,
};
use warren_test::testbed::pump::{self, Sink};
use warren_test::testbed::{self, Inside, Namespace, Plan, Testbed};
use zeroize::Zeroizing;

use super::{build, owner, subnet};

/// Far more than a packet on one machine needs, and the first one makes the two ends agree.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a packet that is dropped is waited for.
const BRIEF: Duration = Duration::from_millis(400);
/// What nobody else is to hear.
const WORDS: &str = "the-canary-sings-for-itself";
/// Where these machines speak WireGuard.
const PORT: u16 = 7403;

/// What a machine has to speak it: a key of its own for each machine.
fn speaks(bed: &Testbed, index: usize) -> Speaks {
    let byte = u8::try_from(index + 1).expect("few machines");
    let secret = Arc::new(WireSecret::from_random(Zeroizing::new([byte; 32])));
    Speaks { secret, sockets: bed.machine(index).wireguard_sockets() }
}

fn known_as(bed: &Testbed, index: usize) -> WireGuard {
    WireGuard { key: speaks(bed, index).secret.public(), port: PORT }
}

/// A machine with a program that speaks WireGuard.
async fn program(check: &str) -> Option<(Stage, (testbed::WireGuard, Inside, Testbed))> {
    let bed = build(check, Plan::machines(1)).await?;
    let started = bed.machine(0).speak_wireguard(&owner().wire()).await;
    let program = testbed::or_skip(&format!("{}::{check}", module_path!()), started)?;
    let inside = bed.machine(0).namespace.enter().expect("a thread may enter");
    let network = Box::new(Kernel::new(owner()).speaking(Some(speaks(&bed, 0))));
    let wire = Some(known_as(&bed, 0));
    Some((Stage { network, owner: owner(), wire }, (program, inside, bed)))
}

mod program_contract {
    warren_drivers::network_contract!(encrypted super::program);
}

/// A machine whose kernel speaks WireGuard.
async fn kernel(check: &str) -> Option<(Stage, (Inside, Testbed))> {
    let bed = build(check, Plan::machines(1)).await?;
    let inside = bed.machine(0).namespace.enter().expect("a thread may enter");
    let kernel = Kernel::new(owner()).speaking(Some(speaks(&bed, 0)));
    if !kernel_speaks().await {
        say_without(check);
        return None;
    }
    let wire = Some(known_as(&bed, 0));
    Some((Stage { network: Box::new(kernel), owner: owner(), wire }, (inside, bed)))
}

/// Whether this machine's kernel speaks WireGuard, which it does in place of a program that is not there.
pub(super) async fn kernel_speaks() -> bool {
    let secret = Arc::new(WireSecret::from_random(Zeroizing::new([1; 32])));
    let sockets = std::env::temp_dir().join("warren-test-no-sockets");
    let kernel = Kernel::new(owner()).speaking(Some(Speaks { secret, sockets }));
    kernel.has_wireguard().await.expect("the kernel says")
}

fn say_without(test: &str) {
    warren_test::skip(&format!("{}::{test}", module_path!()), "this kernel has no WireGuard");
}

mod kernel_contract {
    warren_drivers::network_contract!(encrypted super::kernel);
}

/// Machines of which these speak WireGuard, with a guest on each.
struct Ring {
    bed: Testbed,
    speaking: Vec<usize>,
    programs: Vec<Option<testbed::WireGuard>>,
    guests: Vec<(Arc<Namespace>, Ipv4Addr)>,
}

impl Ring {
    /// Without programs: what speaks is the kernel.
    async fn build(plan: Plan, speaking: &[usize]) -> anyhow::Result<Self> {
        let (bed, speaking) = (Testbed::build(plan).await?, speaking.to_vec());
        let programs = bed.machines().iter().map(|_| None).collect();
        let guests = 0..bed.machines().len();
        let guests = guests.map(|index| bed.guest(index, subnet(index), 4));
        let guests = guests.collect::<anyhow::Result<_>>()?;
        Ok(Self { bed, speaking, programs, guests })
    }

    async fn with_programs(mut self) -> anyhow::Result<Self> {
        for &index in &self.speaking {
            let program = self.bed.machine(index).speak_wireguard(&owner().wire()).await?;
            self.programs[index] = Some(program);
        }
        Ok(self)
    }

    fn told(&self, index: usize, backend: Backend) -> Encryption {
        let wireguard = self.speaking.contains(&index).then(|| known_as(&self.bed, index));
        Encryption { wireguard, only: backend == Backend::WireGuard }
    }

    fn wish(&self, index: usize, backend: Backend) -> Wish {
        let all = self.bed.machines().iter().enumerate();
        let peers = all.filter(|(other, _)| *other != index).map(|(other, machine)| Peer {
            node: NodeId(other as u64 + 1),
            address: machine.address,
            subnet: subnet(other),
            encryption: self.told(other, backend),
        });
        Wish {
            owner: owner(),
            backend,
            address: self.bed.machine(index).address,
            subnet: subnet(index),
            wire: self.told(index, backend).wireguard,
            peers: peers.collect(),
        }
    }

    fn network(&self, index: usize) -> Kernel {
        Kernel::new(owner()).speaking(Some(speaks(&self.bed, index)))
    }

    async fn settle_one(&self, index: usize, wish: Option<&Wish>) -> anyhow::Result<Settled> {
        let _inside = self.bed.machine(index).namespace.enter()?;
        Ok(settle(&self.network(index), wish).await?)
    }

    /// Settles all machines, and once more to see that nothing is left to do.
    async fn settle_all(&self, backend: Backend) -> anyhow::Result<()> {
        for index in 0..self.guests.len() {
            let wish = self.wish(index, backend);
            let settled = self.settle_one(index, Some(&wish)).await?;
            ensure!(settled.problems.is_empty(), "{settled:?}");
            let again = self.settle_one(index, Some(&wish)).await?;
            ensure!(again == Settled::default(), "{again:?}");
        }
        Ok(())
    }

    /// The ways of a machine to the guests of the others.
    async fn hops(&self, index: usize) -> anyhow::Result<Vec<Hop>> {
        let _inside = self.bed.machine(index).namespace.enter()?;
        let routes = self.network(index).read().await?.routes;
        Ok(routes.values().map(|route| route.hop).filter(|hop| *hop != Hop::Nowhere).collect())
    }

    /// One guest says the words to another and hears them again; the other sees the first one's address.
    fn talk(&self, from: usize, to: usize, patience: Duration) -> anyhow::Result<()> {
        let ((from, own), (to, address)) = (&self.guests[from], &self.guests[to]);
        let sink = Sink::open(to, SocketAddrV4::new(*address, 0), 1)?;
        pump::say(from, sink.address, WORDS, patience)?;
        let seen = sink.seen()?;
        ensure!(seen.len() == 1 && seen[0].ip() == *own, "{own} came as {seen:?}");
        Ok(())
    }

    /// How often the words are heard on the way while two guests talk.
    fn overheard(&self, from: usize, to: usize) -> anyhow::Result<usize> {
        let tap = self.bed.wiretap(WORDS)?;
        self.talk(from, to, PATIENCE)?;
        let heard = tap.heard()?;
        ensure!(heard.packets > 0, "something passed, as they heard each other: {heard:?}");
        Ok(heard.in_the_clear)
    }
}

/// A ring whose machines have programs that speak.
async fn ring(test: &str, plan: Plan, speaking: &[usize]) -> Option<Ring> {
    let built = async { Ring::build(plan, speaking).await?.with_programs().await };
    testbed::or_skip(&format!("{}::{test}", module_path!()), built.await)
}

async fn hear_nothing(ring: &Ring, by: &str) -> anyhow::Result<()> {
    // That the tap hears what is not encrypted.
    ring.settle_all(Backend::Vxlan).await?;
    ensure!(ring.overheard(0, 1)? > 0, "a tunnel hides nothing");
    ring.settle_all(Backend::WireGuard).await?;
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 1)] {
        let heard = ring.overheard(from, to)?;
        ensure!(heard == 0, "m{} to m{}: {heard} packets in the clear", from + 1, to + 1);
    }
    // Packets as large as they may be.
    let sink = Sink::open(&ring.guests[1].0, SocketAddrV4::new(ring.guests[1].1, 0), 2)?;
    let figures = pump::measure(&ring.guests[0].0, sink.address, 32 * 1024 * 1024)?;
    sink.seen()?;
    warren_test::say(&format!(
        "guest to guest, wireguard by {by}: {:.2} Gbit/s, round trip {:?}",
        figures.bytes_per_second * 8.0 / 1e9,
        figures.round_trip
    ));
    // What is cut between machines is cut between their guests.
    ring.bed.part(&[0])?;
    ensure!(ring.talk(0, 1, BRIEF).is_err(), "they are apart");
    ring.bed.heal()?;
    ring.talk(0, 1, PATIENCE)
}

#[tokio::test]
async fn guests_talk_and_nobody_on_the_way_hears_them() {
    let test = "guests_talk_and_nobody_on_the_way_hears_them";
    let plan = Plan { links: 2, ..Plan::machines(3) };
    let Some(ring) = ring(test, plan, &[0, 1, 2]).await else { return };
    hear_nothing(&ring, "a program").await.unwrap();
}

#[tokio::test]
async fn a_kernel_lets_guests_talk_and_nobody_on_the_way_hears_them() {
    let test = "a_kernel_lets_guests_talk_and_nobody_on_the_way_hears_them";
    if !kernel_speaks().await {
        return say_without(test);
    }
    let plan = Plan { links: 2, ..Plan::machines(3) };
    let built = Ring::build(plan, &[0, 1, 2]).await;
    let Some(ring) = testbed::or_skip(&format!("{}::{test}", module_path!()), built) else {
        return;
    };
    hear_nothing(&ring, "the kernel").await.unwrap();
}

/// m1 and m3 are on one link, m2 and m4 on another; m4 does not speak WireGuard.
async fn choose_by_pair(ring: &Ring) -> anyhow::Result<()> {
    ring.settle_all(Backend::Auto).await?;
    let far = |index: usize| Hop::Tunnel(subnet(index).network());
    let near = |index: usize| Hop::Direct(ring.bed.machine(index).address);
    ensure!(ring.hops(0).await? == [Hop::Wire, near(2), far(3)], "{:?}", ring.hops(0).await?);
    ensure!(ring.hops(1).await? == [Hop::Wire, Hop::Wire, near(3)], "{:?}", ring.hops(1).await?);
    ensure!(ring.hops(3).await? == [far(0), near(1), far(2)], "{:?}", ring.hops(3).await?);
    for (from, to, hidden) in [(0, 1, true), (0, 2, false), (0, 3, false), (3, 1, false)] {
        let heard = ring.overheard(from, to)?;
        ensure!((heard == 0) == hidden, "m{} to m{}: {heard} in the clear", from + 1, to + 1);
    }
    Ok(())
}

/// Whether a packet that one guest sends in the clear comes to the other.
fn packet_arrives(ring: &Ring, from: usize, to: usize) -> anyhow::Result<bool> {
    let socket = |guest: usize| {
        let (namespace, address) = &ring.guests[guest];
        let _inside = namespace.enter()?;
        UdpSocket::bind((*address, 0))
            .with_context(|| format!("a socket of m{}'s guest", guest + 1))
    };
    let (sender, taker) = (socket(from)?, socket(to)?);
    taker.set_read_timeout(Some(BRIEF))?;
    sender.send_to(WORDS.as_bytes(), taker.local_addr()?)?;
    match taker.recv(&mut [0; 64]) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn take_nothing_in_the_clear(ring: &Ring) -> anyhow::Result<()> {
    // m1 is somebody on the link who uses whatever address it likes.
    let stranger = ring.wish(0, Backend::HostGw);
    let settled = ring.settle_one(0, Some(&stranger)).await?;
    ensure!(settled.problems.is_empty(), "{settled:?}");
    ring.settle_one(1, Some(&ring.wish(1, Backend::HostGw))).await?;
    ensure!(packet_arrives(ring, 0, 1)?, "who takes all takes this");
    ring.settle_one(1, Some(&ring.wish(1, Backend::WireGuard))).await?;
    ensure!(!packet_arrives(ring, 0, 1)?, "who takes what is encrypted does not");
    ring.settle_one(0, Some(&ring.wish(0, Backend::WireGuard))).await?;
    ensure!(packet_arrives(ring, 0, 1)?, "it takes that");
    Ok(())
}

#[tokio::test]
async fn who_must_encrypt_takes_nothing_in_the_clear_from_the_link() {
    let test = "who_must_encrypt_takes_nothing_in_the_clear_from_the_link";
    let Some(ring) = ring(test, Plan::machines(2), &[0, 1]).await else { return };
    take_nothing_in_the_clear(&ring).await.unwrap();
}

#[tokio::test]
async fn each_pair_takes_the_best_way_that_both_have() {
    let test = "each_pair_takes_the_best_way_that_both_have";
    let plan = Plan { links: 2, ..Plan::machines(4) };
    let Some(ring) = ring(test, plan, &[0, 1, 2]).await else { return };
    choose_by_pair(&ring).await.unwrap();
}

async fn come_back_after_a_crash(ring: &mut Ring) -> anyhow::Result<()> {
    ring.settle_all(Backend::WireGuard).await?;
    ring.talk(0, 1, PATIENCE)?;
    // The program dies, and its device with it: nothing passes, in the clear either.
    let wish = ring.wish(0, Backend::WireGuard);
    ring.programs[0] = None;
    let tap = ring.bed.wiretap(WORDS)?;
    ensure!(ring.talk(0, 1, BRIEF).is_err(), "nothing passes");
    let settled = ring.settle_one(0, Some(&wish)).await?;
    let told = settled.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    ensure!(told.contains("this machine has no WireGuard"), "{told}");
    ensure!(ring.talk(0, 1, BRIEF).is_err(), "nothing passes");
    let heard = tap.heard()?;
    ensure!(heard.in_the_clear == 0, "{heard:?}");
    // Another one starts and is set up, and the peers need no word of it.
    ring.programs[0] = Some(ring.bed.machine(0).speak_wireguard(&owner().wire()).await?);
    let settled = ring.settle_one(0, Some(&wish)).await?;
    ensure!(settled.problems.is_empty(), "{settled:?}");
    ring.talk(0, 1, PATIENCE)?;
    // Without a wish the program knows nothing any more: no key, and no peers.
    let gone = ring.settle_one(0, None).await?;
    ensure!(gone.problems.is_empty(), "{gone:?}");
    let known = ring.bed.machine(0).wireguard_sockets().join(format!("{}.sock", owner().wire()));
    let mut program = UnixStream::connect(known)?;
    program.write_all(b"get=1\n\n")?;
    program.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    program.read_to_string(&mut answer)?;
    ensure!(answer.ends_with("errno=0\n\n"), "{answer}");
    ensure!(!answer.contains("key="), "{answer}");
    ensure!(ring.talk(0, 1, BRIEF).is_err(), "nothing passes");
    Ok(())
}

#[tokio::test]
async fn a_program_that_crashed_is_set_up_again_and_nothing_passes_meanwhile() {
    let test = "a_program_that_crashed_is_set_up_again_and_nothing_passes_meanwhile";
    if kernel_speaks().await {
        let name = format!("{}::{test}", module_path!());
        return warren_test::skip(&name, "the kernel would speak in the program's place");
    }
    let Some(mut ring) = ring(test, Plan::machines(2), &[0, 1]).await else { return };
    come_back_after_a_crash(&mut ring).await.unwrap();
}
