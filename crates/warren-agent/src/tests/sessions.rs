//! How soon a node dials again, in the session's own time.

use super::{Machine, within};
use crate::session::{Event, Session};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use warren_core::node::Encryption;
use warren_wire::channel::{Dialer, Target};
use warren_wire::v1;

/// Sessions of this length, one after the other: how long the node waited before each but the first.
async fn waits(length: Duration) -> Vec<Duration> {
    const SESSIONS: usize = 8;
    let machine = Machine::new();
    let mut manager = machine.manager().await;
    let (events, mut heard) = mpsc::channel(8);
    let (_, hello) = watch::channel(v1::Hello::default());
    let (_, encryption) = watch::channel(Encryption::default());
    let (_, managers) = watch::channel(vec![Target::Unix(machine.socket())]);
    let link = watch::channel(None).0;
    let session = Session { hello, encryption, managers, dialer: Dialer::local(), events, link };
    let shutdown = CancellationToken::new();
    let mut node = JoinSet::new();
    node.spawn(session.run(shutdown.clone()));
    let mut waits = Vec::new();
    for _ in 0..SESSIONS {
        let session = manager.welcome().await;
        within("a session", async {
            while !matches!(heard.recv().await.unwrap(), Event::Connected { .. }) {}
        })
        .await;
        sleep(length).await;
        drop(session);
        let ended = Instant::now();
        within("its end", async {
            while !matches!(heard.recv().await.unwrap(), Event::Disconnected(_)) {}
        })
        .await;
        waits.push(ended);
    }
    shutdown.cancel();
    waits.windows(2).map(|pair| pair[1] - pair[0] - length).collect()
}

/// Under leaders that come and go a node must not wait longer each time, or it is taken for lost.
#[tokio::test(start_paused = true)]
async fn a_node_whose_sessions_last_for_two_seconds_dials_soon_each_time() {
    let waits = waits(Duration::from_secs(2)).await;
    assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(100)), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_turned_away_soon_waits_longer_each_time() {
    let waits = waits(Duration::from_secs(1)).await;
    assert!(waits[6] > Duration::from_secs(2), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(5)), "{waits:?}");
}
