//! Histories that were made by one copy of the data pass, whatever the clients heard of it; those that were not do not.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::register::{self, Answer, Ask, Register, Versioned};
use super::search::{Flaw, Model, linearize};
use super::set;

const START: Versioned = Versioned { version: 1, value: 0 };
/// Later than every call of the tests.
const LATE: u64 = 1_000_000;

/// One call as chance wants it, before anything is done.
#[derive(Clone, Debug)]
struct Draft {
    client: usize,
    /// How long its client waited before it.
    gap: u64,
    /// When it was done after it was made, and when it was answered after that.
    delays: (u64, u64),
    /// What it is: below 3 a reading.
    kind: u8,
    /// How old the version is that a write names.
    behind: u64,
    heard: bool,
    /// Where nothing was heard: how much later it was done; never where absent.
    late: Option<u64>,
}

fn draft() -> impl Strategy<Value = Draft> {
    let late = proptest::option::of(0..60_u64);
    let behind = prop_oneof![4 => Just(0), 1 => 1..3_u64];
    (0..5_usize, 0..6_u64, (0..8_u64, 0..8_u64), 0..8_u8, behind, 0..6_u8, late).prop_map(
        |(client, gap, delays, kind, behind, heard, late)| Draft {
            client,
            gap,
            delays,
            kind,
            behind,
            heard: heard > 0,
            late,
        },
    )
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    proptest::collection::vec(draft(), 0..60)
}

/// When each call is made, done (never: [`LATE`]) and answered, and what it is; by the time when they are done.
fn schedule(drafts: &[Draft]) -> Vec<(u64, u64, u64, &Draft)> {
    let mut free = [0; 5];
    let mut times = Vec::new();
    for draft in drafts {
        let begun = free[draft.client] + draft.gap;
        let ended = begun + draft.delays.0 + draft.delays.1;
        // A client that hears nothing asks the next thing all the same.
        free[draft.client] = ended + 1;
        let done = match (draft.heard, draft.late) {
            (true, _) => begun + draft.delays.0,
            (false, Some(late)) => begun + late,
            (false, None) => LATE,
        };
        times.push((begun, done, ended, draft));
    }
    times.sort_by_key(|(_, done, ..)| *done);
    times
}

/// What one copy of a register answers.
fn of_a_register(drafts: &[Draft]) -> Vec<register::Call> {
    let mut state = START;
    let mut calls = Vec::new();
    for (number, (begun, done, ended, draft)) in (1..).zip(schedule(drafts)) {
        let expect = state.version.saturating_sub(draft.behind);
        let asked = if draft.kind < 3 { Ask::Read } else { Ask::Write { expect, value: number } };
        let answer = match asked {
            Ask::Read => Answer::Is(state),
            Ask::Write { .. } if expect == state.version => Answer::Written,
            Ask::Write { .. } => Answer::Refused,
        };
        if done < LATE {
            state = Register::answered(&state, &asked, &answer).unwrap();
        }
        let answered = draft.heard.then_some((ended, answer));
        calls.push(register::Call { client: draft.client, asked, begun, answered });
    }
    calls
}

/// What one copy of a set answers.
fn of_a_set(drafts: &[Draft]) -> Vec<set::Call> {
    let mut holds = BTreeSet::new();
    let mut calls = Vec::new();
    for (number, (begun, done, ended, draft)) in (1..).zip(schedule(drafts)) {
        let (asked, answer) = if draft.kind < 3 {
            (set::Ask::Read, set::Answer::Holds(holds.clone()))
        } else {
            if done < LATE {
                holds.insert(number);
            }
            (set::Ask::Add(number), set::Answer::Added)
        };
        let answered = draft.heard.then_some((ended, answer));
        calls.push(set::Call { client: draft.client, asked, begun, answered });
    }
    calls
}

fn written(call: &register::Call) -> Option<(u64, u64)> {
    match (call.asked, call.answered) {
        (Ask::Write { expect, .. }, Some((ended, Answer::Written))) => Some((ended, expect)),
        (Ask::Write { .. } | Ask::Read, _) => None,
    }
}

/// A reading of a value, at a time of its own.
fn reading(begun: u64, found: Versioned) -> register::Call {
    let answered = Some((begun, Answer::Is(found)));
    register::Call { client: 9, asked: Ask::Read, begun, answered }
}

