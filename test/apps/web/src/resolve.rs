//! Asks the resolver of the container for IPv4 addresses.
//!
//! A static binary cannot use the C library's resolver, which loads modules when it runs. What a container has is two
//! files, and one question over UDP is all that a test needs.

use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// A resolver on the same machine or bridge answers in a few milliseconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// UDP may lose a packet; losing three in a row is a fault worth reporting.
const TRIES: usize = 3;
const DNS_PORT: u16 = 53;
/// What fits a UDP answer without EDNS.
const ANSWER_BYTES_MAX: usize = 512;

/// What `/etc/resolv.conf` says.
#[derive(Debug, Default, PartialEq)]
struct Config {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    ndots: usize,
}

/// Every IPv4 address of a name, in the order of the answer; an address is its own answer.
pub(crate) fn addresses(name: &str) -> Result<Vec<Ipv4Addr>> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let known = in_hosts(&hosts, name);
    if !known.is_empty() {
        return Ok(known);
    }
    let config = parse_config(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let mut last = format!("{name} has no address, and there is no server in /etc/resolv.conf");
    for candidate in candidates(&config, name) {
        for server in &config.servers {
            match ask(SocketAddr::new(*server, DNS_PORT), &candidate) {
                Ok(found) if !found.is_empty() => return Ok(found),
                Ok(_) => last = format!("{candidate} has no address at {server}"),
                Err(error) => last = format!("{server} did not answer for {candidate}: {error}"),
            }
        }
    }
    Err(Error::new(ErrorKind::NotFound, last))
}

fn in_hosts(text: &str, name: &str) -> Vec<Ipv4Addr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    });
    lines.collect()
}

fn parse_config(text: &str) -> Config {
    let mut config = Config { ndots: 1, ..Config::default() };
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                config.servers.extend(words.filter_map(|word| word.parse::<IpAddr>().ok()))
            }
            Some("search" | "domain") => config.search = words.map(str::to_owned).collect(),
            Some("options") => {
                let ndots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                config.ndots = ndots.unwrap_or(config.ndots);
            }
            _ => {}
        }
    }
    config
}

/// The names to try in order: with the search domains first where the name has few dots.
fn candidates(config: &Config, name: &str) -> Vec<String> {
    if let Some(absolute) = name.strip_suffix('.') {
        return vec![absolute.to_owned()];
    }
    let searched = config.search.iter().map(|domain| format!("{name}.{domain}"));
    let searched: Vec<String> = searched.map(|name| name.trim_end_matches('.').into()).collect();
    if name.matches('.').count() >= config.ndots {
        [vec![name.to_owned()], searched].concat()
    } else {
        [searched, vec![name.to_owned()]].concat()
    }
}

fn ask(server: SocketAddr, name: &str) -> Result<Vec<Ipv4Addr>> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    // The local port tells answers apart from those to other sockets; the id does so among the tries on this one.
    let mut last = Error::from(ErrorKind::TimedOut);
    for id in 1..=TRIES {
        let id = u16::try_from(id).unwrap_or_default();
        socket.send(&question(id, name)?)?;
        let mut answer = [0; ANSWER_BYTES_MAX];
        match socket.recv(&mut answer) {
            Ok(length) => return parse_answer(id, &answer[..length]),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn question(id: u16, name: &str) -> Result<Vec<u8>> {
    // One question, recursion desired.
    let mut packet = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        let length = u8::try_from(label.len()).unwrap_or_default();
        if !(1..=63).contains(&length) {
            let message = format!("`{name}` is not a name");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        packet.push(length);
        packet.extend_from_slice(label.as_bytes());
    }
    // The root, type A, class IN.
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    Ok(packet)
}

fn parse_answer(id: u16, packet: &[u8]) -> Result<Vec<Ipv4Addr>> {
    let broken = || Error::new(ErrorKind::InvalidData, "the answer is broken");
    let word = |at: usize| {
        packet.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).ok_or_else(broken)
    };
    if word(0)? != id || word(2)? & 0x8000 == 0 {
        return Err(broken());
    }
    match word(2)? & 0xF {
        0 | 3 => {}
        code => return Err(Error::other(format!("the answer is error {code}"))),
    }
    let mut at = 12;
    for _ in 0..word(4)? {
        at = skip_name(packet, at).ok_or_else(broken)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..word(6)? {
        at = skip_name(packet, at).ok_or_else(broken)?;
        let (kind, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = packet.get(at + 10..at + 10 + length).ok_or_else(broken)?;
        if let (1, &[a, b, c, d]) = (kind, data) {
            found.push(Ipv4Addr::new(a, b, c, d));
        }
        at += 10 + length;
    }
    Ok(found)
}

/// Just past the name that starts at `at`; a pointer ends it.
fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xC0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_try_the_search_domains_first() {
        let config = parse_config("nameserver 10.1.2.3\nsearch warren. lan\noptions ndots:1\n");
        assert_eq!(config.servers, ["10.1.2.3".parse::<IpAddr>().unwrap()]);
        assert_eq!(candidates(&config, "web"), ["web.warren", "web.lan", "web"]);
        assert_eq!(candidates(&config, "web.warren")[0], "web.warren");
        assert_eq!(candidates(&config, "web."), ["web"]);
    }

    #[test]
    fn hosts_come_first() {
        let hosts = "127.0.0.1 localhost # here\n10.0.0.7 a B\n::1 localhost\n";
        assert_eq!(in_hosts(hosts, "b"), [Ipv4Addr::new(10, 0, 0, 7)]);
        assert_eq!(in_hosts(hosts, "LOCALHOST"), [Ipv4Addr::LOCALHOST]);
        assert!(in_hosts(hosts, "here").is_empty());
    }

    #[test]
    fn an_answer_gives_its_addresses_and_damage_no_panic() {
        let mut packet = question(7, "web.warren").unwrap();
        packet[2] |= 0x80;
        packet[7] = 2;
        for last in [5, 6] {
            packet.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, last]);
        }
        let found = parse_answer(7, &packet).unwrap();
        assert_eq!(found, [Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(10, 0, 0, 6)]);
        assert!(parse_answer(8, &packet).is_err(), "an answer to another question");
        for length in 0..packet.len() {
            let _ = parse_answer(7, &packet[..length]);
        }
    }
}
