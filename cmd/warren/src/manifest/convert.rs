//! A manifest as the API's spec, and back.

use super::{
    Absent, Check, Exec, FileRef, Grpc, Http, Manifest, Mount, Placement, Port, Resources, Restart,
    Stop, Tcp, Tmpfs, release,
};
use crate::flags::words;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;
use warren_core::spec::FieldError;
use warren_core::units::{Bytes, MilliCpu};
use warren_wire::v1;

pub(super) type Parsed<T> = Result<T, FieldError>;

impl Manifest {
    /// The API's spec, checked as the API will check it.
    ///
    /// # Errors
    /// The first field that cannot be, by its path in the manifest.
    pub fn to_spec(&self) -> Parsed<v1::ServiceSpec> {
        let strategy = release::strategy(self.update.as_ref())?;
        release::check(strategy, self.update.as_ref(), self.canary.as_ref())?;
        let spec = v1::ServiceSpec {
            name: self.name.clone(),
            mode: Some(self.mode()?),
            template: Some(self.template()?),
            placement: self.placement.as_ref().map(placement),
            restart: self.restart.as_ref().map(restart).transpose().map_err(within("restart"))?,
            strategy,
            update_config: release::read(self.update.as_ref(), self.canary.as_ref())?,
            labels: self.labels.clone(),
        };
        crate::flags::check(&spec)
            .map_err(|error| FieldError { field: field_of(&error.field), ..error })?;
        Ok(spec)
    }

    fn mode(&self) -> Parsed<v1::service_spec::Mode> {
        use v1::service_spec::Mode;
        match (self.mode.as_deref().unwrap_or("replicated"), self.replicas) {
            ("replicated", replicas) => Ok(Mode::Replicated(v1::Replicated { replicas })),
            ("global", None) => Ok(Mode::Global(v1::Global {})),
            ("global", Some(_)) => Err(FieldError::new(
                "replicas",
                "a global service has one task on each node: leave replicas out",
            )),
            (other, _) => Err(one_of("mode", other, &["replicated", "global"])),
        }
    }

    fn template(&self) -> Parsed<v1::TaskTemplate> {
        let pull = self.pull.as_deref().unwrap_or("missing");
        let pull = words::PULLS
            .iter()
            .find(|(name, _)| *name == pull)
            .ok_or_else(|| one_of("pull", pull, &words::names(&words::PULLS)))?
            .1;
        let ports = self.ports.iter().enumerate();
        let mounts = self.mounts.iter().enumerate();
        let (secrets, configs) = (self.secrets.iter().enumerate(), self.configs.iter().enumerate());
        let stop = self.stop.clone().unwrap_or_default();
        Ok(v1::TaskTemplate {
            image: self.image.clone(),
            pinned: String::new(),
            pull: pull as i32,
            command: self.command.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            user: self.user.clone().unwrap_or_default(),
            working_dir: self.working_dir.clone().unwrap_or_default(),
            ports: ports
                .map(|(i, p)| port(p).map_err(within(&format!("ports[{i}]"))))
                .collect::<Parsed<_>>()?,
            mounts: mounts
                .map(|(i, m)| mount(m).map_err(within(&format!("mounts[{i}]"))))
                .collect::<Parsed<_>>()?,
            resources: self
                .resources
                .as_ref()
                .map(resources)
                .transpose()
                .map_err(within("resources"))?,
            health: self.health.as_ref().map(check).transpose().map_err(within("health"))?,
            readiness: self
                .readiness
                .as_ref()
                .map(check)
                .transpose()
                .map_err(within("readiness"))?,
            stop_signal: stop.signal.unwrap_or_default(),
            stop_timeout_ms: millis("stop.timeout", stop.timeout.as_deref())?,
            labels: self.container_labels.clone(),
            secrets: secrets
                .map(|(i, f)| file(f).map_err(within(&format!("secrets[{i}]"))))
                .collect::<Parsed<_>>()?,
            configs: configs
                .map(|(i, f)| file(f).map_err(within(&format!("configs[{i}]"))))
                .collect::<Parsed<_>>()?,
        })
    }
}

pub(super) fn within(parent: &str) -> impl FnOnce(FieldError) -> FieldError + '_ {
    move |error| error.within(parent)
}