/// Every order of every choice of calls, one after the other.
fn by_force(state: Versioned, calls: &[register::Call], done: &mut Vec<usize>) -> bool {
    let left = |done: &Vec<usize>| (0..calls.len()).filter(|i| !done.contains(i)).collect();
    let left: Vec<usize> = left(done);
    if left.iter().all(|index| calls[*index].answered.is_none()) {
        return true;
    }
    left.iter().any(|index| {
        let call = &calls[*index];
        if left.iter().any(|other| calls[*other].ended() < call.begun) {
            return false;
        }
        let after = match &call.answered {
            Some((_, answer)) => Register::answered(&state, &call.asked, answer),
            None => Register::unanswered(&state, &call.asked),
        };
        let Some(after) = after else { return false };
        done.push(*index);
        let found = by_force(after, calls, done);
        done.pop();
        found
    })
}

/// Any call with any answer, right or wrong.
fn anything() -> impl Strategy<Value = register::Call> {
    let asked = prop_oneof![
        Just(Ask::Read),
        (1..4_u64, 1..4_u32).prop_map(|(expect, value)| Ask::Write { expect, value }),
    ];
    let found = (1..4_u64, 0..4_u32).prop_map(|(version, value)| Versioned { version, value });
    let heard = proptest::option::weighted(0.8, (0..6_u64, any::<bool>()));
    (asked, found, 0..8_u64, heard).prop_map(|(asked, found, begun, heard)| {
        let answered = heard.map(|(took, yes)| {
            let answer = match asked {
                Ask::Read => Answer::Is(found),
                Ask::Write { .. } if yes => Answer::Written,
                Ask::Write { .. } => Answer::Refused,
            };
            (begun + took, answer)
        });
        register::Call { client: 0, asked, begun, answered }
    })
}

proptest! {
    #[test]
    fn what_one_register_answers_passes(drafts in drafts()) {
        let calls = of_a_register(&drafts);
        let values = register::values(START, &calls).unwrap();
        let versions: Vec<u64> = values.iter().map(|found| found.version).collect();
        let expected: Vec<u64> = (1..).take(versions.len()).collect();
        prop_assert_eq!(versions, expected);
    }

    #[test]
    fn the_search_finds_what_trying_everything_finds(
        calls in proptest::collection::vec(anything(), 0..7)
    ) {
        let found = register::values(START, &calls).is_ok();
        prop_assert_eq!(found, by_force(START, &calls, &mut Vec::new()));
    }

    #[test]
    fn a_reading_of_what_was_replaced_before_is_refused(drafts in drafts(), which: Index) {
        let mut calls = of_a_register(&drafts);
        let writes: Vec<_> = calls.iter().filter_map(written).collect();
        prop_assume!(!writes.is_empty());
        let (ended, expect) = writes[which.index(writes.len())];
        let values = register::values(START, &calls).unwrap();
        let old = values.iter().find(|found| found.version == expect).unwrap();
        calls.push(reading(ended + 1, *old));
        let refused = matches!(register::values(START, &calls), Err(Flaw::Impossible { .. }));
        prop_assert!(refused, "{:?} {:?}", calls, old);
    }

    #[test]
    fn two_writes_over_the_same_version_are_refused(
        drafts in drafts(), which: Index, begun in 0..200_u64, took in 0..200_u64
    ) {
        let mut calls = of_a_register(&drafts);
        let writes: Vec<_> = calls.iter().filter_map(written).collect();
        prop_assume!(!writes.is_empty());
        let (_, expect) = writes[which.index(writes.len())];
        let asked = Ask::Write { expect, value: 77_777 };
        let answered = Some((begun + took, Answer::Written));
        calls.push(register::Call { client: 9, asked, begun, answered });
        let refused = matches!(register::values(START, &calls), Err(Flaw::Impossible { .. }));
        prop_assert!(refused, "{:?}", calls);
    }

    #[test]
    fn a_write_that_was_acknowledged_and_is_gone_is_refused(drafts in drafts()) {
        let mut calls = of_a_register(&drafts);
        let values = register::values(START, &calls).unwrap();
        // All that is in doubt may be done or not; one more write was acknowledged, and a reading after it says nothing
        // of it.
        let last = values[values.len() - 1];
        let (begun, expect) = (LATE, last.version);
        calls.push(reading(begun, last));
        let asked = Ask::Write { expect, value: 77_777 };
        let answered = Some((begun + 2, Answer::Written));
        calls.push(register::Call { client: 9, asked, begun: begun + 1, answered });
        prop_assert!(register::values(START, &calls).is_ok());
        calls.push(reading(begun + 3, last));
        prop_assert!(register::values(START, &calls).is_err());
    }

    #[test]
    fn a_value_that_nobody_wrote_is_refused(drafts in drafts(), begun in 0..200_u64) {
        let mut calls = of_a_register(&drafts);
        let version = register::values(START, &calls).unwrap().len() as u64;
        calls.push(reading(begun, Versioned { version, value: 77_777 }));
        prop_assert!(register::values(START, &calls).is_err());
    }

    #[test]
    fn what_one_set_answers_passes(drafts in drafts()) {
        set::check(&of_a_set(&drafts)).unwrap();
    }

    #[test]
    fn an_addition_that_is_gone_is_refused(drafts in drafts(), which: Index, other: Index) {
        let mut calls = of_a_set(&drafts);
        let ends = calls.iter().filter_map(|call| match (&call.asked, &call.answered) {
            (set::Ask::Add(element), Some((ended, _))) => Some((*element, *ended)),
            (set::Ask::Add(_) | set::Ask::Read, _) => None,
        });
        let ends: Vec<_> = ends.collect();
        prop_assume!(!ends.is_empty());
        let (element, ended) = ends[which.index(ends.len())];
        let after: Vec<_> = calls.iter_mut().filter(|call| call.begun > ended).collect();
        let readings = after.into_iter().filter_map(|call| match &mut call.answered {
            Some((_, set::Answer::Holds(seen))) => Some(seen),
            Some((_, set::Answer::Added | set::Answer::Refused)) | None => None,
        });
        let mut readings: Vec<_> = readings.collect();
        prop_assume!(!readings.is_empty());
        let reading = other.index(readings.len());
        readings[reading].remove(&element);
        prop_assert!(matches!(set::check(&calls), Err(set::Flaw::Circle(_))), "{:?}", calls);
    }

    #[test]
    fn an_element_that_nobody_added_is_refused(drafts in drafts()) {
        let mut calls = of_a_set(&drafts);
        let answered = Some((LATE, set::Answer::Holds(BTreeSet::from([77_777]))));
        calls.push(set::Call { client: 9, asked: set::Ask::Read, begun: 0, answered });
        let refused = matches!(set::check(&calls), Err(set::Flaw::Invented { .. }));
        prop_assert!(refused);
    }
}

