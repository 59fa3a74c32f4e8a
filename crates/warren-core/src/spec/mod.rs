//! What a user wants to run. Values of these types are valid: text is parsed where it enters, field by field, and
//! [`ServiceSpec::new`] checks what concerns several fields at once.

mod file;
mod health;
mod hook;
mod limits;
mod mount;
mod name;
mod placement;
mod port;
mod profile;
mod resources;
mod restart;
mod step;
mod template;
mod update;

pub use file::{FILE_MODE_MAX, FILES_MAX, FileKind, FileRef, FileVersion};
pub use health::{HealthCheck, Probe};
pub use hook::{
    HOOK_KEY_BYTES_MAX, HOOK_TIMEOUT_MAX, HOOKS_MAX, Hook, HookFormat, HookKey, HookPoint, HookUrl,
};
pub use limits::*;
pub use mount::{Mount, MountKind};
pub use name::{
    FileName, HostName, Image, InvalidName, LabelKey, PortName, RoleName, ServiceName, VolumeName,
};
pub use placement::{Constraint, InvalidConstraint, Operator, Placement, Subject};
pub use port::{Port, Protocol};
pub use profile::{ProfileName, profile};
pub use resources::Resources;
pub use restart::{OnDisconnect, RestartCondition, RestartPolicy};
pub use step::{APPROVAL_ROLES_MAX, ApprovalRule, Ramp, STEPS_MAX, Step, expand};
pub use template::{Hash, PinnedImage, PullPolicy, Signal, Stop, Template};
pub use update::{
    FailureAction, OnUpdate, Order, Quantity, ROLLBACK_WINDOW_MAX, Strategy, UpdateSettings,
};

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A field that cannot be what was asked, with the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// The path of the field in the API's words, as in `template.ports[1].host`.
    pub field: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

impl FieldError {
    /// An error about `field`.
    pub fn new(field: impl Into<String>, problem: impl ToString) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }

    /// The same error about a field inside `parent`.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        Self { field: format!("{parent}.{}", self.field), problem: self.problem }
    }
}

/// How many tasks a service has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mode {
    /// So many, placed where they fit: 0 to [`REPLICAS_MAX`].
    Replicated {
        /// The wanted number.
        replicas: u32,
    },
    /// One on every node that fits.
    Global,
}

/// The whole intent of a user for one service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Its name in the API and in DNS.
    pub name: ServiceName,
    /// How many tasks.
    pub mode: Mode,
    /// What each task runs. A change of it makes a new revision.
    pub template: Template,
    /// Where tasks may run.
    pub placement: Placement,
    /// When and how often a task that ended is started again.
    pub restart: RestartPolicy,
    /// How a change of the template is brought in.
    pub update: UpdateSettings,
    /// Free labels of the service, for people and for selection.
    pub labels: BTreeMap<LabelKey, String>,
}

impl ServiceSpec {
    /// Checks what concerns several fields at once.
    ///
    /// # Errors
    /// The first field that cannot be together with the others, by its path.
    pub fn checked(self) -> Result<Self, FieldError> {
        self.check_mode()?;
        self.check_ports()?;
        self.check_mounts()?;
        let mounts: Vec<_> = self.template.mounts.iter().map(|mount| &mount.target).collect();
        file::check(&self.template.files, &mounts)?;
        self.template.check_sizes().map_err(|e| e.within("template"))?;
        self.update.check().map_err(|e| e.within("update_config"))?;
        check_labels(&self.labels)?;
        Ok(self)
    }

    fn check_mode(&self) -> Result<(), FieldError> {
        match self.mode {
            Mode::Replicated { replicas } if replicas > REPLICAS_MAX => Err(FieldError::new(
                "replicated.replicas",
                format!(
                    "{replicas} is more than {REPLICAS_MAX}, the most tasks one service may have"
                ),
            )),
            Mode::Global if self.placement.max_per_node.is_some() => Err(FieldError::new(
                "placement.max_per_node",
                "a global service has one task on each node already: leave max_per_node out",
            )),
            Mode::Replicated { .. } | Mode::Global => Ok(()),
        }
    }

    fn check_ports(&self) -> Result<(), FieldError> {
        let mut containers = BTreeSet::new();
        let mut hosts = BTreeSet::new();
        let mut names = BTreeSet::new();
        for (i, port) in self.template.ports.iter().enumerate() {
            let field = |part: &str| format!("template.ports[{i}].{part}");
            if !containers.insert((port.container, port.protocol)) {
                let problem = format!("{}/{} is listed twice", port.container, port.protocol);
                return Err(FieldError::new(field("container"), problem));
            }
            if let Some(host) = port.host
                && !hosts.insert((host, port.protocol))
            {
                let problem = format!("host port {host}/{} is published twice", port.protocol);
                return Err(FieldError::new(field("host"), problem));
            }
            if let Some(name) = &port.name
                && !names.insert((name, port.protocol))
            {
                return Err(FieldError::new(field("name"), format!("{name} names two ports")));
            }
        }
        Ok(())
    }

    fn check_mounts(&self) -> Result<(), FieldError> {
        let mut targets = BTreeSet::new();
        for (i, mount) in self.template.mounts.iter().enumerate() {
            if !targets.insert(&mount.target) {
                let problem = format!("{} is mounted twice", mount.target);
                return Err(FieldError::new(format!("template.mounts[{i}].target"), problem));
            }
        }
        Ok(())
    }
}

fn check_labels(labels: &BTreeMap<LabelKey, String>) -> Result<(), FieldError> {
    if labels.len() > LABELS_MAX {
        return Err(FieldError::new("labels", format!("more than {LABELS_MAX} labels")));
    }
    for (key, value) in labels {
        if value.len() > LABEL_VALUE_BYTES_MAX {
            let problem = format!("{key}: the value is longer than {LABEL_VALUE_BYTES_MAX} bytes");
            return Err(FieldError::new("labels", problem));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
