//! What goes wrong below the API, in its words.

use warren_raft::{ProposeError, StorageFault};
use warren_wire::status::{ApiError, Code};

/// A proposal or a barrier that did not succeed.
pub(crate) fn proposed(error: ProposeError) -> ApiError {
    let code = match &error {
        ProposeError::NotLeader { .. }
        | ProposeError::Stopped
        | ProposeError::Storage(StorageFault::DiskFull { .. }) => Code::Unavailable,
        ProposeError::Overloaded | ProposeError::TooLarge { .. } => Code::ResourceExhausted,
        ProposeError::Storage(
            StorageFault::Damaged { .. } | StorageFault::TooNew { .. } | StorageFault::Io { .. },
        ) => Code::Internal,
        ProposeError::Timeout => Code::DeadlineExceeded,
    };
    let api = ApiError::new(code, error.to_string());
    match error {
        ProposeError::NotLeader { leader: Some(leader) } if !leader.address.is_empty() => {
            api.hint(format!("ask {}", leader.address))
        }
        ProposeError::NotLeader { .. }
        | ProposeError::Stopped
        | ProposeError::Storage(_)
        | ProposeError::Overloaded
        | ProposeError::TooLarge { .. }
        | ProposeError::Timeout => api,
    }
}

/// The manager is going down.
pub(super) fn stopping() -> ApiError {
    ApiError::unavailable("this manager is stopping")
}

/// The stream's manager does not lead any more, so that it knows nothing new.
pub(super) fn leads_no_more() -> ApiError {
    ApiError::unavailable("this manager leads no more: ask again")
}
