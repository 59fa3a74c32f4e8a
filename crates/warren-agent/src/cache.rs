//! What the agent keeps on disk so that it can go on without a manager. Nothing here is the only copy of anything: a
//! damaged cache costs one resync.

use crate::metrics;
use ipnet::Ipv4Net;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warren_core::ClusterId;
use warren_core::assignment::Assignments;
use warren_core::id::{NodeId, TaskId};
use warren_core::spec::{PinnedImage, ServiceName};
use warren_core::traffic::TrafficView;

/// The form of the values. A cache of another form is begun anew.
const FORMAT: u32 = 2;
/// Memory for sled's page cache: all values together are smaller.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// Damaged caches kept for a look: the first is enough to learn from.
const DAMAGED_KEPT: u32 = 3;

/// Who this node is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Membership {
    /// As the cluster calls it.
    pub node: NodeId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's epoch, which a restore makes grow.
    pub epoch: u32,
    /// Where its tasks get addresses from.
    pub subnet: Ipv4Net,
    /// The DNS zone of services, without dots at the ends.
    pub zone: String,
}

impl Membership {
    /// The node's own address in its subnet: gateway of its tasks, and where its resolver listens.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet.network()) + 1)
    }
}

/// All that is kept.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Cached {
    pub(crate) membership: Option<Membership>,
    /// The revision of the assignments.
    pub(crate) revision: u64,
    pub(crate) assignments: Arc<Assignments>,
    pub(crate) traffic: Arc<TrafficView>,
    /// Where managers can be reached.
    pub(crate) managers: Vec<String>,
    /// The runs that were ready, so that an agent that comes back does not take them out of answers.
    pub(crate) ready: BTreeMap<TaskId, u64>,
    /// The images of each service's last revisions, newest last.
    pub(crate) images: BTreeMap<ServiceName, Vec<PinnedImage>>,
}

/// The cache of one agent, open.
pub(crate) struct Cache {
    path: PathBuf,
    /// Absent where the disk refuses even an empty one: then the agent goes on without.
    db: Option<sled::Db>,
    stored: Cached,
}

#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error("the store refuses")]
    Store(#[source] sled::Error),
    #[error("the value of {0} cannot be read")]
    Value(&'static str),
    #[error("the store broke while it was opened")]
    Broke,
}

impl Cache {
    /// Opens the cache in `dir` with what it holds. One that is damaged is moved aside and begun anew.
    pub(crate) async fn open(dir: &Path) -> Self {
        let path = dir.join("cache");
        match open(path.clone()).await {
            Ok((db, stored)) => Self { path, db: Some(db), stored },
            Err(error) => {
                let mut cache = Self { path, db: None, stored: Cached::default() };
                cache.rebuild(&error).await;
                cache
            }
        }
    }

    /// What it holds.
    pub(crate) fn cached(&self) -> &Cached {
        &self.stored
    }

    /// Writes whatever is published until `shutdown`, and the last of it then.
    pub(crate) async fn run(
        mut self,
        mut news: watch::Receiver<Arc<Cached>>,
        shutdown: CancellationToken,
    ) {
        loop {
            let last = tokio::select! {
                () = shutdown.cancelled() => true,
                changed = news.changed() => changed.is_err(),
            };
            let next = news.borrow_and_update().clone();
            self.store(&next).await;
            if last {
                return;
            }
        }
    }

    async fn store(&mut self, next: &Cached) {
        let Some(db) = self.db.clone() else { return };
        if self.stored == *next {
            return;
        }
        if let Err(error) = write(db, self.stored.clone(), next.clone()).await {
            self.rebuild(&error).await;
            self.stored = Cached::default();
            if let Some(db) = self.db.clone()
                && let Err(error) = write(db, Cached::default(), next.clone()).await
            {
                tracing::warn!(%error, "local cache cannot be written, going on without it");
                self.db = None;
            }
        }
        self.stored = next.clone();
    }

    async fn rebuild(&mut self, why: &CacheError) {
        self.db = None;
        let aside = |n| self.path.with_extension(format!("damaged-{n}"));
        let free = (1..DAMAGED_KEPT).find(|n| !aside(*n).exists());
        let aside = aside(free.unwrap_or(DAMAGED_KEPT));
        tracing::warn!(
            error = %chain(why),
            moved_to = %aside.display(),
            "local cache is damaged, beginning a new one from what managers say"
        );
        ::metrics::counter!(metrics::CACHE_REBUILDS).increment(1);
        let _ = std::fs::remove_dir_all(&aside);
        if std::fs::rename(&self.path, &aside).is_err() {
            let _ = std::fs::remove_dir_all(&self.path);
        }
        match open(self.path.clone()).await {
            Ok((db, _)) => self.db = Some(db),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "local cache cannot be opened, going on without it");
            }
        }
    }
}

