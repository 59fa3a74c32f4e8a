//! A door to the Docker engine that a test can shut: a socket that leads to the engine's, for a node that believes it
//! is the engine. Shutting the real one would hurt every other test.

use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Where an engine listens on a machine that nobody has changed.
const ENGINE: &str = "/var/run/docker.sock";

/// The door; it stands while the value lives.
pub struct Gate {
    path: PathBuf,
    open: watch::Sender<bool>,
    keeper: JoinHandle<()>,
}

impl Gate {
    /// Opens a socket at `path`.
    ///
    /// # Errors
    /// Where the path cannot be bound.
    pub fn open_at(path: &Path) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let (open, seen) = watch::channel(true);
        let keeper = tokio::spawn(keep(listener, seen));
        Ok(Self { path: path.to_owned(), open, keeper })
    }

    /// Where a node is to look for the engine.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Cuts every connection and hangs up on new ones, as while an engine restarts.
    pub fn shut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn reopen(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn keep(listener: UnixListener, seen: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if *seen.borrow() {
            connections.spawn(carry(stream, seen.clone()));
        }
    }
}

/// Carries bytes both ways until one side ends or the door is shut.
async fn carry(mut client: UnixStream, mut seen: watch::Receiver<bool>) {
    let Ok(mut engine) = UnixStream::connect(ENGINE).await else { return };
    tokio::select! {
        // A connection that broke is the client's to notice.
        _ = tokio::io::copy_bidirectional(&mut client, &mut engine) => {}
        _ = seen.wait_for(|open| !open) => {}
    }
}
