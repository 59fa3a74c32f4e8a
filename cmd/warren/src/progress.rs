//! Watches a service until it is as it was asked to be, and says who is pending and why.

use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::output;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use warren_wire::v1;

/// Whether and how long to wait.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Waiting")]
pub struct WaitArgs {
    /// Return as soon as the change is written
    #[arg(long, short)]
    pub detach: bool,
    /// Wait until it is done, as is done anyway
    #[arg(long, conflicts_with = "detach")]
    pub wait: bool,
    /// Stop waiting after this long; the work goes on (exit code 4) [default: 10m, for a release no limit]
    #[arg(long, value_name = "TIME", value_parser = crate::flags::words::duration,
        conflicts_with = "detach")]
    pub wait_timeout: Option<Duration>,
}

/// How long tasks are waited for where nothing else is said.
const WAIT_TIMEOUT: Duration = Duration::from_secs(600);

/// What a watched service is waited for to become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// As its intent of this generation says.
    Settled {
        /// The generation that the change made.
        generation: u64,
    },
    /// Gone.
    Gone,
}

/// How far a service is from the goal.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Standing {
    Reached,
    OnTheWay,
    /// It will not get there without somebody's help.
    Stuck(String),
}

/// Waits until the service is there, or says where it stands once waiting ends.
///
/// # Errors
/// The time is up or Ctrl-C was pressed (the work goes on), or the tasks fail again and again.
pub async fn wait(client: &Client, name: &str, goal: Goal, wait: &WaitArgs) -> Outcome {
    if wait.detach {
        output::say(format_args!(
            "{name}: written, the work goes on; see it with `warren service ps {name}` and `warren why {name}`"
        ));
        return Ok(());
    }
    let timeout = wait.wait_timeout.unwrap_or(WAIT_TIMEOUT);
    let deadline = Instant::now() + timeout;
    let mut shown = Shown::new();
    let mut last = v1::WatchServiceResponse::default();
    loop {
        let watched = tokio::select! {
            watched = watch(client, name, goal, &mut shown, &mut last) => watched,
            () = tokio::time::sleep_until(deadline) => {
                let time = output::duration(timeout);
                Err(given_up(name, goal, &last, &format!("not done after {time}")))
            }
            _ = tokio::signal::ctrl_c() => Err(given_up(name, goal, &last, "stopped watching")),
        };
        match watched {
            // The stream ended without a word: the manager restarts or another one leads.
            Ok(None) => {
                shown.show(vec![format!("{name}: the cluster does not answer; trying again")]);
                tokio::time::sleep(RECONNECT).await;
            }
            Ok(Some(text)) => {
                shown.end();
                output::say(text);
                return Ok(());
            }
            Err(failure) => {
                shown.end();
                return Err(failure);
            }
        }
    }
}

/// Between two attempts to watch again: short against a change of leaders, long against a busy loop.
const RECONNECT: Duration = Duration::from_millis(300);

fn given_up(name: &str, goal: Goal, last: &v1::WatchServiceResponse, why: &str) -> Failure {
    let standing = summary(last, goal);
    Failure::new(Exit::Unfinished, format!("{name}: {why}; {standing}")).hint(format!(
        "the work goes on; see it with `warren service ps {name}` and `warren why {name}`"
    ))
}

async fn watch(
    client: &Client,
    name: &str,
    goal: Goal,
    shown: &mut Shown,
    last: &mut v1::WatchServiceResponse,
) -> Outcome<Option<String>> {
    let asked = v1::WatchServiceRequest { service_id: name.to_owned() };
    let mut stream = match client.services().watch_service(asked).await {
        Ok(stream) => stream.into_inner(),
        Err(status) if status.code() == tonic::Code::NotFound && goal == Goal::Gone => {
            return Ok(Some(format!("{name} is gone")));
        }
        Err(status) if status.code() == tonic::Code::Unavailable => return Ok(None),
        Err(status) => return Err(status.into()),
    };
    loop {
        let seen = match stream.message().await {
            Ok(Some(seen)) => seen,
            Ok(None) if goal == Goal::Gone => return Ok(Some(format!("{name} is gone"))),
            Ok(None) => return Ok(None),
            Err(status) if may_pass(status.code()) => return Ok(None),
            Err(status) => return Err(status.into()),
        };
        match standing(&seen, goal) {
            Standing::Reached if goal == Goal::Gone => {
                return Ok(Some(format!("{name} is gone")));
            }
            Standing::Reached => {
                return Ok(Some(format!("{name} is up: {}", summary(&seen, goal))));
            }
            Standing::Stuck(why) => {
                return Err(Failure::new(Exit::Failed, format!("{name}: {why}"))
                    .hint(stuck_hint(name, &seen)));
            }
            Standing::OnTheWay => shown.show(lines(name, &seen, goal)),
        }
        *last = seen;
    }
}

