//! Scenarios: what an operator types and reads, in virtual time. A scenario is a text; each line of it that begins with
//! `> ` is a command, lines that begin with `#` are for the reader, and everything else is what the commands answered.
//! [`play`] makes the answers anew.
//!
//! ```text
//! > cluster 3
//! > create web --replicas 4 --image web:1
//! > advance 1m
//! > fault crash:v2@50%
//! > update web --image web:2 --strategy canary --canary-steps 25,100 --canary-window 1m
//! > wait web holding
//! > show web
//! > dns 1000
//! ```

mod flags;
mod show;

use super::cluster::Cluster;
use super::fault::{Fault, span};
use crate::command::{Applied, Command, Rejection, Steer};
use crate::event::{Event, EventKind, TaskChange};
use crate::id::{LogIndex, NodeId, RevisionNumber};
use crate::node::Availability;
use crate::rollout::{Back, Promotion};
use crate::service::{Actor, Service};
use crate::spec::{
    Image, Mode, Placement, RestartPolicy, RoleName, ServiceName, ServiceSpec, Template,
    UpdateSettings,
};
use flags::Flags;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// Plays a scenario. Returns its text with the answers that its commands have now.
#[must_use]
pub fn play(text: &str) -> String {
    let mut script =
        Script { cluster: Cluster::new(3, SEED), told: LogIndex(0), by: String::new() };
    let mut out = String::new();
    for line in text.lines() {
        let Some(command) = line.strip_prefix("> ") else {
            if line.starts_with('#') || line.is_empty() {
                let _written = writeln!(out, "{line}");
            }
            continue;
        };
        let _written = writeln!(out, "> {command}");
        let answer =
            script.perform(command).unwrap_or_else(|refusal| format!("error: {refusal}\n"));
        out.push_str(&answer);
        if let Some(broken) = script.cluster.broken() {
            let _written = writeln!(out, "BROKEN: {broken}");
            break;
        }
    }
    out
}

/// Scenarios have one seed, so that they come out the same each time.
const SEED: u64 = 1;
/// The longest that `wait` waits.
const PATIENCE: Duration = Duration::from_secs(4 * 3_600);
/// How often `wait` looks.
const GLANCE: Duration = Duration::from_millis(500);

struct Script {
    cluster: Cluster,
    /// The last entry whose events were told.
    told: LogIndex,
    by: String,
}

type Answer = Result<String, String>;

impl Script {
    fn perform(&mut self, line: &str) -> Answer {
        let words = flags::split(line);
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        "ann".clone_into(&mut self.by);
        if let ["as", who, ..] = words[..] {
            who.clone_into(&mut self.by);
            words.drain(..2);
        }
        let Some((verb, rest)) = words.split_first() else { return Ok(String::new()) };
        let flags = Flags::read(rest)?;
        let answer = match *verb {
            "cluster" | "advance" | "wait" | "kill" | "start" | "drain" | "activate" | "fault"
            | "turn" | "crash" => self.world(verb, &flags)?,
            "show" | "tasks" | "timeline" | "history" | "dns" => return self.look(verb, &flags),
            verb => self.request(verb, &flags)?,
        };
        Ok(answer + &self.news())
    }

    /// What happens in the world.
    fn world(&mut self, verb: &str, flags: &Flags<'_>) -> Answer {
        match verb {
            "cluster" => {
                let nodes: u32 = flags.number(0)?;
                self.cluster = Cluster::new(nodes, SEED);
                self.told = self.cluster.state().applied();
                return Ok(format!("{nodes} nodes are up\n"));
            }
            "advance" => self.cluster.advance(span(flags.word(0)?)?),
            "wait" => self.wait(flags.word(0)?, &flags.words[1..].join(" "))?,
            "kill" => self.cluster.disturb(&format!("node-loss:{}", flags.word(0)?).parse()?)?,
            "start" => self.cluster.mend_machines(),
            "drain" | "activate" => {
                let node = self.node(flags.word(0)?)?;
                let drain = verb == "drain";
                let availability = if drain { Availability::Drain } else { Availability::Active };
                let within = flags.value("within").map(span).transpose()?;
                let by = self.by();
                let command = Command::SetAvailability { node, availability, within, by };
                self.cluster.request(command).map_err(|refusal| refusal.to_string())?;
            }
            "fault" => {
                for fault in &flags.words {
                    self.cluster.disturb(&fault.parse()?)?;
                }
            }
            "turn" => match flags.word(0)?.parse()? {
                Fault::Behave { revision, how, .. } => self.cluster.turn_tasks(revision, how),
                Fault::NodeLoss(_)
                | Fault::Partition(_)
                | Fault::LeaderChange { .. }
                | Fault::QuorumLoss { .. }
                | Fault::ClockJump { .. }
                | Fault::HookFails { .. } => return Err("write as in turn crash:v2".to_owned()),
            },
            _ => {
                let service = self.service(flags.word(0)?)?;
                let slot: u32 = flags.number(1)?;
                let of = |task: &&Arc<crate::task::Task>| task.is_wanted() && task.slot.0 == slot;
                let task =
                    self.cluster.state().tasks_of(service.id).filter(of).map(|task| task.id).last();
                self.cluster.kill(task.ok_or("no task runs in that slot")?);
            }
        }
        Ok(String::new())
    }