/// sled answers damage with errors or with panics, so both are caught.
async fn open(path: PathBuf) -> Result<(sled::Db, Cached), CacheError> {
    let opened = tokio::task::spawn_blocking(move || {
        let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES);
        // Written out after each change; nothing is left for a background thread.
        let db = config.flush_every_ms(None).open().map_err(CacheError::Store)?;
        let cached = read(&db)?;
        Ok((db, cached))
    });
    opened.await.unwrap_or(Err(CacheError::Broke))
}

fn read(db: &sled::Db) -> Result<Cached, CacheError> {
    if db.is_empty() {
        return Ok(Cached::default());
    }
    if value::<u32>(db, "format")? != Some(FORMAT) {
        return Err(CacheError::Value("format"));
    }
    let (revision, assignments) = value(db, "assignments")?.unwrap_or_default();
    Ok(Cached {
        membership: value(db, "membership")?,
        revision,
        assignments: Arc::new(assignments),
        traffic: Arc::new(value(db, "traffic")?.unwrap_or_default()),
        managers: value(db, "managers")?.unwrap_or_default(),
        ready: value(db, "ready")?.unwrap_or_default(),
        images: value(db, "images")?.unwrap_or_default(),
    })
}

fn value<T: DeserializeOwned>(db: &sled::Db, key: &'static str) -> Result<Option<T>, CacheError> {
    let bytes = db.get(key).map_err(CacheError::Store)?;
    let read = bytes.map(|bytes| postcard::from_bytes(&bytes));
    read.transpose().map_err(|_| CacheError::Value(key))
}

async fn write(db: sled::Db, old: Cached, new: Cached) -> Result<(), CacheError> {
    let written = tokio::task::spawn_blocking(move || {
        let mut batch = sled::Batch::default();
        batch.insert("format", encode("format", &FORMAT)?);
        if old.membership != new.membership
            && let Some(membership) = &new.membership
        {
            batch.insert("membership", encode("membership", membership)?);
        }
        if (old.revision, &old.assignments) != (new.revision, &new.assignments) {
            let value = encode("assignments", &(new.revision, &*new.assignments))?;
            batch.insert("assignments", value);
        }
        if old.traffic != new.traffic {
            batch.insert("traffic", encode("traffic", &*new.traffic)?);
        }
        if old.managers != new.managers {
            batch.insert("managers", encode("managers", &new.managers)?);
        }
        if old.ready != new.ready {
            batch.insert("ready", encode("ready", &new.ready)?);
        }
        if old.images != new.images {
            batch.insert("images", encode("images", &new.images)?);
        }
        db.apply_batch(batch).map_err(CacheError::Store)?;
        db.flush().map_err(CacheError::Store)?;
        Ok(())
    });
    written.await.unwrap_or(Err(CacheError::Broke))
}

fn encode<T: Serialize>(key: &'static str, value: &T) -> Result<Vec<u8>, CacheError> {
    postcard::to_stdvec(value).map_err(|_| CacheError::Value(key))
}

fn chain(error: &CacheError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Cached {
        Cached {
            membership: Some(Membership {
                node: NodeId(1),
                cluster: ClusterId(7),
                epoch: 1,
                subnet: "10.210.0.0/24".parse().unwrap(),
                zone: "warren".to_owned(),
            }),
            revision: 12,
            traffic: Arc::new(TrafficView { epoch: 3, ..TrafficView::default() }),
            managers: vec!["http://10.0.0.1:7400".to_owned()],
            ready: BTreeMap::from([(TaskId(4), 99)]),
            images: BTreeMap::from([(
                ServiceName::parse("web").unwrap(),
                vec![PinnedImage("sha256:1".to_owned())],
            )]),
            assignments: Arc::default(),
        }
    }

    async fn written(dir: &Path, cached: Cached) {
        let cache = Cache::open(dir).await;
        let (sender, news) = watch::channel(Arc::new(Cached::default()));
        sender.send_replace(Arc::new(cached));
        drop(sender);
        cache.run(news, CancellationToken::new()).await;
    }

    #[tokio::test]
    async fn what_was_kept_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), some()).await;
        assert_eq!(Cache::open(dir.path()).await.cached(), &some());
    }

    #[tokio::test]
    async fn a_damaged_cache_is_moved_aside_and_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0_u8..5 {
            written(dir.path(), some()).await;
            for entry in walk(&dir.path().join("cache")) {
                let len = std::fs::metadata(&entry).unwrap().len();
                std::fs::write(&entry, vec![0xa5 ^ round; usize::try_from(len).unwrap()]).unwrap();
            }
            assert_eq!(Cache::open(dir.path()).await.cached(), &Cached::default());
        }
        assert!(dir.path().join("cache.damaged-1").exists());
        assert!(!dir.path().join("cache.damaged-4").exists());
    }

    #[tokio::test]
    async fn a_cache_of_another_form_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), some()).await;
        let db = sled::open(dir.path().join("cache")).unwrap();
        db.insert("assignments", vec![0xff; 40]).unwrap();
        db.flush().unwrap();
        drop(db);
        assert_eq!(Cache::open(dir.path()).await.cached(), &Cached::default());
    }

    fn walk(dir: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
    }
}
