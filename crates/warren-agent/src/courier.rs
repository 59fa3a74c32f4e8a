//! Brings secrets and configs from the leader to where the node's tasks read them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Channel;
use warren_core::assignment::Assignment;
use warren_core::converge::{Failure, FailureKind};
use warren_core::id::TaskId;
use warren_core::spec::{FileKind, FileRef, Template};
use warren_drivers::files::{FileError, FileStore, TaskFile};
use warren_drivers::runtime::{FileSet, process};
use warren_wire::convert::file;
use warren_wire::v1;
use warren_wire::v1::sessions_client::SessionsClient;
use zeroize::Zeroizing;

/// How long the leader may take for one file: it has it in memory, and half a megabyte takes seconds on a slow line.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// Fetches what tasks use. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Courier {
    pub(crate) store: Arc<FileStore>,
    /// The way to the leader, while there is a session.
    pub(crate) link: watch::Receiver<Option<Channel>>,
    /// Whether tasks have files of their own, so that what has no owner is root's.
    pub(crate) containers: bool,
}

impl Courier {
    /// Has the files of a task where it reads them. Those that are there already are not asked for again, so that a
    /// task is started again also while no manager can be reached.
    pub(crate) async fn bring(&self, assignment: &Assignment) -> Result<(), Failure> {
        let template = &assignment.template;
        if template.files.is_empty() || self.store.find(assignment.task).is_some() {
            return Ok(());
        }
        let mut files = Vec::with_capacity(template.files.len());
        for file in &template.files {
            let content = self.fetch(assignment.task, file).await?;
            let (target, mode) = (file.target.clone(), file.mode);
            files.push(TaskFile { target, content, mode, uid: file.uid, gid: file.gid });
        }
        let secret = template.files.iter().any(|file| file.kind == FileKind::Secret);
        let (store, task, owner) = (Arc::clone(&self.store), assignment.task, self.owner(template));
        let written =
            tokio::task::spawn_blocking(move || store.write(task, secret, owner, &files)).await;
        match written {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => {
                Err(passing("its files could not be written: the agent is ending".to_owned()))
            }
        }
    }

    /// What a container is to be made with; nothing where its task has no files.
    pub(crate) fn files(&self, assignment: &Assignment) -> Option<FileSet> {
        let folder = self.store.find(assignment.task)?;
        let files = &assignment.template.files;
        let targets = files.iter().map(|file| file.target.clone());
        (!files.is_empty()).then(|| FileSet { folder, targets: targets.collect() })
    }

    /// Whose files are that do not say.
    fn owner(&self, template: &Template) -> Option<(u32, u32)> {
        template.user.as_deref().filter(|_| !self.containers).and_then(process::owner)
    }

    async fn fetch(&self, task: TaskId, file: &FileRef) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let what = format!("{} {}", file.kind, file.name);
        let waits = |why: &str| passing(format!("waits for {what}: {why}"));
        let Some(channel) = self.link.borrow().clone() else {
            return Err(waits("no manager is in reach"));
        };
        let request = v1::FetchFileRequest {
            task_id: task.to_string(),
            kind: file::render_kind(file.kind).into(),
            name: file.name.to_string(),
            version: file.version.map_or(0, |version| version.0),
        };
        let mut client = SessionsClient::new(channel);
        match timeout(FETCH_TIMEOUT, client.fetch_file(request)).await {
            Ok(Ok(answer)) => Ok(Zeroizing::new(answer.into_inner().content)),
            Ok(Err(status)) => Err(waits(status.message())),
            Err(_) => Err(waits(&format!("the manager did not answer within {FETCH_TIMEOUT:?}"))),
        }
    }

    /// Where the store is, for a sweep.
    pub(crate) fn store(&self) -> Arc<FileStore> {
        Arc::clone(&self.store)
    }
}

/// Where the files of a node's tasks are, below the folder of its agent.
pub(crate) fn folder(data_dir: &std::path::Path) -> PathBuf {
    data_dir.join("files")
}

fn passing(message: String) -> Failure {
    Failure { kind: FailureKind::Passing, message }
}

fn failure(error: &FileError) -> Failure {
    match error {
        // It will be refused again here; another node may do.
        FileError::NoMemory { .. } => {
            Failure { kind: FailureKind::Fatal, message: error.to_string() }
        }
        FileError::Write { source, .. } => passing(format!("{error}: {source}")),
    }
}
