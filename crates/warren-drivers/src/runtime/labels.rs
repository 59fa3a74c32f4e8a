//! The labels that say whose a container is. They are all an agent needs to find its tasks again.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use warren_core::id::{NodeId, RevisionNumber, ServiceId, Slot, TaskId};
use warren_core::spec::{Hash, ServiceName, Strategy};
use warren_core::task::DeploymentState;

/// The keys of the labels.
pub mod label {
    /// The cluster's id.
    pub const CLUSTER: &str = "warren.cluster";
    /// How often the cluster was restored from a backup; a container of another epoch is not ours to stop.
    pub const EPOCH: &str = "warren.epoch";
    /// The service's name.
    pub const SERVICE: &str = "warren.service";
    /// The service's id.
    pub const SERVICE_ID: &str = "warren.service.id";
    /// The task's id.
    pub const TASK: &str = "warren.task";
    /// The slot that the task fills.
    pub const SLOT: &str = "warren.slot";
    /// The node that runs it.
    pub const NODE: &str = "warren.node";
    /// The content hash of the revision, 64 hexadecimal digits.
    pub const REVISION: &str = "warren.revision";
    /// The number of the revision, as in `v2`.
    pub const VERSION: &str = "warren.deployment.version";
    /// How the revision came in, as in `blue-green`.
    pub const STRATEGY: &str = "warren.deployment.strategy";
    /// What the revision was when the container was made, as in `canary`.
    pub const STATE: &str = "warren.deployment.state";
}

/// Whose containers a runtime sees: those of one node of one cluster. Two nodes on one engine never see
/// each other's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// The cluster's id, 8 or more letters or digits.
    pub cluster: String,
    /// This node.
    pub node: NodeId,
}

/// Whose a container is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Labels {
    /// The cluster's id.
    pub cluster: String,
    /// The cluster's epoch.
    pub epoch: u64,
    /// The service's name.
    pub service: ServiceName,
    /// The service's id.
    pub service_id: ServiceId,
    /// The task.
    pub task: TaskId,
    /// The slot that the task fills.
    pub slot: Slot,
    /// The node that runs it.
    pub node: NodeId,
    /// The content of the revision.
    pub revision: Hash,
    /// The number of the revision.
    pub version: RevisionNumber,
    /// How the revision came in.
    pub strategy: Strategy,
    /// What the revision was when the container was made.
    pub state: DeploymentState,
}

/// A label that is missing or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabels {
    /// It is not there.
    #[error("label {0} is missing")]
    Missing(&'static str),
    /// Its value is none of ours.
    #[error("label {key} cannot be read: {value:?}")]
    Unreadable {
        /// The label.
        key: &'static str,
        /// Its value.
        value: String,
    },
}

impl Labels {
    /// The labels as a runtime keeps them.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        [
            (label::CLUSTER, self.cluster.clone()),
            (label::EPOCH, self.epoch.to_string()),
            (label::SERVICE, self.service.to_string()),
            (label::SERVICE_ID, self.service_id.to_string()),
            (label::TASK, self.task.to_string()),
            (label::SLOT, self.slot.to_string()),
            (label::NODE, self.node.to_string()),
            (label::REVISION, hex(&self.revision.0)),
            (label::VERSION, self.version.to_string()),
            (label::STRATEGY, self.strategy.to_string()),
            (label::STATE, self.state.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// Reads labels that [`to_map`](Self::to_map) wrote; others may stand beside them.
    ///
    /// # Errors
    /// The first label that is missing or unreadable.
    pub fn from_map(map: &HashMap<String, String>) -> Result<Self, InvalidLabels> {
        Ok(Self {
            cluster: text(map, label::CLUSTER)?.to_owned(),
            epoch: read(map, label::EPOCH)?,
            service: read(map, label::SERVICE)?,
            service_id: read(map, label::SERVICE_ID)?,
            task: read(map, label::TASK)?,
            slot: Slot(read(map, label::SLOT)?),
            node: read(map, label::NODE)?,
            revision: read_with(map, label::REVISION, |text| unhex(text).map(Hash))?,
            version: read(map, label::VERSION)?,
            strategy: read_with(map, label::STRATEGY, strategy)?,
            state: read_with(map, label::STATE, |text| {
                DeploymentState::ALL.into_iter().find(|state| state.to_string() == text)
            })?,
        })
    }

    /// The container's name: `warren-<cluster, 8 characters>-<service>-<slot>-<task>`.
    #[must_use]
    pub fn container_name(&self) -> String {
        let cluster: String = self.cluster.chars().take(8).collect();
        format!("warren-{cluster}-{}-{}-{}", self.service, self.slot, self.task)
    }

    /// Whether both are of one task. All else of a task may be told anew, as its epoch is after a restore.
    #[must_use]
    pub fn is_same_task(&self, other: &Self) -> bool {
        self.task == other.task && self.node == other.node && self.cluster == other.cluster
    }

    /// Whether the container belongs to the node and cluster of `scope`.
    #[must_use]
    pub fn is_in(&self, scope: &Scope) -> bool {
        self.cluster == scope.cluster && self.node == scope.node
    }
}

fn text<'a>(map: &'a HashMap<String, String>, key: &'static str) -> Result<&'a str, InvalidLabels> {
    map.get(key).map(String::as_str).ok_or(InvalidLabels::Missing(key))
}

fn read_with<T>(
    map: &HashMap<String, String>,
    key: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, InvalidLabels> {
    let value = text(map, key)?;
    parse(value).ok_or_else(|| InvalidLabels::Unreadable { key, value: value.to_owned() })
}

fn read<T: FromStr>(map: &HashMap<String, String>, key: &'static str) -> Result<T, InvalidLabels> {
    read_with(map, key, |text| text.parse().ok())
}

fn strategy(text: &str) -> Option<Strategy> {
    Strategy::ALL.into_iter().find(|strategy| strategy.to_string() == text)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels {
            cluster: "0123456789abcdef".into(),
            epoch: 2,
            service: ServiceName::parse("web").unwrap(),
            service_id: ServiceId(12),
            task: TaskId(34),
            slot: Slot(3),
            node: NodeId(1),
            revision: Hash([0xa5; 32]),
            version: RevisionNumber(2),
            strategy: Strategy::BlueGreen,
            state: DeploymentState::Standby,
        }
    }

    #[test]
    fn labels_read_what_they_wrote_among_others() {
        let mut map: HashMap<_, _> = labels().to_map().into_iter().collect();
        map.insert("com.example.owner".into(), "me".into());
        assert_eq!(Labels::from_map(&map), Ok(labels()));
        for state in DeploymentState::ALL {
            map.insert(label::STATE.into(), state.to_string());
            assert_eq!(Labels::from_map(&map).unwrap().state, state);
        }
    }

    #[test]
    fn a_label_that_is_missing_or_foreign_is_named() {
        for key in labels().to_map().keys() {
            let mut map: HashMap<_, _> = labels().to_map().into_iter().collect();
            map.remove(key);
            assert!(Labels::from_map(&map).unwrap_err().to_string().contains(key.as_str()));
            map.insert(key.clone(), "é".into());
            match Labels::from_map(&map) {
                Ok(read) => {
                    assert_eq!((key.as_str(), read.cluster.as_str()), (label::CLUSTER, "é"))
                }
                Err(error) => assert!(error.to_string().contains(key.as_str())),
            }
        }
    }

    #[test]
    fn a_container_is_named_after_its_task() {
        assert_eq!(labels().container_name(), "warren-01234567-web-3-t34");
    }
}
