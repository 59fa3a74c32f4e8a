//! What can be asked of the replicated state. A command says what is intended and carries its guard: what its author
//! believed. [`crate::State::apply`] checks the guard again and refuses what no longer holds.

use crate::id::{
    Generation, LogIndex, NodeId, NoticeId, RevisionNumber, RolloutId, ServiceId, Slot, TaskId,
};
use crate::member::{AccessToken, JoinToken, Trust};
use crate::node::{Availability, NodeFacts, Role};
use crate::rollout::{Back, Move, Phase as RolloutPhase, Promotion};
use crate::service::{Actor, Freeze};
use crate::spec::{LabelKey, RoleName, ServiceName, ServiceSpec};
use crate::state::ClusterId;
use crate::task::{End, Phase, StopReason};
use crate::time::{ClusterTime, WallTime};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A committed command with its place and time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its position in the log. The commands of one batch share it.
    pub index: LogIndex,
    /// The leader's stamp in cluster time.
    pub at: ClusterTime,
    /// The leader's wall clock, for display.
    pub wall: WallTime,
    /// What is asked.
    pub command: Command,
}

/// What can be asked.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Makes the cluster; the first command of a log.
    InitCluster {
        /// Its random identity.
        id: ClusterId,
        /// The DNS zone of its services, without dots at the ends.
        zone: String,
        /// Where nodes get their subnets from.
        pool: Ipv4Net,
    },
    /// Moves cluster time on, and nothing else.
    Checkpoint,
    /// Makes a service.
    CreateService {
        /// Its intent.
        spec: Box<ServiceSpec>,
        /// Who.
        by: Actor,
    },
    /// Replaces a service's intent. Its name cannot change.
    UpdateService {
        /// Which.
        service: ServiceId,
        /// The generation that the writer read.
        expect: Generation,
        /// The new intent.
        spec: Box<ServiceSpec>,
        /// Who.
        by: Actor,
        /// Why, in the user's words.
        cause: String,
        /// Whether a freeze does not hold it, and why the writer says so.
        freeze_override: Option<String>,
    },
    /// Changes the number of replicas.
    ScaleService {
        /// Which.
        service: ServiceId,
        /// The generation that the writer read, where it matters to the writer.
        expect: Option<Generation>,
        /// The new number.
        replicas: u32,
        /// Who.
        by: Actor,
    },
    /// Replaces every task by an equal one, within the update limits.
    RestartService {
        /// Which.
        service: ServiceId,
        /// Who.
        by: Actor,
    },
    /// Begins a service's deletion.
    DeleteService {
        /// Which.
        service: ServiceId,
        /// Who.
        by: Actor,
    },
    /// Makes the revision that every slot runs the stable one.
    AcceptRevision {
        /// Of which service.
        service: ServiceId,
        /// The generation that was planned with.
        expect: Generation,
        /// Which revision.
        revision: RevisionNumber,
    },
    /// Takes away a deleted service whose tasks have all ended.
    ForgetService {
        /// Which.
        service: ServiceId,
    },
    /// Makes tasks. All or none.
    PlaceTasks {
        /// Of which service.
        service: ServiceId,
        /// The generation that was planned with.
        expect: Generation,
        /// The tasks.
        placements: Vec<Placing>,
    },
    /// Takes tasks out of traffic, to stop them later.
    DrainTasks {
        /// Of which service.
        service: ServiceId,
        /// The generation that was planned with.
        expect: Generation,
        /// Which tasks.
        tasks: Vec<TaskId>,
        /// Why.
        reason: StopReason,
    },
    /// Tells tasks to stop that got no traffic or have been drained.
    StopTasks {
        /// Which tasks.
        tasks: Vec<TaskId>,
        /// Why, for those that were not drained before.
        reason: StopReason,
    },
    /// Gives up tasks whose node is down.
    LoseTasks {
        /// The node, which must be down still.
        node: NodeId,
        /// Which tasks.
        tasks: Vec<TaskId>,
    },
    /// Drops the records of ended tasks.
    ForgetTasks {
        /// Which.
        tasks: Vec<TaskId>,
    },
    /// What a node says of its tasks.
    ReportTasks {
        /// Which node.
        node: NodeId,
        /// The edges, in the order they happened.
        edges: Vec<TaskEdge>,
    },
    /// Makes a node a member, or renews what it says of itself.
    RegisterNode {
        /// The fingerprint that it keeps.
        key: String,
        /// Its role.
        role: Role,
        /// What it says of itself.
        facts: Box<NodeFacts>,
        /// The subnet it asks for, where only it can know which are free there.
        subnet: Option<Ipv4Net>,
        /// Labels that its configuration gives.
        labels: BTreeMap<LabelKey, String>,
    },
    /// A node is heard again, or not any more.
    SetNodeUp {
        /// Which.
        node: NodeId,
        /// Whether its lease holds.
        up: bool,
    },
    /// An operator wants tasks on a node or not.
    SetAvailability {
        /// Which.
        node: NodeId,
        /// What is wanted.
        availability: Availability,
    },
    /// Changes a node's labels.
    LabelNode {
        /// Which.
        node: NodeId,
        /// Labels to set.
        set: BTreeMap<LabelKey, String>,
        /// Labels to take away.
        remove: BTreeSet<LabelKey>,
    },
    /// Moves a rollout on, as planned.
    MoveRollout {
        /// Of which service.
        service: ServiceId,
        /// Which rollout.
        rollout: RolloutId,
        /// What had happened to it when it was planned.
        seq: u64,
        /// What is next.
        to: Move,
    },
    /// A person steers a rollout.
    SteerRollout {
        /// Of which service.
        service: ServiceId,
        /// What is asked.
        steer: Steer,
        /// Who.
        by: Actor,
    },
    /// Goes back: ends the release under way, or begins one to an earlier revision.
    RollbackService {
        /// Which.
        service: ServiceId,
        /// To where; what was stable before where absent.
        to: Option<RevisionNumber>,
        /// With every step of the strategy, where a release was accepted already.
        careful: bool,
        /// How traffic goes back, where a release is under way.
        back: Back,
        /// Who.
        by: Actor,
        /// Why, in the user's words.
        reason: String,
    },
    /// Begins the update that waited for the end of another.
    StartQueued {
        /// Of which service.
        service: ServiceId,
        /// The generation that was planned with.
        expect: Generation,
    },
    /// Holds releases, or lets them go again.
    SetFreeze {
        /// Of which service; of all where absent.
        service: Option<ServiceId>,
        /// Why; absent to end the freeze.
        reason: Option<String>,
        /// Who.
        by: Actor,
        /// The freeze that the author saw, and that this one replaces or ends; absent where there was none. Where
        /// another one holds by now, nothing changes.
        seen: Option<Freeze>,
    },
    /// Calls of hooks were answered, or given up.
    SettleNotices {
        /// Which, each with what went wrong, if anything did.
        results: Vec<(NoticeId, Option<String>)>,
    },
    /// Gives the cluster its authority, once.
    SetTrust {
        /// What it is.
        trust: Box<Trust>,
    },
    /// Makes a token that lets machines in.
    AddJoinToken {
        /// Which.
        token: JoinToken,
    },
    /// Ends all join tokens of a role.
    RevokeJoinTokens {
        /// Of which role.
        role: Role,
        /// Who.
        by: Actor,
    },
    /// Lets a person or a program use the API from elsewhere.
    AddAccessToken {
        /// With what.
        token: AccessToken,
    },
    /// Ends an access token.
    RevokeAccessToken {
        /// Whose.
        name: RoleName,
        /// Who.
        by: Actor,
    },
    /// Lets a machine in that shows a token.
    JoinNode {
        /// SHA-256 of the token's secret.
        token: [u8; 32],
        /// The fingerprint of the machine's key.
        key: String,
        /// What it says of itself.
        facts: Box<NodeFacts>,
        /// The subnet it asks for, where only it can know which are free there.
        subnet: Option<Ipv4Net>,
        /// Labels that its configuration gives.
        labels: BTreeMap<LabelKey, String>,
    },
    /// Makes a node a manager, or a worker again.
    SetRole {
        /// Which.
        node: NodeId,
        /// What it is to be.
        role: Role,
        /// Who.
        by: Actor,
    },
    /// Takes a node out of the cluster.
    RemoveNode {
        /// Which.
        node: NodeId,
        /// Whether the tasks are given up that it may run.
        force: bool,
        /// Who.
        by: Actor,
    },
}

