//! Why a command changed nothing.

use crate::id::{Generation, NodeId, RevisionNumber, RolloutId, ServiceId};
use crate::rollout::Phase as RolloutPhase;
use crate::service::Actor;
use crate::spec::{FileKind, FileName, FileVersion, RoleName, ServiceName};
use serde::{Deserialize, Serialize};

/// Why a command changed nothing. Normal: its author believed what is no longer so, or asked for what cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum Rejection {
    /// There is no cluster in this log yet, or there is one already.
    #[error("the cluster exists already")]
    AlreadyInitialised,
    /// No such service.
    #[error("there is no service {0}")]
    NoService(ServiceId),
    /// No such node.
    #[error("there is no node {0}")]
    NoNode(NodeId),
    /// No such access token.
    #[error("there is no access token {0}")]
    NoAccessToken(RoleName),
    /// The name of an access token is in use.
    #[error(
        "there is an access token {0} already: `warren token rm {0}` revokes it, or choose another name"
    )]
    AccessNameTaken(RoleName),
    /// The name is in use.
    #[error("there is a service {name} already ({id}): update it, or choose another name")]
    NameTaken {
        /// The name.
        name: ServiceName,
        /// Who has it.
        id: ServiceId,
    },
    /// A service's name cannot change.
    #[error("service {0} cannot change its name: create a service with the new name instead")]
    NameFixed(ServiceName),
    /// Somebody else wrote since.
    #[error(
        "service {name} was changed by {by} in the meantime (generation {found}, you read {expected}): \
         look at it again and repeat the change"
    )]
    Conflict {
        /// Which service.
        name: ServiceName,
        /// The generation that the writer read.
        expected: Generation,
        /// The generation there is.
        found: Generation,
        /// Who wrote last.
        by: Actor,
    },
    /// The service is going away.
    #[error("service {0} is being deleted")]
    Deleting(ServiceName),
    /// A global service has no number of replicas.
    #[error("service {0} is global: it has one task on every node that fits and cannot be scaled")]
    NotScalable(ServiceName),
    /// A count above its limit.
    #[error("{what}: {count} is more than {max}, the most there may be")]
    TooMany {
        /// Of what.
        what: String,
        /// How many were asked for.
        count: u64,
        /// The most there may be.
        max: u64,
    },
    /// A release is under way that does not allow it.
    #[error(
        "service {name} is in release {rollout} ({from} to {to}, {phase}, begun by {by}): {instead}"
    )]
    Busy {
        /// Which service.
        name: ServiceName,
        /// Its release.
        rollout: RolloutId,
        /// From where, as in `v1`; `nothing` in a first deployment.
        from: String,
        /// To where.
        to: RevisionNumber,
        /// How far it is.
        phase: RolloutPhase,
        /// Who began it.
        by: Box<Actor>,
        /// What to do.
        instead: String,
    },
    /// There is no release under way.
    #[error("service {name} has no release under way{last}: {instead}")]
    NoRollout {
        /// Which service.
        name: ServiceName,
        /// What became of the last one, in brackets; empty where there was none.
        last: String,
        /// What to do.
        instead: String,
    },
    /// There is nothing to go back to.
    #[error("nothing to roll back to: {0}")]
    NothingBefore(String),
    /// A release that cannot be made as asked.
    #[error("{0}")]
    Unfit(String),
    /// What was asked of a rollout is not possible where it is.
    #[error("{0}")]
    NotNow(String),
    /// The person has none of the roles that are asked for.
    #[error("{by} cannot approve this step: it asks for {roles}")]
    NotYours {
        /// Who.
        by: Actor,
        /// Which roles would do.
        roles: String,
    },
    /// A freeze holds it.
    #[error(
        "releases are frozen by {by}: {reason}. Wait for its end (`warren freeze off{}`), or begin a release with \
         `warren service update --override-freeze REASON`", named(service.as_ref())
    )]
    Frozen {
        /// Which service is frozen; all where absent.
        service: Option<ServiceName>,
        /// Who froze.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// It is frozen already, by somebody else or for another reason.
    #[error(
        "releases of {} are frozen already by {by}: {reason}. End that with `warren freeze off{}` first",
        services(service.as_ref()), named(service.as_ref())
    )]
    FrozenAlready {
        /// Which service; all where absent.
        service: Option<ServiceName>,
        /// Who froze.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// There is no freeze to end.
    #[error("releases of {} are not frozen: `warren freeze status` shows what is", services(service.as_ref()))]
    NotFrozen {
        /// Which service; all where absent.
        service: Option<ServiceName>,
    },
    /// A subnet that cannot be had.
    #[error("no subnet for the node: {0}")]
    NoSubnet(String),
    /// No such secret or config.
    #[error("there is no {kind} {name}: make it with `warren {kind} create {name}`")]
    NoFile {
        /// What it would be.
        kind: FileKind,
        /// Which.
        name: FileName,
    },
    /// No such version of a secret or a config.
    #[error("{kind} {name} has no version {version} (any more), the newest is {newest}")]
    NoFileVersion {
        /// What it is.
        kind: FileKind,
        /// Which.
        name: FileName,
        /// Which version.
        version: FileVersion,
        /// The newest one.
        newest: FileVersion,
    },
    /// The name of a secret or a config is in use.
    #[error(
        "there is a {kind} {name} already: give it a new version with `warren {kind} update {name}`"
    )]
    FileTaken {
        /// What it is.
        kind: FileKind,
        /// The name.
        name: FileName,
    },
    /// A secret or a config that is used cannot go.
    #[error(
        "{kind} {name} is used by {by}: take it out of these services first (`warren service update NAME \
         --{kind}-rm {name}`); revisions that a rollback may lead to count until newer ones take their place"
    )]
    FileInUse {
        /// What it is.
        kind: FileKind,
        /// Which.
        name: FileName,
        /// Who uses it.
        by: String,
    },
    /// A machine that may not come in.
    #[error("{0}")]
    NotAdmitted(String),
    /// A plan made from an older state. Planned again, it comes out right.
    #[error("the plan is stale: {0}")]
    Stale(String),
}

fn named(service: Option<&ServiceName>) -> String {
    service.map(|name| format!(" {name}")).unwrap_or_default()
}

fn services(service: Option<&ServiceName>) -> String {
    service.map_or_else(|| "all services".to_owned(), ToString::to_string)
}
