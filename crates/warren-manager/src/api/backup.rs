//! A backup: everything that a restore needs, read at one moment and sent in parts.

use super::Api;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::sync::Arc;
use tonic::Status;
use warren_core::command::{Command, Witnessed};
use warren_core::service::Actor;
use warren_raft::encode_state;
use warren_wire::status::{ApiError, Code};
use warren_wire::v1;

/// The state in one part: well below the 4 MiB that a message may have.
const PART_BYTES: usize = 512 << 10;

/// The parts, in order.
pub(super) type Parts = BoxStream<'static, Result<v1::BackupPart, Status>>;

impl Api {
    /// Reads the state after a barrier, so that every change that was acknowledged before this call is in it.
    pub(super) async fn read_all(&self, by: Actor) -> Result<Parts, ApiError> {
        let state = self.look().await?.state;
        let missing = |what: &str| {
            ApiError::unavailable(format!("the cluster has no {what} yet: try again shortly"))
        };
        let cluster = state.cluster().ok_or_else(|| missing("identity"))?;
        state.trust().ok_or_else(|| missing("authority"))?;
        let key = self.backend.vault.key()?;
        let failed = |why: String| ApiError::new(Code::Internal, why);
        // Tens of megabytes take a while: not on a thread that others wait for.
        let read = Arc::clone(&state);
        let encoded = tokio::task::spawn_blocking(move || encode_state(&read)).await;
        let encoded = encoded.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
        let status = self.backend.raft.status();
        let head = v1::BackupHead {
            cluster_id: cluster.id.to_string(),
            epoch: cluster.epoch,
            index: state.applied().0,
            term: status.term,
            node_id: status.node.to_string(),
            version: self.backend.info.version.clone(),
            seal_key: key.to_text().to_string(),
            state_bytes: encoded.len() as u64,
        };
        let target = format!("entry {}", head.index);
        tracing::info!(by = %by.name, index = head.index, bytes = encoded.len(), "backup was read");
        let detail = String::new();
        self.propose(Command::Witness { by, action: Witnessed::Backup, target, detail }).await?;
        let first = v1::BackupPart { head: Some(head), state: Vec::new() };
        let rest = stream::unfold((encoded, 0), |(encoded, at)| async move {
            let part = encoded.get(at..)?.chunks(PART_BYTES).next()?.to_vec();
            let next = at + part.len();
            Some((v1::BackupPart { head: None, state: part }, (encoded, next)))
        });
        Ok(stream::once(async { first }).chain(rest).map(Ok).boxed())
    }
}
