//! The way back, as people ask for it.

use super::rollouts::Begin;
use super::services::touch;
use super::steer::{not_now, pruned};
use super::{Now, State};
use crate::command::{Applied, Rejection};
use crate::id::{RevisionNumber, ServiceId};
use crate::rollout::{Back, Haste, Kind, Pause, Rollout, Trigger, has_failed};
use crate::scheduler::wants;
use crate::service::{Actor, Service};
use crate::spec::{Mode, Strategy};

impl State {
    #[expect(clippy::too_many_arguments, reason = "they are the fields of one command")]
    pub(super) fn rollback_service(
        &mut self,
        now: Now,
        id: ServiceId,
        to: Option<RevisionNumber>,
        careful: bool,
        back: Back,
        by: Actor,
        reason: String,
    ) -> Result<Applied, Rejection> {
        let service = self.writable(id, None)?;
        if let Some(to) = to.filter(|to| !service.revisions.contains_key(to)) {
            return Err(pruned(service, to));
        }
        let live = service.rollout.clone().filter(|live| !live.phase.is_accepted());
        if back == Back::Gradual {
            check_gradual(live.as_deref(), to)?;
        }
        let who = by.clone();
        let answer = match live {
            None => self.rollback_accepted(now, id, to, careful, by, reason),
            Some(live) => self.rollback_live(now, id, &live, to, back, by, reason),
        }?;
        let dropped = self.drop_queued(now, id, &who, "the service was rolled back");
        Ok(match answer {
            Applied::Rollout { id, service, generation, .. } => {
                Applied::Rollout { id, service, generation, dropped }
            }
            other @ (Applied::Done
            | Applied::Service { .. }
            | Applied::Node { .. }
            | Applied::Tasks(_)
            | Applied::Queued { .. }) => other,
        })
    }

    #[expect(clippy::too_many_arguments, reason = "they are the fields of one command")]
    fn rollback_live(
        &mut self,
        now: Now,
        id: ServiceId,
        live: &Rollout,
        to: Option<RevisionNumber>,
        back: Back,
        by: Actor,
        reason: String,
    ) -> Result<Applied, Rejection> {
        let Some(from) = live.from else {
            return Err(Rejection::NothingBefore(format!("{} is the first revision", live.to)));
        };
        // A way back after acceptance is a release of its own: asking again hurries it. Only the name of the revision
        // that it leaves turns it round, or that it has failed, though its settings may say to go on all the same.
        let failed = live.phase.is_back()
            || live.pauses.contains_key(&Pause::FailureAction)
            || self.service(id).is_some_and(|service| self.has_failed(now, service, live));
        if live.kind == Kind::Rollback && to.is_none() && !failed {
            return self.hurry(id, back);
        }
        match to.filter(|to| *to != from) {
            Some(to) if to == live.to => {
                Err(not_now(live, "it is on its way to that revision: nothing to go back to"))
            }
            Some(to) => {
                let begin = straight(self.writable(id, None)?, to, by.clone(), reason);
                touch(self.service_mut(id)?, now, &by);
                self.begin_rollout(now, id, begin);
                self.rollout_applied(id)
            }
            None if live.phase.is_back() => {
                if back == Back::Immediate {
                    self.edit(id, |rollout| {
                        rollout.seq += 1;
                        if let Some(abort) = rollout.abort.as_mut() {
                            abort.back = back;
                        }
                    });
                }
                self.rollout_applied(id)
            }
            None => {
                let by_whom = by.clone();
                let reason = if reason.is_empty() { format!("{by} asked for it") } else { reason };
                self.abort(now, id, live, Trigger::Manual, reason, back, by_whom)?;
                self.edit(id, |rollout| rollout.seq += 1);
                self.rollout_applied(id)
            }
        }
    }

