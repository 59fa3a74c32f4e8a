//! Histories of concurrent clients, and what they have to look like: as if there were one copy of everything, which
//! does one thing after another, each at some moment between the call and its answer (linearizability).
//!
//! [`search`] looks for such an order; [`register`] is what it is looked for here, a value that is replaced by its
//! version. [`set`] answers the same question of a set that only grows, which is simpler. [`story`] makes histories of
//! real managers and has them checked; [`watchers`] compares what watchers were sent with what was committed.
//!
//! A history of several things is linearizable where that of each of them is, so each is checked for itself.

pub mod register;
pub mod search;
pub mod set;
pub mod story;
#[cfg(test)]
mod tests;
pub mod watchers;

/// A call of a client, between two moments of a clock that all clients share.
#[derive(Clone, Debug)]
pub struct Call<Q, A> {
    /// Whose it is.
    pub client: usize,
    /// What was asked for.
    pub asked: Q,
    /// When it was made.
    pub begun: u64,
    /// When it was answered, and what. Absent where the client heard nothing, or nothing certain: it may have been
    /// done, may be done at any later time, or never.
    pub answered: Option<(u64, A)>,
}

impl<Q, A> Call<Q, A> {
    /// When it was over for certain.
    fn ended(&self) -> u64 {
        self.answered.as_ref().map_or(u64::MAX, |(at, _)| *at)
    }
}
