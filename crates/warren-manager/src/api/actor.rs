//! Who asks.

use tonic::Request;
use warren_core::service::Actor;
use warren_wire::channel::peer_uid;

/// Who sent a request: the user at the other end of the unix socket, or the address it came from.
pub(super) fn actor<T>(request: &Request<T>) -> Actor {
    let name = match (peer_uid(request), request.remote_addr()) {
        (Some(0), _) => "root".to_owned(),
        (Some(uid), _) => format!("uid {uid}"),
        (None, Some(address)) => address.ip().to_string(),
        (None, None) => "unknown".to_owned(),
    };
    Actor(name)
}
