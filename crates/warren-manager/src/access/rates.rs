//! How often somebody may call: a bucket for each, from which every call takes one and which time fills again.
//!
//! Nodes have none: their sessions and the log are what a cluster is. Root of a manager's machine has none either.

use super::Caller;
use super::visitors::group;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// So many seconds' worth of calls may come at once.
const BURST_SECONDS: f64 = 2.0;
/// Wrong tokens that an address may show at once: somebody who pastes the wrong one, and again.
const WRONG_MAX: f64 = 10.0;
/// One more wrong token is allowed after so long. A secret has 128 bits: nobody finds one so.
const WRONG_PAUSE: Duration = Duration::from_secs(6);
/// Callers of whom is kept how much they have left: 256 KiB in each of the two tables. Who is forgotten has a full
/// bucket again, and more addresses than that at a time are no single caller's.
const CALLERS_MAX: usize = 4_096;

/// Whom a bucket is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Who {
    /// Somebody with an access token.
    Person(String),
    /// An address.
    Address(Option<IpAddr>),
}

impl Who {
    /// Who `caller` is; `None` for those that have no limit.
    #[must_use]
    pub(super) fn of(caller: &Caller) -> Option<Self> {
        match caller {
            Caller::Local { .. } | Caller::Node { .. } => None,
            Caller::Person { name, .. } => Some(Self::Person(name.clone())),
            Caller::Stranger { address } => Some(Self::at(*address)),
            Caller::Removed { node } => Some(Self::Person(format!("removed {node}"))),
        }
    }

    /// Whoever calls from `address`.
    #[must_use]
    pub(super) fn at(address: Option<IpAddr>) -> Self {
        Self::Address(address.map(group))
    }
}

/// What everybody has left.
#[derive(Debug)]
pub(super) struct Rates {
    /// Calls a second; none for no limit.
    per_second: Option<f64>,
    calls: Table,
    wrong: Table,
}

impl Rates {
    /// With so many calls per second and caller; 0 for no limit.
    #[must_use]
    pub(super) fn new(per_second: u32) -> Self {
        let rate = f64::from(per_second);
        let limit = (per_second > 0).then_some(rate);
        let calls = Table::new(rate, rate * BURST_SECONDS);
        let wrong = Table::new(1.0 / WRONG_PAUSE.as_secs_f64(), WRONG_MAX);
        Self { per_second: limit, calls, wrong }
    }

    /// `who` makes a call.
    ///
    /// # Errors
    /// It has made too many: after how long it may make the next.
    pub(super) fn call(&mut self, who: &Who, now: Instant) -> Result<(), Duration> {
        match self.per_second {
            Some(_) => self.calls.take(who, now),
            None => Ok(()),
        }
    }

    /// Calls per second and caller, as a refusal names it.
    #[must_use]
    pub(super) fn per_second(&self) -> f64 {
        self.per_second.unwrap_or(f64::INFINITY)
    }

    /// Whether `who` may show a token.
    ///
    /// # Errors
    /// It has shown too many wrong ones: after how long it may show the next.
    pub(super) fn may_try(&self, who: &Who, now: Instant) -> Result<(), Duration> {
        self.wrong.wait(who, now).map_or(Ok(()), Err)
    }

    /// `who` has shown a wrong token.
    pub(super) fn was_wrong(&mut self, who: &Who, now: Instant) {
        // What is below none stays at none.
        let _ = self.wrong.take(who, now);
    }
}

