//! The session with the leader: finds it, speaks first, hands messages over. What messages mean is decided elsewhere.

use crate::metrics;
use crate::random::random;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use warren_core::node::Encryption;
use warren_wire::channel::{DialError, Dialer, SESSION_BYTES_MAX, Target};
use warren_wire::convert;
use warren_wire::status::LEADER;
use warren_wire::trust::MANAGER_NAME;
use warren_wire::v1::manager_message::Message;
use warren_wire::v1::sessions_client::SessionsClient;
use warren_wire::v1::{self, AgentMessage, agent_message};

/// Messages that may wait for the network: what 64 log requests fill with their credit, twice.
const OUTBOUND: usize = 256;
/// How long a manager may take to answer Hello: it may have to commit this node's registration first, and gives up on
/// that earlier.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(20);
/// The first wait before a manager is tried again; doubled each time. A manager in the same process is up within it.
const RETRY: Duration = Duration::from_millis(100);
/// The longest wait: a node is back this soon after its managers are, and 1,000 nodes make 400 attempts a second.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A session of this length was a good one: the next attempt comes soon. Under leaders that come and go a node must not
/// wait longer each time, or it is taken for lost.
const SETTLED: Duration = Duration::from_secs(2);
/// A session without a lease would never be found dead.
const LEASE_MIN: Duration = Duration::from_millis(100);

/// What happens to the session.
#[derive(Debug)]
pub(crate) enum Event {
    /// A leader took this node on. `outbound` leads to it until the session ends.
    Connected { welcome: Box<v1::Welcome>, outbound: mpsc::Sender<AgentMessage> },
    /// The leader said something.
    Message(Message),
    /// The session ended, or an attempt failed, with the reason for people.
    Disconnected(String),
}

/// Keeps a session.
pub(crate) struct Session {
    /// What to say first, kept up to date.
    pub(crate) hello: watch::Receiver<v1::Hello>,
    /// What is said of encryption with it. When that changes, another session begins.
    pub(crate) encryption: watch::Receiver<Encryption>,
    /// Where managers are, best first, kept up to date.
    pub(crate) managers: watch::Receiver<Vec<Target>>,
    pub(crate) dialer: Dialer,
    pub(crate) events: mpsc::Sender<Event>,
    /// The way to the leader, for what is asked of it beside the session.
    pub(crate) link: watch::Sender<Option<Channel>>,
}

/// A session that stands: the first word, the way there and the way back.
type Attached = (v1::Welcome, mpsc::Sender<AgentMessage>, Streaming<v1::ManagerMessage>);

#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("no address of a manager is known")]
    NoManager,
    #[error("{error}: {}", cause(error))]
    Connect { error: DialError },
    #[error("{}", .0.message())]
    Refused(Status),
    #[error("the manager did not answer within {0:?}")]
    Silent(Duration),
    #[error("the manager ended the session")]
    Ended,
    #[error("the manager did not begin with a welcome")]
    NoWelcome,
    #[error("this node has something new to say of itself")]
    News,
    #[error("the agent is ending")]
    AgentGone,
}

fn cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error.source();
    while let Some(next) = deepest.and_then(std::error::Error::source) {
        deepest = Some(next);
    }
    deepest.map(ToString::to_string).unwrap_or_default()
}