/// Where a manifest has a field of the API, by its path there.
pub fn field_of(field: &str) -> String {
    let field = field.strip_prefix("spec.").unwrap_or(field);
    let field = match field {
        "template.labels" => "container_labels",
        "template.stop_signal" => "stop.signal",
        "template.stop_timeout_ms" => "stop.timeout",
        other => other.strip_prefix("template.").unwrap_or(other),
    };
    let field = field.replace("update_config.", "update.").replace("_ms", "");
    let field = match field.strip_prefix("update.canary_") {
        Some(rest) => format!("canary.{rest}"),
        None => field.replace("update.steps", "canary.steps").replace("_per_mille", ""),
    };
    let field = field.replace(", ", " and update.");
    field.replace("max_failure_percent", "max_failure_ratio")
}

pub(super) fn one_of(field: &str, text: &str, words: &[&str]) -> FieldError {
    FieldError::new(field, format!("{text:?} is none of {}", words.join(", ")))
}

pub(super) fn value<T: FromStr<Err: Display>>(
    field: &str,
    text: Option<&str>,
) -> Parsed<Option<T>> {
    text.map(str::parse).transpose().map_err(|e| FieldError::new(field, e))
}

pub(super) fn millis(field: &str, text: Option<&str>) -> Parsed<Option<u64>> {
    text.map(words::duration)
        .transpose()
        .map(|length| length.map(words::millis))
        .map_err(|e| FieldError::new(field, e))
}

fn port(port: &Port) -> Parsed<v1::Port> {
    let protocol = match port.protocol.as_deref().unwrap_or("tcp") {
        "tcp" => v1::Protocol::Tcp,
        "udp" => v1::Protocol::Udp,
        other => return Err(one_of("protocol", other, &["tcp", "udp"])),
    };
    Ok(v1::Port {
        name: port.name.clone().unwrap_or_default(),
        container: port.container.into(),
        protocol: protocol as i32,
        host: port.host.unwrap_or_default().into(),
    })
}

fn mount(mount: &Mount) -> Parsed<v1::Mount> {
    use v1::mount::Source;
    let source = match (&mount.bind, &mount.volume, &mount.tmpfs) {
        (Some(path), None, None) => Source::Bind(path.clone()),
        (None, Some(name), None) => Source::Volume(name.clone()),
        (None, None, Some(tmpfs)) => {
            let size: Option<Bytes> = value("tmpfs.size", tmpfs.size.as_deref())?;
            Source::Tmpfs(v1::Tmpfs { size_bytes: size.unwrap_or_default().0 })
        }
        _ => {
            return Err(FieldError::new(
                "target",
                "name exactly one source: bind, volume or tmpfs",
            ));
        }
    };
    Ok(v1::Mount { target: mount.target.clone(), read_only: mount.read_only, source: Some(source) })
}

fn file(file: &FileRef) -> Parsed<v1::FileRef> {
    let mode = file.mode.as_deref().map(crate::flags::mode).transpose();
    Ok(v1::FileRef {
        name: file.name.clone(),
        version: file.version.unwrap_or_default(),
        target: file.target.clone().unwrap_or_default(),
        mode: mode.map_err(|problem| FieldError::new("mode", problem))?,
        uid: file.uid,
        gid: file.gid,
    })
}

fn resources(from: &Resources) -> Parsed<v1::Resources> {
    let memory: Option<Bytes> = value("memory", from.memory.as_deref())?;
    let cpus: Option<MilliCpu> = value("cpus", from.cpus.as_deref())?;
    let reserve_memory: Option<Bytes> = value("reserve_memory", from.reserve_memory.as_deref())?;
    let reserve_cpus: Option<MilliCpu> = value("reserve_cpus", from.reserve_cpus.as_deref())?;
    Ok(v1::Resources {
        memory_limit_bytes: memory.unwrap_or_default().0,
        cpu_limit_milli: cpus.unwrap_or_default().0,
        pids_limit: from.pids.unwrap_or_default(),
        memory_reservation_bytes: reserve_memory.map(|amount| amount.0),
        cpu_reservation_milli: reserve_cpus.map(|amount| amount.0),
    })
}

