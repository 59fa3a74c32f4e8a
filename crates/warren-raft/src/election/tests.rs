//! Who asks, who says yes, and for how long nobody does either.

use super::*;
use crate::options::TIMERS;
use openraft::CommittedLeaderId;
use proptest::prelude::*;

const FOLLOWER: Standing =
    Standing { term: 3, votes: true, alone: false, leads: false, full: false };

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn log(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

fn election(seed: u64, start: Instant) -> Election {
    Election::new(TIMERS, Chance::seeded(seed), start)
}

fn wait(step: Step) -> Instant {
    match step {
        Step::Wait(until) => until,
        Step::Look | Step::Ask | Step::Elect => panic!("{step:?}"),
    }
}

/// When it asks, if nothing is heard from `now` on, and how often it looks for the leader before.
fn until_it_asks(election: &mut Election, mut now: Instant) -> (Instant, u32) {
    let mut looks = 0;
    loop {
        match election.next(now, &FOLLOWER) {
            Step::Look => looks += 1,
            Step::Wait(until) => now = until,
            Step::Ask => return (now, looks),
            Step::Elect => panic!("others vote"),
        }
    }
}

#[test]
fn who_hears_a_leader_neither_asks_nor_lets_another_stand() {
    let start = Instant::now();
    let mut election = election(1, start);
    let (newer, mine) = (log(9, 99), log(3, 10));
    for beat in 0..100 {
        let now = start + TIMERS.heartbeat * beat;
        election.heard(now);
        let later = now + TIMERS.heartbeat;
        assert!(wait(election.next(later, &FOLLOWER)) > later);
        assert!(!election.allows(later, Some(&newer), Some(&mine)));
        assert!(!election.still_silent(later));
    }
}

#[test]
fn silence_makes_it_ask_once_per_wait_and_let_others_stand_whose_log_is_no_older() {
    let start = Instant::now();
    let mut election = election(2, start);
    election.heard(start);
    let (due, _) = until_it_asks(&mut election, start);
    let waited = due - start;
    assert!(waited >= TIMERS.election_min && waited <= TIMERS.election_max, "{waited:?}");
    assert!(wait(election.next(due, &FOLLOWER)) >= due + TIMERS.election_min);

    let mine = log(3, 10);
    let silent = start + TIMERS.election_min;
    for (theirs, yes) in [
        (Some(log(3, 10)), true),
        (Some(log(3, 11)), true),
        (Some(log(4, 1)), true),
        (Some(log(3, 9)), false),
        (Some(log(2, 99)), false),
        (None, false),
    ] {
        assert_eq!(election.allows(silent, theirs.as_ref(), Some(&mine)), yes, "{theirs:?}");
        let early = silent - ms(1);
        assert!(!election.allows(early, theirs.as_ref(), Some(&mine)), "a leader was there");
    }
}

#[test]
fn who_gave_its_vote_waits_for_that_one_to_lead() {
    let start = Instant::now();
    let mut election = election(3, start);
    let now = start + ms(5_000);
    assert_eq!(election.next(now, &FOLLOWER), Step::Ask);
    election.voted(now);
    let mine = log(3, 10);
    let later = now + TIMERS.heartbeat;
    assert!(!election.allows(later - ms(1), Some(&mine), Some(&mine)));
    assert!(election.allows(later, Some(&mine), Some(&mine)));
    assert!(wait(election.next(later, &FOLLOWER)) >= now + TIMERS.election_min);
}

#[test]
fn one_that_asks_in_vain_again_and_again_does_not_keep_others_from_standing() {
    let start = Instant::now();
    let mut election = election(4, start);
    let mine = log(3, 10);
    let mut now = start;
    let mut asked = 0;
    for _ in 0..100 {
        now += TIMERS.election_min;
        election.allows(now, Some(&mine), Some(&mine));
        if election.next(now + TIMERS.election_min - ms(1), &FOLLOWER) == Step::Ask {
            asked += 1;
        }
    }
    assert!(asked > 30, "{asked} of 100");
}

#[test]
fn the_only_voter_elects_itself_at_once_and_who_does_not_vote_never() {
    let start = Instant::now();
    let mut election = election(5, start);
    let learner = Standing { votes: false, ..FOLLOWER };
    let leader = Standing { leads: true, ..FOLLOWER };
    for later in 0..100 {
        wait(election.next(start + ms(later * 100), &learner));
        wait(election.next(start + ms(later * 100), &leader));
    }
    let alone = Standing { alone: true, ..FOLLOWER };
    assert_eq!(election.next(start, &alone), Step::Elect);
    let again = wait(election.next(start + ms(1), &alone));
    assert_eq!(election.next(again, &alone), Step::Elect, "until it leads");
}

#[test]
fn who_has_a_full_disk_lets_others_come_first_and_stands_in_the_end() {
    let start = Instant::now();
    let mut election = election(7, start);
    let full = Standing { full: true, ..FOLLOWER };
    let mut now = start;
    for _ in 0..3 {
        election.heard(now);
        now += TIMERS.election_max;
        for _ in 0..PASSES_MAX {
            let again = wait(election.next(now, &full));
            assert!(again >= now + TIMERS.election_min);
            now = again;
        }
        assert_eq!(election.next(now, &full), Step::Ask, "reads need a leader too");
        // Each time anew.
        let again = wait(election.next(now, &full));
        assert!(matches!(election.next(again, &full), Step::Wait(_)));
        now = again;
    }
}

#[test]
fn a_term_handed_over_is_that_term_only() {
    let start = Instant::now();
    let mut election = election(6, start);
    assert!(!election.is_vacant(4));
    election.hand(start, 4);
    assert!(election.is_vacant(4) && !election.is_vacant(5));
}

#[test]
fn a_silent_leader_is_looked_for_once_per_beat_until_its_silence_has_lasted() {
    let start = Instant::now();
    let mut election = election(8, start);
    assert_eq!(election.doubts(start + ms(5_000)), None, "nobody has led yet");
    election.heard(start);
    let look = wait(election.next(start, &FOLLOWER));
    assert_eq!(look, start + TIMERS.heartbeat * 2);
    let (now, looks) = until_it_asks(&mut election, look);
    let silence = now - start;
    assert!(silence >= TIMERS.election_min && silence <= TIMERS.election_max, "{silence:?}");
    assert!((1..=4).contains(&looks), "{looks}");
    // Who leads, or does not vote, looks for nobody.
    election.heard(now);
    let later = now + TIMERS.heartbeat * 3;
    wait(election.next(later, &Standing { leads: true, ..FOLLOWER }));
    wait(election.next(later, &Standing { votes: false, ..FOLLOWER }));
}

#[test]
fn a_leader_whose_process_has_ended_is_waited_for_no_longer() {
    let start = Instant::now();
    let mut election = election(9, start);
    election.heard(start);
    let mine = log(3, 10);
    let now = start + TIMERS.heartbeat * 2;
    assert!(!election.allows(now, Some(&mine), Some(&mine)));
    let doubt = election.doubts(now).unwrap();
    assert!(election.gone(now, doubt, 4));
    assert!(election.is_vacant(4) && election.still_silent(now));
    let due = wait(election.next(now, &FOLLOWER));
    assert!(due <= now + TIMERS.heartbeat / 2);
    assert_eq!(election.next(due, &FOLLOWER), Step::Ask);
    assert!(election.allows(due, Some(&mine), Some(&mine)));
}

#[test]
fn what_came_while_it_was_looked_for_stands() {
    let start = Instant::now();
    let now = start + TIMERS.heartbeat * 2;
    let mine = log(3, 10);
    let heard: fn(&mut Election, Instant) = |election, at| election.heard(at);
    let voted: fn(&mut Election, Instant) = |election, at| election.voted(at + TIMERS.election_min);
    for came in [heard, voted] {
        let mut election = election(10, start);
        election.heard(start);
        assert_eq!(election.doubts(start + TIMERS.heartbeat - ms(1)), None, "heard just now");
        let doubt = election.doubts(now).unwrap();
        came(&mut election, now);
        assert!(!election.gone(now + ms(1), doubt, 4), "it is loyal to another by now");
        assert!(!election.is_vacant(4));
        assert!(!election.allows(now + ms(1), Some(&mine), Some(&mine)));
    }
}

#[test]
fn a_majority_is_one_of_the_old_and_of_the_new_voters() {
    let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
    assert!(majority(&[set(&[1, 2, 3])], &set(&[1, 2])));
    assert!(!majority(&[set(&[1, 2, 3, 4])], &set(&[1, 2, 9])));
    assert!(!majority(&[set(&[1, 2, 3]), set(&[3, 4, 5])], &set(&[1, 2, 3])));
    assert!(majority(&[set(&[1, 2, 3]), set(&[3, 4, 5])], &set(&[1, 3, 4])));
}

proptest! {
    #[test]
    fn waits_lie_between_the_two_times_and_differ_between_nodes(seed in any::<u64>()) {
        let start = Instant::now();
        let mut waits = BTreeSet::new();
        for node in 0..16 {
            let mut election = election(seed.wrapping_add(node), start);
            let waited = wait(election.next(start, &FOLLOWER)) - start;
            prop_assert!(waited >= TIMERS.election_min && waited <= TIMERS.election_max);
            waits.insert(waited);
        }
        prop_assert!(waits.len() >= 14, "{} different waits of 16", waits.len());
    }
}
