//! `warren cluster restore`

use super::backup;
use crate::client::ClientArgs;
use crate::failure::Outcome;
use crate::node::{self, Restore as Wanted};
use crate::output;
use crate::passphrase::PassphraseArgs;
use clap::Args;
use std::path::PathBuf;
use warren_core::id::NodeId;

/// Make a manager of a backup, on a machine that has no data directory
///
/// The cluster goes on from the backup with this machine as its only manager, in a new epoch. Nothing is started:
/// `warren up` does that. All other managers of the old cluster must stay off: they are no nodes of it any more.
/// Workers adopt what they run once they find the new manager; see docs/guides/disaster-recovery.md.
#[derive(Args, Debug)]
pub struct Restore {
    /// The backup
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Which manager of the old cluster this machine becomes [default: the one that gave the backup]
    #[arg(long = "as", value_name = "NODE")]
    node: Option<NodeId>,
    /// The epoch to begin at least, where this backup or an older one was restored before: one more than that restore
    /// said, so that workers which have heard of it tell the two apart
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    epoch: u32,
    /// What keeps the cluster's state: redb or sled
    #[arg(long, value_name = "STORE", default_value = "redb")]
    store: String,
}

impl Restore {
    /// Runs it.
    ///
    /// # Errors
    /// The file is no backup, or the data directory is not empty.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let dir = client.data_dir();
        node::check_empty(&dir)?;
        let opened = backup::open(&self.file, &self.passphrase)?;
        let wanted = Wanted {
            seal_key: opened.seal_key,
            term: opened.header.term,
            node: self.node,
            from: opened.header.node,
            epoch: self.epoch,
            store: self.store,
        };
        let restored = node::restore(&dir, opened.state, wanted).await?;
        let shown = dir.display();
        output::say(format_args!(
            "restored cluster {} as epoch {} with {} as its only manager, up to entry {}\n\
             next: `warren up --data-dir {shown}`, then on each worker `warren up --join HOST:7400` where the manager \
             has another address than before\n\
             check `warren node ls` and `warren token ls`: what was removed or revoked since the backup is there \
             again; join tokens are gone, make new ones",
            restored.cluster, restored.epoch, restored.node, opened.header.index
        ));
        Ok(())
    }
}
