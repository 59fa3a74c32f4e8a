//! Which addresses the tasks of this node get, where the cluster cannot say so: loopback addresses of processes.

use super::data_dir::Kept;
use crate::failure::{Exit, Failure, Outcome};
use ipnet::Ipv4Net;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

/// Where the loopback addresses of processes are taken from.
const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 64, 0, 0), 10);

/// A node's share of them: 1,021 tasks.
const SHARE: u8 = 22;

/// Where DNS is answered inside of a share. Who listens there has the share.
pub const DNS_PORT: u16 = 7453;

/// Shares that are tried before giving up: with half of the 4,096 taken, all of so many are with 10⁻¹⁰.
const TRIES: u32 = 32;

/// The loopback addresses of this node's tasks: the same as before, or a share that nobody has.
///
/// # Errors
/// Nothing is free.
pub fn loopback(kept: Option<&Kept>) -> Outcome<Ipv4Net> {
    if let Some(subnet) = kept.and_then(|kept| kept.subnet) {
        return Ok(subnet);
    }
    for _ in 0..TRIES {
        let subnet = share(random()?);
        let claim = SocketAddrV4::new(first_host(subnet), DNS_PORT);
        if TcpListener::bind(claim).is_ok() {
            return Ok(subnet);
        }
    }
    let why = format!("no free /{SHARE} in {LOOPBACK} for the tasks of this node");
    Err(Failure::new(Exit::Failed, why).hint("are thousands of nodes running on this machine?"))
}

fn share(number: u32) -> Ipv4Net {
    let count = 1_u32 << (SHARE - LOOPBACK.prefix_len());
    let size = 1_u32 << (32 - SHARE);
    let address = u32::from(LOOPBACK.network()) + number % count * size;
    Ipv4Net::new_assert(Ipv4Addr::from(address), SHARE)
}

/// The first address of a subnet: the node's own.
pub fn first_host(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()) + 1)
}

/// 32 random bits of the kernel's.
fn random() -> Outcome<u32> {
    random_bytes().map(u32::from_le_bytes)
}

/// Random bytes of the kernel's.
///
/// # Errors
/// The kernel gives none.
pub fn random_bytes<const N: usize>() -> Outcome<[u8; N]> {
    use std::io::Read;
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_inside_of_the_loopback_range_and_kept() {
        for number in [0, 1, 4_095, 4_096, u32::MAX] {
            assert!(LOOPBACK.contains(&share(number)));
        }
        assert_eq!(first_host(share(1)).to_string(), "127.64.4.1");
        let subnet = loopback(None).unwrap();
        let kept = Kept { runtime: "process".into(), subnet: Some(subnet) };
        assert_eq!(loopback(Some(&kept)).unwrap(), subnet);
    }
}