/// What a person asks of a rollout.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Steer {
    /// Stand still. Gates stay armed.
    Pause {
        /// Why.
        reason: String,
    },
    /// Go on, also after failures.
    Resume,
    /// Go faster.
    Promote(Promotion),
    /// Another attempt at the same revision.
    Retry,
    /// Agree to the step that waits for it.
    Approve {
        /// The roles that the person has.
        roles: Vec<RoleName>,
        /// What they say.
        comment: String,
        /// The step that they have in mind, 0 for the start. Where another one waits by now, nothing is agreed to.
        /// Absent: whichever waits.
        step: Option<u32>,
    },
}

/// One task to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Placing {
    /// The slot to fill.
    pub slot: Slot,
    /// What it runs.
    pub revision: RevisionNumber,
    /// Where.
    pub node: NodeId,
}

/// A task came to a phase.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskEdge {
    /// Which.
    pub task: TaskId,
    /// The phase it came to.
    pub phase: Phase,
    /// How it ended, for a final phase.
    pub end: Option<End>,
}

/// What an applied command did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Applied {
    /// All that there is to say.
    Done,
    /// A service was made or changed.
    Service {
        /// Which.
        id: ServiceId,
        /// Its generation now.
        generation: Generation,
        /// The revision that its tasks are to run now.
        revision: RevisionNumber,
        /// Whether anything differs from before.
        changed: bool,
    },
    /// A node is a member.
    Node {
        /// Which.
        id: NodeId,
    },
    /// Tasks were made, in the order asked.
    Tasks(Vec<TaskId>),
    /// An update waits for the end of the release under way.
    Queued {
        /// Of which service.
        id: ServiceId,
        /// Its generation now.
        generation: Generation,
        /// What it waits for.
        behind: RolloutId,
        /// The id that its own release will have.
        release: RolloutId,
    },
    /// A rollout was begun or steered.
    Rollout {
        /// Which.
        id: RolloutId,
        /// Of which service.
        service: ServiceId,
        /// The service's generation now.
        generation: Generation,
        /// Whose update waited and was dropped for it.
        dropped: Option<Actor>,
    },
}

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
    #[error("there is an access token {0} already: revoke it, or choose another name")]
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
        by: Actor,
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