/// What to look at where tasks fail: what they say, if any of them has run.
fn stuck_hint(name: &str, seen: &v1::WatchServiceResponse) -> String {
    let rejected = |task: &v1::Task| task.phase == "rejected";
    let mut others = seen.tasks.iter().filter(|task| !rejected(task));
    if seen.tasks.iter().any(rejected)
        && others.all(|task| task.phase != "running" && !has_ended(task))
    {
        return format!(
            "no task of it could be started; Warren keeps trying, `warren why {name}` says when"
        );
    }
    format!("Warren keeps trying; `warren service logs {name}` shows what the tasks say")
}

fn may_pass(code: tonic::Code) -> bool {
    use tonic::Code;
    matches!(code, Code::Unavailable | Code::Aborted | Code::Unknown | Code::Cancelled)
}

fn standing(seen: &v1::WatchServiceResponse, goal: Goal) -> Standing {
    let Some(service) = &seen.service else {
        return match goal {
            Goal::Gone => Standing::Reached,
            Goal::Settled { .. } => Standing::Stuck("it was removed in the meantime".into()),
        };
    };
    let Goal::Settled { generation } = goal else {
        return Standing::OnTheWay;
    };
    if service.generation < generation {
        return Standing::OnTheWay;
    }
    let live = seen.tasks.iter().filter(|task| !has_ended(task)).count();
    let serving = seen.tasks.iter().filter(|task| serves(task, service.revision)).count();
    let desired = usize::try_from(service.desired).unwrap_or(usize::MAX);
    match service.status.as_str() {
        "running" if serving == desired && live == desired && is_proven(service) => {
            Standing::Reached
        }
        "crash-looping" => {
            Standing::Stuck(format!("its tasks fail again and again: {}", why(seen)))
        }
        "deleting" => Standing::Stuck("it is being removed".into()),
        _ => Standing::OnTheWay,
    }
}

/// Whether the tasks have run for `min_ready`, so that this version is the one to go back to.
fn is_proven(service: &v1::Service) -> bool {
    service.stable_revision == service.revision
}

/// Whether a task has come to its end.
pub fn has_ended(task: &v1::Task) -> bool {
    !matches!(task.phase.as_str(), "new" | "assigned" | "preparing" | "starting" | "running")
}

fn serves(task: &v1::Task, revision: u32) -> bool {
    task.ready && task.desired == "run" && task.revision == revision
}

/// The newest reason why a task failed.
fn why(seen: &v1::WatchServiceResponse) -> String {
    let failed = |task: &&v1::Task| matches!(task.phase.as_str(), "failed" | "rejected");
    let details = |task: &&v1::Task| !task.detail.is_empty();
    let newest = |task: &&v1::Task| std::cmp::Reverse(task.phase_age_ms);
    let tasks = || seen.tasks.iter().filter(details);
    let task = tasks().filter(failed).max_by_key(newest).or_else(|| tasks().max_by_key(newest));
    match (task, seen.waits.first()) {
        (Some(task), _) => format!("{}.{}: {}", task.service, task.slot, task.detail),
        (None, Some(wait)) => wait.reason.clone(),
        (None, None) => "no reason was reported".into(),
    }
}

fn summary(seen: &v1::WatchServiceResponse, goal: Goal) -> String {
    match &seen.service {
        None => "nothing was heard of it yet".into(),
        Some(service) if goal == Goal::Gone || service.status == "deleting" => {
            let live = seen.tasks.iter().filter(|task| !has_ended(task)).count();
            let tasks = if live == 1 { "task" } else { "tasks" };
            format!("{live} {tasks} to stop")
        }
        Some(service) => {
            let serving = seen.tasks.iter().filter(|task| serves(task, service.revision)).count();
            format!("{serving} of {} tasks ready on v{}", service.desired, service.revision)
        }
    }
}

