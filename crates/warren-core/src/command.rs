//! What can be asked of the replicated state. A command says what is intended and carries its guard: what its author
//! believed. [`crate::State::apply`] checks the guard again and refuses what no longer holds.

mod rejection;

pub use rejection::Rejection;

use crate::id::{
    Generation, LogIndex, NodeId, NoticeId, RevisionNumber, RolloutId, ServiceId, Slot, TaskId,
};
use crate::level::Level;
use crate::member::{AccessToken, JoinToken, Trust};
use crate::node::{Availability, NodeFacts, Role};
use crate::rollout::{Back, Move, Promotion};
use crate::service::{Actor, Freeze};
use crate::spec::{FileKind, FileName, FileVersion, LabelKey, RoleName, ServiceSpec};
use crate::state::ClusterId;
use crate::task::{End, Phase, StopReason};
use crate::time::{ClusterTime, WallTime};
use crate::vault::Fresh;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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
    /// Says which tasks of a service are to be on other nodes, beside those that are on their way already. They are
    /// replaced there within the update limits.
    MoveTasks {
        /// Of which service.
        service: ServiceId,
        /// The generation that was planned with.
        expect: Generation,
        /// Which tasks, and where to.
        moves: BTreeMap<TaskId, NodeId>,
        /// Who.
        by: Actor,
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
        /// For a drain: how long services may keep tasks there that they cannot spare; for ever where absent.
        within: Option<Duration>,
        /// Who.
        by: Actor,
    },
    /// Changes a node's labels.
    LabelNode {
        /// Which.
        node: NodeId,
        /// Labels to set.
        set: BTreeMap<LabelKey, String>,
        /// Labels to take away.
        remove: BTreeSet<LabelKey>,
        /// Who.
        by: Actor,
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
    /// Goes on with one manager alone, from a backup or after the loss of the others. Applied to a state that nobody
    /// serves; all other managers are taken out.
    BeginEpoch {
        /// The epoch that ends.
        expect: u32,
        /// Who goes on.
        manager: NodeId,
        /// The fingerprint of the machine that is this manager from now on, where it is another than before.
        key: Option<String>,
        /// Who.
        by: Actor,
    },
    /// Makes a secret or a config, with its first version.
    CreateFile {
        /// What.
        file: Fresh,
        /// Labels, for people.
        labels: BTreeMap<LabelKey, String>,
    },
    /// Gives a secret or a config another version.
    UpdateFile {
        /// What.
        file: Fresh,
        /// The version that this becomes: the next one, or nothing is changed.
        version: FileVersion,
    },
    /// Takes a secret or a config away that nothing uses.
    RemoveFile {
        /// What it is.
        kind: FileKind,
        /// Which.
        name: FileName,
        /// Who.
        by: Actor,
    },
    /// Keeps in the audit what somebody did that changes nothing in the state.
    Witness {
        /// Who.
        by: Actor,
        /// What.
        action: Witnessed,
        /// To what, by its name.
        target: String,
        /// More of it.
        detail: String,
    },
    /// All managers speak more than the cluster has asked of its nodes so far.
    RaiseLevel {
        /// What they all speak.
        to: Level,
    },
}

/// What leaves no other trace in the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Witnessed {
    /// A command was run inside a task.
    Exec,
    /// The whole state was read off.
    Backup,
}

impl Witnessed {
    /// As the audit calls it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Exec => "service exec",
            Self::Backup => "cluster backup",
        }
    }
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
