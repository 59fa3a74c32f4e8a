//! One container: what it is made from, and what it is now.

use crate::runtime::Labels;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use warren_core::spec::{PinnedImage, Signal, Template};
use warren_core::units::Bytes;

/// A runtime's own name for a container. It means nothing to any other runtime.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ContainerRef(pub String);

impl fmt::Display for ContainerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The resolver that a container is given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dns {
    /// Whom it asks, on port 53. Empty: the runtime's default.
    pub servers: Vec<Ipv4Addr>,
    /// The domains that it tries for names without dots.
    pub search: Vec<String>,
}

/// Files of this machine that a task may read. Each lies in `folder` under the path that the task is to have it at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileSet {
    /// Where they are.
    pub folder: PathBuf,
    /// The absolute paths in the task.
    pub targets: Vec<String>,
}

impl FileSet {
    /// Where the file is that the task has at `target`.
    #[must_use]
    pub fn source(&self, target: &str) -> PathBuf {
        self.folder.join(target.trim_start_matches('/'))
    }
}

/// What a container is made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContainerSpec {
    /// Whose it is; also gives it its name.
    pub labels: Labels,
    /// What it runs. `template.image` is for people here, `image` decides.
    pub template: Template,
    /// The bytes that it runs.
    pub image: PinnedImage,
    /// The name of the prepared network that it joins.
    pub network: String,
    /// Its address in that network.
    pub address: Ipv4Addr,
    /// Its resolver.
    pub dns: Dns,
    /// Secrets and configs; absent without any.
    pub files: Option<FileSet>,
}

/// How a container ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    /// The exit code, 128 and the number for a death by signal; absent where nobody saw it end.
    pub code: Option<i32>,
    /// The signal that ended it. Docker tells only codes: there, code 128 + n is read as signal n.
    pub signal: Option<Signal>,
    /// Whether it was killed for using more memory than its limit. Docker does not know it where it heard of the death
    /// before it heard of the reason.
    pub oom: bool,
    /// When, by the machine's wall clock.
    pub at: SystemTime,
}

/// What a container is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Running, or on its way down.
    Running {
        /// Since when, by the machine's wall clock.
        since: SystemTime,
        /// Its first process, in the machine's numbering.
        pid: u32,
    },
    /// Ended.
    Exited(Exit),
}

/// One container as its runtime tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Container {
    /// The runtime's name for it.
    pub id: ContainerRef,
    /// Whose it is.
    pub labels: Labels,
    /// The address it was made with; absent where the runtime has forgotten it.
    pub address: Option<Ipv4Addr>,
    /// What it is now.
    pub state: ContainerState,
}

/// What a running container uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stats {
    /// CPU time since it started. The difference of two readings over the time between them is the use.
    pub cpu: Duration,
    /// Memory, without the page cache where the runtime can tell it apart.
    pub memory: Bytes,
    /// The most memory it may use; absent where nothing limits it.
    pub memory_limit: Option<Bytes>,
    /// Processes and threads.
    pub pids: u32,
}

impl ContainerSpec {
    /// The task's environment: the template's, and what Warren tells every task of itself. Warren's win.
    ///
    /// `WARREN_ADDRESS` is the address to listen on, which a program under the process runtime must use: it
    /// shares the machine's ports with every other task. `WARREN_SERVICE`, `WARREN_SLOT`, `WARREN_TASK`,
    /// `WARREN_VERSION` and `WARREN_NODE` say which task it is.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        let labels = &self.labels;
        let told = [
            ("WARREN_ADDRESS", self.address.to_string()),
            ("WARREN_SERVICE", labels.service.to_string()),
            ("WARREN_SLOT", labels.slot.to_string()),
            ("WARREN_TASK", labels.task.to_string()),
            ("WARREN_VERSION", labels.version.to_string()),
            ("WARREN_NODE", labels.node.to_string()),
        ];
        let mut environment = self.template.env.clone();
        environment.extend(told.map(|(name, value)| (name.to_owned(), value)));
        environment
    }
}
