//! A value with a version, which is replaced only by who names the version that it has.

use super::search::{self, Flaw, Model};

/// A call to it.
pub type Call = super::Call<Ask, Answer>;

/// The value of a version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Versioned {
    /// One more after each write.
    pub version: u64,
    /// What was written.
    pub value: u32,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// The version and the value.
    Read,
    /// To put a value in the place of a version.
    Write {
        /// Which version.
        expect: u64,
        /// Which value.
        value: u32,
    },
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is so.
    Is(Versioned),
    /// It is written.
    Written,
    /// Another version is there.
    Refused,
}

/// The model of it.
#[derive(Debug)]
pub struct Register;

impl Model for Register {
    type State = Versioned;
    type Ask = Ask;
    type Answer = Answer;

    fn answered(state: &Versioned, ask: &Ask, answer: &Answer) -> Option<Versioned> {
        match (ask, answer) {
            (Ask::Read, Answer::Is(found)) => (found == state).then_some(*state),
            (Ask::Write { .. }, Answer::Written) => Self::unanswered(state, ask),
            (Ask::Write { expect, .. }, Answer::Refused) => {
                (*expect != state.version).then_some(*state)
            }
            (Ask::Read, Answer::Written | Answer::Refused) | (Ask::Write { .. }, Answer::Is(_)) => {
                None
            }
        }
    }

    fn unanswered(state: &Versioned, ask: &Ask) -> Option<Versioned> {
        match *ask {
            Ask::Read => None,
            // The version is never the same again, so this is done once at most.
            Ask::Write { expect, value } => {
                (expect == state.version).then_some(Versioned { version: expect + 1, value })
            }
        }
    }
}

/// The values that it had, from `start` on, in an order that explains all calls.
///
/// # Errors
/// Where there is no such order.
pub fn values(start: Versioned, calls: &[Call]) -> Result<Vec<Versioned>, Flaw> {
    let mut values = vec![start];
    for index in search::linearize::<Register>(start, calls)? {
        let refused = matches!(calls[index].answered, Some((_, Answer::Refused)));
        if let (Ask::Write { expect, value }, false) = (calls[index].asked, refused) {
            values.push(Versioned { version: expect + 1, value });
        }
    }
    Ok(values)
}
