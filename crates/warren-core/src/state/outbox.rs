//! Hooks: what is to be called, and what came of it.

use super::{Now, State};
use crate::command::Applied;
use crate::id::NoticeId;
use crate::notice::{NOTICES_MAX, Notice};
use crate::rollout::{Happened, Moment, Rollout};
use crate::service::{Actor, Service};
use crate::spec::{Hook, HookPoint};
use std::collections::BTreeSet;
use std::sync::Arc;

impl State {
    /// Calls of hooks that are to be made, oldest first.
    pub fn notices(&self) -> impl ExactSizeIterator<Item = &Arc<Notice>> {
        self.stored.outbox.values()
    }

    /// Puts a call for every hook of `on` into the outbox.
    pub(super) fn tell(
        &mut self,
        service: &Service,
        live: &Rollout,
        on: HookPoint,
        moment: &Moment,
    ) -> BTreeSet<NoticeId> {
        let mut hooks: Vec<Hook> =
            live.settings.hooks.iter().filter(|hook| hook.on == on).cloned().collect();
        if on == HookPoint::PerStep
            && let Some(url) = live.current_step().and_then(|step| step.run.clone())
        {
            hooks.push(Hook::new(on, url));
        }
        let Some(revision) = service.revisions.get(&live.to).cloned() else {
            return BTreeSet::new();
        };
        let mut made = BTreeSet::new();
        for hook in hooks {
            let id = NoticeId(self.next_id());
            let has_step = !live.steps.is_empty();
            let notice = Notice {
                id,
                hook,
                service: service.id,
                name: service.spec.name.clone(),
                rollout: live.id,
                attempt: live.attempt,
                strategy: live.strategy,
                phase: live.phase,
                step: if has_step { live.step + 1 } else { 0 },
                weight: live.weight,
                from: live.from,
                to: live.to,
                checksum: revision.hash,
                image: revision.template.image.clone(),
                pinned: revision.template.pinned.clone(),
                moment: moment.clone(),
            };
            self.stored.outbox.insert(id, Arc::new(notice));
            made.insert(id);
        }
        self.bound_outbox();
        made
    }

    fn bound_outbox(&mut self) {
        while self.stored.outbox.len() > NOTICES_MAX {
            let outbox = &self.stored.outbox;
            let mut telling = outbox.values().filter(|notice| !notice.hook.on.is_gate());
            let Some(oldest) = telling.next().map(|notice| notice.id) else { return };
            self.stored.outbox.remove(&oldest);
        }
    }

    pub(super) fn settle_notices(
        &mut self,
        now: Now,
        results: Vec<(NoticeId, Option<String>)>,
    ) -> Applied {
        for (id, failure) in results {
            let Some(notice) = self.stored.outbox.remove(&id) else { continue };
            let mut heard = None;
            self.edit(notice.service, |rollout| {
                let Some(called) = rollout.called.as_mut().filter(|_| rollout.id == notice.rollout)
                else {
                    return;
                };
                if called.pending.remove(&id)
                    && let Some(why) = &failure
                {
                    called.failed.get_or_insert_with(|| why.clone());
                    heard = Some(called.on);
                }
                rollout.progress_at = now.at;
                rollout.seq += 1;
            });
            if let (Some(on), Some(why)) = (heard, failure) {
                let what = Happened::HookFailed { on, why };
                self.happened(now, notice.service, Actor::warren(), what);
            }
        }
        Applied::Done
    }
}
