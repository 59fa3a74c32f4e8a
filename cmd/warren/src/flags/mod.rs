//! The flags of a service, the same on `create` and `update`, and what they mean in the API's spec.

mod canary;
mod change;
mod files;
mod gate;
pub mod health;
mod names;
mod remove;
mod rollout;
pub mod words;

pub use canary::percent;
pub use change::ChangeFlags;
use files::FileFlags;
pub use files::mode;
pub use names::flag_or;
pub use remove::RemoveFlags;
use rollout::RolloutFlags;
pub use rollout::ratio;

use crate::failure::{Failure, Outcome};
use clap::Args;
use health::{HealthFlags, ReadyFlags};
use std::path::PathBuf;
use warren_core::spec::{Constraint, FieldError, LabelKey};
use warren_core::units::{Bytes, MilliCpu};
use warren_wire::convert::hook::HIDDEN_KEY;
use warren_wire::v1;
use warren_wire::v1::service_spec::Mode;

/// The largest file of `--env-file`: a service's environment has 128 KiB, the rest is comments.
const ENV_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a service runs and how.
#[derive(Args, Clone, Debug, Default)]
pub struct SpecFlags {
    /// Arguments in place of the image's, after `--`
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
    #[command(flatten)]
    tasks: TaskFlags,
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    resources: ResourceFlags,
    #[command(flatten)]
    health: HealthFlags,
    #[command(flatten)]
    ready: ReadyFlags,
    #[command(flatten)]
    placement: PlacementFlags,
    #[command(flatten)]
    restart: RestartFlags,
    #[command(flatten)]
    rollout: RolloutFlags,
}

/// What each task runs.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Tasks")]
struct TaskFlags {
    /// Image to run, or for the process runtime a path to an executable
    #[arg(long)]
    image: Option<String>,
    /// Command in place of the image's entrypoint; quotes keep spaces, no shell is run
    #[arg(long, value_name = "COMMAND", value_parser = command)]
    command: Option<Words>,
    /// How many tasks [default: 1]
    #[arg(long, short, value_name = "N", allow_negative_numbers = true, value_parser = replicas)]
    replicas: Option<u32>,
    /// So many tasks, or one on every node [default: replicated]
    #[arg(long, value_parser = ["replicated", "global"], value_name = "MODE")]
    mode: Option<String>,
    /// Environment variable; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = words::pair)]
    env: Vec<(String, String)>,
    /// File with one KEY=VALUE a line; `--env` wins over it
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Port that the tasks listen on; a name makes it findable by SRV; may be repeated
    #[arg(long, short, value_name = "[NAME=]PORT[/PROTO]", value_parser = words::port)]
    port: Vec<v1::Port>,
    /// Port of the node that leads to a port of the task; may be repeated
    #[arg(long, value_name = "HOST:PORT[/PROTO]", value_parser = words::publish)]
    publish: Vec<v1::Port>,
    /// Files from outside the image: type=bind|volume|tmpfs,source=…,target=…[,readonly][,size=…]
    #[arg(long, value_name = "MOUNT", value_parser = words::mount)]
    mount: Vec<v1::Mount>,
    /// User to run as
    #[arg(long, short, value_name = "NAME|UID[:GID]")]
    user: Option<String>,
    /// Working directory
    #[arg(long, short, value_name = "PATH")]
    workdir: Option<String>,
    /// When to ask a registry for the image [default: missing]
    #[arg(long, value_name = "POLICY", value_parser = ["missing", "always", "never"])]
    pull: Option<String>,
    /// Signal that asks a task to end [default: SIGTERM]
    #[arg(long, value_name = "SIGNAL", value_parser = words::signal)]
    stop_signal: Option<String>,
    /// How long a task has to end before it is killed [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = words::duration_ms)]
    stop_timeout: Option<u64>,
    /// Label of the service; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = words::pair)]
    label: Vec<(String, String)>,
    /// Label of its containers; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = words::pair)]
    container_label: Vec<(String, String)>,
}

