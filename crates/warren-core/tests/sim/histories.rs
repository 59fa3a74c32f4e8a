//! Random histories: every invariant after every step, and in the end what must come to an end has.

use crate::history::{self, Ended};
use crate::managers;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Instant;

/// Histories of each kind in one run of the tests: about half a minute of one core.
const HISTORIES: u64 = 2_000;

/// Events told of a history that failed.
const TOLD: usize = 60;

/// One kind of histories: what happens in that of a seed, and how it ends.
struct Kind<Op> {
    /// What `make sim` is told of a seed.
    named: fn(u64) -> String,
    draw: fn(u64) -> Vec<Op>,
    live: fn(u64, &[Op]) -> Ended,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

impl<Op: Clone + Debug> Kind<Op> {
    /// The history with everything left out without which it fails as well.
    fn shrunk(&self, seed: u64, broken: &str) -> (Vec<Op>, Ended) {
        let mut ops = (self.draw)(seed);
        let mut last = (self.live)(seed, &ops);
        let same = promise(broken);
        loop {
            let mut left_out = false;
            for at in (1..ops.len()).rev() {
                let mut fewer = ops.clone();
                fewer.remove(at);
                let ended = (self.live)(seed, &fewer);
                if ended.broken.as_deref().is_some_and(|still| promise(still) == same) {
                    (ops, last, left_out) = (fewer, ended, true);
                }
            }
            if !left_out {
                return (ops, last);
            }
        }
    }

    fn told(&self, failures: &Failures) -> String {
        let tell = |(times, seed, broken): &(u64, u64, String)| {
            let (ops, ended) = self.shrunk(*seed, broken);
            let broken = ended.broken.unwrap_or_default();
            let tale = ended.tale[ended.tale.len().saturating_sub(TOLD)..].join("\n");
            let lines: Vec<_> = ops.iter().map(|op| format!("  {op:?}")).collect();
            let history = lines.join("\n");
            let how = (self.named)(*seed);
            let head = format!("in {times} histories, as {how}: {broken}");
            format!("{head}\nby this one:\n{history}\nwhich went:\n{tale}\n\n")
        };
        failures.values().map(tell).collect()
    }

    fn hunt(&self) {
        let one = number("WARREN_SIM_SEED");
        let most = number("WARREN_SIM_STEPS");
        let histories = number("WARREN_SIM_HISTORIES").unwrap_or(HISTORIES);
        let first = one.or_else(|| number("WARREN_SIM_FIRST")).unwrap_or(1);
        let begun = Instant::now();
        let (mut steps, mut lived) = (0, 0);
        let mut failures = Failures::new();
        for seed in first.. {
            let ended = (self.live)(seed, &(self.draw)(seed));
            steps += ended.steps;
            lived += 1;
            if let Some(broken) = ended.broken {
                failures.entry(promise(&broken)).or_insert((0, seed, broken)).0 += 1;
            }
            let enough = match most {
                Some(most) => steps >= most,
                None => lived >= histories || one.is_some(),
            };
            if enough {
                break;
            }
        }
        let took = begun.elapsed().as_secs_f64();
        let rate = steps as f64 / took;
        eprintln!("{lived} histories, {steps} steps in {took:.1} s: {rate:.0} steps a second");
        assert!(failures.is_empty(), "{}", self.told(&failures));
    }
}

/// A promise that was broken: in how many histories, and the first of them with its words.
type Failures = BTreeMap<String, (u64, u64, String)>;

fn promise(broken: &str) -> String {
    broken.split(':').next().unwrap_or_default().to_owned()
}

/// `WARREN_SIM_SEED` picks one history, `WARREN_SIM_STEPS` runs until so many steps are made. With
/// `WARREN_SIM_MANAGERS` that is for those of several managers, and this test makes none.
// req: A27 B31 B43 C32 C34
#[test]
fn whatever_happens_every_promise_is_kept() {
    if number("WARREN_SIM_MANAGERS").is_none() {
        Kind {
            named: |seed| format!("make sim SEED={seed}"),
            draw: history::draw,
            live: history::live,
        }
        .hunt();
    }
}

/// The same with several managers, of which leaders come and go, and with messages and disks that fail.
/// `WARREN_SIM_MANAGERS` says how many managers, else there are three, or five in one of five histories.
#[test]
fn whatever_happens_to_managers_every_promise_is_kept() {
    let managers = number("WARREN_SIM_MANAGERS");
    let named = ["WARREN_SIM_SEED", "WARREN_SIM_STEPS"].into_iter().any(|n| number(n).is_some());
    if managers.is_some() || !named {
        let named = |seed| format!("make sim SEED={seed} MANAGERS={}", managers::managers(seed));
        Kind { named, draw: managers::draw, live: managers::live }.hunt();
    }
}
