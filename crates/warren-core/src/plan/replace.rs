//! Old tasks give way to new ones, within the limits of [`crate::rollout::rolling`].

use super::seen::Seen;
use super::service::{Round, to_u32};
use crate::report::WaitReason;
use crate::rollout::rolling;
use crate::spec::Order;
use crate::time::ClusterTime;
use std::time::Duration;

impl<'a> Round<'_, 'a> {
    /// An old task goes once its replacement has been ready for `min_ready`.
    pub(super) fn finish_replacements(&mut self) {
        for index in 0..self.slots.len() {
            let filled = self.slots[index];
            let (Some(new), Some(old)) = (filled.new, filled.old) else { continue };
            if self.is_available(&new) {
                self.take_away(&old, self.why_replaced(&old));
            }
        }
    }

    pub(super) fn replace_old(&mut self) {
        if self.counts.old == 0 {
            return;
        }
        let pause = self.batch_pause();
        let limit = match (pause, self.limits.order) {
            (Some(_), _) => "waiting between batches",
            (None, Order::StartFirst) => "new tasks first, within max-surge and parallelism",
            (None, Order::StopFirst) => "old tasks first, within max-unavailable and parallelism",
        };
        let (left, revision) = (self.counts.old, self.goal.revision);
        let reason = WaitReason::Replacing { left, revision, limit };
        self.wait(None, reason, Some(self.goal.since), pause);
        if pause.is_some() {
            return;
        }
        let old = self.next_to_replace();
        match self.limits.order {
            Order::StartFirst => {
                let starts = rolling::starts(&self.limits, &self.counts).min(self.goal.room);
                let starts = starts.saturating_sub(to_u32(self.place.len()));
                self.place.extend(old.iter().take(starts as usize).map(|task| task.slot));
                // Where there is no room to start first, what carries no traffic makes some.
                let full = self.counts.live >= self.counts.replicas + self.limits.surge;
                for task in &old {
                    if full && !self.carries(task) {
                        self.take_away(task, self.why_replaced(task));
                    }
                }
            }
            Order::StopFirst => {
                let mut stops = rolling::stops(&self.limits, &self.counts);
                for task in &old {
                    if !self.carries(task) {
                        self.take_away(task, self.why_replaced(task));
                    } else if stops > 0 {
                        stops -= 1;
                        self.take_away(task, self.why_replaced(task));
                    }
                }
            }
        }
    }

    /// The old tasks without a replacement, those first that are missed least: unready ones, those on nodes that are
    /// being drained, what a superseded release left, earlier revisions.
    fn next_to_replace(&mut self) -> Vec<Seen<'a>> {
        let mut old = Vec::new();
        for filled in self.slots.iter().filter(|slot| slot.new.is_none()) {
            let Some(task) = filled.old else { continue };
            match self.backoff_until(filled.slot) {
                Some(due) => self.planner.wake(due),
                None => old.push(task),
            }
        }
        old.sort_by_key(|task| {
            let known = Some(task.revision) == self.service.stable;
            (task.is_ready(), self.is_in_place(task), known, task.revision, task.slot)
        });
        old
    }

    /// Until when to wait after the last finished batch; absent where the delay is over or there is none.
    fn batch_pause(&self) -> Option<ClusterTime> {
        let delay = self.goal.settings.delay;
        if delay == Duration::ZERO {
            return None;
        }
        let placed_since = |task: &Seen<'_>| task.created >= self.goal.since;
        let new = self.slots.iter().filter_map(|slot| slot.new).filter(placed_since);
        let last = new.filter_map(|task| self.available_at(&task)).max()?;
        Some(last.after(delay)).filter(|until| *until > self.planner.now)
    }
}