/// Limits and reservations.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Resources")]
struct ResourceFlags {
    /// The most memory; a task above it is killed
    #[arg(long, short, value_name = "SIZE")]
    memory: Option<Bytes>,
    /// The most CPU, as in 0.5 or 500m; a task at it is slowed
    #[arg(long, value_name = "CORES")]
    cpus: Option<MilliCpu>,
    /// The most processes and threads
    #[arg(long, value_name = "N")]
    pids: Option<u32>,
    /// Memory kept free for each task [default: its limit]
    #[arg(long, value_name = "SIZE")]
    reserve_memory: Option<Bytes>,
    /// CPU kept free for each task [default: its limit]
    #[arg(long, value_name = "CORES")]
    reserve_cpus: Option<MilliCpu>,
}

/// Where tasks may run.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Placement")]
struct PlacementFlags {
    /// Condition that a node must meet, as in node.labels.disk==ssd; may be repeated
    #[arg(long, value_name = "CONDITION")]
    constraint: Vec<Constraint>,
    /// Node label over whose values tasks are spread; the first foremost
    #[arg(long, value_name = "LABEL", value_parser = spread)]
    spread: Vec<LabelKey>,
    /// The most tasks on one node; 0 for no limit
    #[arg(long, value_name = "N")]
    max_per_node: Option<u32>,
}

/// When a task that ended is started again.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Restarts")]
struct RestartFlags {
    /// After which ends a task is started again [default: any]
    #[arg(id = "restart", long = "restart", value_name = "WHEN",
        value_parser = ["any", "on-failure", "never"])]
    condition: Option<String>,
    /// The first wait; doubled each time [default: 1s]
    #[arg(id = "restart-delay", long = "restart-delay", value_name = "TIME",
        value_parser = words::duration_ms)]
    delay: Option<u64>,
    /// The longest wait [default: 1m]
    #[arg(id = "restart-delay-max", long = "restart-delay-max", value_name = "TIME",
        value_parser = words::duration_ms)]
    delay_max: Option<u64>,
    /// Restarts within the window before another node is tried [default: 5]
    #[arg(id = "restart-attempts", long = "restart-attempts", value_name = "N")]
    attempts: Option<u32>,
    /// Restarts older than this are forgotten [default: 5m]
    #[arg(id = "restart-window", long = "restart-window", value_name = "TIME",
        value_parser = words::duration_ms)]
    window: Option<u64>,
    /// What a node does that hears no leader: keep the task, or stop it by itself after a while, as in stop-after=30s,
    /// so that it never runs twice [default: keep]
    #[arg(long, value_name = "WHAT", value_parser = words::on_disconnect)]
    on_disconnect: Option<u64>,
}

/// A command line, split. A type of its own, since clap takes a bare list for a flag that repeats.
#[derive(Clone, Debug)]
struct Words(Vec<String>);

fn command(text: &str) -> Result<Words, String> {
    words::command_line(text).map(Words)
}

fn replicas(text: &str) -> Result<u32, String> {
    let most = warren_core::spec::REPLICAS_MAX;
    text.parse()
        .ok()
        .filter(|count| *count <= most)
        .ok_or_else(|| format!("{text:?} is not a number of tasks: write 0 to {most}"))
}

fn spread(text: &str) -> Result<LabelKey, String> {
    let key = text.strip_prefix("node.labels.").unwrap_or(text);
    LabelKey::parse(key).map_err(|e| e.to_string())
}

