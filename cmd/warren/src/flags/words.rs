//! The small languages of flags: `KEY=VALUE`, `8080/udp`, `type=bind,source=…`, durations, command lines.

use std::time::Duration;
use warren_core::spec::{PortName, Signal};
use warren_core::units::Bytes;
use warren_wire::v1;

/// The strategies by the word that means them.
pub const STRATEGIES: [(&str, v1::DeploymentStrategy); 4] = [
    ("rolling", v1::DeploymentStrategy::Rolling),
    ("blue-green", v1::DeploymentStrategy::BlueGreen),
    ("canary", v1::DeploymentStrategy::Canary),
    ("recreate", v1::DeploymentStrategy::Recreate),
];

/// The word that means `strategy`.
pub fn strategy(strategy: v1::DeploymentStrategy) -> &'static str {
    STRATEGIES.iter().find(|(_, known)| *known == strategy).map_or("", |(name, _)| name)
}

/// The pull policies by the word that means them.
pub const PULLS: [(&str, v1::PullPolicy); 3] = [
    ("missing", v1::PullPolicy::Missing),
    ("always", v1::PullPolicy::Always),
    ("never", v1::PullPolicy::Never),
];

/// The words of a list of named values.
pub fn names<T>(list: &[(&'static str, T)]) -> Vec<&'static str> {
    list.iter().map(|(name, _)| *name).collect()
}

/// The longest duration that is accepted: ten years, so that sums of them cannot overflow.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Reads `10s`, `1m30s`, `250ms`, `0`.
///
/// # Errors
/// What to write instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed = humantime::parse_duration(text).ok();
    if parsed.is_some_and(|length| length > DURATION_MAX) {
        return Err(format!("{text:?} is too long: 3650d is the most"));
    }
    parsed.filter(|length| length.subsec_nanos() % 1_000_000 == 0).ok_or_else(|| {
        format!("{text:?} is not a duration: write a number and a unit, as in 500ms, 10s, 1m30s")
    })
}

/// A duration in the API's unit. [`duration`] keeps it far below the limit.
pub fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a duration as milliseconds.
///
/// # Errors
/// What to write instead.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    duration(text).map(millis)
}

/// Reads a duration as milliseconds, also a bare number of seconds, as in `300`.
///
/// # Errors
/// What to write instead.
pub fn span_ms(text: &str) -> Result<u64, String> {
    let is_bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_bare { duration_ms(&format!("{text}s")) } else { duration_ms(text) }
}

/// Reads what a node without a leader does with a task, `keep` or `stop-after=TIME`, as milliseconds until it stops it
/// by itself; 0 to keep it.
///
/// # Errors
/// What to write instead.
pub fn on_disconnect(text: &str) -> Result<u64, String> {
    match (text, text.strip_prefix("stop-after=")) {
        ("keep", _) => Ok(0),
        (_, Some(time)) => duration_ms(time),
        (_, None) => Err(format!("{text:?} is not known here: write keep or stop-after=30s")),
    }
}

/// What [`on_disconnect`] reads as `ms`.
pub fn show_on_disconnect(ms: u64) -> String {
    match ms {
        0 => "keep".to_owned(),
        ms => format!("stop-after={}", humantime::format_duration(Duration::from_millis(ms))),
    }
}

/// Reads `KEY=VALUE`; the value may be empty and may have `=` in it.
///
/// # Errors
/// What to write instead.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) => Err(format!("{text:?} has no key: write KEY=VALUE, as in LOG=debug")),
        None => Err(format!("{text:?} has no value: write KEY=VALUE, as in LOG=debug")),
    }
}

/// Reads a port, 1 to 65535.
///
/// # Errors
/// What to write instead.
pub fn port_number(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("{text:?} is not a port: write a number from 1 to 65535"))
}

fn protocol(text: &str) -> Result<(&str, v1::Protocol), String> {
    match text.split_once('/') {
        None => Ok((text, v1::Protocol::Tcp)),
        Some((port, "tcp")) => Ok((port, v1::Protocol::Tcp)),
        Some((port, "udp")) => Ok((port, v1::Protocol::Udp)),
        Some((_, other)) => Err(format!("{other:?} is not a protocol: write tcp or udp")),
    }
}

