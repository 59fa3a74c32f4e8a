//! What one task runs.

use super::{
    file, given, health, item, labels, labels_text, no_nul, path, port, span, text, variant,
};
use crate::v1;
use std::collections::BTreeMap;
use std::time::Duration;
use v1::mount::Source;
use warren_core::spec::{
    CPU_LIMIT_MIN, ENV_NAME_BYTES_MAX, FieldError, FileKind, FileRef, MEMORY_LIMIT_MIN, Mount,
    MountKind, PinnedImage, Port, Protocol, PullPolicy, Resources, Signal, Stop, Template,
    USER_BYTES_MAX,
};
use warren_core::time::millis;
use warren_core::units::{Bytes, MilliCpu};

/// The longest name of pinned content: an image reference with its digest.
const PINNED_BYTES_MAX: usize = 1024 + 80;

/// Reads a template, with what it was pinned to: who takes one from a user must pin it anew.
///
/// # Errors
/// The first field that cannot be what it is, by its path in the template.
pub fn parse(template: v1::TaskTemplate) -> Result<Template, FieldError> {
    if template.image.is_empty() {
        return Err(FieldError::new("image", "is empty: say what to run, as in nginx:1.27"));
    }
    let default = Stop::default();
    let signal = match template.stop_signal.as_str() {
        "" => default.signal,
        signal => text::<Signal>("stop_signal", signal)?,
    };
    let timeout =
        span("stop_timeout_ms", template.stop_timeout_ms, Duration::ZERO, default.timeout)?;
    Ok(Template {
        image: text("image", &template.image)?,
        pinned: pinned(template.pinned)?,
        pull: pull("pull", template.pull)?,
        command: words("command", template.command)?,
        args: words("args", template.args)?,
        env: env(template.env)?,
        user: user(template.user)?,
        working_dir: given(template.working_dir).map(|p| path("working_dir", p)).transpose()?,
        ports: each("ports", template.ports, parse_port)?,
        mounts: each("mounts", template.mounts, parse_mount)?,
        files: files(template.secrets, template.configs)?,
        resources: resources(template.resources.unwrap_or_default())
            .map_err(|e| e.within("resources"))?,
        health: template.health.map(health::parse).transpose().map_err(|e| e.within("health"))?,
        readiness: template
            .readiness
            .map(health::parse)
            .transpose()
            .map_err(|e| e.within("readiness"))?,
        stop: Stop { signal, timeout },
        labels: labels("labels", template.labels)?,
    })
}

/// The message that parses to `template`.
#[must_use]
pub fn render(template: &Template) -> v1::TaskTemplate {
    v1::TaskTemplate {
        image: template.image.to_string(),
        pinned: template.pinned.as_ref().map(ToString::to_string).unwrap_or_default(),
        pull: render_pull(template.pull).into(),
        command: template.command.clone(),
        args: template.args.clone(),
        env: template.env.clone(),
        user: template.user.clone().unwrap_or_default(),
        working_dir: template.working_dir.clone().unwrap_or_default(),
        ports: template.ports.iter().map(render_port).collect(),
        mounts: template.mounts.iter().map(render_mount).collect(),
        resources: Some(render_resources(&template.resources)),
        health: template.health.as_ref().map(health::render),
        readiness: template.readiness.as_ref().map(health::render),
        stop_signal: template.stop.signal.to_string(),
        stop_timeout_ms: Some(millis(template.stop.timeout)),
        labels: labels_text(&template.labels),
        secrets: render_files(template, FileKind::Secret),
        configs: render_files(template, FileKind::Config),
    }
}

fn files(secrets: Vec<v1::FileRef>, configs: Vec<v1::FileRef>) -> Result<Vec<FileRef>, FieldError> {
    let mut files = each("secrets", secrets, |one| file::parse(FileKind::Secret, one))?;
    files.extend(each("configs", configs, |one| file::parse(FileKind::Config, one))?);
    Ok(files)
}

fn render_files(template: &Template, kind: FileKind) -> Vec<v1::FileRef> {
    template.files.iter().filter(|file| file.kind == kind).map(file::render).collect()
}

