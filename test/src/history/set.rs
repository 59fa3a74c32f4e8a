//! A set that only grows, to which nobody adds what another adds too.
//!
//! What has to come before what is known here: of two calls the one that was over when the other was made; an addition
//! before each reading that shows it; and each reading before the additions that it does not show. An order that obeys
//! all of that explains every reading, so there is one unless these go round in a circle.

use std::collections::BTreeSet;

/// A call to it.
pub type Call = super::Call<Ask, Answer>;

/// What is in it.
pub type Element = u32;

/// Calls of a circle that are shown.
const SHOWN_MAX: usize = 8;

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// To add an element.
    Add(Element),
    /// All elements.
    Read,
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is added.
    Added,
    /// It was there, though nobody else adds it.
    Refused,
    /// These are there.
    Holds(BTreeSet<Element>),
}

/// A history that no order explains.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// An addition was done twice.
    #[error("this was refused as there already, and nobody else adds it: {0}")]
    Twice(String),
    /// Something was there that nobody had added.
    #[error("{element} is there, and nobody adds it: {reading}")]
    Invented {
        /// What.
        element: Element,
        /// Where it was seen.
        reading: String,
    },
    /// Each of these has to come before the one below, and the last before the first.
    #[error("each of these has to come before the next, and the last before the first:\n{0}")]
    Circle(String),
}

/// Fails where no order explains all calls.
///
/// # Errors
/// See [`Flaw`].
pub fn check(calls: &[Call]) -> Result<(), Flaw> {
    let mut shown = BTreeSet::<Element>::new();
    for call in calls {
        match &call.answered {
            Some((_, Answer::Holds(elements))) => shown.extend(elements),
            Some((_, Answer::Refused)) => return Err(Flaw::Twice(format!("{call:?}"))),
            Some((_, Answer::Added)) | None => {}
        }
    }
    let known: BTreeSet<_> = calls.iter().filter_map(added).collect();
    for call in calls {
        if let Some((_, Answer::Holds(elements))) = &call.answered
            && let Some(element) = elements.difference(&known).next()
        {
            let reading = format!("{call:?}");
            return Err(Flaw::Invented { element: *element, reading });
        }
    }
    // Of what was in doubt and never seen, nothing is known: it may as well not be there.
    let certain = |call: &&Call| {
        call.answered.is_some() || added(call).is_some_and(|element| shown.contains(&element))
    };
    let calls: Vec<&Call> = calls.iter().filter(certain).collect();
    circle(&calls).map_or(Ok(()), |circle| {
        let lines = circle.iter().take(SHOWN_MAX).map(|call| format!("{call:?}"));
        Err(Flaw::Circle(lines.collect::<Vec<_>>().join("\n")))
    })
}

fn added(call: &Call) -> Option<Element> {
    match call.asked {
        Ask::Add(element) => Some(element),
        Ask::Read => None,
    }
}

/// Takes away, as long as there is one, a call that nothing left has to come before. What is left has a circle in it.
fn circle<'a>(calls: &[&'a Call]) -> Option<Vec<&'a Call>> {
    let count = calls.len();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut before = vec![0_usize; count];
    for (one, first) in calls.iter().enumerate() {
        for (other, second) in calls.iter().enumerate() {
            if one != other && comes_before(first, second) {
                after[one].push(other);
                before[other] += 1;
            }
        }
    }
    let mut free: Vec<usize> = (0..count).filter(|index| before[*index] == 0).collect();
    let mut left: BTreeSet<usize> = (0..count).collect();
    while let Some(index) = free.pop() {
        left.remove(&index);
        for next in &after[index] {
            before[*next] -= 1;
            if before[*next] == 0 {
                free.push(*next);
            }
        }
    }
    // Each that is left has one that is left before it: going back, one comes round again.
    let mut at = *left.first()?;
    let mut path = Vec::new();
    while !path.contains(&at) {
        path.push(at);
        at = *left.iter().find(|index| after[**index].contains(&at))?;
    }
    let from = path.iter().position(|index| *index == at)?;
    Some(path[from..].iter().rev().map(|index| calls[*index]).collect())
}

fn comes_before(first: &Call, second: &Call) -> bool {
    first.ended() < second.begun
        || shows(second, first) == Some(true)
        || shows(first, second) == Some(false)
}

/// Whether a reading shows an addition; nothing where they are none.
fn shows(reading: &Call, addition: &Call) -> Option<bool> {
    match (&reading.answered, added(addition)) {
        (Some((_, Answer::Holds(seen))), Some(element)) => Some(seen.contains(&element)),
        (Some((_, Answer::Added | Answer::Refused)) | None, _) | (_, None) => None,
    }
}