/// Reads `[NAME=]CONTAINER[/PROTOCOL]`.
///
/// # Errors
/// What to write instead.
pub fn port(text: &str) -> Result<v1::Port, String> {
    let (name, rest) = match text.split_once('=') {
        Some((name, rest)) => (PortName::parse(name).map_err(|e| e.to_string())?.into(), rest),
        None => (String::new(), text),
    };
    let (number, protocol) = protocol(rest)?;
    let container = u32::from(port_number(number)?);
    Ok(v1::Port { name, container, protocol: protocol as i32, host: 0 })
}

/// Reads `HOST:CONTAINER[/PROTOCOL]`.
///
/// # Errors
/// What to write instead.
pub fn publish(text: &str) -> Result<v1::Port, String> {
    let Some((host, container)) = text.split_once(':') else {
        return Err(format!("{text:?} has no container port: write HOST:CONTAINER, as in 80:8080"));
    };
    let host = u32::from(port_number(host)?);
    Ok(v1::Port { host, ..port(container)? })
}

/// Reads `type=bind|volume|tmpfs,source=…,target=…[,readonly][,size=…]`.
///
/// # Errors
/// What to write instead.
pub fn mount(text: &str) -> Result<v1::Mount, String> {
    let mut kind = "volume";
    let (mut source, mut target, mut size, mut read_only) = (None, None, None, false);
    for part in text.split(',') {
        match part.split_once('=').unwrap_or((part, "true")) {
            ("type", value) => kind = value,
            ("source" | "src", value) => source = Some(value.to_owned()),
            ("target" | "dst" | "destination", value) => target = Some(value.to_owned()),
            ("size", value) => size = Some(value.parse::<Bytes>().map_err(|e| e.to_string())?),
            ("readonly" | "ro", "true") => read_only = true,
            ("readonly" | "ro", "false") => read_only = false,
            (other, _) => {
                return Err(format!(
                    "{other:?} is not a part of a mount: write type, source, target, readonly, size"
                ));
            }
        }
    }
    let target = target.ok_or("target is missing: write target=/path/in/the/container")?;
    let source = mount_source(kind, source, size)?;
    Ok(v1::Mount { target, read_only, source: Some(source) })
}

fn mount_source(
    kind: &str,
    source: Option<String>,
    size: Option<Bytes>,
) -> Result<v1::mount::Source, String> {
    use v1::mount::Source;
    match (kind, source, size) {
        ("bind", Some(path), None) => Ok(Source::Bind(path)),
        ("bind", None, _) => Err("source is missing: write source=/path/on/the/node".into()),
        ("volume", Some(name), None) => Ok(Source::Volume(name)),
        ("volume", None, _) => Err("source is missing: write source=VOLUME".into()),
        ("tmpfs", None, size) => {
            Ok(Source::Tmpfs(v1::Tmpfs { size_bytes: size.unwrap_or_default().0 }))
        }
        ("tmpfs", Some(_), _) => Err("a tmpfs has no source: leave it out".into()),
        ("bind" | "volume", _, Some(_)) => Err("size is for type=tmpfs only".into()),
        (other, _, _) => {
            Err(format!("{other:?} is not a type of mount: write bind, volume or tmpfs"))
        }
    }
}

/// Reads `PORT[/PATH]`.
///
/// # Errors
/// What to write instead.
pub fn http_probe(text: &str) -> Result<v1::HttpProbe, String> {
    let (port, path) = text.split_once('/').unwrap_or((text, ""));
    Ok(v1::HttpProbe { port: port_number(port)?.into(), path: format!("/{path}") })
}

/// Reads `PORT[/SERVICE]`.
///
/// # Errors
/// What to write instead.
pub fn grpc_probe(text: &str) -> Result<v1::GrpcProbe, String> {
    let (port, service) = text.split_once('/').unwrap_or((text, ""));
    Ok(v1::GrpcProbe { port: port_number(port)?.into(), service: service.to_owned() })
}

/// Reads a signal, and writes it in the API's way.
///
/// # Errors
/// What to write instead.
pub fn signal(text: &str) -> Result<String, String> {
    text.parse::<Signal>().map(|signal| signal.to_string())
}

/// Splits a command line at spaces. Single and double quotes keep spaces, a backslash keeps the next character
/// (inside single quotes it is itself). No variables and no globs: for those, run a shell.
///
/// # Errors
/// A quote without an end, or nothing at all.
pub fn command_line(text: &str) -> Result<Vec<String>, String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let kept = letters.next().ok_or("the last backslash keeps nothing")?;
                word.get_or_insert_default().push(kept);
            }
            (None, ' ' | '\t' | '\n') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(open) = quote {
        return Err(format!("the quote {open} is not closed"));
    }
    words.extend(word);
    if words.is_empty() { Err("the command is empty".into()) } else { Ok(words) }
}

