//! Threads of their own for what others must not keep waiting, or not keep others waiting.
//!
//! Consensus: thousands of connections stand in one queue, and a leader's signs of life, which pass through it several
//! times each, would come later than its lease lasts. And handshakes: when a leader is lost, all nodes come at once,
//! and each takes the processor for a millisecond or two.

use std::io;
use std::thread::available_parallelism;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// Of consensus: one that decides, and one for the messages and the disk.
const RAFT_THREADS: usize = 2;

/// How many turns these threads take before they look for what has come from the network. A connection stays with the
/// threads that shook its hand: what comes on it is not to wait for many handshakes.
const TURNS: u32 = 4;

/// See the module's documentation. What runs there ends with it, and so do the connections that were made there.
pub struct Apart(Option<Runtime>);

impl Apart {
    /// Starts those of consensus.
    ///
    /// # Errors
    /// The system gives no way to wait for the network.
    pub fn for_raft() -> io::Result<Self> {
        Self::new("raft", RAFT_THREADS)
    }

    /// Starts those of the port: half as many as there are processors.
    ///
    /// # Errors
    /// The system gives no way to wait for the network.
    pub fn for_port() -> io::Result<Self> {
        let processors = available_parallelism().map_or(1, usize::from);
        Self::new("port", processors.div_ceil(2))
    }

    fn new(name: &str, count: usize) -> io::Result<Self> {
        let mut threads = Builder::new_multi_thread();
        let threads = threads.worker_threads(count).thread_name(name).event_interval(TURNS);
        Ok(Self(Some(threads.enable_all().build()?)))
    }

    /// Does `work` there, and whatever it starts. Cancelling cancels `work`.
    ///
    /// # Panics
    /// Where `work` does.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let mut set = JoinSet::new();
        if let Some(runtime) = &self.0 {
            set.spawn_on(work, runtime.handle());
        }
        set.join_all().await.pop().expect("the threads are there until this is dropped")
    }
}

impl Drop for Apart {
    /// Waits for nothing, since it may happen where nothing may wait.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Duration, timeout};

    #[tokio::test]
    async fn work_and_what_it_starts_runs_on_threads_of_its_own_until_they_are_dropped() {
        let apart = Apart::for_raft().unwrap();
        let (alive, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        let names = apart.run(async move {
            let name = || std::thread::current().name().map(ToOwned::to_owned);
            tokio::spawn(async move {
                let _alive = alive;
                std::future::pending::<()>().await;
            });
            (name(), tokio::spawn(async move { name() }).await.unwrap())
        });
        let (first, second) = names.await;
        assert_eq!((first.as_deref(), second.as_deref()), (Some("raft"), Some("raft")));
        assert!(!ended.is_closed() && ended.try_recv().is_err(), "it still runs");
        drop(apart);
        let gone = timeout(Duration::from_secs(60), ended.recv()).await;
        assert_eq!(gone.expect("what it started ends with it"), None);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_ends() {
        let apart = Apart::for_port().unwrap();
        let (alive, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        let work = apart.run(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        assert!(timeout(Duration::from_millis(1), work).await.is_err());
        assert_eq!(timeout(Duration::from_secs(60), ended.recv()).await.expect("it ends"), None);
    }
}
