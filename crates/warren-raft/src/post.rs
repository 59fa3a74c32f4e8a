//! What goes from one manager to another and back: one format byte, who says it and for whom it is meant, and then the
//! message, all in postcard. [`Starts`] decides to whom this manager listens.

use crate::network::ReceiveError;
use crate::options::Timers;
use crate::starts::{Displaced, Sender, Starts, Unwelcome};
use crate::transport::{Rpc, Transport, TransportError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use warren_core::id::NodeId;

/// The format of messages between managers. Both ends must agree; a newer build keeps the older ones for one version.
pub(crate) const VERSION: u8 = 2;

/// What comes before a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Address {
    from: Sender,
    /// The start for which it is meant; 0 for any.
    to: u64,
}

/// What comes before an answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Answer {
    from: Sender,
    /// Why there is none.
    refused: Option<Unwelcome>,
}

/// The way to the other managers. Clones share it.
#[derive(Clone)]
pub(crate) struct Post {
    me: Sender,
    transport: Arc<dyn Transport>,
    starts: Arc<Mutex<Starts>>,
    displaced: watch::Sender<Option<Displaced>>,
}

impl Post {
    /// Of this start of `node`, which says that it is reached at `address`.
    pub(crate) fn new(
        node: NodeId,
        address: String,
        timers: &Timers,
        transport: Arc<dyn Transport>,
    ) -> Self {
        // Keyed anew in each process and for each use: two starts draw the same once in 2^64. 0 and the last are taken.
        let start = RandomState::new().hash_one(node).clamp(1, u64::MAX - 1);
        let me = Sender { node: node.0, start, address };
        let starts = Arc::new(Mutex::new(Starts::new(timers)));
        Self { me, transport, starts, displaced: watch::channel(None).0 }
    }

    /// Each change of it is whole before anything in it can panic.
    pub(crate) fn starts(&self) -> MutexGuard<'_, Starts> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why this manager must not go on, once another one has said so.
    pub(crate) fn displaced(&self) -> watch::Receiver<Option<Displaced>> {
        self.displaced.subscribe()
    }

    /// Sends `request` to `node`, which is reached at `address` as agreed, and waits at most `timeout` for the answer.
    ///
    /// # Errors
    /// There is none, it cannot be read, or it is of a start of that manager to which this one does not listen.
    pub(crate) async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        node: NodeId,
        address: &str,
        rpc: Rpc,
        request: &Q,
        timeout: Duration,
    ) -> Result<A, TransportError> {
        let unread = |error: ReceiveError| TransportError::Refused { node, why: error.to_string() };
        let to = self.starts().meant(Instant::now(), node.0);
        let body = encode(&(Address { from: self.me.clone(), to }, request)).map_err(unread)?;
        let bytes = self.transport.call(node, address, rpc, body, timeout).await?;
        let (answer, rest): (Answer, _) = decode(&bytes).map_err(unread)?;
        let unreachable = |why: &str| {
            let (address, why) = (address.to_owned(), why.to_owned());
            TransportError::Unreachable { node, address, why }
        };
        if self.starts().hear(Instant::now(), &answer.from, Some(address)).is_err() {
            return Err(unreachable("the process there is not the one that is this manager"));
        }
        if let Some(why) = answer.refused {
            self.hear_refusal(node, &why);
            return Err(unreachable(match why {
                Unwelcome::NotMeant => "the process there is another one than was heard last",
                Unwelcome::Twin { .. } | Unwelcome::Older { .. } => {
                    "it does not listen to this one"
                }
            }));
        }
        read(rest).map_err(unread)
    }

    /// Whether `node` may be running at `address`: see [`Transport::listens`].
    pub(crate) async fn listens(&self, node: NodeId, address: &str, timeout: Duration) -> bool {
        self.transport.listens(node, address, timeout).await
    }

    fn hear_refusal(&self, by: NodeId, why: &Unwelcome) {
        let me = NodeId(self.me.node);
        tracing::debug!(%by, ?why, "another manager does not listen to this one");
        let displaced = self.starts().refused(Instant::now(), me, by.0, why);
        if let Some(displaced) = displaced {
            self.displaced.send_if_modified(|known| {
                let news = known.is_none();
                known.get_or_insert(displaced);
                news
            });
        }
    }

    /// Opens a message of a manager that is to be listened to; of another, gives the answer that says why not. `agreed`
    /// finds the agreed address of a manager.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn open<'a>(
        &self,
        bytes: &'a [u8],
        agreed: impl FnOnce(u64) -> Option<String>,
    ) -> Result<Result<&'a [u8], Vec<u8>>, ReceiveError> {
        let (address, rest): (Address, _) = decode(bytes)?;
        let Address { from, to } = address;
        let welcome = match to {
            to if to == 0 || to == self.me.start => {
                let agreed = agreed(from.node);
                self.starts().hear(Instant::now(), &from, agreed.as_deref())
            }
            _ => Err(Unwelcome::NotMeant),
        };
        let Err(why) = welcome else { return Ok(Ok(rest)) };
        let node = NodeId(from.node);
        tracing::debug!(%node, address = from.address, ?why, "not listening to a manager");
        let refused = Some(why);
        encode(&(Answer { from: self.me.clone(), refused }, ())).map(Err)
    }

    /// An answer as it travels.
    ///
    /// # Errors
    /// It cannot be written down.
    pub(crate) fn answer<A: Serialize>(&self, answer: &A) -> Result<Vec<u8>, ReceiveError> {
        encode(&(Answer { from: self.me.clone(), refused: None }, answer))
    }
}

fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ReceiveError> {
    postcard::to_extend(message, vec![VERSION]).map_err(meaning)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), ReceiveError> {
    match bytes.split_first() {
        Some((&VERSION, payload)) => postcard::take_from_bytes(payload).map_err(meaning),
        other => Err(ReceiveError::Version { found: other.map(|(version, _)| *version) }),
    }
}

/// Reads what comes after who said it.
///
/// # Errors
/// It is something else.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ReceiveError> {
    postcard::from_bytes(bytes).map_err(meaning)
}

fn meaning(error: postcard::Error) -> ReceiveError {
    ReceiveError::Meaning(error.to_string())
}
