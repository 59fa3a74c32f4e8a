//! Who this node is: its key, its certificate, and what it knows of its cluster before it has heard of anybody. Kept in
//! the folder `pki` of the data directory, readable by its owner alone.

use super::data_dir::DataDir;
use crate::failure::{Exit, Failure, Outcome};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::path::Path;
use tokio::sync::watch;
use warren_core::id::NodeId;
use warren_core::node::Role;
use warren_drivers::network::Owner;
use warren_wire::channel::Dialer;
use warren_wire::trust::{Credentials, Fingerprint, NodeKey, SealKey, TrustError};

const KEY: &str = "pki/node.key";
const CERTIFICATE: &str = "pki/node.crt";
const AUTHORITY: &str = "pki/authority.crt";
const SEAL: &str = "pki/seal.key";
const MEMBER: &str = "member.json";

/// What a node that has joined keeps of its cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// As in `n3`.
    #[serde(with = "as_word")]
    pub node: NodeId,
    /// What it is.
    #[serde(with = "role_word")]
    pub role: Role,
    /// 16 hexadecimal digits.
    pub cluster: String,
    /// Where its nodes get their subnets from.
    pub pool: Ipv4Net,
    /// Where managers could be reached last.
    pub managers: Vec<String>,
}

impl Member {
    /// Whose routes, devices and rules are those of this cluster.
    pub fn owner(&self) -> Owner {
        Owner { tag: self.cluster.clone(), pool: self.pool }
    }
}

/// Who this node is.
pub struct Identity {
    key: NodeKey,
    credentials: watch::Sender<Option<Credentials>>,
}

impl Identity {
    /// Reads it, or makes a key.
    ///
    /// # Errors
    /// A file cannot be read or written, or is damaged.
    pub fn load_or_make(dir: &DataDir) -> Outcome<Self> {
        let key = match dir.read_text(KEY)? {
            Some(pem) => NodeKey::from_pem(&pem).map_err(|error| damaged(dir, KEY, &error))?,
            None => {
                let key = NodeKey::generate().map_err(failed)?;
                dir.write_secret(KEY, key.to_pem().as_bytes())?;
                key
            }
        };
        let credentials = match (dir.read_text(AUTHORITY)?, dir.read_text(CERTIFICATE)?) {
            (Some(authority), Some(certificate)) => Some(key.credentials(authority, certificate)),
            _ => None,
        };
        let credentials = watch::channel(credentials).0;
        Ok(Self { key, credentials })
    }

    /// How managers know this machine.
    pub fn fingerprint(&self) -> Fingerprint {
        self.key.fingerprint()
    }

    /// A request for a certificate.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn request(&self) -> Outcome<Vec<u8>> {
        self.key.request().map_err(failed)
    }

    /// What the node shows, now and whenever it is renewed; nothing before it has joined.
    pub fn credentials(&self) -> watch::Receiver<Option<Credentials>> {
        self.credentials.subscribe()
    }

    /// Makes connections as this node.
    pub fn dialer(&self) -> Dialer {
        Dialer::new(self.credentials())
    }

    /// Keeps a certificate for this node's key, and shows it from now on.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn certified(&self, dir: &DataDir, authority: String, certificate: String) -> Outcome {
        dir.write_secret(AUTHORITY, authority.as_bytes())?;
        dir.write_secret(CERTIFICATE, certificate.as_bytes())?;
        self.credentials.send_replace(Some(self.key.credentials(authority, certificate)));
        Ok(())
    }

    /// What opens the cluster's sealed data; managers have it.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn seal(&self, dir: &DataDir) -> Outcome<Option<SealKey>> {
        let Some(text) = dir.read_text(SEAL)? else { return Ok(None) };
        let key = SealKey::parse(&text);
        key.map(Some).ok_or_else(|| damaged(dir, SEAL, &TrustError::Sealed))
    }

    /// Keeps what opens the cluster's sealed data.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_seal(&self, dir: &DataDir, key: &SealKey) -> Outcome {
        dir.write_secret(SEAL, key.to_text().as_bytes())
    }

    /// What the node keeps of its cluster; nothing before it has joined or made one.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn member(&self, dir: &DataDir) -> Outcome<Option<Member>> {
        dir.read_json(MEMBER)
    }

    /// Keeps that for the next start.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_member(&self, dir: &DataDir, member: &Member) -> Outcome {
        dir.write_json(MEMBER, member)
    }
}

/// Where managers were reached last by the node on the data directory at `path`; none where it cannot be read.
pub fn managers_of(path: &Path) -> Vec<String> {
    let text = std::fs::read(path.join(MEMBER)).unwrap_or_default();
    serde_json::from_slice::<Member>(&text).map(|member| member.managers).unwrap_or_default()
}

/// A node as its files say, without taking its data directory: it may run.
pub struct Seen {
    pub member: Member,
    pub dialer: Dialer,
}

impl Seen {
    /// Reads the files of the node in `path`.
    ///
    /// # Errors
    /// There is no node, or its files are not for this user.
    pub fn read(path: &Path) -> Outcome<Self> {
        let text = |name: &str| {
            let file = path.join(name);
            std::fs::read_to_string(&file).map_err(|error| {
                let why = format!("cannot read {}: {error}", file.display());
                Failure::new(Exit::Failed, why)
                    .hint("name the data directory of a node with --data-dir, and run as its user, most often root")
            })
        };
        let member = serde_json::from_str(&text(MEMBER)?);
        let member = member.map_err(|error| {
            Failure::new(Exit::Failed, format!("{}: {error}", path.join(MEMBER).display()))
        })?;
        let key = NodeKey::from_pem(&text(KEY)?).map_err(failed)?;
        let credentials = key.credentials(text(AUTHORITY)?, text(CERTIFICATE)?);
        Ok(Self { member, dialer: Dialer::new(watch::channel(Some(credentials)).1) })
    }
}

/// A value as the word that people write.
mod as_word {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A role as its word.
mod role_word {
    pub(super) use super::as_word::serialize;
    use serde::{Deserialize, Deserializer};
    use warren_core::node::Role;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
        match String::deserialize(from)?.as_str() {
            "manager" => Ok(Role::Manager),
            "worker" => Ok(Role::Worker),
            other => Err(serde::de::Error::custom(format!("{other:?} is no role"))),
        }
    }
}

fn damaged(dir: &DataDir, name: &str, error: &TrustError) -> Failure {
    let path = dir.path().join(name);
    Failure::new(Exit::Failed, format!("cannot use {}: {error}", path.display())).hint(
        "restore it from a copy, or remove this node from the cluster and join anew with an empty data directory",
    )
}

pub(super) fn failed(error: TrustError) -> Failure {
    Failure::new(Exit::Failed, error)
}
