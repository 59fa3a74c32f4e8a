//! Calls that only look. By default an answer has everything that was acknowledged anywhere before the call; a caller
//! may take what the manager that is asked has applied, and is told how old that may be.

use super::{Api, CALL_TIMEOUT, Look};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};
use warren_core::time::millis;
use warren_wire::status::{APPLIED, ApiError, Code, SILENCE, STALE};

/// What to do where nobody leads.
pub(crate) const OR_OLDER: &str = "--stale shows what this manager knows, and how old that may be";

/// How new an answer has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// With all that was acknowledged before.
    Newest,
    /// As it is applied here.
    Applied,
}

impl Reading {
    /// What the caller takes.
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        let stale = request.metadata().contains_key(STALE);
        if stale { Self::Applied } else { Self::Newest }
    }
}

/// Without a leader nobody knows what is newest: says how to see what is known.
fn or_older(error: ApiError) -> ApiError {
    let leaderless = matches!(error.code, Code::Unavailable | Code::DeadlineExceeded);
    if leaderless && error.hint.is_none() {
        return error.hint(OR_OLDER);
    }
    error
}

impl Api {
    /// Answers a call that only looks.
    pub(super) async fn read<T>(
        &self,
        method: &'static str,
        how: Reading,
        show: impl FnOnce(&Look) -> Result<T, ApiError>,
    ) -> Result<Response<T>, Status> {
        if how == Reading::Newest {
            let work = Box::pin(async { show(&self.look().await.map_err(or_older)?) });
            return self.call(method, CALL_TIMEOUT, work).await;
        }
        // Before the state is looked at: what is not in it was acknowledged after that.
        let silence = self.backend.raft.silence();
        let look = self.glance();
        let shown = std::future::ready(show(&look));
        let mut response = self.call(method, CALL_TIMEOUT, shown).await?;
        let told = response.metadata_mut();
        told.insert(APPLIED, MetadataValue::from(look.state.applied().0));
        if let Some(silence) = silence {
            told.insert(SILENCE, MetadataValue::from(millis(silence)));
        }
        Ok(response)
    }
}