/// Reads `[KEY=VALUE]` lines of an environment file; empty lines and those that start with `#` are skipped.
///
/// # Errors
/// The first line that is neither.
pub fn env_file(text: &str) -> Result<Vec<(String, String)>, String> {
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim_start()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| pair(line).map_err(|why| format!("line {number}: {why}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration_ms("1m30s"), Ok(90_000));
        assert_eq!(duration_ms("0"), Ok(0));
        for wrong in ["", "10", "-1s", "10 parsecs", "100us", "99999years"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_node_alone_does_is_read_as_it_is_shown() {
        for (text, ms) in [("keep", 0), ("stop-after=30s", 30_000), ("stop-after=1m 30s", 90_000)] {
            assert_eq!(on_disconnect(text), Ok(ms), "{text}");
            assert_eq!(show_on_disconnect(ms), text);
        }
        for wrong in ["", "stop", "stop-after", "stop-after=", "stop-after=-1s", "30s"] {
            assert!(on_disconnect(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_of_updates_may_be_bare_seconds() {
        for (text, ms) in [("300", 300_000), ("5m", 300_000), ("0", 0), ("250ms", 250)] {
            assert_eq!(span_ms(text), Ok(ms), "{text}");
        }
        for wrong in ["", "-1", "5 parsecs", "9999999999999999999"] {
            assert!(span_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_have_a_number_and_may_have_more() {
        let named = port("http=8080/udp").unwrap();
        assert_eq!((named.name.as_str(), named.container, named.protocol), ("http", 8080, 1));
        let published = publish("80:8080").unwrap();
        assert_eq!((published.host, published.container, published.protocol), (80, 8080, 0));
        for wrong in ["", "0", "65536", "-1", "http=", "HTTP=80", "80/sctp", "a:80"] {
            assert!(port(wrong).is_err(), "{wrong}");
            assert!(publish(&format!("80:{wrong}")).is_err(), "{wrong}");
        }
        assert!(publish("80").unwrap_err().contains("HOST:CONTAINER"));
    }

    #[test]
    fn mounts_say_what_is_missing() {
        let bind = mount("type=bind,source=/srv,target=/data,readonly").unwrap();
        assert_eq!(bind.source, Some(v1::mount::Source::Bind("/srv".into())));
        assert!(bind.read_only);
        let volume = mount("src=data,dst=/data").unwrap();
        assert_eq!(volume.source, Some(v1::mount::Source::Volume("data".into())));
        let tmpfs = mount("type=tmpfs,target=/tmp,size=16m").unwrap();
        assert_eq!(
            tmpfs.source,
            Some(v1::mount::Source::Tmpfs(v1::Tmpfs { size_bytes: 16 << 20 }))
        );
        for (wrong, says) in [
            ("type=bind,source=/srv", "target"),
            ("type=bind,target=/x", "source"),
            ("type=nfs,source=a,target=/x", "bind, volume or tmpfs"),
            ("type=tmpfs,source=a,target=/x", "leave it out"),
            ("source=a,target=/x,size=1Mi", "tmpfs only"),
            ("source=a,target=/x,colour=red", "colour"),
        ] {
            assert!(mount(wrong).unwrap_err().contains(says), "{wrong}");
        }
    }

    #[test]
    fn command_lines_keep_what_is_quoted() {
        let words = command_line(r#"sh -c 'echo "a b"' x\ y "q \" '" ''"#).unwrap();
        assert_eq!(words, ["sh", "-c", r#"echo "a b""#, "x y", "q \" '", ""]);
        assert!(command_line("sh 'x").is_err());
        assert!(command_line("  ").is_err());
        assert!(command_line("x \\").is_err());
    }

    #[test]
    fn environment_files_skip_comments_and_name_the_line() {
        let read = env_file("# first\nA=1\n\n  B=x=y\n").unwrap();
        assert_eq!(read, [("A".into(), "1".into()), ("B".into(), "x=y".into())]);
        assert!(env_file("A=1\noops\n").unwrap_err().starts_with("line 2:"));
    }

    #[test]
    fn what_is_wrong_with_a_word_is_said() {
        assert!(duration("9999d").unwrap_err().contains("is too long"));
        assert!(duration("soon").unwrap_err().contains("is not a duration"));
        assert!(pair("=x").unwrap_err().contains("has no key"));
        assert!(pair("x").unwrap_err().contains("has no value"));
    }
}
