//! What tasks have written, of several tasks at once.

use super::{Failed, Gone, Placed, Places, Replies};
use crate::runtime::unix_nanos;
use futures::StreamExt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Code;
use warren_core::id::TaskId;
use warren_drivers::runtime::{ContainerRuntime, LogLine, LogOptions, OutputStream};
use warren_wire::v1;
use warren_wire::v1::relay_reply::Reply;

/// Tasks of one request: more than a node has addresses for.
const TASKS_MAX: usize = 256;
/// Lines of each task that are read ahead.
const LINES_QUEUED: usize = 16;

/// Answers with the lines of all tasks that were asked for: in the order they were written where the past is asked for,
/// as they come where the caller follows. A task that cannot be read says why, and the others go on.
pub(super) async fn run(
    ask: v1::RelayLogs,
    runtime: Arc<dyn ContainerRuntime>,
    places: Places,
    replies: Replies,
) -> Result<Result<(), Failed>, Gone> {
    if ask.task_ids.len() > TASKS_MAX {
        let message = format!("logs of more than {TASKS_MAX} tasks at once");
        return Ok(Err(Failed { code: Code::InvalidArgument, message }));
    }
    let options = LogOptions {
        follow: ask.follow,
        tail: ask.tail,
        since: (ask.since_unix_ms > 0)
            .then(|| UNIX_EPOCH + Duration::from_millis(ask.since_unix_ms)),
    };
    let mut readers = JoinSet::new();
    let mut queues = Vec::new();
    for id in &ask.task_ids {
        let Ok(task) = id.parse::<TaskId>() else {
            let message = format!("{id:?} is not the id of a task");
            return Ok(Err(Failed { code: Code::InvalidArgument, message }));
        };
        let (lines, queue) = mpsc::channel(LINES_QUEUED);
        let reader = Reader { task, runtime: Arc::clone(&runtime), places: places.clone(), lines };
        readers.spawn(reader.run(options.clone()));
        queues.push(queue);
    }
    if ask.follow {
        as_they_come(queues, &replies).await?
    } else {
        by_time(queues, &replies).await?
    }
    Ok(Ok(()))
}

async fn as_they_come(
    queues: Vec<mpsc::Receiver<v1::LogsResponse>>,
    replies: &Replies,
) -> Result<(), Gone> {
    let streams = queues.into_iter().map(tokio_stream::wrappers::ReceiverStream::new);
    let mut all = futures::stream::select_all(streams);
    while let Some(line) = all.next().await {
        replies.send(Reply::Log(line)).await?;
    }
    Ok(())
}

async fn by_time(
    queues: Vec<mpsc::Receiver<v1::LogsResponse>>,
    replies: &Replies,
) -> Result<(), Gone> {
    let mut heads = Vec::new();
    for mut queue in queues {
        if let Some(line) = queue.recv().await {
            heads.push((line, queue));
        }
    }
    while let Some(first) = (0..heads.len()).min_by_key(|i| heads[*i].0.at_unix_ns) {
        let line = match heads[first].1.recv().await {
            Some(next) => std::mem::replace(&mut heads[first].0, next),
            None => heads.swap_remove(first).0,
        };
        replies.send(Reply::Log(line)).await?;
    }
    Ok(())
}

/// Reads one task.
struct Reader {
    task: TaskId,
    runtime: Arc<dyn ContainerRuntime>,
    places: Places,
    lines: mpsc::Sender<v1::LogsResponse>,
}

impl Reader {
    /// Follows the task through its restarts, where that is wanted.
    async fn run(mut self, mut options: LogOptions) {
        loop {
            let placed = self.places.borrow_and_update().get(&self.task).cloned();
            let Some(placed) = placed else {
                return self.problem("", "it has no container on this node").await;
            };
            match self.read(&placed, &options).await {
                Ok(Some(last)) => {
                    // What was read is not read again from the next run.
                    options.tail = None;
                    options.since = Some(last + Duration::from_nanos(1));
                }
                Ok(None) => {}
                Err(problem) => return self.problem(&placed.title, &problem).await,
            }
            if self.lines.is_closed() || !options.follow || !self.next_run(placed.run).await {
                return;
            }
        }
    }

    /// Waits until another run of the task begins; false where its container is gone.
    async fn next_run(&mut self, ended: Option<u64>) -> bool {
        let task = self.task;
        let another = self.places.wait_for(|places| {
            places.get(&task).is_none_or(|placed| placed.run.is_some() && placed.run != ended)
        });
        another.await.is_ok_and(|places| places.contains_key(&task))
    }

    /// Sends all there is and tells when the last line was written.
    async fn read(
        &self,
        placed: &Placed,
        options: &LogOptions,
    ) -> Result<Option<std::time::SystemTime>, String> {
        let stream = self.runtime.logs(&placed.container, options.clone()).await;
        let mut stream = stream.map_err(|error| error.to_string())?;
        let mut last = None;
        while let Some(line) = stream.next().await {
            let line = line.map_err(|error| error.to_string())?;
            last = Some(line.at);
            if self.lines.send(self.message(&placed.title, line)).await.is_err() {
                break;
            }
        }
        Ok(last)
    }

    fn message(&self, title: &str, line: LogLine) -> v1::LogsResponse {
        v1::LogsResponse {
            task_id: self.task.to_string(),
            task: title.to_owned(),
            at_unix_ns: unix_nanos(line.at),
            stderr: line.stream == OutputStream::Stderr,
            line: line.bytes.to_vec(),
            problem: String::new(),
        }
    }

    async fn problem(&self, title: &str, problem: &str) {
        let line = v1::LogsResponse {
            task_id: self.task.to_string(),
            task: title.to_owned(),
            problem: problem.to_owned(),
            ..v1::LogsResponse::default()
        };
        // A caller that is gone needs no reason.
        let _ = self.lines.send(line).await;
    }
}