fn check(check: &Check) -> Parsed<v1::HealthCheck> {
    use v1::health_check::Probe;
    let probe = match (&check.http, &check.tcp, &check.exec, &check.grpc) {
        (Some(http), None, None, None) => Probe::Http(v1::HttpProbe {
            port: http.port.into(),
            path: http.path.clone().unwrap_or_else(|| "/".into()),
        }),
        (None, Some(tcp), None, None) => Probe::Tcp(v1::TcpProbe { port: tcp.port.into() }),
        (None, None, Some(exec), None) => {
            Probe::Exec(v1::ExecProbe { command: exec.command.clone() })
        }
        (None, None, None, Some(grpc)) => Probe::Grpc(v1::GrpcProbe {
            port: grpc.port.into(),
            service: grpc.service.clone().unwrap_or_default(),
        }),
        _ => return Err(FieldError::new("http", "name exactly one of http, tcp, exec, grpc")),
    };
    Ok(v1::HealthCheck {
        probe: Some(probe),
        interval_ms: millis("interval", check.interval.as_deref())?,
        timeout_ms: millis("timeout", check.timeout.as_deref())?,
        start_period_ms: millis("start_period", check.start_period.as_deref())?,
        retries: check.retries,
        successes: check.successes,
    })
}

fn placement(placement: &Placement) -> v1::Placement {
    v1::Placement {
        constraints: placement.constraints.clone(),
        spread: placement.spread.clone(),
        max_per_node: placement.max_per_node.unwrap_or_default(),
    }
}

fn restart(restart: &Restart) -> Parsed<v1::RestartPolicy> {
    Ok(v1::RestartPolicy {
        condition: restart.condition.clone().unwrap_or_default(),
        delay_ms: millis("delay", restart.delay.as_deref())?,
        delay_max_ms: millis("delay_max", restart.delay_max.as_deref())?,
        attempts: restart.attempts,
        window_ms: millis("window", restart.window.as_deref())?,
        stop_after_ms: on_disconnect(restart.on_disconnect.as_deref())?,
    })
}

fn on_disconnect(text: Option<&str>) -> Parsed<Option<u64>> {
    let read = text.map(words::on_disconnect).transpose();
    read.map_err(|problem| FieldError::new("on_disconnect", problem))
}

/// A value that is worth writing: not empty, not 0, not the default.
pub(super) fn unless<T: PartialEq>(value: Option<T>, default: T) -> Option<T> {
    value.filter(|value| *value != default)
}

fn shown(ms: Option<u64>, default: Duration) -> Option<String> {
    let length = ms.map(Duration::from_millis);
    unless(length, default).map(|length| humantime::format_duration(length).to_string())
}

fn amount<T: Display>(value: u64, show: impl FnOnce(u64) -> T) -> Option<String> {
    unless(Some(value), 0).map(|value| show(value).to_string())
}

pub(super) fn filled<T: PartialEq + Default>(section: T) -> Option<T> {
    unless(Some(section), T::default())
}

pub(super) fn text(value: String) -> Option<String> {
    unless(Some(value), String::new())
}

const SECOND: Duration = Duration::from_secs(1);

impl From<&v1::ServiceSpec> for Manifest {
    /// The manifest that means `spec`, without what has its default.
    fn from(spec: &v1::ServiceSpec) -> Self {
        use v1::service_spec::Mode;
        let template = spec.template.clone().unwrap_or_default();
        let (mode, replicas) = match &spec.mode {
            Some(Mode::Global(_)) => (Some("global".into()), None),
            Some(Mode::Replicated(replicated)) => (None, replicated.replicas),
            None => (None, None),
        };
        let pull = words::PULLS.iter().find(|(_, pull)| *pull as i32 == template.pull);
        let (update, canary) = release::blocks(spec);
        Self {
            name: spec.name.clone(),
            image: template.image,
            mode,
            replicas,
            command: template.command,
            args: template.args,
            env: template.env,
            ports: template.ports.iter().map(port_back).collect(),
            health: template.health.as_ref().map(check_back),
            readiness: template.readiness.as_ref().map(check_back),
            resources: template.resources.as_ref().map(resources_back).and_then(filled),
            mounts: template.mounts.iter().map(mount_back).collect(),
            placement: spec.placement.as_ref().map(placement_back).and_then(filled),
            restart: spec.restart.as_ref().map(restart_back).and_then(filled),
            stop: filled(Stop {
                signal: text(template.stop_signal).filter(|signal| signal != "SIGTERM"),
                timeout: shown(template.stop_timeout_ms, 10 * SECOND),
            }),
            pull: pull.map(|(name, _)| (*name).to_owned()).filter(|name| name != "missing"),
            user: text(template.user),
            working_dir: text(template.working_dir),
            update,
            canary,
            analysis: Absent,
            labels: spec.labels.clone(),
            container_labels: template.labels,
            secrets: template.secrets.iter().map(file_back).collect(),
            configs: template.configs.iter().map(config_back).collect(),
        }
    }
}

