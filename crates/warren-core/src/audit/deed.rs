//! Which commands are deeds of somebody, and how they are called.

use crate::command::{Command, Steer};
use crate::id::{NodeId, ServiceId};
use crate::node::Availability;
use crate::rollout::{Move, Rollout};
use crate::service::Actor;
use crate::spec::{ServiceSpec, Strategy};
use crate::state::State;
use crate::units::{counted, span};

/// What somebody asks, as the audit calls it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deed {
    /// Who.
    pub by: Actor,
    /// What, as in `service update`.
    pub action: String,
    /// To what, by its name.
    pub target: String,
    /// More of it. Never a value that may be secret: environments and files are not shown.
    pub detail: String,
}

impl Deed {
    fn new(by: &Actor, action: impl Into<String>, target: impl ToString) -> Self {
        let (by, target) = (by.clone(), target.to_string());
        Self { by, action: action.into(), target, detail: String::new() }
    }

    fn with(self, detail: impl ToString) -> Self {
        Self { detail: detail.to_string(), ..self }
    }

    /// Whether Warren itself does it: then it is a deed only where it was done, since a stale one is asked again.
    pub(crate) fn is_own(&self) -> bool {
        !self.by.is_person()
    }

    /// What `command` is in `state`, before it is applied; absent for what tasks and nodes report and for what the
    /// planner does with tasks.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the last function of the chain names every command"
    )]
    pub(crate) fn of(command: &Command, state: &State) -> Option<Self> {
        let service = |id: ServiceId| name_of(state, id);
        Some(match command {
            Command::CreateService { spec, by } => {
                Self::new(by, "service create", &spec.name).with(summary(spec))
            }
            Command::UpdateService { service: id, spec, by, cause, freeze_override, .. } => {
                let over = freeze_override.as_ref().map(|why| format!("; over a freeze: {why}"));
                let cause = if cause.is_empty() { String::new() } else { format!("; {cause}") };
                let detail = format!("{}{cause}{}", summary(spec), over.unwrap_or_default());
                Self::new(by, "service update", service(*id)).with(detail)
            }
            Command::ScaleService { service: id, replicas, by, .. } => {
                Self::new(by, "service scale", service(*id)).with(format!("to {replicas}"))
            }
            Command::RestartService { service: id, by } => {
                Self::new(by, "service restart", service(*id))
            }
            Command::MoveTasks { service: id, moves, by, .. } => {
                let count = u32::try_from(moves.len()).unwrap_or(u32::MAX);
                Self::new(by, "rebalance", service(*id)).with(counted(count, "task"))
            }
            Command::DeleteService { service: id, by } => {
                Self::new(by, "service delete", service(*id))
            }
            Command::SteerRollout { service: id, steer, by } => {
                let (action, detail) = steered(steer);
                Self::new(by, action, service(*id)).with(detail)
            }
            Command::RollbackService { service: id, to, by, reason, .. } => {
                let to = to.map(|to| format!("to {to}: ")).unwrap_or_default();
                Self::new(by, "service rollback", service(*id)).with(format!("{to}{reason}"))
            }
            Command::SetFreeze { service: id, reason, by, .. } => {
                let target = id.map_or_else(|| "all services".to_owned(), service);
                let action = if reason.is_some() { "freeze on" } else { "freeze off" };
                Self::new(by, action, target).with(reason.clone().unwrap_or_default())
            }
            Command::MoveRollout { service: id, to, .. } => {
                let live = state.service(*id).and_then(|service| service.rollout.as_deref());
                Self::new(&Actor::warren(), "release", service(*id)).with(moved(to, live)?)
            }
            Command::StartQueued { service: id, .. } => {
                Self::new(&Actor::warren(), "release", service(*id))
                    .with("the update that waited begins")
            }
            command => return of_members(command, state),
        })
    }
}

/// The deeds to machines, tokens and the cluster.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the last function of the chain names every command"
)]
fn of_members(command: &Command, state: &State) -> Option<Deed> {
    let node = |id: NodeId| host(state, id);
    Some(match command {
        Command::InitCluster { id, .. } => {
            Deed::new(&Actor::warren(), "cluster create", format!("{id:?}"))
        }
        Command::SetAvailability { node: id, availability, within, by } => {
            let action = match availability {
                Availability::Active => "node activate",
                Availability::Drain => "node drain",
            };
            let within = within.map(|within| format!("within {}", span(within)));
            Deed::new(by, action, node(*id)).with(within.unwrap_or_default())
        }
        Command::LabelNode { node: id, set, remove, by } => {
            let set = set.iter().map(|(key, value)| format!("{key}={value}"));
            let removed = remove.iter().map(|key| format!("{key}-"));
            let words: Vec<String> = set.chain(removed).collect();
            Deed::new(by, "node label", node(*id)).with(words.join(" "))
        }
        Command::AddJoinToken { token } => {
            Deed::new(&token.by, "cluster token", format!("{:?}", token.role).to_lowercase())
        }
        Command::RevokeJoinTokens { role, by } => {
            Deed::new(by, "cluster token revoke", format!("{role:?}").to_lowercase())
        }
        Command::AddAccessToken { token } => {
            let roles: Vec<&str> = token.roles.iter().map(|role| role.as_str()).collect();
            Deed::new(&token.by, "token create", &token.name).with(roles.join(","))
        }
        Command::RevokeAccessToken { name, by } => Deed::new(by, "token rm", name),
        Command::JoinNode { facts, .. } => {
            let by = Actor { name: "a join token".to_owned(), from: facts.address.to_string() };
            Deed::new(&by, "node join", &facts.hostname)
        }
        Command::SetRole { node: id, role, by } => {
            Deed::new(by, "node role", node(*id)).with(format!("{role:?}").to_lowercase())
        }
        Command::RemoveNode { node: id, force, by } => {
            Deed::new(by, "node rm", node(*id)).with(if *force { "forced" } else { "" })
        }
        command => return of_the_rest(command, state),
    })
}

