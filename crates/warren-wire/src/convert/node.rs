//! What machines say of themselves.

use super::{given, labels, text};
use crate::v1;
use warren_core::command::Command;
use warren_core::level::Level;
use warren_core::node::{NodeFacts, Role};
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
        port: u16::try_from(hello.port).map_err(|_| {
            FieldError::new("port", "write a port of TCP, or 0 where the node serves none")
        })?,
        platform: filled("platform", hello.platform.clone())?,
        cpu: MilliCpu(hello.cpu_milli),
        memory: Bytes(hello.memory_bytes),
        runtime: filled("runtime", hello.runtime.clone())?,
        version: filled("version", hello.version.clone())?,
        level: Level(hello.feature_level),
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