    /// Whether it has failed, as far as its settings say what a failure is.
    fn has_failed(&self, now: Now, service: &Service, live: &Rollout) -> bool {
        let replicas = match service.spec.mode {
            Mode::Replicated { replicas } => replicas,
            Mode::Global => {
                let wanted = self.nodes().filter(|node| wants(&service.spec.placement, node));
                u32::try_from(wanted.count()).unwrap_or(u32::MAX)
            }
        };
        has_failed(live, replicas, self.freeze_of(service.id).is_some(), now.at)
    }

    fn hurry(&mut self, id: ServiceId, back: Back) -> Result<Applied, Rejection> {
        if back == Back::Immediate {
            self.edit(id, |rollout| {
                rollout.haste = Haste::Full;
                rollout.seq += 1;
            });
        }
        self.rollout_applied(id)
    }

    fn rollback_accepted(
        &mut self,
        now: Now,
        id: ServiceId,
        to: Option<RevisionNumber>,
        careful: bool,
        by: Actor,
        reason: String,
    ) -> Result<Applied, Rejection> {
        let service = self.service_mut(id)?;
        let Some(stable) = service.stable else {
            let first = format!("{} is the first revision", service.current);
            return Err(Rejection::NothingBefore(first));
        };
        let before = service.accepted.iter().rev().nth(1).copied();
        let Some(to) = to.or(before) else {
            return Err(Rejection::NothingBefore(if stable.0 == 1 {
                format!("{stable} is the first revision")
            } else {
                format!(
                    "no revision before {stable} was ever accepted, or none is kept: name one with --to (see `warren \
                     service history {}`)",
                    service.spec.name
                )
            }));
        };
        if to == stable {
            return Err(Rejection::NothingBefore(format!("{to} is the stable revision already")));
        }
        let distance = service.accepted.iter().rev().position(|number| *number == to);
        let window = service.spec.update.rollback_window as usize;
        let fast = !careful && distance.is_some_and(|distance| distance <= window);
        let mut begin = straight(service, to, by.clone(), reason);
        if !fast {
            begin.strategy = service.spec.update.strategy;
            begin.settings = service.spec.update.clone();
        }
        touch(service, now, &by);
        self.begin_rollout(now, id, begin);
        self.rollout_applied(id)
    }
}

/// A way back without steps: within the strategy's family, health alone decides.
fn straight(service: &Service, to: RevisionNumber, by: Actor, cause: String) -> Begin {
    let mut settings = service.spec.update.clone();
    settings.parallelism = 0;
    settings.delay = std::time::Duration::ZERO;
    settings.approve = None;
    settings.monitor = Some(std::time::Duration::ZERO);
    settings.hooks.retain(|hook| !hook.on.is_gate());
    let strategy = match settings.strategy {
        Strategy::Rolling => Strategy::Rolling,
        Strategy::Recreate => Strategy::Recreate,
        Strategy::Canary | Strategy::BlueGreen => Strategy::BlueGreen,
    };
    settings.steps = Vec::new();
    settings.strategy = strategy;
    let freeze_override = Some("a rollback is never held".to_owned());
    Begin {
        reserved: None,
        kind: Kind::Rollback,
        to,
        settings,
        strategy,
        by,
        cause,
        freeze_override,
    }
}

/// Whether traffic can go back by and by: only where a release gives shares, and only to where it came from.
fn check_gradual(live: Option<&Rollout>, to: Option<RevisionNumber>) -> Result<(), Rejection> {
    let leave = "leave --gradual out";
    let Some(live) = live else {
        return Err(Rejection::NotNow(format!(
            "no release is under way whose traffic could go back by and by. A rollback now is a release of its own: \
             {leave} to switch at once, or take the steps of the strategy with --careful"
        )));
    };
    if live.phase.is_back() {
        return Err(not_now(live, &format!("it goes back already: {leave}")));
    }
    if !live.is_beside() {
        let why = format!("it has no shares of traffic to take back by and by: {leave}");
        return Err(not_now(live, &why));
    }
    if live.kind == Kind::Rollback || to.is_some_and(|to| Some(to) != live.from) {
        let why = format!("a way back that is a release of its own switches at once: {leave}");
        return Err(not_now(live, &why));
    }
    Ok(())
}
