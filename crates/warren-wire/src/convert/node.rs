//! What machines say of themselves.

use super::{given, labels, text};
use crate::v1;
use warren_core::command::Command;
use warren_core::level::Level;
use warren_core::node::{Encryption, NodeFacts, Role, WireGuard, WireGuardKey};
use warren_core::spec::FieldError;
use warren_core::units::{Bytes, MilliCpu};

/// The longest of a node's texts: its key, its platform, its versions.
const TEXT_BYTES_MAX: usize = 256;

/// The registration that a Hello asks for.
///
/// # Errors
/// The first field that cannot be what it is.
pub fn registration(hello: v1::Hello) -> Result<Command, FieldError> {
    Ok(Command::RegisterNode {
        key: filled("key", hello.key.clone())?,
        role: if hello.manager { Role::Manager } else { Role::Worker },
        facts: Box::new(facts(&hello)?),
        subnet: given(hello.subnet).map(|subnet| text("subnet", &subnet)).transpose()?,
        labels: labels("labels", hello.labels)?,
    })
}

/// What a machine says of itself.
///
/// # Errors
/// The first field that cannot be what it is.
pub fn facts(hello: &v1::Hello) -> Result<NodeFacts, FieldError> {
    Ok(NodeFacts {
        hostname: text("hostname", &hello.hostname)?,
        address: text("address", &hello.address)?,
        port: port("port", hello.port)?,
        platform: filled("platform", hello.platform.clone())?,
        cpu: MilliCpu(hello.cpu_milli),
        memory: Bytes(hello.memory_bytes),
        runtime: filled("runtime", hello.runtime.clone())?,
        version: filled("version", hello.version.clone())?,
        level: Level(hello.feature_level),
        encryption: encryption(hello.encryption.as_ref())?,
        probe_port: port("probe_port", hello.probe_port)?,
    })
}

fn port(field: &str, said: u32) -> Result<u16, FieldError> {
    u16::try_from(said)
        .map_err(|_| FieldError::new(field, "write a port of TCP, or 0 where the node serves none"))
}

/// What a machine says of encrypting.
///
/// # Errors
/// A key or port that is none.
pub fn encryption(said: Option<&v1::Encryption>) -> Result<Encryption, FieldError> {
    let Some(said) = said else { return Ok(Encryption::default()) };
    let key = &said.wireguard_key;
    if key.is_empty() {
        return Ok(Encryption { wireguard: None, only: said.only });
    }
    let field = |name: &str, problem| FieldError::new(format!("encryption.{name}"), problem);
    let key = key.as_slice().try_into();
    let key = key.map_err(|_| field("wireguard_key", "write the 32 bytes of a key, or none"))?;
    let port = u16::try_from(said.wireguard_port).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| field("wireguard_port", "write a port of UDP, from 1 on"))?;
    let wireguard = Some(WireGuard { key: WireGuardKey(key), port });
    Ok(Encryption { wireguard, only: said.only })
}

/// The same as a message; nothing for a machine that does not encrypt.
#[must_use]
pub fn render_encryption(said: Encryption) -> Option<v1::Encryption> {
    let Encryption { wireguard, only } = said;
    (said != Encryption::default()).then(|| v1::Encryption {
        wireguard_key: wireguard.map(|known| known.key.0.to_vec()).unwrap_or_default(),
        wireguard_port: wireguard.map_or(0, |known| known.port.into()),
        only,
    })
}

/// A Hello with what a machine says of itself and nothing else: fill in the rest by `..`.
#[must_use]
pub fn hello(facts: &NodeFacts) -> v1::Hello {
    v1::Hello {
        hostname: facts.hostname.to_string(),
        address: facts.address.to_string(),
        port: facts.port.into(),
        platform: facts.platform.clone(),
        cpu_milli: facts.cpu.0,
        memory_bytes: facts.memory.0,
        runtime: facts.runtime.clone(),
        version: facts.version.clone(),
        feature_level: facts.level.0,
        encryption: render_encryption(facts.encryption),
        probe_port: facts.probe_port.into(),
        ..v1::Hello::default()
    }
}

fn filled(field: &str, text: String) -> Result<String, FieldError> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.contains(char::is_control) {
        let problem = format!("write 1 to {TEXT_BYTES_MAX} bytes without control characters");
        return Err(FieldError::new(field, problem));
    }
    Ok(text)
}
