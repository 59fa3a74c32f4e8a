//! Files from outside the image.

use crate::spec::VolumeName;
use crate::units::Bytes;
use serde::{Deserialize, Serialize};

/// Where the files of a mount are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MountKind {
    /// A path of the node, which must exist there.
    Bind {
        /// The absolute path on the node.
        source: String,
    },
    /// A volume of the runtime on that node, made when missing, never removed by Warren.
    Volume {
        /// The volume's name.
        name: VolumeName,
    },
    /// Memory, gone with the task.
    Tmpfs {
        /// The most it may hold; the runtime's default when absent.
        size: Option<Bytes>,
    },
}

/// Files from outside the image, at a path inside it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Where the files are.
    pub kind: MountKind,
    /// The absolute path in the container.
    pub target: String,
    /// Whether the task may only read.
    pub read_only: bool,
}
