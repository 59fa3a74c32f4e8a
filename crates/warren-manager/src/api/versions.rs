//! The kept revisions of a service.

use super::{Look, lookup};
use warren_core::id::RevisionNumber;
use warren_wire::status::{ApiError, Code};
use warren_wire::v1;

/// One revision.
pub(super) fn one(
    look: &Look,
    request: &v1::GetServiceVersionRequest,
) -> Result<v1::GetServiceVersionResponse, ApiError> {
    let service = lookup::service(&look.state, &request.service_id)?;
    let number = match request.version {
        0 => service.current,
        version => RevisionNumber(version),
    };
    let revision = service.revisions.get(&number).ok_or_else(|| {
        let kept: Vec<_> = service.revisions.keys().map(ToString::to_string).collect();
        let kept = kept.join(", ");
        let message = format!("service {} has {kept}, no {number}", service.spec.name);
        let hint = format!("`warren service versions {}` shows them", service.spec.name);
        ApiError::new(Code::NotFound, message).hint(hint)
    })?;
    let revision = look.sources().revision(&service, revision);
    Ok(v1::GetServiceVersionResponse { revision: Some(revision) })
}

/// All of them, newest first.
pub(super) fn all(
    look: &Look,
    request: &v1::ListVersionsRequest,
) -> Result<v1::ListVersionsResponse, ApiError> {
    let service = lookup::service(&look.state, &request.service_id)?;
    let sources = look.sources();
    let newest_first = service.revisions.values().rev();
    let revisions = newest_first.map(|revision| sources.revision(&service, revision)).collect();
    Ok(v1::ListVersionsResponse { revisions })
}
