//! Addresses for a test's node and its tasks.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// A pool that no other test takes, one of the 16,384 of two /24 in 10.128.0.0/9: the process and its nodes choose
/// where to begin, and what this machine has a route to is passed over.
pub fn own() -> String {
    static NODES: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(8) + NODES.fetch_add(1, Ordering::Relaxed);
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let pools = (0..1 << 14).map(|step| {
        let [_, _, high, low] = (first.wrapping_add(step * 1031) % (1 << 14) * 2).to_be_bytes();
        [10, 128 + high, low]
    });
    // The kernel writes an address with its last byte first: 10.130.4.0 is 0004820A.
    let taken = |[a, b, c]: &[u8; 3]| {
        [*c, c + 1].iter().any(|c| routes.contains(&format!("\t00{c:02X}{b:02X}{a:02X}\t")))
    };
    let mut free = pools.filter(|pool| !taken(pool));
    let [a, b, c] = free.next().unwrap_or([10, 128, 0]);
    format!("{a}.{b}.{c}.0/23")
}

/// An address for a node that others know by it: free now, and none that the kernel gives to whoever connects to
/// something, so that it is still free when the node comes back after a kill.
///
/// # Errors
/// Where none of them is free.
pub fn lasting() -> anyhow::Result<SocketAddr> {
    // The kernel gives away those from 32768 on.
    const PORTS: Range<u16> = 10_000..32_768;
    for _ in 0..100 {
        let draw = RandomState::new().hash_one(PORTS.start) % u64::from(PORTS.end - PORTS.start);
        let address = (Ipv4Addr::LOCALHOST, PORTS.start + u16::try_from(draw)?).into();
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no port from {PORTS:?} is free")
}
