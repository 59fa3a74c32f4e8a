//! The search of Wing and Gong for an order in which all calls make sense, with Lowe's memory: what was seen to lead
//! nowhere is not tried again from the same state with the same calls behind it.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

use super::Call;

/// Places that are remembered before the search gives up: a gigabyte at worst, and a hundred times what a history of
/// the tests needs.
const PLACES_MAX: usize = 1_000_000;
/// Calls that are shown where nothing fits any more.
const SHOWN_MAX: usize = 12;

/// What the calls are made to.
pub trait Model {
    /// All that it remembers.
    type State: Clone + Eq + Hash + Debug;
    /// What is asked for.
    type Ask: Clone + Debug;
    /// What is answered.
    type Answer: Clone + Debug;

    /// What becomes of the state by a call with this answer; `None` where it does not answer so.
    fn answered(state: &Self::State, ask: &Self::Ask, answer: &Self::Answer)
    -> Option<Self::State>;

    /// What becomes of the state where a call of which nothing was heard is done now; `None` where it changes nothing.
    /// Once it is done, this has to be `None` for it in every later state: the search relies on that.
    fn unanswered(state: &Self::State, ask: &Self::Ask) -> Option<Self::State>;
}

/// No order was found.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// There is none.
    #[error(
        "no order explains this history: {placed} of {of} answers fit, then in the state {state} none of these does:\n{next}"
    )]
    Impossible {
        /// How many answers the longest try explains.
        placed: usize,
        /// Of how many.
        of: usize,
        /// The state after them.
        state: String,
        /// The calls that may come next by time.
        next: String,
    },
    /// It would take too long to know.
    #[error(
        "the history is too long, or too much of it is in doubt: {PLACES_MAX} places were tried"
    )]
    TooHard,
}

/// Finds an order of all answered calls, and of any of the others, in which each answer is right; the places of the
/// calls in `calls` are given back in that order.
///
/// # Errors
/// See [`Flaw`].
pub fn linearize<M: Model>(
    start: M::State,
    calls: &[Call<M::Ask, M::Answer>],
) -> Result<Vec<usize>, Flaw> {
    let mut order: Vec<usize> = (0..calls.len()).collect();
    order.sort_by_key(|index| calls[*index].begun);
    let sorted: Vec<_> = order.iter().map(|index| &calls[*index]).collect();
    let left = sorted.iter().filter(|call| call.answered.is_some()).count();
    let mut search = Search::<M> {
        done: vec![false; sorted.len()],
        answered: vec![0; sorted.len().div_ceil(WORD)],
        of: left,
        left,
        calls: sorted,
        places: HashSet::new(),
        best: None,
    };
    let found = search.run(start)?;
    Ok(found.into_iter().map(|index| order[index]).collect())
}

/// Bits of a word.
const WORD: usize = 64;

struct Search<'a, M: Model> {
    /// By their beginning.
    calls: Vec<&'a Call<M::Ask, M::Answer>>,
    done: Vec<bool>,
    /// Which of the answered calls are done, as bits. Which of the others are is seen from the state.
    answered: Vec<u64>,
    of: usize,
    left: usize,
    places: HashSet<(Box<[u64]>, M::State)>,
    /// The longest try: what was left after it, and why it ended.
    best: Option<(usize, String, String)>,
}

/// One call of a try, and what may follow it.
struct Step<S> {
    call: Option<usize>,
    next: Vec<(usize, S)>,
}

impl<M: Model> Search<'_, M> {
    fn run(&mut self, start: M::State) -> Result<Vec<usize>, Flaw> {
        let next = self.next(&start);
        let mut path = vec![Step { call: None, next }];
        while self.left > 0 {
            let Some(step) = path.last_mut() else { return Err(self.impossible()) };
            let Some((call, state)) = step.next.pop() else {
                if let Some(call) = path.pop().and_then(|step| step.call) {
                    self.mark(call, false);
                }
                continue;
            };
            self.mark(call, true);
            let place = (self.answered.clone().into_boxed_slice(), state.clone());
            if self.places.insert(place) {
                let next = self.next(&state);
                path.push(Step { call: Some(call), next });
            } else {
                self.mark(call, false);
            }
            if self.places.len() > PLACES_MAX {
                return Err(Flaw::TooHard);
            }
        }
        Ok(path.into_iter().filter_map(|step| step.call).collect())
    }

    fn mark(&mut self, call: usize, done: bool) {
        self.done[call] = done;
        if self.calls[call].answered.is_some() {
            self.answered[call / WORD] ^= 1 << (call % WORD);
            if done { self.left -= 1 } else { self.left += 1 }
        }
    }

    /// The calls that may come next, each with the state after it; the likeliest last.
    fn next(&mut self, state: &M::State) -> Vec<(usize, M::State)> {
        let due = self.due();
        let mut next: Vec<_> = due
            .iter()
            .filter_map(|index| {
                let call = self.calls[*index];
                let after = match &call.answered {
                    Some((_, answer)) => M::answered(state, &call.asked, answer),
                    None => M::unanswered(state, &call.asked),
                };
                after.map(|after| (*index, after))
            })
            .collect();
        next.sort_by_key(|(index, _)| std::cmp::Reverse(self.calls[*index].ended()));
        if self.best.as_ref().is_none_or(|(left, ..)| self.left < *left) {
            let shown = due.iter().take(SHOWN_MAX).map(|index| format!("{:?}", self.calls[*index]));
            let shown: Vec<String> = shown.collect();
            self.best = Some((self.left, format!("{state:?}"), shown.join("\n")));
        }
        next
    }

    /// Those that no other has to come before: none that is left was over when they were made.
    fn due(&self) -> Vec<usize> {
        let mut due = Vec::new();
        let mut first_end = u64::MAX;
        for (index, call) in self.calls.iter().enumerate() {
            if self.done[index] {
                continue;
            }
            if call.begun > first_end {
                break;
            }
            first_end = first_end.min(call.ended());
            due.push(index);
        }
        due.retain(|index| self.calls[*index].begun <= first_end);
        due
    }

    fn impossible(&mut self) -> Flaw {
        let (left, state, next) = self.best.take().unwrap_or_default();
        Flaw::Impossible { placed: self.of - left, of: self.of, state, next }
    }
}