    /// Lets time pass until the service's release is so: a phase, an outcome, or `step N`.
    fn wait(&mut self, name: &str, until: &str) -> Result<(), String> {
        let begun = self.cluster.elapsed();
        while self.cluster.broken().is_none() {
            let Ok(service) = self.service(name) else {
                return if until == "gone" {
                    Ok(())
                } else {
                    Err("the service is gone".to_owned())
                };
            };
            if show::is_so(&self.cluster, &service, until) {
                return Ok(());
            }
            if self.cluster.elapsed() - begun >= PATIENCE {
                return Err(format!("{name} does not come to be {until}"));
            }
            self.cluster.advance(GLANCE);
        }
        Ok(())
    }

    fn look(&mut self, verb: &str, flags: &Flags<'_>) -> Answer {
        if verb == "dns" {
            let times: u32 = flags.number(0)?;
            let name = flags.words.get(1).copied().unwrap_or("web");
            let node = flags.value("at").unwrap_or("node-1");
            let (counts, none) = self.cluster.ask(node, name, times);
            return Ok(show::answers(&counts, none));
        }
        let service = self.service(flags.words.first().copied().unwrap_or("web"))?;
        Ok(match verb {
            "show" => show::service(&self.cluster, &service),
            "tasks" => show::tasks(&self.cluster, &service),
            "timeline" => show::timeline(&service),
            _ => show::history(&service),
        })
    }