/// Buckets that fill at one rate.
#[derive(Debug)]
struct Table {
    per_second: f64,
    full: f64,
    buckets: BTreeMap<Who, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Table {
    fn new(per_second: f64, full: f64) -> Self {
        Self { per_second, full, buckets: BTreeMap::new() }
    }

    fn left(&self, bucket: &Bucket, now: Instant) -> f64 {
        let filled = now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_second;
        (bucket.left + filled).min(self.full)
    }

    /// How long until there is one; `None` where there is.
    fn wait(&self, who: &Who, now: Instant) -> Option<Duration> {
        let left = self.left(self.buckets.get(who)?, now);
        let missing = 1.0 - left;
        (missing > 0.0).then(|| Duration::from_secs_f64(missing / self.per_second))
    }

    fn take(&mut self, who: &Who, now: Instant) -> Result<(), Duration> {
        if let Some(wait) = self.wait(who, now) {
            return Err(wait);
        }
        let left = self.buckets.get(who).map_or(self.full, |bucket| self.left(bucket, now));
        if !self.buckets.contains_key(who) && self.buckets.len() >= CALLERS_MAX {
            self.make_room(now);
        }
        self.buckets.insert(who.clone(), Bucket { left: left - 1.0, at: now });
        Ok(())
    }

    /// Forgets those with a full bucket, and where there are none whoever has the most left.
    fn make_room(&mut self, now: Instant) {
        let (per_second, full) = (self.per_second, self.full);
        let left = |bucket: &Bucket| {
            let filled = now.saturating_duration_since(bucket.at).as_secs_f64() * per_second;
            (bucket.left + filled).min(full)
        };
        self.buckets.retain(|_, bucket| left(bucket) < full);
        if self.buckets.len() >= CALLERS_MAX {
            let most = self.buckets.iter().max_by(|a, b| left(a.1).total_cmp(&left(b.1)));
            if let Some(who) = most.map(|(who, _)| who.clone()) {
                self.buckets.remove(&who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn person(name: &str) -> Who {
        Who::Person(name.to_owned())
    }

    fn calls(rates: &mut Rates, who: &Who, now: Instant, count: usize) -> usize {
        (0..count).filter(|_| rates.call(who, now).is_ok()).count()
    }

    #[test]
    fn a_caller_has_a_burst_and_then_the_rate_and_hurts_no_other() {
        let (mut rates, start) = (Rates::new(10), Instant::now());
        assert_eq!(calls(&mut rates, &person("ci"), start, 100), 20);
        assert_eq!(rates.call(&person("ci"), start), Err(Duration::from_millis(100)));
        assert_eq!(calls(&mut rates, &person("ann"), start, 100), 20);
        let later = start + Duration::from_millis(500);
        assert_eq!(calls(&mut rates, &person("ci"), later, 100), 5);
        let long = start + Duration::from_secs(3600);
        assert_eq!(calls(&mut rates, &person("ci"), long, 100), 20, "no more than a burst");
    }

    #[test]
    fn zero_is_no_limit_and_wrong_tokens_have_theirs_all_the_same() {
        let (mut rates, now) = (Rates::new(0), Instant::now());
        assert_eq!(calls(&mut rates, &person("ci"), now, 10_000), 10_000);
        let at = Who::at(Some([192, 0, 2, 1].into()));
        for _ in 0..10 {
            assert_eq!(rates.may_try(&at, now), Ok(()));
            rates.was_wrong(&at, now);
        }
        assert_eq!(rates.may_try(&at, now), Err(WRONG_PAUSE));
        assert_eq!(rates.may_try(&Who::at(Some([192, 0, 2, 2].into())), now), Ok(()));
        rates.was_wrong(&at, now);
        assert_eq!(rates.may_try(&at, now + WRONG_PAUSE), Ok(()), "it grows no debt");
    }

    #[test]
    fn nodes_and_root_of_a_manager_have_no_limit() {
        assert_eq!(Who::of(&Caller::Local { uid: 0 }), None);
        let key = warren_wire::trust::Fingerprint([0; 32]);
        assert_eq!(Who::of(&Caller::Node { node: "n1".into(), manager: false, key }), None);
        let address = Some([192, 0, 2, 1].into());
        assert_eq!(Who::of(&Caller::Stranger { address }), Some(Who::Address(address)));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_those_that_call_most() {
        let (mut rates, now) = (Rates::new(10), Instant::now());
        assert_eq!(calls(&mut rates, &person("flood"), now, 100), 20);
        for number in 0..CALLERS_MAX + 64 {
            rates.call(&person(&number.to_string()), now).unwrap();
        }
        assert_eq!(rates.calls.buckets.len(), CALLERS_MAX);
        assert!(rates.call(&person("flood"), now).is_err(), "it is not forgotten");
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(gaps in prop::collection::vec(0_u64..300, 1..400)) {
            let (mut rates, start) = (Rates::new(10), Instant::now());
            let mut at = Duration::ZERO;
            let mut made = 0_u32;
            for gap in gaps {
                at += Duration::from_millis(gap);
                made += u32::from(rates.call(&person("ci"), start + at).is_ok());
                let most = 20.0 + at.as_secs_f64() * 10.0;
                prop_assert!(f64::from(made) <= most + 0.001, "{made} within {at:?}");
            }
        }
    }
}
