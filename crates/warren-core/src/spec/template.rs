//! What one task runs: the part of a spec that makes a revision.

use crate::spec::{
    COMMAND_BYTES_MAX, ENV_BYTES_MAX, FieldError, FileRef, HealthCheck, Image,
    LABEL_VALUE_BYTES_MAX, LABELS_MAX, LabelKey, MOUNTS_MAX, Mount, PORTS_MAX, Port, Resources,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// When a node asks a registry for an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PullPolicy {
    /// When the node has no such image. The default.
    Missing,
    /// Each time a revision is made.
    Always,
    /// Never: the image must be on the node.
    Never,
}

/// What a runtime is given to run exactly the same bytes each time: `name@sha256:…` where a registry knows the image,
/// `sha256:…` (an image id, or the hash of an executable) where none does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct PinnedImage(pub String);

impl fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A POSIX signal by its number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Signal(u8);

/// The signals that have a name worth writing, with their numbers on Linux.
const SIGNALS: [(&str, u8); 9] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("TERM", 15),
    ("WINCH", 28),
    ("RTMIN+3", 37),
];

impl Signal {
    /// SIGTERM.
    pub const TERM: Self = Self(15);

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl std::str::FromStr for Signal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("SIG").unwrap_or(text);
        let named = SIGNALS.iter().find(|(name, _)| *name == bare).map(|(_, number)| *number);
        let number = named.or_else(|| bare.parse().ok().filter(|n| (1..=64).contains(n)));
        number.map(Self).ok_or_else(|| {
            format!(
                "{text:?} is not a signal: write a name as in SIGTERM, or a number from 1 to 64"
            )
        })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIGNALS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "{}", self.0),
        }
    }
}

/// How a task is asked to end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stop {
    /// What it is sent. Default SIGTERM.
    pub signal: Signal,
    /// How long it has before it is killed. Default 10 s.
    pub timeout: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: Signal::TERM, timeout: Duration::from_secs(10) }
    }
}

/// What one task runs. Two equal templates are the same revision of a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Template {
    /// The image as the user wrote it.
    pub image: Image,
    /// What that name meant when the revision was made; absent where no node could say.
    pub pinned: Option<PinnedImage>,
    /// When to ask a registry.
    pub pull: PullPolicy,
    /// Replaces the image's entrypoint where not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments where not empty.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// The user to run as, `name`, `uid` or `uid:gid`; the image's when absent.
    pub user: Option<String>,
    /// The working directory; the image's when absent.
    pub working_dir: Option<String>,
    /// Ports that the tasks listen on.
    pub ports: Vec<Port>,
    /// Files from outside the image.
    pub mounts: Vec<Mount>,
    /// Secrets, then configs.
    pub files: Vec<FileRef>,
    /// Limits and reservations.
    pub resources: Resources,
    /// Whether a task must be replaced: an unhealthy one is restarted.
    pub health: Option<HealthCheck>,
    /// Whether a task gets traffic: an unready one is left out of answers. Where absent, healthy means ready.
    pub readiness: Option<HealthCheck>,
    /// How a task is asked to end.
    pub stop: Stop,
    /// Labels of the containers.
    pub labels: BTreeMap<LabelKey, String>,
}

/// A revision's content hash: SHA-256 of its template's canonical JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    /// The first 12 hexadecimal digits: enough to tell the revisions of one service apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Template {
    /// A template with every default.
    #[must_use]
    pub fn new(image: Image) -> Self {
        Self {
            image,
            pinned: None,
            pull: PullPolicy::Missing,
            command: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            user: None,
            working_dir: None,
            ports: Vec::new(),
            mounts: Vec::new(),
            files: Vec::new(),
            resources: Resources::default(),
            health: None,
            readiness: None,
            stop: Stop::default(),
            labels: BTreeMap::new(),
        }
    }

    /// The content hash. JSON is canonical here: struct fields in their order, maps sorted.
    ///
    /// # Panics
    /// Never: every part of a template has a JSON form.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let canonical = serde_json::to_vec(self).expect("every part of a template has a JSON form");
        Hash(Sha256::digest(canonical).into())
    }

    pub(super) fn check_sizes(&self) -> Result<(), FieldError> {
        let too_many = |field: &str, count: usize, most: usize| {
            Err(FieldError::new(
                field,
                format!("{count} is more than {most}, the most there may be"),
            ))
        };
        let too_large = |field: &str, size: usize, most: usize| {
            Err(FieldError::new(field, format!("{size} bytes in all, {most} at most")))
        };
        if self.ports.len() > PORTS_MAX {
            return too_many("ports", self.ports.len(), PORTS_MAX);
        }
        if self.mounts.len() > MOUNTS_MAX {
            return too_many("mounts", self.mounts.len(), MOUNTS_MAX);
        }
        if self.labels.len() > LABELS_MAX {
            return too_many("labels", self.labels.len(), LABELS_MAX);
        }
        if let Some(longest) = self.labels.values().map(String::len).max()
            && longest > LABEL_VALUE_BYTES_MAX
        {
            return too_large("labels", longest, LABEL_VALUE_BYTES_MAX);
        }
        let env: usize = self.env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        if env > ENV_BYTES_MAX {
            return too_large("env", env, ENV_BYTES_MAX);
        }
        let command: usize = self.command.iter().chain(&self.args).map(|word| word.len() + 1).sum();
        if command > COMMAND_BYTES_MAX {
            return too_large("command", command, COMMAND_BYTES_MAX);
        }
        Ok(())
    }
}
