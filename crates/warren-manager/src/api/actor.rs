//! Who asks.

use crate::access::Caller;
use tonic::Request;
use warren_core::service::Actor;
use warren_wire::channel::peer_uid;

/// Who sent a request: whom the gate before the API let in; without a gate, the user at the other end of the socket.
pub(super) fn caller<T>(request: &Request<T>) -> Caller {
    let known = request.extensions().get::<Caller>().cloned();
    known.unwrap_or_else(|| match peer_uid(request) {
        Some(uid) => Caller::Local { uid },
        None => Caller::Stranger { address: request.remote_addr().map(|address| address.ip()) },
    })
}

/// The same, as events and the history call them.
pub(super) fn actor<T>(request: &Request<T>) -> Actor {
    caller(request).actor()
}
