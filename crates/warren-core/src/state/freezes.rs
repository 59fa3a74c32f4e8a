//! Freezes: no release begins and none goes forward.

use super::{Now, State};
use crate::command::{Applied, Rejection};
use crate::event::EventKind;
use crate::id::ServiceId;
use crate::service::{Actor, Freeze};

impl State {
    /// Freezes, or ends the freeze that the author saw.
    pub(super) fn set_freeze(
        &mut self,
        now: Now,
        id: Option<ServiceId>,
        reason: Option<String>,
        by: Actor,
        seen: Option<&Freeze>,
    ) -> Result<Applied, Rejection> {
        let (name, holds) = match id {
            None => (None, self.stored.freeze.clone()),
            Some(id) => {
                let service = self.writable(id, None)?;
                (Some(service.spec.name.clone()), service.frozen.clone())
            }
        };
        match (&holds, &reason) {
            (None, None) => return Err(Rejection::NotFrozen { service: name }),
            (Some(Freeze { by, reason, .. }), Some(_)) if holds.as_ref() != seen => {
                let (by, reason) = (by.clone(), reason.clone());
                return Err(Rejection::FrozenAlready { service: name, by, reason });
            }
            _ if holds.as_ref() != seen => {
                return Err(Rejection::Stale("another freeze holds by now".to_owned()));
            }
            _ => {}
        }
        let made =
            |reason: String| Freeze { by: by.clone(), reason, since: now.at, wall: now.wall };
        let freeze = reason.clone().map(made);
        match id {
            None => self.stored.freeze = freeze,
            Some(id) => self.service_mut(id)?.frozen = freeze,
        }
        self.record(now, EventKind::Freeze { service: name, reason, by });
        Ok(Applied::Done)
    }

    /// The freeze of all releases.
    #[must_use]
    pub fn freeze(&self) -> Option<&Freeze> {
        self.stored.freeze.as_ref()
    }

    /// What holds the releases of a service: its own freeze, or that of all.
    #[must_use]
    pub fn freeze_of(&self, id: ServiceId) -> Option<&Freeze> {
        let own = self.service(id).and_then(|service| service.frozen.as_ref());
        own.or(self.stored.freeze.as_ref())
    }
}