/// What the user sees: one line that is redrawn on a terminal, a new line for each change elsewhere.
pub struct Shown {
    bar: Option<ProgressBar>,
    last: BTreeSet<String>,
}

impl Shown {
    /// Nothing yet.
    pub fn new() -> Self {
        let bar = output::live().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let template = if output::colours() { "{spinner:.green} {msg}" } else { "{msg}" };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, last: BTreeSet::new() }
    }

    /// Shows `lines` in place of those before.
    pub fn show(&mut self, lines: Vec<String>) {
        match &self.bar {
            Some(bar) => bar.set_message(lines.join("\n  ")),
            None => {
                for line in lines.iter().filter(|line| !self.last.contains(*line)) {
                    output::say(line);
                }
                self.last = lines.into_iter().collect();
            }
        }
    }

    /// Takes what is redrawn away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Tasks and waits that are shown at most: what fits a small terminal.
const LINES_MAX: usize = 8;

fn lines(name: &str, seen: &v1::WatchServiceResponse, goal: Goal) -> Vec<String> {
    let Some(service) = &seen.service else {
        return vec![format!("{name}: waiting to hear of it")];
    };
    let mut lines = vec![format!("{name}: {}", summary(seen, goal))];
    // What the cluster waits for says more than what the task does.
    let explained = |task: &v1::Task| {
        let name = format!("{}.{}", task.service, task.slot);
        task.detail.is_empty() && seen.waits.iter().any(|wait| wait.subject == name)
    };
    let pending =
        |task: &&v1::Task| !has_ended(task) && !serves(task, service.revision) && !explained(task);
    let tasks = seen.tasks.iter().filter(pending).map(|task| {
        let doing = match (task.phase.as_str(), task.desired.as_str()) {
            (_, "run") if task.restarting => "waiting to be started again",
            ("running", "run") => "running, not ready yet",
            ("running", _) => "stopping",
            (phase, _) => phase,
        };
        let detail = if task.detail.is_empty() { "" } else { ": " };
        format!("{name}.{} on {}: {doing}{detail}{}", task.slot, task.node, task.detail)
    });
    let tasks: Vec<String> = tasks.collect();
    // Each thing is said once: by the task where it says why, and how many are ready in the line above.
    let told = |wait: &&v1::Wait| {
        let subject = format!("{} on ", wait.subject);
        tasks.iter().any(|task| task.starts_with(&subject))
            || (service.stable_revision == 0 && wait.reason.ends_with("been ready long enough"))
    };
    let waits = seen.waits.iter().filter(|wait| !told(wait));
    let waits: Vec<_> = waits.map(|wait| format!("{}: {}", wait.subject, wait.reason)).collect();
    let mut more: Vec<String> = waits.into_iter().chain(tasks).collect();
    if more.len() > LINES_MAX {
        let rest = more.len() - LINES_MAX;
        more.truncate(LINES_MAX);
        more.push(format!("and {rest} more"));
    }
    lines.extend(more);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(slot: u32, revision: u32, phase: &str, ready: bool) -> v1::Task {
        v1::Task {
            service: "web".into(),
            slot,
            revision,
            phase: phase.into(),
            desired: "run".into(),
            ready,
            node: "host".into(),
            ..v1::Task::default()
        }
    }

    fn seen(status: &str, tasks: Vec<v1::Task>) -> v1::WatchServiceResponse {
        let service = v1::Service {
            generation: 2,
            revision: 2,
            stable_revision: 2,
            desired: 2,
            status: status.into(),
            ..v1::Service::default()
        };
        v1::WatchServiceResponse { service: Some(service), tasks, ..Default::default() }
    }

    const GOAL: Goal = Goal::Settled { generation: 2 };

    #[test]
    fn a_service_has_settled_when_all_tasks_of_the_new_version_serve_and_no_other_lives() {
        let both = vec![task(1, 2, "running", true), task(2, 2, "running", true)];
        assert_eq!(standing(&seen("running", both.clone()), GOAL), Standing::Reached);
        let later = Goal::Settled { generation: 3 };
        assert_eq!(standing(&seen("running", both.clone()), later), Standing::OnTheWay);
        let mut old_still_lives = both.clone();
        old_still_lives.push(task(1, 1, "running", false));
        assert_eq!(standing(&seen("running", old_still_lives), GOAL), Standing::OnTheWay);
        let mut old_has_ended = both;
        old_has_ended.push(task(1, 1, "stopped", false));
        assert_eq!(standing(&seen("running", old_has_ended), GOAL), Standing::Reached);
    }

    #[test]
    fn ready_tasks_have_to_stay_ready_until_their_version_is_accepted() {
        let both = vec![task(1, 2, "running", true), task(2, 2, "running", true)];
        let mut young = seen("running", both);
        young.service.as_mut().unwrap().stable_revision = 0;
        assert_eq!(standing(&young, GOAL), Standing::OnTheWay);
        let health = Some(v1::HealthCheck::default());
        let template = Some(v1::TaskTemplate { health, ..v1::TaskTemplate::default() });
        let spec = v1::ServiceSpec { template, ..v1::ServiceSpec::default() };
        young.service.as_mut().unwrap().spec = Some(spec);
        assert_eq!(standing(&young, GOAL), Standing::OnTheWay, "a check alone proves nothing");
        young.service.as_mut().unwrap().stable_revision = 2;
        assert_eq!(standing(&young, GOAL), Standing::Reached);
    }

    #[test]
    fn a_crash_loop_is_told_with_the_task_s_own_reason() {
        let mut failed = task(1, 2, "failed", false);
        failed.detail = "exited with 1".into();
        let Standing::Stuck(why) = standing(&seen("crash-looping", vec![failed]), GOAL) else {
            panic!("not stuck");
        };
        assert!(why.contains("web.1: exited with 1"), "{why}");
    }

    #[test]
    fn the_logs_are_named_only_where_a_task_has_run() {
        let hint = |phases: &[&str]| {
            let tasks = phases.iter().map(|phase| task(1, 2, phase, false)).collect();
            stuck_hint("web", &seen("crash-looping", tasks))
        };
        assert!(hint(&["rejected", "assigned"]).contains("warren why web"));
        for ran in [&["running"][..], &["failed", "rejected"], &["running", "rejected"]] {
            assert!(hint(ran).contains("warren service logs web"), "{ran:?}");
        }
    }

    #[test]
    fn a_deleted_service_is_gone_or_lost() {
        let gone = v1::WatchServiceResponse::default();
        assert_eq!(standing(&gone, Goal::Gone), Standing::Reached);
        assert!(matches!(standing(&gone, GOAL), Standing::Stuck(_)));
    }

    #[test]
    fn pending_tasks_are_named_with_what_they_do() {
        let mut seen =
            seen("pending", vec![task(1, 2, "running", true), task(2, 2, "starting", false)]);
        seen.waits.push(v1::Wait {
            subject: "web.3".into(),
            reason: "0/1 nodes: 1 insufficient memory".into(),
            ..Default::default()
        });
        assert_eq!(
            lines("web", &seen, GOAL),
            [
                "web: 1 of 2 tasks ready on v2",
                "web.3: 0/1 nodes: 1 insufficient memory",
                "web.2 on host: starting",
            ]
        );
        assert_eq!(lines("web", &seen, Goal::Gone)[0], "web: 2 tasks to stop");
        // What a task says of itself is not said again by the plan.
        seen.service.as_mut().unwrap().stable_revision = 0;
        seen.tasks[1].detail = "pulling 40 %".into();
        let wait = |subject: &str, reason: &str| v1::Wait {
            subject: subject.into(),
            reason: reason.into(),
            ..Default::default()
        };
        seen.waits = vec![
            wait("web", "release: 1 of 2 tasks of v2 have been ready long enough"),
            wait("web.2", "t2 is starting on n1: pulling 40 %"),
        ];
        assert_eq!(
            lines("web", &seen, GOAL),
            ["web: 1 of 2 tasks ready on v2", "web.2 on host: starting: pulling 40 %"]
        );
    }
}
