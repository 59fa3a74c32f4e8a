//! The output of tasks, gathered from their nodes. A node that does not answer is named, and the others go on.

use super::metrics::OpenStream;
use super::reach::{Reach, Replies};
use super::{Api, errors, lookup};
use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use warren_core::State;
use warren_core::id::{NodeId, ServiceId, TaskId};
use warren_core::task::{Phase, Task};
use warren_wire::status::{ApiError, Code};
use warren_wire::v1::relay_reply::Reply;
use warren_wire::v1::{self, LogsResponse};

/// What the lines are of.
enum Subject {
    /// These tasks only.
    Tasks,
    /// A service's, whichever they come to be.
    Service(ServiceId),
}

/// Where a task writes, and what it is called.
type Writers = BTreeMap<TaskId, String>;

struct Lines {
    reach: Arc<dyn Reach>,
    states: watch::Receiver<Arc<State>>,
    shutdown: CancellationToken,
    subject: Subject,
    request: v1::LogsRequest,
    known: BTreeSet<TaskId>,
    nodes: SelectAll<BoxStream<'static, LogsResponse>>,
    ended: bool,
    _open: OpenStream,
}

impl Api {
    pub(super) async fn lines(
        &self,
        request: v1::LogsRequest,
    ) -> Result<BoxStream<'static, Result<LogsResponse, Status>>, ApiError> {
        let state = self.look().await?.state;
        let (subject, tasks) = match (request.service_id.as_str(), request.task_id.as_str()) {
            ("", "") => {
                return Err(ApiError::field("service_id", "is empty: write a service or a task"));
            }
            ("", task) => (Subject::Tasks, lookup::tasks(&state, task)?.all()),
            (service, "") => {
                let service = lookup::service(&state, service)?;
                (Subject::Service(service.id), state.tasks_of(service.id).cloned().collect())
            }
            (_, _) => {
                let problem = "is given beside a service: write one of them";
                return Err(ApiError::field("task_id", problem));
            }
        };
        if let (Subject::Tasks, [task]) = (&subject, tasks.as_slice())
            && task.phase < Phase::Running
        {
            let message = format!("{} has written nothing yet: it is {}", task.id, task.phase);
            return Err(ApiError::new(Code::FailedPrecondition, message));
        }
        let mut lines = Lines {
            reach: Arc::clone(&self.backend.reach),
            states: self.backend.raft.state(),
            shutdown: self.backend.shutdown.clone(),
            subject,
            request,
            known: BTreeSet::new(),
            nodes: SelectAll::new(),
            ended: false,
            _open: OpenStream::new("Logs"),
        };
        let tail = lines.request.tail;
        lines.add(&state, &tasks, tail);
        let lines = stream::unfold(lines, |mut lines| async move {
            let line = lines.next().await?;
            Some((line.map_err(Status::from), lines))
        });
        Ok(lines.boxed())
    }
}

impl Lines {
    async fn next(&mut self) -> Option<Result<LogsResponse, ApiError>> {
        while !self.ended {
            let follows = self.request.follow && self.goes_on();
            if self.nodes.is_empty() && !follows {
                return None;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => {
                    self.ended = true;
                    return Some(Err(errors::stopping()));
                }
                line = self.nodes.next(), if !self.nodes.is_empty() => {
                    if let Some(line) = line {
                        return Some(Ok(line));
                    }
                }
                changed = self.states.changed(), if follows => {
                    self.ended = changed.is_err();
                    self.newcomers();
                }
            }
        }
        None
    }

    /// Whether more tasks may come.
    fn goes_on(&self) -> bool {
        match self.subject {
            Subject::Tasks => false,
            Subject::Service(id) => self.states.borrow().service(id).is_some(),
        }
    }

    /// Reads tasks too that have begun to run since.
    fn newcomers(&mut self) {
        let Subject::Service(id) = self.subject else { return };
        let state = Arc::clone(&self.states.borrow_and_update());
        let tasks: Vec<_> = state.tasks_of(id).cloned().collect();
        self.add(&state, &tasks, None);
    }

    fn add(&mut self, state: &State, tasks: &[Arc<Task>], tail: Option<u32>) {
        let mut nodes = BTreeMap::<NodeId, Writers>::new();
        for task in tasks {
            if task.phase < Phase::Running || !self.known.insert(task.id) {
                continue;
            }
            let service = state.service(task.service);
            let name = service.map(|service| service.spec.name.to_string()).unwrap_or_default();
            let label = format!("{name}.{}", task.slot);
            nodes.entry(task.node).or_default().insert(task.id, label);
        }
        for (node, writers) in nodes {
            let ask = v1::RelayLogs {
                task_ids: writers.keys().map(ToString::to_string).collect(),
                follow: self.request.follow,
                tail,
                since_unix_ms: self.request.since_unix_ms,
            };
            let source =
                Source { reach: Arc::clone(&self.reach), node, writers, stage: Stage::Ask(ask) };
            let lines = stream::unfold(source, |mut source| async move {
                let line = source.next().await?;
                Some((line, source))
            });
            self.nodes.push(lines.boxed());
        }
    }
}

/// One node's lines.
struct Source {
    reach: Arc<dyn Reach>,
    node: NodeId,
    writers: Writers,
    stage: Stage,
}

enum Stage {
    Ask(v1::RelayLogs),
    Read(Box<dyn Replies>),
    Fail(VecDeque<LogsResponse>),
}

impl Source {
    async fn next(&mut self) -> Option<LogsResponse> {
        loop {
            match &mut self.stage {
                Stage::Ask(ask) => {
                    self.stage = match self.reach.logs(self.node, ask.clone()).await {
                        Ok(replies) => Stage::Read(replies),
                        Err(error) => self.failed(&error.message),
                    };
                }
                Stage::Read(replies) => match replies.next().await? {
                    Ok(Reply::Log(line)) => return Some(self.named(line)),
                    Ok(Reply::Pinned(_) | Reply::Exec(_) | Reply::Error(_) | Reply::End(_)) => {
                        self.stage = self.failed("the node answered something else");
                    }
                    Err(error) => self.stage = self.failed(&error.message),
                },
                Stage::Fail(problems) => return problems.pop_front(),
            }
        }
    }

    /// The line with what its writer is called.
    fn named(&self, mut line: LogsResponse) -> LogsResponse {
        let label = line.task_id.parse().ok().and_then(|id: TaskId| self.writers.get(&id));
        if let (Some(label), "") = (label, line.task.as_str()) {
            line.task.clone_from(label);
        }
        line
    }

    fn failed(&self, problem: &str) -> Stage {
        let problems = self.writers.iter().map(|(id, label)| LogsResponse {
            task_id: id.to_string(),
            task: label.clone(),
            problem: problem.to_owned(),
            ..LogsResponse::default()
        });
        Stage::Fail(problems.collect())
    }
}
