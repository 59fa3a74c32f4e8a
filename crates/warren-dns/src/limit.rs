//! How many answers strangers get: a server that answers anyone, as much as he asks, is a weapon
//! against those in whose name he asks.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Instant;

/// How many buckets there are. Two networks that fall into one share what it allows, so it is above
/// the number of networks that ask at a time, and it costs 64 KiB for each worker.
const BUCKETS: usize = 4096;
/// Of the answers above the limit every such one is sent as truncated, so that an honest client
/// asks again over TCP, where nobody can ask in another's name.
const TRUNCATED_EVERY: u32 = 2;

/// What to do with a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Answer,
    Truncate,
    Drop,
}

/// Counts the answers to each network of clients, for one worker.
pub(crate) struct Limiter {
    /// Answers per second and network; 0 for no limit.
    rate: f64,
    buckets: Vec<Bucket>,
    hasher: RandomState,
    start: Instant,
    above: u32,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// How many answers may be given now.
    left: f64,
    /// When that was true, in seconds since the start.
    at: f64,
}

impl Limiter {
    /// A limiter for one of `workers`, which share the clients between them.
    pub(crate) fn new(answers_per_second: u32, workers: usize, now: Instant) -> Self {
        let workers = f64::from(u32::try_from(workers).unwrap_or(u32::MAX));
        let rate = f64::from(answers_per_second) / workers;
        let buckets = if answers_per_second == 0 { 0 } else { BUCKETS };
        Self {
            rate,
            buckets: vec![Bucket { left: rate.max(1.0), at: 0.0 }; buckets],
            hasher: RandomState::new(),
            start: now,
            above: 0,
        }
    }

    /// Whether a client may have an answer now.
    pub(crate) fn check(&mut self, client: IpAddr, now: Instant) -> Verdict {
        if self.buckets.is_empty() {
            return Verdict::Answer;
        }
        let slot = self.hasher.hash_one(network(client)) % BUCKETS as u64;
        let bucket = &mut self.buckets[usize::try_from(slot).unwrap_or_default()];
        let at = now.saturating_duration_since(self.start).as_secs_f64();
        bucket.left = (bucket.left + (at - bucket.at) * self.rate).min(self.rate.max(1.0));
        bucket.at = at;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Verdict::Answer;
        }
        self.above = self.above.wrapping_add(1);
        if self.above.is_multiple_of(TRUNCATED_EVERY) { Verdict::Truncate } else { Verdict::Drop }
    }
}

/// The network of a client, as one who forges senders would vary them within it.
fn network(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits() >> 8),
        IpAddr::V6(v6) => 1 << 63 | u64::try_from(v6.to_bits() >> 72).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_network_gets_its_rate_after_a_burst_and_others_are_not_hurt() {
        let start = Instant::now();
        let mut limiter = Limiter::new(20, 2, start);
        let client = |last| IpAddr::from([192, 0, 2, last]);
        let mut count = |now| {
            let verdicts: Vec<_> = (0..100).map(|n| limiter.check(client(n), now)).collect();
            let of = |verdict| verdicts.iter().filter(|given| **given == verdict).count();
            (of(Verdict::Answer), of(Verdict::Truncate), of(Verdict::Drop))
        };
        assert_eq!(count(start), (10, 45, 45));
        assert_eq!(count(start), (0, 50, 50));
        assert_eq!(count(start + Duration::from_millis(500)), (5, 47, 48));
        assert_eq!(count(start + Duration::from_secs(60)), (10, 45, 45));
        let others = (0..100).map(|n| IpAddr::from([198, 51, n, 1]));
        let answered = others.filter(|other| limiter.check(*other, start) == Verdict::Answer);
        assert!(answered.count() > 90);
    }

    #[test]
    fn without_a_rate_everyone_is_answered() {
        let now = Instant::now();
        let mut limiter = Limiter::new(0, 2, now);
        let client = IpAddr::from([192, 0, 2, 1]);
        assert!((0..1000).all(|_| limiter.check(client, now) == Verdict::Answer));
    }

    #[test]
    fn networks_are_told_apart_by_what_a_forger_cannot_vary() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("192.0.2.255"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.9"));
        assert_eq!(of("2001:db8:1:200::1"), of("2001:db8:1:2ff::9"));
        assert_ne!(of("2001:db8:1:200::1"), of("2001:db8:1:300::1"));
    }
}