/// When a registry is asked.
///
/// # Errors
/// A number that this version does not know.
pub fn pull(field: &str, number: i32) -> Result<PullPolicy, FieldError> {
    Ok(match variant(field, number)? {
        v1::PullPolicy::Missing => PullPolicy::Missing,
        v1::PullPolicy::Always => PullPolicy::Always,
        v1::PullPolicy::Never => PullPolicy::Never,
    })
}

/// The enum value of a pull policy.
#[must_use]
pub const fn render_pull(pull: PullPolicy) -> v1::PullPolicy {
    match pull {
        PullPolicy::Missing => v1::PullPolicy::Missing,
        PullPolicy::Always => v1::PullPolicy::Always,
        PullPolicy::Never => v1::PullPolicy::Never,
    }
}

/// Reads a port.
///
/// # Errors
/// A number or a name that is none.
pub fn parse_port(wanted: v1::Port) -> Result<Port, FieldError> {
    let protocol = match variant("protocol", wanted.protocol)? {
        v1::Protocol::Tcp => Protocol::Tcp,
        v1::Protocol::Udp => Protocol::Udp,
    };
    let host = (wanted.host != 0).then(|| port("host", wanted.host));
    Ok(Port {
        name: given(wanted.name).map(|name| text("name", &name)).transpose()?,
        container: port("container", wanted.container)?,
        protocol,
        host: host.transpose()?,
    })
}

/// The message that parses to `port`.
#[must_use]
pub fn render_port(port: &Port) -> v1::Port {
    let protocol = match port.protocol {
        Protocol::Tcp => v1::Protocol::Tcp,
        Protocol::Udp => v1::Protocol::Udp,
    };
    v1::Port {
        name: port.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        container: port.container.into(),
        protocol: protocol.into(),
        host: port.host.map_or(0, u32::from),
    }
}

/// Reads what an image was resolved to; nothing where it is empty.
///
/// # Errors
/// It is too long or not printable.
pub fn pinned(pinned: String) -> Result<Option<PinnedImage>, FieldError> {
    let printable = pinned.bytes().all(|byte| byte.is_ascii_graphic());
    if pinned.len() > PINNED_BYTES_MAX || !printable {
        let problem = format!("write {PINNED_BYTES_MAX} printable characters at most, no blanks");
        return Err(FieldError::new("pinned", problem));
    }
    Ok(given(pinned).map(PinnedImage))
}

fn each<M, T>(
    list: &str,
    messages: Vec<M>,
    parse: impl Fn(M) -> Result<T, FieldError>,
) -> Result<Vec<T>, FieldError> {
    let numbered = messages.into_iter().enumerate();
    numbered.map(|(i, message)| parse(message).map_err(|e| item(e, list, i))).collect()
}

fn words(field: &str, words: Vec<String>) -> Result<Vec<String>, FieldError> {
    let numbered = words.into_iter().enumerate();
    numbered.map(|(i, word)| no_nul(&format!("{field}[{i}]"), word)).collect()
}

fn env(env: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, FieldError> {
    for (name, value) in &env {
        let odd = |c: char| c == '=' || c.is_whitespace() || c.is_control();
        if name.is_empty() || name.len() > ENV_NAME_BYTES_MAX || name.contains(odd) {
            let name: String = name.chars().take(80).collect();
            let problem = format!(
                "{name:?} is not the name of a variable: write 1 to {ENV_NAME_BYTES_MAX} \
                 characters without '=', blanks and control characters"
            );
            return Err(FieldError::new("env", problem));
        }
        if value.contains('\0') {
            return Err(FieldError::new("env", format!("{name}: the value holds a NUL byte")));
        }
    }
    Ok(env)
}

fn user(user: String) -> Result<Option<String>, FieldError> {
    let odd = |b: u8| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':' | b'$'));
    if user.len() > USER_BYTES_MAX || user.bytes().any(odd) {
        let user: String = user.chars().take(80).collect();
        let problem = format!("{user:?} is not a user: write a name, a uid or uid:gid");
        return Err(FieldError::new("user", problem));
    }
    Ok(given(user))
}

