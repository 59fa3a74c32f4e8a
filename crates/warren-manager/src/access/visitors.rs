//! Who is connected to the port, and who has to go: a port that takes everybody in is soon one that takes nobody in.
//!
//! Nodes show a certificate of the cluster and stay as long as they like. Everybody else is a guest: people with access
//! tokens, machines that join, and whoever else finds the port. Guests have limits, in all and from one address, and do
//! not rest for ever. Where an address has all that it may have, its oldest connection that rests makes room for the
//! new one, so that a program that leaks connections does not lock out what else runs at its address.

use super::line::Line;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Connections that stand at once: 5,000 nodes, their managers and clients, with room.
const CONNECTIONS_MAX: usize = 12_000;
/// Guests at once. Command lines come and go; these are hundreds of people and pipelines. A guest that says nothing
/// costs some 20 KiB, so all of them cost 40 MiB.
const GUESTS_MAX: usize = 2_000;
/// Guests from one address at once: an office behind one address, with its pipelines.
const GUESTS_OF_ADDRESS_MAX: usize = 256;
/// A guest calls at once, or is no client of ours.
const FIRST_CALL_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a guest rests between two calls: longer than people and dashboards pause. Clients of gRPC connect anew by
/// themselves.
const REST_TIME_MAX: Duration = Duration::from_secs(300);
/// A node that is connected and has never called was cut off before it could. Its keep-alive ends any other.
const NODE_FIRST_CALL_TIME_MAX: Duration = Duration::from_secs(60);

/// How many connections there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// In all.
    pub connections: usize,
    /// Of guests.
    pub guests: usize,
    /// Of guests from one address.
    pub of_address: usize,
}

impl Limits {
    /// For a process that may have so many files open: half of them are for connections.
    #[must_use]
    pub fn for_files(files: u64) -> Self {
        let half = usize::try_from(files / 2).unwrap_or(usize::MAX);
        let connections = half.min(CONNECTIONS_MAX);
        let guests = (connections / 2).min(GUESTS_MAX);
        Self { connections, guests, of_address: (guests / 4).min(GUESTS_OF_ADDRESS_MAX) }
    }
}

/// Why a connection is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// There are as many as there may be.
    All,
    /// There are as many guests as there may be, and all have calls under way.
    Guests,
    /// The address has as many as it may have, and all have calls under way.
    Address,
}

impl Full {
    /// As metrics and logs say it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Guests => "guests",
            Self::Address => "address",
        }
    }
}

/// Everybody who is connected.
#[derive(Debug)]
pub struct Visitors {
    limits: Limits,
    next: u64,
    lines: BTreeMap<u64, Line>,
    /// The connections of each address that showed no certificate, oldest first.
    guests: BTreeMap<IpAddr, BTreeSet<u64>>,
    guest_count: usize,
    /// Guests that made room for others, and have not been told of.
    displaced: usize,
}

impl Visitors {
    /// Nobody yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let (lines, guests) = (BTreeMap::new(), BTreeMap::new());
        Self { limits, next: 0, lines, guests, guest_count: 0, displaced: 0 }
    }

    /// Somebody connects, a guest until a certificate is shown.
    ///
    /// # Errors
    /// There is no room, and nobody who rests to make some.
    pub fn enter(&mut self, peer: SocketAddr, now: Instant) -> Result<(u64, Line), Full> {
        if self.lines.len() >= self.limits.connections {
            return Err(Full::All);
        }
        let address = group(peer.ip());
        if self.guests.get(&address).map_or(0, BTreeSet::len) >= self.limits.of_address {
            self.make_room(address, now).ok_or(Full::Address)?;
        } else if self.guest_count >= self.limits.guests {
            let most = self.guests.iter().max_by_key(|(_, guests)| guests.len());
            let most = most.map(|(address, _)| *address).ok_or(Full::Guests)?;
            self.make_room(most, now).ok_or(Full::Guests)?;
        }
        let (id, line) = (self.next, Line::new(peer, now));
        self.next += 1;
        self.lines.insert(id, line.clone());
        self.guests.entry(address).or_default().insert(id);
        self.guest_count += 1;
        Ok((id, line))
    }

    /// It is a node: it has shown a certificate.
    pub fn is_node(&mut self, id: u64) {
        if let Some(address) = self.lines.get(&id).map(|line| group(line.peer().ip())) {
            self.forget_guest(address, id);
        }
    }

    /// It has ended.
    pub fn leave(&mut self, id: u64) {
        if let Some(line) = self.lines.remove(&id) {
            self.forget_guest(group(line.peer().ip()), id);
        }
    }

    /// Cuts those that rest for too long. Returns how many.
    pub fn cut_idle(&mut self, now: Instant) -> usize {
        let is_guest = |id: &u64, line: &Line| {
            self.guests.get(&group(line.peer().ip())).is_some_and(|of| of.contains(id))
        };
        let idle = self.lines.iter().filter(|(id, line)| {
            let Some(rest) = line.rest(now) else { return false };
            match (is_guest(id, line), rest.called) {
                (true, true) => rest.lasts >= REST_TIME_MAX,
                (true, false) => rest.lasts >= FIRST_CALL_TIME_MAX,
                (false, true) => false,
                (false, false) => rest.lasts >= NODE_FIRST_CALL_TIME_MAX,
            }
        });
        let idle: Vec<u64> = idle.map(|(id, _)| *id).collect();
        for id in &idle {
            self.cut(*id);
        }
        idle.len()
    }

    /// How many guests have made room for others since it was asked last.
    pub fn take_displaced(&mut self) -> usize {
        std::mem::take(&mut self.displaced)
    }

    /// How many nodes and guests are connected.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.lines.len() - self.guest_count, self.guest_count)
    }

    /// Cuts the oldest connection of `address` that rests.
    fn make_room(&mut self, address: IpAddr, now: Instant) -> Option<()> {
        let rests = |id: &&u64| self.lines.get(id).is_some_and(|line| line.rest(now).is_some());
        let oldest = self.guests.get(&address)?.iter().find(rests).copied()?;
        self.cut(oldest);
        self.displaced += 1;
        Some(())
    }

    fn cut(&mut self, id: u64) {
        if let Some(line) = self.lines.get(&id) {
            line.cut();
        }
        self.leave(id);
    }

    fn forget_guest(&mut self, address: IpAddr, id: u64) {
        let Some(of) = self.guests.get_mut(&address) else { return };
        if of.remove(&id) {
            self.guest_count -= 1;
        }
        if of.is_empty() {
            self.guests.remove(&address);
        }
    }
}

