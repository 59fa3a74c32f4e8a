//! How long the leader's word on where traffic goes holds.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use warren_core::lease::LEASES;
use warren_core::spec::FieldError;
use warren_core::time::Tick;
use warren_core::traffic::{TrafficView, word};

/// The last word, and what must be known for it to hold: the leader waits no longer for a resolver that goes without,
/// as [`warren_core::traffic::settled_at`] says.
#[derive(Debug)]
pub(super) struct Word {
    /// The lease of nodes, as a leader said it last; the longest there is before one did.
    pub(super) lease: Duration,
    epoch: u64,
    until: Option<Tick>,
}

impl Default for Word {
    fn default() -> Self {
        Self { lease: LEASES.for_nodes(usize::MAX).lease, epoch: 0, until: None }
    }
}

impl Word {
    /// The leader answered a beat that was sent at `sent`, when what was agreed had `epoch`. Its time counts from the
    /// question: what is agreed later is not in the answer.
    pub(super) fn given(&mut self, epoch: u64, sent: Tick) {
        self.epoch = epoch;
        self.until = Some(sent.after(word(self.lease)));
    }

    /// Lets the resolver know, where it answers with what the word is about: it has `resolved`.
    pub(super) fn publish(
        &mut self,
        resolved: u64,
        now: Tick,
        out: &watch::Sender<Option<Instant>>,
    ) {
        if resolved < self.epoch {
            return;
        }
        let Some(until) = self.until.take() else { return };
        let until = Instant::now() + until.since(now);
        out.send_if_modified(|known| {
            let longer = known.is_none_or(|known| known < until);
            if longer {
                *known = Some(until);
            }
            longer
        });
    }
}

/// The fingerprint of `view`, if it is what the leader means.
pub(super) fn agreed(view: &TrafficView, wanted: &[u8]) -> Result<[u8; 32], FieldError> {
    let digest = view.digest();
    if digest == wanted {
        return Ok(digest);
    }
    Err(FieldError::new("digest", "it is not that of the view that the changes lead to"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_word_holds_from_the_question_on_and_only_where_it_is_followed() {
        let (sender, told) = watch::channel(None);
        let begun = Instant::now();
        let at = |seconds: u64| Tick::default().after(Duration::from_secs(seconds));
        let mut last = Word { lease: LEASES.lease, ..Word::default() };
        last.publish(9, at(1), &sender);
        assert_eq!(*told.borrow(), None, "nobody has said a word");
        // Asked at 10 s, answered at 12 s, when the resolver was at epoch 6 still.
        last.given(7, at(10));
        last.publish(6, at(12), &sender);
        assert_eq!(*told.borrow(), None);
        last.publish(7, at(12), &sender);
        assert_eq!(*told.borrow(), Some(begun + Duration::from_secs(1)));
        // An answer that comes late takes nothing back.
        last.given(7, at(9));
        last.publish(8, at(12), &sender);
        assert_eq!(*told.borrow(), Some(begun + Duration::from_secs(1)));
        last.lease = LEASES.for_nodes(usize::MAX).lease;
        last.given(8, at(12));
        last.publish(8, at(12), &sender);
        assert_eq!(*told.borrow(), Some(begun + Duration::from_secs(15)));
    }
}