/// Checks a spec here as the API will check it there.
///
/// # Errors
/// The first field that cannot be, by its path in the API.
pub fn check(spec: &v1::ServiceSpec) -> Result<(), FieldError> {
    let mut spec = spec.clone();
    // Whether there is a key to keep is known to the API alone.
    let hooks = spec.update_config.iter_mut().filter_map(|config| config.hooks.as_mut());
    let hooks = hooks.flat_map(|hooks| hooks.hooks.iter_mut());
    hooks.filter(|hook| hook.key == HIDDEN_KEY).for_each(|hook| hook.key.clear());
    warren_wire::convert::spec::parse(spec).map(|_| ())
}

/// Checks a spec and names the flag where it cannot be.
///
/// # Errors
/// The first flag that cannot be.
pub fn checked(spec: &v1::ServiceSpec) -> Outcome {
    check(spec)
        .map_err(|error| Failure::usage(format!("{}: {}", flag_or(&error.field), error.problem)))
}

impl SpecFlags {
    /// Lays what is given over `spec`; the rest stays.
    ///
    /// # Errors
    /// Flags that do not go together, and files that cannot be read.
    pub fn lay_over(&self, spec: &mut v1::ServiceSpec) -> Outcome {
        self.tasks.lay_over_mode(&mut spec.mode)?;
        let template = spec.template.get_or_insert_default();
        self.tasks.lay_over(template)?;
        if !self.args.is_empty() {
            template.args.clone_from(&self.args);
        }
        self.files.lay_over(template);
        self.resources.lay_over(&mut template.resources);
        let check = self.health.flags().lay_over("health", &mut template.health);
        check.map_err(Failure::usage)?;
        let check = self.ready.flags().lay_over("ready", &mut template.readiness);
        check.map_err(Failure::usage)?;
        spec.labels.extend(self.tasks.label.iter().cloned());
        self.placement.lay_over(&mut spec.placement);
        self.restart.lay_over(&mut spec.restart);
        self.rollout.lay_over(spec)
    }

    /// The image, where one is named.
    pub fn image(&self) -> Option<&str> {
        self.tasks.image.as_deref()
    }
}

impl TaskFlags {
    fn lay_over_mode(&self, mode: &mut Option<Mode>) -> Outcome {
        let global = match self.mode.as_deref() {
            Some(word) => word == "global",
            None => matches!(mode, Some(Mode::Global(_))),
        };
        match (global, self.replicas) {
            (true, Some(_)) => {
                return Err(Failure::usage(
                    "--replicas: a global service has one task on each node",
                )
                .hint("leave --replicas out, or say --mode replicated"));
            }
            (true, None) => *mode = Some(Mode::Global(v1::Global {})),
            (false, Some(count)) => {
                *mode = Some(Mode::Replicated(v1::Replicated { replicas: Some(count) }));
            }
            (false, None) if matches!(mode, Some(Mode::Replicated(_))) => {}
            (false, None) => {
                *mode = Some(Mode::Replicated(v1::Replicated { replicas: Some(1) }));
            }
        }
        Ok(())
    }

    fn lay_over(&self, template: &mut v1::TaskTemplate) -> Outcome {
        if let Some(image) = &self.image {
            template.image.clone_from(image);
        }
        if let Some(command) = &self.command {
            template.command.clone_from(&command.0);
        }
        for file in &self.env_file {
            template.env.extend(read_env(file)?);
        }
        template.env.extend(self.env.iter().cloned());
        refuse_twice("--port", &self.port)?;
        refuse_twice("--publish", &self.publish)?;
        for port in self.port.iter().chain(&self.publish) {
            lay_port(&mut template.ports, port);
        }
        for mount in &self.mount {
            template.mounts.retain(|other| other.target != mount.target);
            template.mounts.push(mount.clone());
        }
        if let Some(user) = &self.user {
            template.user.clone_from(user);
        }
        if let Some(path) = &self.workdir {
            template.working_dir.clone_from(path);
        }
        if let Some(word) = &self.pull
            && let Some((_, pull)) = words::PULLS.iter().find(|(name, _)| name == word)
        {
            template.pull = *pull as i32;
        }
        if let Some(signal) = &self.stop_signal {
            template.stop_signal.clone_from(signal);
        }
        template.stop_timeout_ms = self.stop_timeout.or(template.stop_timeout_ms);
        template.labels.extend(self.container_label.iter().cloned());
        Ok(())
    }
}

