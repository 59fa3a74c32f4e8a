//! What the managers agree on about who belongs to the cluster, beside the nodes themselves.

use crate::node::Role;
use crate::service::Actor;
use crate::spec::RoleName;
use crate::time::WallTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The most join tokens of both roles together: some for each way in which machines are made.
pub const JOIN_TOKENS_MAX: usize = 32;

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
