//! Secrets and configs: what tasks get as files.
//!
//! A secret's content is sealed before it comes here, under a key that is not here. Nothing in core can open it.

use crate::service::Actor;
use crate::spec::{FileKind, FileName, FileVersion, LabelKey};
use crate::time::WallTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The largest secret: keys, certificates with their chains, passwords. What is larger is data, not a secret.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// The largest config. With all around it, it fits into one entry of the log, which has 1 MiB at most.
pub const CONFIG_BYTES_MAX: usize = 500 * 1024;
/// The most secrets, and the most configs, of a cluster: ten for each of a hundred services.
pub const ITEMS_MAX: usize = 1_000;
/// The versions that are kept of each beside those that a kept revision of a service uses.
pub const VERSIONS_KEPT: usize = 10;
/// All contents together: they are in the memory of every manager, and in each snapshot.
pub const CONTENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A content as it is kept. It is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body(pub Vec<u8>);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

/// One version of a secret or a config.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Content {
    /// The content: of a secret sealed, of a config plain.
    pub body: Body,
    /// How many bytes tasks see.
    pub bytes: u32,
    /// When it was made, on the leader's wall clock.
    pub created: WallTime,
    /// Who made it.
    pub by: Actor,
}

/// A version that is to be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fresh {
    /// What it is a version of.
    pub kind: FileKind,
    /// Of which one.
    pub name: FileName,
    /// Its content, of a secret sealed.
    pub body: Body,
    /// How many bytes tasks will see.
    pub bytes: u32,
    /// Who makes it.
    pub by: Actor,
}

/// A secret or a config.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    /// What it is.
    pub kind: FileKind,
    /// Its name, which no other of its kind has.
    pub name: FileName,
    /// Free labels, for people.
    pub labels: BTreeMap<LabelKey, String>,
    /// The kept versions. There is at least one.
    pub versions: BTreeMap<FileVersion, Arc<Content>>,
    /// The newest one.
    pub newest: FileVersion,
}

impl Item {
    /// For what the content of a version of a secret is sealed: one that was moved to another place does not open.
    #[must_use]
    pub fn purpose(name: &FileName, version: FileVersion) -> String {
        format!("secret {name} {version}")
    }
}

/// A revision of a service that uses a secret or a config.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Use {
    /// The service.
    pub service: crate::spec::ServiceName,
    /// Which revision; absent for an update that waits.
    pub revision: Option<crate::id::RevisionNumber>,
    /// Which version it uses.
    pub version: FileVersion,
    /// Whether that revision is the one that tasks are to run.
    pub current: bool,
}
