//! Secrets and configs as a template refers to them.

use super::FieldError;
use crate::spec::FileName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// The most secrets and configs of one service: each is a mount of its own in every container.
pub const FILES_MAX: usize = 32;

/// The bits that a mode may have: who reads, writes and runs it. More would be a program that runs as its owner.
pub const FILE_MODE_MAX: u16 = 0o777;

/// What a file that the cluster keeps is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum FileKind {
    /// Sealed at rest, and read by nobody but the tasks that use it.
    Secret,
    /// Plain, and shown to whoever may look.
    Config,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "secret",
            Self::Config => "config",
        })
    }
}

/// A version of a secret or a config, from 1 on. Its content never changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct FileVersion(pub u32);

impl fmt::Display for FileVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A secret or a config at a path of a task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileRef {
    /// What it is.
    pub kind: FileKind,
    /// Which.
    pub name: FileName,
    /// Which version. Absent only in what a user writes: it then means the newest there is when that is agreed on.
    pub version: Option<FileVersion>,
    /// The absolute path in the task.
    pub target: String,
    /// Who may do what with it, [`FILE_MODE_MAX`] at most. Nobody can write it, whatever this says.
    pub mode: u16,
    /// Whose it is; root's in containers, and of processes that of the task's user, where absent.
    pub uid: Option<u32>,
    /// The same for the group.
    pub gid: Option<u32>,
}

impl FileRef {
    /// The mode where none is said: whoever runs in the task may read.
    pub const MODE: u16 = 0o444;

    /// Where a secret is where nothing is said.
    #[must_use]
    pub fn secret_target(name: &FileName) -> String {
        format!("/run/secrets/{name}")
    }
}

/// Checks the files of a template among themselves. `mounts` are the paths of its mounts.
pub(super) fn check(files: &[FileRef], mounts: &[&String]) -> Result<(), FieldError> {
    let mut targets: BTreeSet<&String> = mounts.iter().copied().collect();
    let (mut secrets, mut configs) = (0, 0);
    for file in files {
        let (list, i) = match file.kind {
            FileKind::Secret => ("secrets", &mut secrets),
            FileKind::Config => ("configs", &mut configs),
        };
        let field = |part: &str, i: usize| format!("template.{list}[{i}].{part}");
        if !targets.insert(&file.target) {
            let problem = format!("{} is the place of something else already", file.target);
            return Err(FieldError::new(field("target", *i), problem));
        }
        if file.mode > FILE_MODE_MAX {
            let problem = format!("{:o} is more than 777: leave the special bits out", file.mode);
            return Err(FieldError::new(field("mode", *i), problem));
        }
        *i += 1;
    }
    for file in files {
        let above = |other: &&FileRef| {
            let rest = file.target.strip_prefix(other.target.as_str());
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        if let Some(other) = files.iter().find(above) {
            let problem = format!("{} lies in {}, which is a file", file.target, other.target);
            let list = match file.kind {
                FileKind::Secret => "template.secrets",
                FileKind::Config => "template.configs",
            };
            return Err(FieldError::new(list, problem));
        }
    }
    if files.len() > FILES_MAX {
        let problem = format!("{} with the configs are more than {FILES_MAX}", files.len());
        return Err(FieldError::new("template.secrets", problem));
    }
    Ok(())
}