fn parse_mount(mount: v1::Mount) -> Result<Mount, FieldError> {
    let target = path("target", mount.target)?;
    if target.bytes().all(|byte| byte == b'/') {
        return Err(FieldError::new("target", "'/' is the image itself: mount below it"));
    }
    let kind = match mount.source {
        Some(Source::Bind(source)) => MountKind::Bind { source: path("bind", source)? },
        Some(Source::Volume(name)) => MountKind::Volume { name: text("volume", &name)? },
        Some(Source::Tmpfs(tmpfs)) => MountKind::Tmpfs { size: above_zero(tmpfs.size_bytes) },
        None => {
            let problem = "says nothing: write bind, volume or tmpfs";
            return Err(FieldError::new("source", problem));
        }
    };
    Ok(Mount { kind, target, read_only: mount.read_only })
}

fn render_mount(mount: &Mount) -> v1::Mount {
    let source = match &mount.kind {
        MountKind::Bind { source } => Source::Bind(source.clone()),
        MountKind::Volume { name } => Source::Volume(name.to_string()),
        MountKind::Tmpfs { size } => {
            Source::Tmpfs(v1::Tmpfs { size_bytes: size.map_or(0, |bytes| bytes.0) })
        }
    };
    v1::Mount { target: mount.target.clone(), read_only: mount.read_only, source: Some(source) }
}

fn above_zero(bytes: u64) -> Option<Bytes> {
    (bytes > 0).then_some(Bytes(bytes))
}

fn resources(wanted: v1::Resources) -> Result<Resources, FieldError> {
    let resources = Resources {
        memory_limit: above_zero(wanted.memory_limit_bytes),
        cpu_limit: (wanted.cpu_limit_milli > 0).then_some(MilliCpu(wanted.cpu_limit_milli)),
        pids_limit: (wanted.pids_limit > 0).then_some(wanted.pids_limit),
        memory_reservation: wanted.memory_reservation_bytes.map(Bytes),
        cpu_reservation: wanted.cpu_reservation_milli.map(MilliCpu),
    };
    let too_small = |field: &str, found: String, least: String| {
        Err(FieldError::new(field, format!("{found} is too little: write {least} or more")))
    };
    let too_large = |field: &str, found: String, limit: String| {
        let problem = format!("{found} is more than the limit of {limit}: reserve less");
        Err(FieldError::new(field, problem))
    };
    match (resources.memory_limit, resources.memory_reservation) {
        (Some(limit), _) if limit < MEMORY_LIMIT_MIN => {
            return too_small(
                "memory_limit_bytes",
                limit.to_string(),
                MEMORY_LIMIT_MIN.to_string(),
            );
        }
        (Some(limit), Some(kept)) if kept > limit => {
            return too_large("memory_reservation_bytes", kept.to_string(), limit.to_string());
        }
        (Some(_) | None, _) => {}
    }
    match (resources.cpu_limit, resources.cpu_reservation) {
        (Some(limit), _) if limit < CPU_LIMIT_MIN => {
            return too_small("cpu_limit_milli", limit.to_string(), CPU_LIMIT_MIN.to_string());
        }
        (Some(limit), Some(kept)) if kept > limit => {
            return too_large("cpu_reservation_milli", kept.to_string(), limit.to_string());
        }
        (Some(_) | None, _) => {}
    }
    Ok(resources)
}

fn render_resources(resources: &Resources) -> v1::Resources {
    v1::Resources {
        memory_limit_bytes: resources.memory_limit.map_or(0, |bytes| bytes.0),
        cpu_limit_milli: resources.cpu_limit.map_or(0, |milli| milli.0),
        pids_limit: resources.pids_limit.unwrap_or(0),
        memory_reservation_bytes: resources.memory_reservation.map(|bytes| bytes.0),
        cpu_reservation_milli: resources.cpu_reservation.map(|milli| milli.0),
    }
}
