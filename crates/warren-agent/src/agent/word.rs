//! How long the leader's word on where traffic goes holds.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use warren_core::spec::FieldError;
use warren_core::time::Tick;
use warren_core::traffic::{TRAFFIC_LEASE, TrafficView};

/// The last word, and what must be known for it to hold: the leader waits no longer for a resolver that goes without,
/// as [`warren_core::traffic::settled_at`] says.
#[derive(Debug, Default)]
pub(super) struct Word {
    epoch: u64,
    until: Option<Tick>,
}

impl Word {
    /// The leader answered a beat that was sent at `sent`, when what was agreed had `epoch`. Its time counts from the
    /// question: what is agreed later is not in the answer.
    pub(super) fn given(&mut self, epoch: u64, sent: Tick, lease_ms: u64) {
        let lease = Duration::from_millis(lease_ms).max(TRAFFIC_LEASE);
        self.epoch = epoch;
        self.until = Some(sent.after(lease));
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
        let (sender, word) = watch::channel(None);
        let begun = Instant::now();
        let at = |seconds: u64| Tick::default().after(Duration::from_secs(seconds));
        let mut last = Word::default();
        last.publish(9, at(1), &sender);
        assert_eq!(*word.borrow(), None, "nobody has said a word");
        // Asked at 10 s, answered at 12 s, when the resolver was at epoch 6 still.
        last.given(7, at(10), 3_000);
        last.publish(6, at(12), &sender);
        assert_eq!(*word.borrow(), None);
        last.publish(7, at(12), &sender);
        assert_eq!(*word.borrow(), Some(begun + Duration::from_secs(1)));
        // An answer that comes late takes nothing back.
        last.given(7, at(9), 3_000);
        last.publish(8, at(12), &sender);
        assert_eq!(*word.borrow(), Some(begun + Duration::from_secs(1)));
        last.given(8, at(12), 15_000);
        last.publish(8, at(12), &sender);
        assert_eq!(*word.borrow(), Some(begun + Duration::from_secs(15)));
    }
}