    /// What somebody asks of the cluster.
    fn request(&mut self, verb: &str, flags: &Flags<'_>) -> Answer {
        let command = match verb {
            "create" => self.create(flags)?,
            "freeze" => {
                let on = flags.word(0)? == "on";
                let reason = on.then(|| flags.words[1..].join(" "));
                let named = flags.value("service").map(|name| self.service(name)).transpose()?;
                let all = self.cluster.state().freeze().cloned();
                let holds = named.as_ref().map_or(all, |service| service.frozen.clone());
                // Whoever freezes expects none, whoever ends one has seen it.
                let seen = holds.filter(|_| !on);
                let service = named.map(|service| service.id);
                Command::SetFreeze { service, reason, by: self.by(), seen }
            }
            verb => {
                let service = self.service(flags.word(0)?)?;
                self.about(verb, &service, flags)?
            }
        };
        match self.cluster.request(command) {
            Ok(applied) => Ok(answered(&applied)),
            Err(Rejection::Conflict { .. }) => Err("somebody else wrote since".to_owned()),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    fn about(&self, verb: &str, service: &Service, flags: &Flags<'_>) -> Result<Command, String> {
        let (id, by) = (service.id, self.by());
        let steer = |steer| Ok(Command::SteerRollout { service: id, steer, by: self.by() });
        match verb {
            "update" => self.update(service, flags),
            "scale" => {
                let replicas = flags.number(1)?;
                Ok(Command::ScaleService { service: id, expect: None, replicas, by })
            }
            "restart" => Ok(Command::RestartService { service: id, by }),
            "delete" => Ok(Command::DeleteService { service: id, by }),
            "rollback" => Ok(Command::RollbackService {
                service: id,
                to: flags.parsed::<RevisionNumber>("to")?,
                careful: flags.has("careful"),
                back: if flags.has("gradual") { Back::Gradual } else { Back::Immediate },
                by,
                reason: flags.value("reason").unwrap_or_default().to_owned(),
            }),
            "pause" => steer(Steer::Pause { reason: flags.words[1..].join(" ") }),
            "resume" => steer(Steer::Resume),
            "retry" => steer(Steer::Retry),
            "promote" => {
                let to = flags.value("to").map(flags::weight).transpose()?;
                steer(Steer::Promote(match to {
                    Some(weight) => Promotion::To(weight),
                    None if flags.has("full") => Promotion::Full,
                    None => Promotion::Next,
                }))
            }
            "approve" => {
                let roles = flags.value("role").map(RoleName::parse).transpose();
                let roles = roles.map_err(|error| error.to_string())?.into_iter().collect();
                let comment = flags.words[1..].join(" ");
                steer(Steer::Approve { roles, comment, step: None })
            }
            verb => Err(format!("there is no command {verb:?}")),
        }
    }

    fn create(&self, flags: &Flags<'_>) -> Result<Command, String> {
        let image = flags.value("image").unwrap_or("web:1");
        let image = Image::parse(image).map_err(|error| error.to_string())?;
        let mut spec = ServiceSpec {
            name: ServiceName::parse(flags.word(0)?).map_err(|error| error.to_string())?,
            mode: Mode::Replicated { replicas: 1 },
            template: Template::new(image),
            placement: Placement::default(),
            restart: RestartPolicy::default(),
            update: UpdateSettings::default(),
            labels: BTreeMap::new(),
        };
        flags.change(&mut spec)?;
        let spec = Box::new(spec.checked().map_err(|error| error.to_string())?);
        Ok(Command::CreateService { spec, by: self.by() })
    }

    fn update(&self, service: &Service, flags: &Flags<'_>) -> Result<Command, String> {
        let mut spec = service.spec.clone();
        flags.change(&mut spec)?;
        Ok(Command::UpdateService {
            service: service.id,
            expect: flags.parsed("expect")?.map_or(service.generation, crate::id::Generation),
            spec: Box::new(spec.checked().map_err(|error| error.to_string())?),
            by: self.by(),
            cause: flags.value("cause").unwrap_or_default().to_owned(),
            freeze_override: flags.value("override-freeze").map(str::to_owned),
        })
    }

    fn by(&self) -> Actor {
        Actor::named(self.by.clone())
    }

    fn service(&self, name: &str) -> Result<Arc<Service>, String> {
        let parsed = ServiceName::parse(name).map_err(|error| error.to_string())?;
        let found = self.cluster.state().service_named(&parsed).cloned();
        found.ok_or_else(|| format!("there is no service {name}"))
    }

    fn node(&self, name: &str) -> Result<NodeId, String> {
        let mut nodes = self.cluster.state().nodes();
        let found = nodes.find(|node| node.facts.hostname.as_str() == name).map(|node| node.id);
        found.ok_or_else(|| format!("there is no node {name}"))
    }

    /// What happened since it was told last; of tasks only what went wrong.
    fn news(&mut self) -> String {
        let mut out = String::new();
        for event in self.cluster.state().events().filter(|event| event.index > self.told) {
            if is_told(event) {
                let at = show::clock(event.at);
                let _written = writeln!(out, "  {at:>7}  {}", event.kind);
            }
        }
        self.told = self.cluster.state().applied();
        out
    }
}

fn is_told(event: &Event) -> bool {
    match &event.kind {
        EventKind::Task { change, .. } => match change {
            TaskChange::Reached(phase, _) => {
                *phase > crate::task::Phase::Running && *phase != crate::task::Phase::Stopped
            }
            TaskChange::Placed | TaskChange::Draining(_) | TaskChange::Stopping(_) => false,
        },
        EventKind::ClusterCreated
        | EventKind::EpochBegan { .. }
        | EventKind::LevelRaised { .. }
        | EventKind::Service { .. }
        | EventKind::Node { .. }
        | EventKind::Rollout { .. }
        | EventKind::Freeze { .. }
        | EventKind::File { .. } => true,
    }
}

fn answered(applied: &Applied) -> String {
    match applied {
        Applied::Queued { behind, release, .. } => {
            format!("queued behind {behind}, as {release}\n")
        }
        Applied::Service { changed: false, .. } => "unchanged\n".to_owned(),
        Applied::Service { .. }
        | Applied::Done
        | Applied::Node { .. }
        | Applied::Tasks(_)
        | Applied::Rollout { dropped: None, .. } => String::new(),
        Applied::Rollout { dropped: Some(of), .. } => {
            format!("the update by {of} that waited is dropped\n")
        }
    }
}
