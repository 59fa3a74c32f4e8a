//! Whom a manager listens to, and when it gives way itself.

use super::*;
use crate::options::TIMERS;
use proptest::prelude::*;

const ME: NodeId = NodeId(1);
const HOME: Option<&str> = Some("home");

fn sender(start: u64, address: &str) -> Sender {
    Sender { node: 2, start, address: address.to_owned() }
}

fn twin(address: &str) -> Unwelcome {
    Unwelcome::Twin { address: address.to_owned() }
}

#[test]
fn a_start_is_kept_to_while_it_is_heard_and_the_next_one_comes_after_it() {
    let (mut starts, now) = (Starts::new(&TIMERS), Instant::now());
    let (old, new) = (sender(10, "home"), sender(11, "home"));
    assert_eq!(starts.meant(now, 2), 0, "nobody is known");
    assert_eq!(starts.hear(now, &old, HOME), Ok(()));
    assert_eq!(starts.meant(now, 2), 10);
    let soon = now + TIMERS.election_min / 2;
    assert_eq!(starts.hear(soon, &new, HOME), Err(twin("home")));
    let later = now + TIMERS.election_min;
    assert_eq!(
        starts.meant(later, 2),
        0,
        "nobody has been heard for long: whoever is there may answer"
    );
    assert_eq!(starts.hear(later, &new, HOME), Ok(()), "a refused one does not keep the other");
    assert_eq!(starts.hear(later, &old, HOME), Err(twin("home")));
    assert_eq!(starts.meant(later, 2), 11);
}

#[test]
fn the_one_at_the_agreed_address_comes_before_a_copy_somewhere_else() {
    let (mut starts, now) = (Starts::new(&TIMERS), Instant::now());
    let (original, copy) = (sender(10, "home"), sender(11, "elsewhere"));
    assert_eq!(starts.hear(now, &copy, HOME), Ok(()), "it was heard first");
    assert_eq!(starts.hear(now, &original, HOME), Ok(()));
    assert_eq!(starts.hear(now, &copy, HOME), Err(twin("home")));
    // One that has moved, and whose move is not agreed yet.
    let other = Sender { node: 3, ..copy };
    assert_eq!(starts.hear(now, &other, HOME), Ok(()));
    assert_eq!(starts.hear(now, &other, None), Ok(()));
}

#[test]
fn a_start_that_has_lost_entries_is_refused_for_good_and_another_is_not() {
    let (mut starts, now) = (Starts::new(&TIMERS), Instant::now());
    starts.hear(now, &sender(10, "home"), HOME).unwrap();
    starts.acknowledges(2, 5, 70);
    starts.acknowledges(2, 5, 60);
    assert_eq!(starts.acknowledged(2, 5), Some(70), "late news take nothing back");
    assert_eq!(starts.acknowledged(2, 6), None, "a new leader begins anew");
    let later = now + TIMERS.election_min;
    starts.hear(later, &sender(11, "home"), HOME).unwrap();
    assert_eq!(starts.acknowledged(2, 5), Some(70), "of the manager, not of the process");
    starts.has_lost(2, 70);
    assert_eq!(starts.meant(later, 2), NOBODY);
    let much_later = later + TIMERS.election_max * 100;
    let older = Unwelcome::Older { acknowledged: 70 };
    assert_eq!(starts.hear(much_later, &sender(11, "home"), HOME), Err(older));
    assert_eq!(starts.hear(much_later, &sender(12, "home"), HOME), Ok(()));
    assert_eq!(starts.meant(much_later, 2), 12);
    starts.retain(|node| node != 2);
    assert_eq!(starts.acknowledged(2, 5), None, "who comes back has an empty log");
}

#[test]
fn it_gives_way_when_it_was_refused_for_long_without_a_break() {
    let (mut starts, now) = (Starts::new(&TIMERS), Instant::now());
    let gap = TIMERS.election_max;
    let mut at = now;
    while at < now + CERTAIN_AFTER {
        assert_eq!(starts.refused(at, ME, 2, &twin("home")), None, "{:?}", at - now);
        assert_eq!(starts.refused(at, ME, 2, &Unwelcome::NotMeant), None);
        at += gap;
    }
    let why = starts.refused(at, ME, 2, &twin("home")).unwrap();
    let address = "home".to_owned();
    assert_eq!(why, Displaced::Twin { node: ME, address, by: NodeId(2) });
    // Refused again by a manager that stood still for a while: that is another story.
    let after_a_break = at + TIMERS.election_max * 4;
    assert_eq!(starts.refused(after_a_break, ME, 2, &twin("home")), None);
    // A log that became shorter does not become longer.
    let older = starts.refused(at, ME, 3, &Unwelcome::Older { acknowledged: 7 });
    let acknowledged = LogIndex(7);
    assert_eq!(older, Some(Displaced::Older { node: ME, acknowledged, by: NodeId(3) }));
}

proptest! {
    /// Whatever is heard from where and when: while one start is heard, no other that is not at home is listened to.
    #[test]
    fn two_starts_are_never_both_listened_to_within_the_lease(
        heard in prop::collection::vec((10_u64..14, 0_u64..900), 1..60),
    ) {
        let (mut starts, mut now) = (Starts::new(&TIMERS), Instant::now());
        let mut last: Option<(u64, Instant)> = None;
        for (start, pause_ms) in heard {
            now += Duration::from_millis(pause_ms);
            let listened = starts.hear(now, &sender(start, "home"), HOME).is_ok();
            let another = last.is_some_and(|(known, at)| {
                known != start && now - at < TIMERS.election_min
            });
            prop_assert_eq!(listened, !another);
            if listened {
                last = Some((start, now));
            }
        }
    }
}