fn port_back(port: &v1::Port) -> Port {
    Port {
        container: u16::try_from(port.container).unwrap_or_default(),
        name: text(port.name.clone()),
        protocol: (port.protocol() == v1::Protocol::Udp).then(|| "udp".into()),
        host: unless(u16::try_from(port.host).ok(), 0),
    }
}

fn check_back(check: &v1::HealthCheck) -> Check {
    use v1::health_check::Probe;
    let port = |port: u32| u16::try_from(port).unwrap_or_default();
    let mut back = Check {
        interval: shown(check.interval_ms, 10 * SECOND),
        timeout: shown(check.timeout_ms, 2 * SECOND),
        start_period: shown(check.start_period_ms, 30 * SECOND),
        retries: unless(check.retries, 3),
        successes: unless(check.successes, 1),
        ..Check::default()
    };
    match &check.probe {
        Some(Probe::Http(http)) => {
            let path = text(http.path.clone()).filter(|path| path != "/");
            back.http = Some(Http { port: port(http.port), path });
        }
        Some(Probe::Tcp(tcp)) => back.tcp = Some(Tcp { port: port(tcp.port) }),
        Some(Probe::Exec(exec)) => back.exec = Some(Exec { command: exec.command.clone() }),
        Some(Probe::Grpc(grpc)) => {
            back.grpc = Some(Grpc { port: port(grpc.port), service: text(grpc.service.clone()) });
        }
        None => {}
    }
    back
}

fn resources_back(from: &v1::Resources) -> Resources {
    let cpu = |milli: u32| MilliCpu(milli).to_string();
    Resources {
        memory: amount(from.memory_limit_bytes, Bytes),
        cpus: unless(Some(from.cpu_limit_milli), 0).map(cpu),
        pids: unless(Some(from.pids_limit), 0),
        reserve_memory: from.memory_reservation_bytes.map(|bytes| Bytes(bytes).to_string()),
        reserve_cpus: from.cpu_reservation_milli.map(cpu),
    }
}

fn mount_back(mount: &v1::Mount) -> Mount {
    use v1::mount::Source;
    let mut back =
        Mount { target: mount.target.clone(), read_only: mount.read_only, ..Mount::default() };
    match &mount.source {
        Some(Source::Bind(path)) => back.bind = Some(path.clone()),
        Some(Source::Volume(name)) => back.volume = Some(name.clone()),
        Some(Source::Tmpfs(tmpfs)) => {
            back.tmpfs = Some(Tmpfs { size: amount(tmpfs.size_bytes, Bytes) });
        }
        None => {}
    }
    back
}

fn file_back(file: &v1::FileRef) -> FileRef {
    let own = format!("/run/secrets/{}", file.name);
    FileRef {
        name: file.name.clone(),
        version: unless(Some(file.version), 0),
        target: text(file.target.clone()).filter(|target| *target != own),
        mode: unless(file.mode, 0o444).map(|mode| format!("{mode:04o}")),
        uid: file.uid,
        gid: file.gid,
    }
}

/// A config has no place of its own.
fn config_back(file: &v1::FileRef) -> FileRef {
    FileRef { target: text(file.target.clone()), ..file_back(file) }
}

fn placement_back(placement: &v1::Placement) -> Placement {
    Placement {
        constraints: placement.constraints.clone(),
        spread: placement.spread.clone(),
        max_per_node: unless(Some(placement.max_per_node), 0),
    }
}

fn restart_back(restart: &v1::RestartPolicy) -> Restart {
    Restart {
        condition: text(restart.condition.clone()).filter(|condition| condition != "any"),
        delay: shown(restart.delay_ms, SECOND),
        delay_max: shown(restart.delay_max_ms, 60 * SECOND),
        attempts: unless(restart.attempts, 5),
        window: shown(restart.window_ms, 300 * SECOND),
        on_disconnect: unless(restart.stop_after_ms, 0).map(words::show_on_disconnect),
    }
}