impl Session {
    /// Dials until `shutdown`, one manager after the other.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut wait = RETRY;
        let mut turn = 0;
        let mut leader = None;
        loop {
            let began = Instant::now();
            let target = leader.take().or_else(|| {
                let managers = self.managers.borrow();
                let index = turn % managers.len().max(1);
                turn = index + 1;
                managers.get(index).cloned()
            });
            let attempt = self.attempt(target.clone());
            let error = tokio::select! {
                () = shutdown.cancelled() => return,
                error = attempt => error,
            };
            leader = match error {
                // It is told to whoever led until now.
                SessionError::News => target,
                ref error => leader_named(error),
            };
            if self.events.send(Event::Disconnected(error.to_string())).await.is_err() {
                return;
            }
            wait = if began.elapsed() >= SETTLED { RETRY } else { (wait * 2).min(RETRY_MAX) };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(jittered(wait)) => {}
            }
        }
    }

    /// One session with the manager at `target`, until it fails.
    async fn attempt(&mut self, target: Option<Target>) -> SessionError {
        match self.attach(target).await {
            Ok((channel, (welcome, outbound, inbound))) => {
                self.link.send_replace(Some(channel));
                ::metrics::counter!(metrics::SESSIONS, "result" => "ok").increment(1);
                let ended = self.hear(welcome, outbound, inbound).await;
                self.link.send_replace(None);
                ended
            }
            Err(error) => {
                ::metrics::counter!(metrics::SESSIONS, "result" => "failed").increment(1);
                error
            }
        }
    }

    async fn attach(
        &mut self,
        target: Option<Target>,
    ) -> Result<(Channel, Attached), SessionError> {
        let target = target.ok_or(SessionError::NoManager)?;
        let connected = self.dialer.connect(&target, MANAGER_NAME).await;
        let channel = connected.map_err(|error| SessionError::Connect { error })?;
        let mut client = SessionsClient::new(channel.clone())
            .max_decoding_message_size(SESSION_BYTES_MAX)
            .max_encoding_message_size(SESSION_BYTES_MAX);
        let (outbound, queue) = mpsc::channel(OUTBOUND);
        let encryption = convert::node::render_encryption(*self.encryption.borrow_and_update());
        let hello = v1::Hello { encryption, ..self.hello.borrow_and_update().clone() };
        let hello = AgentMessage { message: Some(agent_message::Message::Hello(hello)) };
        outbound.send(hello).await.map_err(|_| SessionError::Ended)?;
        let attached = timeout(WELCOME_TIMEOUT, async {
            let response = client.attach(ReceiverStream::new(queue)).await;
            let mut inbound = response.map_err(SessionError::Refused)?.into_inner();
            let first = inbound.message().await.map_err(SessionError::Refused)?;
            match first.and_then(|first| first.message) {
                Some(Message::Welcome(welcome)) => Ok((welcome, inbound)),
                Some(_) => Err(SessionError::NoWelcome),
                None => Err(SessionError::Ended),
            }
        });
        let (welcome, inbound) =
            attached.await.map_err(|_| SessionError::Silent(WELCOME_TIMEOUT))??;
        Ok((channel, (welcome, outbound, inbound)))
    }

    async fn hear(
        &mut self,
        welcome: v1::Welcome,
        outbound: mpsc::Sender<AgentMessage>,
        mut inbound: Streaming<v1::ManagerMessage>,
    ) -> SessionError {
        let mut lease = lease(welcome.lease_ms);
        let connected = Event::Connected { welcome: Box::new(welcome), outbound };
        if self.events.send(connected).await.is_err() {
            return SessionError::AgentGone;
        }
        loop {
            let heard = tokio::select! {
                heard = timeout(lease, inbound.message()) => heard,
                () = another(&mut self.encryption) => return SessionError::News,
            };
            let message = match heard {
                Err(_) => return SessionError::Silent(lease),
                Ok(Err(status)) => return SessionError::Refused(status),
                Ok(Ok(None)) => return SessionError::Ended,
                Ok(Ok(Some(message))) => message.message,
            };
            // A message without content is one of a newer manager.
            let Some(message) = message else { continue };
            if let Message::BeatAck(ack) = &message {
                lease = self::lease(ack.lease_ms);
            }
            if self.events.send(Event::Message(message)).await.is_err() {
                return SessionError::AgentGone;
            }
        }
    }
}

/// Returns once the value is another one than was seen last; never where nobody can change it.
async fn another(encryption: &mut watch::Receiver<Encryption>) {
    if encryption.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A manager answers every beat, and three come in a lease: silence for a whole one means that it is gone.
fn lease(ms: u64) -> Duration {
    Duration::from_millis(ms).max(LEASE_MIN)
}

/// Who leads, where the manager that was asked said so.
fn leader_named(error: &SessionError) -> Option<Target> {
    let SessionError::Refused(status) = error else { return None };
    if status.code() != Code::FailedPrecondition {
        return None;
    }
    status.metadata().get(LEADER)?.to_str().ok()?.parse().ok()
}

/// Between half of `wait` and all of it, so that nodes that lost one leader do not come back in step.
fn jittered(wait: Duration) -> Duration {
    let draw = random::<1>().map_or(128, |[byte]| u32::from(byte));
    wait / 2 + wait / 2 * draw / 255
}
