//! Calls for the leader that came to another manager: sent on as they are, answers and streams included.

use super::Caller;
use super::caller::SOCKET;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::ServiceExt;
use warren_core::id::NodeId;
use warren_wire::channel::{Dialer, Target};
use warren_wire::trust::node_name;

/// Who is behind a request that another manager sent on, percent-encoded.
const NAME: &str = "warren-caller";
/// Their roles, with commas between.
const ROLES: &str = "warren-caller-roles";
/// From where they called, percent-encoded.
const FROM: &str = "warren-caller-from";
/// How often a request has been sent on already: once is enough.
const HOPS: &str = "warren-hops";

/// Sends calls on.
#[derive(Clone, Debug)]
pub struct Forward {
    dialer: Dialer,
    /// The way to the last leader.
    known: Arc<Mutex<Option<(NodeId, String, Channel)>>>,
}

impl Forward {
    /// By these connections.
    #[must_use]
    pub fn new(dialer: Dialer) -> Self {
        Self { dialer, known: Arc::default() }
    }

    /// Sends a request of `caller` on to the leader `node` at `address`.
    ///
    /// # Errors
    /// The leader cannot be reached, or the request was sent on already.
    pub(super) async fn send(
        &self,
        node: NodeId,
        address: &str,
        caller: &Caller,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Status> {
        let headers = request.headers_mut();
        if headers.contains_key(HOPS) {
            return Err(Status::unavailable(
                "the leader has changed while the request was on its way: ask again",
            ));
        }
        headers.insert(HOPS, HeaderValue::from_static("1"));
        // A stranger's word is not passed on: what lets them in is in the request.
        headers.remove(NAME);
        headers.remove(ROLES);
        headers.remove(FROM);
        if let Some((by, roles)) = caller.vouch() {
            let value = |text: &str| HeaderValue::from_str(&encode(text));
            if let (Ok(name), Ok(roles), Ok(from)) =
                (value(&by.name), value(&roles), value(&by.from))
            {
                headers.insert(NAME, name);
                headers.insert(ROLES, roles);
                headers.insert(FROM, from);
            }
        }
        let channel = self.channel(node, address)?;
        let sent = channel.oneshot(request).await;
        sent.map_err(|error| {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).take();
            Status::new(Code::Unavailable, format!("the leader {node} cannot be reached: {error}"))
        })
    }

    fn channel(&self, node: NodeId, address: &str) -> Result<Channel, Status> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known_node, known_address, channel)) = known.as_ref()
            && *known_node == node
            && known_address == address
        {
            return Ok(channel.clone());
        }
        let target = Target::Tcp(address.to_owned());
        let endpoint = self.dialer.endpoint(&target, &node_name(&node.to_string()));
        let channel = endpoint.map_err(|error| Status::unavailable(error.to_string()))?;
        let channel = channel.connect_lazy();
        *known = Some((node, address.to_owned(), channel.clone()));
        Ok(channel)
    }
}

/// Who is behind a request that the manager `via` sent on.
pub(super) fn vouched(headers: &HeaderMap, via: &str) -> Option<Caller> {
    let text = |key| headers.get(key).and_then(|value: &HeaderValue| value.to_str().ok());
    let (name, roles) = (text(NAME)?, text(ROLES)?);
    let roles: BTreeSet<String> =
        decode(roles).split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect();
    let from = match decode(text(FROM).unwrap_or_default()) {
        from if from == SOCKET => format!("{from} of {via}"),
        from => from,
    };
    Some(Caller::Person { name: decode(name), roles, from })
}

/// A header holds visible ASCII only: the rest, and the per cent sign, as `%` and two digits.
fn encode(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_graphic() && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02x}");
        }
        encoded
    })
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_name_comes_through_a_header(name in ".*", role in "[a-z-]{1,20}", from in ".*") {
            prop_assume!(from != SOCKET);
            let caller = Caller::Person { name, roles: [role].into(), from };
            let (by, roles) = caller.vouch().unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(NAME, HeaderValue::from_str(&encode(&by.name)).unwrap());
            headers.insert(ROLES, HeaderValue::from_str(&encode(&roles)).unwrap());
            headers.insert(FROM, HeaderValue::from_str(&encode(&by.from)).unwrap());
            prop_assert_eq!(vouched(&headers, "n2"), Some(caller));
        }

        #[test]
        fn nothing_that_is_sent_breaks_it(text in "[ -~]*") {
            let _ = decode(&text);
        }
    }

    #[test]
    fn only_known_people_are_vouched_for() {
        assert_eq!(Caller::Stranger { address: None }.vouch(), None);
        let (root, roles) = Caller::Local { uid: 0 }.vouch().unwrap();
        assert_eq!((root.name.as_str(), root.from.as_str()), ("root", SOCKET));
        assert_eq!(roles, "admin");
        assert_eq!(vouched(&HeaderMap::new(), "n2"), None);
    }

    #[test]
    fn whose_socket_it_was_is_told_by_the_certificate_of_the_manager_that_sent_it_on() {
        let mut headers = HeaderMap::new();
        for (key, value) in [(NAME, "root"), (ROLES, "admin"), (FROM, SOCKET)] {
            headers.insert(key, HeaderValue::from_static(value));
        }
        let by = vouched(&headers, "n2").unwrap().actor();
        assert_eq!((by.name.as_str(), by.from.as_str()), ("root", "socket of n2"));
    }
}
