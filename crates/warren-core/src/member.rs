//! What the managers agree on about who belongs to the cluster, beside the nodes themselves.

use crate::node::Role;
use crate::service::Actor;
use crate::spec::RoleName;
use crate::time::WallTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// The most join tokens of both roles together: some for each way in which machines are made.
pub const JOIN_TOKENS_MAX: usize = 32;

/// So far may the wall clock of a machine that joins be from the manager's: certificates, tokens and freezes go by it,
/// and people read both in one table. A machine that asks anybody for the time is within a second.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(300);

/// Why a machine whose wall clock shows `joins` is not let in by a manager whose clock shows `manager`; `None` where it
/// is. `show` writes a time for people.
#[must_use]
pub fn clocks_apart(
    joins: WallTime,
    manager: WallTime,
    show: impl Fn(WallTime) -> String,
) -> Option<String> {
    let apart = Duration::from_millis(joins.0.abs_diff(manager.0));
    (apart > CLOCKS_APART_MAX).then(|| {
        let way = if joins < manager { "behind" } else { "ahead of" };
        format!(
            "the clock of this machine shows {}, {} minutes {way} that of the manager, which shows {}: set the one that \
             is wrong (more than {} minutes are too many) and join again",
            show(joins),
            apart.as_secs() / 60,
            show(manager),
            CLOCKS_APART_MAX.as_secs() / 60
        )
    })
}

/// The authority of the cluster, which signs the certificates of its nodes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// Its certificate, DER.
    pub authority: Vec<u8>,
    /// Its key, sealed: only managers can open it.
    pub sealed_key: Vec<u8>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

/// What lets machines in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinToken {
    /// SHA-256 of its secret, which only its holders know.
    pub hash: [u8; 32],
    /// What machines become that show it.
    pub role: Role,
    /// From then on it lets nobody in, by the clock of managers.
    pub expires: WallTime,
    /// Who made it.
    pub by: Actor,
}

/// The most access tokens: some for each person and each pipeline.
pub const ACCESS_TOKENS_MAX: usize = 512;

/// The most roles of one access token.
pub const ACCESS_ROLES_MAX: usize = 16;

/// What lets a person or a program use the API from elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccessToken {
    /// Whose it is: how events and the history call them.
    pub name: RoleName,
    /// SHA-256 of its secret, which only its holder knows.
    pub hash: [u8; 32],
    /// What its holder may do, and what they may agree to.
    pub roles: BTreeSet<RoleName>,
    /// From then on it opens nothing, by the clock of managers.
    pub expires: WallTime,
    /// Who made it.
    pub by: Actor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_be_five_minutes_apart_and_no_more() {
        let told = |joins, manager| {
            let minutes = |count: u64| WallTime(count * 60_000 + 3_600_000);
            clocks_apart(minutes(joins), minutes(manager), |time| format!("<{}>", time.0 / 60_000))
        };
        assert_eq!(told(60, 60), None);
        assert_eq!(told(60, 65), None);
        assert_eq!(told(65, 60), None);
        let behind = told(0, 60).unwrap();
        assert!(
            behind.contains("shows <60>, 60 minutes behind that of the manager, which shows <120>"),
            "{behind}"
        );
        let ahead = told(60, 0).unwrap();
        assert!(ahead.contains("shows <120>, 60 minutes ahead of that of the manager"), "{ahead}");
    }
}