/// The deeds to files, those to the cluster as a whole, and what is nobody's deed.
fn of_the_rest(command: &Command, state: &State) -> Option<Deed> {
    Some(match command {
        Command::BeginEpoch { manager, by, expect, .. } => {
            let detail = format!("epoch {} begins with {manager} alone", expect + 1);
            Deed::new(by, "cluster recover", host(state, *manager)).with(detail)
        }
        Command::CreateFile { file, .. } => {
            Deed::new(&file.by, format!("{} create", file.kind), &file.name)
        }
        Command::UpdateFile { file, version } => {
            Deed::new(&file.by, format!("{} update", file.kind), &file.name)
                .with(format!("version {version}"))
        }
        Command::RemoveFile { kind, name, by } => Deed::new(by, format!("{kind} rm"), name),
        Command::Witness { by, action, target, detail } => {
            let (by, target) = (by.clone(), target.clone());
            Deed { by, action: action.word().to_owned(), target, detail: detail.clone() }
        }
        // Reports, plans and bookkeeping: nobody's deeds.
        Command::Checkpoint
        | Command::AcceptRevision { .. }
        | Command::ForgetService { .. }
        | Command::PlaceTasks { .. }
        | Command::DrainTasks { .. }
        | Command::StopTasks { .. }
        | Command::LoseTasks { .. }
        | Command::ForgetTasks { .. }
        | Command::ReportTasks { .. }
        | Command::RegisterNode { .. }
        | Command::SetNodeUp { .. }
        | Command::SettleNotices { .. }
        | Command::RaiseLevel { .. }
        | Command::SetTrust { .. } => return None,
        // These are told above.
        Command::InitCluster { .. }
        | Command::SetAvailability { .. }
        | Command::LabelNode { .. }
        | Command::AddJoinToken { .. }
        | Command::RevokeJoinTokens { .. }
        | Command::AddAccessToken { .. }
        | Command::RevokeAccessToken { .. }
        | Command::JoinNode { .. }
        | Command::SetRole { .. }
        | Command::RemoveNode { .. }
        | Command::CreateService { .. }
        | Command::UpdateService { .. }
        | Command::ScaleService { .. }
        | Command::RestartService { .. }
        | Command::MoveTasks { .. }
        | Command::DeleteService { .. }
        | Command::MoveRollout { .. }
        | Command::SteerRollout { .. }
        | Command::RollbackService { .. }
        | Command::StartQueued { .. }
        | Command::SetFreeze { .. } => return None,
    })
}

fn host(state: &State, id: NodeId) -> String {
    let known = state.node(id);
    known.map_or_else(|| id.to_string(), |node| node.facts.hostname.to_string())
}

fn name_of(state: &State, id: ServiceId) -> String {
    state.service(id).map_or_else(|| id.to_string(), |service| service.spec.name.to_string())
}

/// What of an intent is told: nothing that may be secret.
fn summary(spec: &ServiceSpec) -> String {
    let strategy = match spec.update.strategy {
        Strategy::Rolling => "rolling",
        Strategy::Canary => "canary",
        Strategy::BlueGreen => "blue-green",
        Strategy::Recreate => "recreate",
    };
    format!("image {}, {strategy}", spec.template.image)
}

fn steered(steer: &Steer) -> (&'static str, String) {
    match steer {
        Steer::Pause { reason } => ("rollout pause", reason.clone()),
        Steer::Resume => ("rollout resume", String::new()),
        Steer::Promote(promotion) => ("rollout promote", format!("{promotion:?}").to_lowercase()),
        Steer::Retry => ("rollout retry", String::new()),
        Steer::Approve { roles, comment, .. } => {
            let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            ("rollout approve", format!("as {}: {comment}", roles.join(",")))
        }
    }
}

/// A step of the release `live` in words; absent for the counting in between.
fn moved(to: &Move, live: Option<&Rollout>) -> Option<String> {
    Some(match to {
        Move::Enter(phase) => format!("enters {phase}"),
        Move::Step(step) => format!("step {}", step + 1),
        Move::Shift { weight, .. } => format!("{weight} of the traffic to the new revision"),
        Move::Unsplit { .. } => "equal shares of traffic".to_owned(),
        Move::FailSlot { slot, why } => format!("slot {slot} failed: {why}"),
        Move::Pause { reason, .. } => format!("pauses: {reason}"),
        Move::CallHooks(point) => format!("calls the {point:?} hooks").to_lowercase(),
        Move::Accept => "accepted: the new revision is stable".to_owned(),
        Move::Abort { reason, .. } => format!("goes back: {reason}"),
        Move::Finish => match live.and_then(Rollout::outcome) {
            Some((outcome, reason)) if reason.is_empty() => format!("ended: {outcome}"),
            Some((outcome, reason)) => format!("ended: {outcome}: {reason}"),
            None => "ended".to_owned(),
        },
        Move::Clock { .. } | Move::Available(_) => return None,
    })
}
