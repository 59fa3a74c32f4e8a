//! The WireGuard key of this node: made here, kept in the data directory, and known to nobody else. What others are
//! told is its public half, once the machine can use it.

use super::data_dir::DataDir;
use super::identity::Member;
use super::subnet::random_bytes;
use crate::config::NodeConfig;
use crate::failure::{Exit, Failure, Outcome};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use warren_core::node::{Encryption, NodeFacts, WireGuard};
use warren_drivers::network::kernel::{Kernel, Speaks};
use warren_drivers::network::{Backend, Owner, WireSecret};
use zeroize::Zeroizing;

const KEY: &str = "pki/wireguard.key";

/// How this node encrypts what its containers send to those of others.
#[derive(Clone, Debug)]
pub struct Encrypts {
    secret: Arc<WireSecret>,
    port: u16,
    sockets: PathBuf,
    told: watch::Sender<Encryption>,
}

/// What the settings say of encryption before the machine was looked at.
pub fn wanted(config: &NodeConfig, containers: bool) -> Encryption {
    Encryption { wireguard: None, only: containers && config.network == Backend::WireGuard }
}

impl Encrypts {
    /// As [`Self::load_or_make`] for a machine with containers, and has a member of a cluster look at its machine at
    /// once: the others are not to think until its second session that it cannot. What is told comes with it.
    ///
    /// # Errors
    /// As there.
    pub async fn begin(
        config: &NodeConfig,
        dir: &DataDir,
        member: Option<&Member>,
        facts: &NodeFacts,
    ) -> Outcome<(Option<Self>, watch::Receiver<Encryption>)> {
        let (told, telling) = watch::channel(facts.encryption);
        if !facts.has_containers() {
            return Ok((None, telling));
        }
        let encrypts = Self::load_or_make(config, dir, told)?;
        if let (Some(encrypts), Some(member)) = (&encrypts, member) {
            encrypts.look(&member.owner()).await;
        }
        Ok((encrypts, telling))
    }

    /// With the key of the data directory, which is made where there is none; nothing where the settings say that this
    /// node never encrypts.
    ///
    /// # Errors
    /// The file cannot be read or written, or is damaged.
    fn load_or_make(
        config: &NodeConfig,
        dir: &DataDir,
        told: watch::Sender<Encryption>,
    ) -> Outcome<Option<Self>> {
        if !config.network.may_encrypt() {
            return Ok(None);
        }
        let secret = match dir.read_text(KEY)?.map(Zeroizing::new) {
            Some(text) => WireSecret::parse(&text).ok_or_else(|| {
                let file = dir.path().join(KEY);
                let why = format!("{} is no WireGuard key", file.display());
                Failure::new(Exit::Failed, why).hint("remove the file: the node makes another key")
            })?,
            None => {
                let secret = WireSecret::from_random(Zeroizing::new(random_bytes()?));
                dir.write_secret(KEY, secret.to_text().as_bytes())?;
                secret
            }
        };
        Ok(Some(Self {
            secret: Arc::new(secret),
            port: config.wireguard_port,
            sockets: config.wireguard_sockets.clone(),
            told,
        }))
    }

    /// By which key others are to know this node, and where.
    pub fn known_as(&self) -> WireGuard {
        WireGuard { key: self.secret.public(), port: self.port }
    }

    /// What the drivers need of it.
    pub fn speaks(&self) -> Speaks {
        Speaks { secret: Arc::clone(&self.secret), sockets: self.sockets.clone() }
    }

    /// Has the key told once this machine can use it. From then on it stays told: where a program that encrypts is
    /// restarted, others are not to send in the clear meanwhile.
    pub async fn look(&self, owner: &Owner) {
        if self.told.borrow().wireguard.is_some() {
            return;
        }
        match Kernel::new(owner.clone()).speaking(Some(self.speaks())).has_wireguard().await {
            Ok(true) => {
                let known_as = self.known_as();
                tracing::info!(port = known_as.port, "this machine speaks WireGuard");
                self.told.send_modify(|told| told.wireguard = Some(known_as));
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "whether there is WireGuard cannot be seen"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientArgs;
    use crate::config::{self, NodeFlags};
    use std::os::unix::fs::PermissionsExt as _;

    fn config(backend: &str) -> NodeConfig {
        let file = tempfile::NamedTempFile::new().unwrap();
        let flags = NodeFlags {
            config: Some(file.path().into()),
            network: Some(backend.to_owned()),
            ..NodeFlags::default()
        };
        let client = ClientArgs { data_dir: None, socket: None, context: None };
        NodeConfig::from_settings(&config::settings(&flags, &client, |_| None).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn the_key_is_made_once_and_read_by_its_owner_alone() {
        let base = tempfile::tempdir().unwrap();
        let dir = DataDir::claim(base.path()).await.unwrap();
        let (told, _) = watch::channel(Encryption::default());
        let make = |backend| Encrypts::load_or_make(&config(backend), &dir, told.clone());
        assert!(make("vxlan").unwrap().is_none());
        let file = base.path().join(KEY);
        assert!(!file.exists(), "who does not encrypt has no key");
        let first = make("wireguard").unwrap().unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(make("auto").unwrap().unwrap().known_as(), first.known_as());
        let secret = std::fs::read_to_string(&file).unwrap();
        assert!(!format!("{first:?}").contains(&secret[..8]), "{first:?}");
        std::fs::remove_file(&file).unwrap();
        assert_ne!(make("auto").unwrap().unwrap().known_as().key, first.known_as().key);
        std::fs::write(&file, "rubbish").unwrap();
        let refused = make("auto").unwrap_err().to_string();
        assert!(refused.contains("wireguard.key"), "{refused}");
    }
}
