//! Random histories: every invariant after every step, and in the end what must come to an end has.

use crate::history::{Ended, Op, draw, live};
use std::collections::BTreeMap;
use std::time::Instant;

/// Histories in one run of the tests: about half a minute of one core.
const HISTORIES: u64 = 2_000;

/// Events told of a history that failed.
const TOLD: usize = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The history with everything left out without which it fails as well.
fn shrunk(seed: u64, mut ops: Vec<Op>, broken: &str) -> (Vec<Op>, Ended) {
    let mut last = live(seed, &ops);
    let same = kind(broken);
    loop {
        let mut left_out = false;
        for at in (1..ops.len()).rev() {
            let mut fewer = ops.clone();
            fewer.remove(at);
            let ended = live(seed, &fewer);
            if ended.broken.as_deref().is_some_and(|still| kind(still) == same) {
                (ops, last, left_out) = (fewer, ended, true);
            }
        }
        if !left_out {
            return (ops, last);
        }
    }
}

/// A promise that was broken: in how many histories, and the first of them with its words.
type Failures = BTreeMap<String, (u64, u64, String)>;

fn kind(broken: &str) -> String {
    broken.split(':').next().unwrap_or_default().to_owned()
}

fn told(failures: &Failures) -> String {
    let tell = |(times, seed, broken): &(u64, u64, String)| {
        let (ops, ended) = shrunk(*seed, draw(*seed), broken);
        let broken = ended.broken.unwrap_or_default();
        let tale = ended.tale[ended.tale.len().saturating_sub(TOLD)..].join("\n");
        let lines: Vec<_> = ops.iter().map(|op| format!("  {op:?}")).collect();
        let history = lines.join("\n");
        let head = format!("in {times} histories, as make sim SEED={seed}: {broken}");
        format!("{head}\nby this one:\n{history}\nwhich went:\n{tale}\n\n")
    };
    failures.values().map(tell).collect()
}

/// `WARREN_SIM_SEED` picks one history, `WARREN_SIM_STEPS` runs until so many steps are made.
// req: A27 B31 B43 C32 C34
#[test]
fn whatever_happens_every_promise_is_kept() {
    let one = number("WARREN_SIM_SEED");
    let most = number("WARREN_SIM_STEPS");
    let histories = number("WARREN_SIM_HISTORIES").unwrap_or(HISTORIES);
    let first = one.or_else(|| number("WARREN_SIM_FIRST")).unwrap_or(1);
    let begun = Instant::now();
    let (mut steps, mut lived) = (0, 0);
    let mut failures = Failures::new();
    for seed in first.. {
        let ended = live(seed, &draw(seed));
        steps += ended.steps;
        lived += 1;
        if let Some(broken) = ended.broken {
            failures.entry(kind(&broken)).or_insert((0, seed, broken)).0 += 1;
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
    assert!(failures.is_empty(), "{}", told(&failures));
}
