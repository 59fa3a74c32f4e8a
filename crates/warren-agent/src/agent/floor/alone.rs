//! What a node does without a leader: tasks that must not run on then are stopped, and the rest goes on.
//!
//! The silence begins when the last beat that was answered was sent: the leader has heard this node after that, and
//! counts its own patience from there. What was before an agent started is not known, so it begins to count.

use super::super::desk::Desk;
use std::sync::Arc;
use warren_core::assignment::{self, Assignments};
use warren_core::time::Tick;

/// What it remembers between two turns.
#[derive(Default)]
pub(super) struct Alone {
    /// When it next stops something.
    pub(super) at: Option<Tick>,
    /// Whether it has said that it does.
    told: bool,
}

impl Alone {
    /// What is to run now.
    pub(super) fn assignments(&mut self, desk: &Desk, now: Tick) -> Arc<Assignments> {
        let answered = desk.answered();
        let silence = now.since(answered);
        let all = desk.book.assignments();
        self.at = assignment::next_alone(all, silence).map(|span| answered.after(span));
        let left = assignment::alone(all, silence);
        let stops = !Arc::ptr_eq(&left, all);
        if stops && !self.told {
            let silence_s = silence.as_secs();
            tracing::warn!(silence_s, "no leader answers, stopping tasks that must not run on");
        }
        self.told = stops;
        left
    }
}