#[test]
fn readings_that_contradict_each_other_are_refused() {
    let read = |client, begun, ended, elements: &[u32]| {
        let seen = elements.iter().copied().collect();
        let answered = Some((ended, set::Answer::Holds(seen)));
        set::Call { client, asked: set::Ask::Read, begun, answered }
    };
    let add =
        |element| set::Call { client: 0, asked: set::Ask::Add(element), begun: 0, answered: None };
    // Two additions in doubt may come in either order, but not in both.
    let either = vec![add(1), add(2), read(1, 1, 9, &[1]), read(2, 1, 9, &[1, 2])];
    set::check(&either).unwrap();
    let both = vec![add(1), add(2), read(1, 1, 9, &[1]), read(2, 1, 9, &[2])];
    let circle = set::check(&both).unwrap_err().to_string();
    assert_eq!(circle.lines().count(), 5, "{circle}");
    // One that was seen does not go away.
    let gone = vec![add(1), read(1, 1, 2, &[1]), read(2, 3, 4, &[])];
    assert!(matches!(set::check(&gone), Err(set::Flaw::Circle(_))));
    let refused = set::Call { answered: Some((1, set::Answer::Refused)), ..add(1) };
    assert!(matches!(set::check(&[refused]), Err(set::Flaw::Twice(_))));
}

#[test]
fn a_long_history_with_much_in_doubt_takes_no_time() {
    // Each version is written by one of twenty that hear nothing, and one of ten is ever seen.
    let mut calls = Vec::new();
    for version in 1..=100 {
        for number in 0..20_u32 {
            let value = u32::try_from(version).unwrap() * 100 + number;
            let asked = Ask::Write { expect: version, value };
            calls.push(register::Call { client: 0, asked, begun: version * 10, answered: None });
        }
        if version % 10 == 0 {
            let value = u32::try_from(version).unwrap() * 100 + 7;
            calls.push(reading(version * 10 + 5, Versioned { version: version + 1, value }));
        }
    }
    assert_eq!(register::values(START, &calls).unwrap().len(), 101);
    // And where the end makes no sense, that is known as soon.
    calls.push(reading(LATE, START));
    let flaw = register::values(START, &calls).unwrap_err();
    assert!(matches!(flaw, Flaw::Impossible { placed: 10, of: 11, .. }), "{flaw}");
    assert!(linearize::<Register>(START, &calls[..0]).unwrap().is_empty());
}
