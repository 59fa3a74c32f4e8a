//! The way into secrets: seals what comes in, and opens what a node may have.

use crate::access::Caller;
use std::sync::{Arc, OnceLock};
use warren_core::State;
use warren_core::id::{NodeId, TaskId};
use warren_core::spec::{FileKind, FileName, FileVersion};
use warren_core::vault::{Body, Item};
use warren_wire::convert::{file, text};
use warren_wire::status::{ApiError, Code};
use warren_wire::trust::SealKey;
use warren_wire::v1;
use zeroize::Zeroizing;

/// Seals and opens contents, once the manager has the cluster's key. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Vault {
    key: Arc<OnceLock<SealKey>>,
}

impl Vault {
    /// Gives it the key. The first one stays: a cluster has only one.
    pub fn unlock(&self, key: SealKey) {
        let _ = self.key.set(key);
    }

    /// The key that opens the cluster's sealed data.
    pub(crate) fn key(&self) -> Result<&SealKey, ApiError> {
        self.key.get().ok_or_else(|| {
            ApiError::unavailable("this manager has no key to the secrets yet: try again shortly")
        })
    }

    /// A content as it is kept: of a secret sealed, for this version alone.
    pub(crate) fn close(
        &self,
        kind: FileKind,
        name: &FileName,
        version: FileVersion,
        plain: &[u8],
    ) -> Result<Body, ApiError> {
        match kind {
            FileKind::Config => Ok(Body(plain.to_vec())),
            FileKind::Secret => {
                let sealed = self.key()?.seal(&Item::purpose(name, version), plain);
                sealed.map(Body).map_err(|error| {
                    ApiError::new(Code::Internal, format!("the secret cannot be sealed: {error}"))
                })
            }
        }
    }

    fn open(
        &self,
        kind: FileKind,
        name: &FileName,
        version: FileVersion,
        body: &Body,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        match kind {
            FileKind::Config => Ok(Zeroizing::new(body.0.clone())),
            FileKind::Secret => {
                let opened = self.key()?.open(&Item::purpose(name, version), &body.0);
                opened.map_err(|_| {
                    let why = format!("secret {name} does not open with this manager's key");
                    ApiError::new(Code::DataLoss, why).hint(
                        "compare pki/seal.key with that of another manager, or give the secret a new version",
                    )
                })
            }
        }
    }

    /// What `caller` asked for, where a live task of its own uses it. `own` is the node of this process, whose agent
    /// comes by a socket of its own, without a certificate.
    pub(crate) fn hand_out(
        &self,
        state: &State,
        caller: Option<&Caller>,
        own: NodeId,
        request: &v1::FetchFileRequest,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let node = match caller {
            None => Some(own),
            Some(Caller::Node { key, .. }) => {
                state.node_with_key(&key.to_string()).map(|node| node.id)
            }
            Some(_) => None,
        };
        let task: TaskId = text("task_id", &request.task_id)?;
        let kind = file::kind("kind", request.kind)?;
        let name: FileName = text("name", &request.name)?;
        let version = FileVersion(request.version);
        let content = node.and_then(|node| state.handed_out(node, task, kind, &name, version));
        let content = content.ok_or_else(|| {
            let why =
                format!("no live task {task} of this node uses {kind} {name}, version {version}");
            ApiError::new(Code::PermissionDenied, why)
        })?;
        self.open(kind, &name, version, &content.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_as_the_version_that_it_was_sealed_as() {
        let vault = Vault::default();
        let (name, one, two) = (FileName::parse("db").unwrap(), FileVersion(1), FileVersion(2));
        let locked = vault.close(FileKind::Secret, &name, one, b"canary").unwrap_err();
        assert_eq!(locked.code, Code::Unavailable);
        vault.unlock(SealKey::generate().unwrap());
        let sealed = vault.close(FileKind::Secret, &name, one, b"canary").unwrap();
        assert!(!sealed.0.windows(6).any(|part| part == b"canary"), "it is sealed");
        let again = vault.close(FileKind::Secret, &name, one, b"canary").unwrap();
        assert_ne!(sealed, again, "equal secrets do not look equal");
        assert_eq!(**vault.open(FileKind::Secret, &name, one, &sealed).unwrap(), *b"canary");
        let other = FileName::parse("other").unwrap();
        for (name, version) in [(&name, two), (&other, one)] {
            let refused = vault.open(FileKind::Secret, name, version, &sealed).unwrap_err();
            assert_eq!(refused.code, Code::DataLoss, "{name} {version}");
        }
        vault.unlock(SealKey::generate().unwrap());
        vault.open(FileKind::Secret, &name, one, &sealed).expect("the first key stays");
        let plain = vault.close(FileKind::Config, &name, one, b"plain").unwrap();
        assert_eq!(plain.0, b"plain");
    }
}