/// One flag names a container's port once; `--port` and `--publish` may name the same one.
fn refuse_twice(flag: &str, ports: &[v1::Port]) -> Outcome {
    for (i, port) in ports.iter().enumerate() {
        let same = |p: &v1::Port| p.container == port.container && p.protocol == port.protocol;
        if ports[..i].iter().any(same) {
            let number = port.container;
            return Err(Failure::usage(format!("{flag}: port {number} is named twice: keep one")));
        }
    }
    Ok(())
}

/// A port that is there already keeps what the new words do not say.
fn lay_port(ports: &mut Vec<v1::Port>, port: &v1::Port) {
    let same = |other: &&mut v1::Port| {
        other.container == port.container && other.protocol == port.protocol
    };
    match ports.iter_mut().find(same) {
        None => ports.push(port.clone()),
        Some(other) => {
            if !port.name.is_empty() {
                other.name.clone_from(&port.name);
            }
            if port.host != 0 {
                other.host = port.host;
            }
        }
    }
}

fn read_env(path: &std::path::Path) -> Outcome<Vec<(String, String)>> {
    let refuse = |why: String| Failure::usage(format!("--env-file {}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|e| refuse(e.to_string()))?.len();
    if size > ENV_FILE_BYTES_MAX {
        return Err(refuse(format!("{size} bytes are more than {ENV_FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    words::env_file(&text).map_err(refuse)
}

impl ResourceFlags {
    fn lay_over(&self, resources: &mut Option<v1::Resources>) {
        let mut new = resources.unwrap_or_default();
        new.memory_limit_bytes = self.memory.map_or(new.memory_limit_bytes, |bytes| bytes.0);
        new.cpu_limit_milli = self.cpus.map_or(new.cpu_limit_milli, |milli| milli.0);
        new.pids_limit = self.pids.unwrap_or(new.pids_limit);
        let memory = self.reserve_memory.map(|bytes| bytes.0);
        new.memory_reservation_bytes = memory.or(new.memory_reservation_bytes);
        let cpus = self.reserve_cpus.map(|milli| milli.0);
        new.cpu_reservation_milli = cpus.or(new.cpu_reservation_milli);
        if resources.is_some() || new != v1::Resources::default() {
            *resources = Some(new);
        }
    }
}

impl PlacementFlags {
    fn lay_over(&self, placement: &mut Option<v1::Placement>) {
        let mut new = placement.clone().unwrap_or_default();
        for constraint in self.constraint.iter().map(ToString::to_string) {
            if !new.constraints.contains(&constraint) {
                new.constraints.push(constraint);
            }
        }
        if !self.spread.is_empty() {
            new.spread = self.spread.iter().map(ToString::to_string).collect();
        }
        new.max_per_node = self.max_per_node.unwrap_or(new.max_per_node);
        if placement.is_some() || new != v1::Placement::default() {
            *placement = Some(new);
        }
    }
}

impl RestartFlags {
    fn lay_over(&self, restart: &mut Option<v1::RestartPolicy>) {
        let mut new = restart.clone().unwrap_or_default();
        if let Some(condition) = &self.condition {
            new.condition.clone_from(condition);
        }
        new.delay_ms = self.delay.or(new.delay_ms);
        new.delay_max_ms = self.delay_max.or(new.delay_max_ms);
        new.attempts = self.attempts.or(new.attempts);
        new.window_ms = self.window.or(new.window_ms);
        new.stop_after_ms = self.on_disconnect.or(new.stop_after_ms);
        if restart.is_some() || new != v1::RestartPolicy::default() {
            *restart = Some(new);
        }
    }
}

#[cfg(test)]
mod tests;