/// What counts as one address: who has an IPv6 address has the 2^64 beside it as well.
pub(super) fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { connections: 8, guests: 6, of_address: 3 };

    fn from(host: u8) -> SocketAddr {
        ([192, 0, 2, host], 1000).into()
    }

    #[test]
    fn limits_leave_half_of_the_files_to_everything_else() {
        let many = Limits { connections: 12_000, guests: 2_000, of_address: 256 };
        assert_eq!(Limits::for_files(1 << 20), many);
        let few = Limits { connections: 512, guests: 256, of_address: 64 };
        assert_eq!(Limits::for_files(1024), few);
    }

    #[test]
    fn an_address_gives_up_its_oldest_connection_that_rests_and_no_other() {
        let now = Instant::now();
        let mut visitors = Visitors::new(LIMITS);
        let (_, other) = visitors.enter(from(9), now).unwrap();
        let mine: Vec<_> = (0..3).map(|_| visitors.enter(from(1), now).unwrap().1).collect();
        let busy = mine[0].call();
        visitors.enter(from(1), now).unwrap();
        let cut: Vec<_> = mine.iter().map(|line| line.ends().is_cancelled()).collect();
        assert_eq!(cut, [false, true, false]);
        assert!(!other.ends().is_cancelled());
        assert_eq!((visitors.count(), visitors.take_displaced()), ((0, 4), 1));
        drop(busy);
        visitors.enter(from(1), now).unwrap();
        assert!(mine[0].ends().is_cancelled(), "its call is over");
    }

    #[test]
    fn where_nobody_rests_the_new_one_has_to_go() {
        let now = Instant::now();
        let mut visitors = Visitors::new(LIMITS);
        let mut calls = Vec::new();
        for host in [1, 1, 1, 2, 2, 2] {
            calls.push(visitors.enter(from(host), now).unwrap().1.call());
        }
        assert_eq!(visitors.enter(from(1), now).unwrap_err(), Full::Address);
        assert_eq!(visitors.enter(from(3), now).unwrap_err(), Full::Guests);
        calls.pop();
        visitors.enter(from(3), now).expect("the address with the most makes room");
    }

    #[test]
    fn nodes_count_as_no_guests_and_everybody_counts_in_all() {
        let now = Instant::now();
        let mut visitors = Visitors::new(LIMITS);
        for _ in 0..8 {
            let (id, _) = visitors.enter(from(1), now).unwrap();
            visitors.is_node(id);
        }
        assert_eq!(visitors.count(), (8, 0));
        assert_eq!(visitors.enter(from(2), now).unwrap_err(), Full::All);
        visitors.leave(0);
        visitors.leave(0);
        let (id, _) = visitors.enter(from(2), now).unwrap();
        visitors.leave(id);
        visitors.is_node(id);
        assert_eq!(visitors.count(), (7, 0));
        assert!(visitors.guests.is_empty(), "nothing is kept of those who left");
    }

    #[test]
    fn guests_call_soon_and_again_and_nodes_stay() {
        let now = Instant::now();
        let mut visitors = Visitors::new(LIMITS);
        let (_, silent) = visitors.enter(from(1), now).unwrap();
        let (_, called) = visitors.enter(from(1), now).unwrap();
        let (node, at_work) = visitors.enter(from(1), now).unwrap();
        visitors.is_node(node);
        let (node, hung) = visitors.enter(from(1), now).unwrap();
        visitors.is_node(node);
        let (_, long) = visitors.enter(from(2), now).unwrap();
        let _stays = long.call();
        drop((called.call(), at_work.call()));
        let later = Instant::now();
        let cut = |visitors: &mut Visitors, after| visitors.cut_idle(later + after);
        assert_eq!(cut(&mut visitors, FIRST_CALL_TIME_MAX), 1);
        assert!(silent.ends().is_cancelled());
        assert_eq!(cut(&mut visitors, NODE_FIRST_CALL_TIME_MAX), 1);
        assert!(hung.ends().is_cancelled());
        assert_eq!(cut(&mut visitors, REST_TIME_MAX), 1);
        assert!(called.ends().is_cancelled());
        assert_eq!(cut(&mut visitors, REST_TIME_MAX * 1000), 0);
        assert_eq!(visitors.count(), (1, 1));
    }

    #[test]
    fn neighbours_in_ipv6_are_one_address() {
        let of = |text: &str| group(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
