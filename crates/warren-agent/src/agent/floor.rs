//! The side of the agent where tasks run: what the runtime lists, what jobs and looks at tasks say, what is to be done.

mod alone;
mod checks;
mod reach;
mod sweep;

use self::checks::checks;
use self::reach::{HEAR_AGAIN, Link, OPEN_AGAIN, hear, limited};
use super::desk::Desk;
use super::{Event, Residue};
use crate::cache::{Cached, Membership};
use crate::courier::Courier;
use crate::images;
use crate::job::{Done, Job, News};
use crate::metrics;
use crate::prober::{Looked, Prober, Subjects};
use crate::relay::Placed;
use crate::runtime::{self, OpenRuntime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use warren_core::assignment::{Assignments, Want};
use warren_core::converge::{
    self, Check, ContainerState as State, Inputs, Memory, Round, Status, Step, converge,
};
use warren_core::id::TaskId;
use warren_core::spec::PinnedImage;
use warren_core::time::Tick;
use warren_drivers::runtime::{
    BoxStream, Container, ContainerRuntime, NetworkSpec, RuntimeError, RuntimeEvent,
};

/// Tasks that are being started at once: an engine works on about four at a time, and twice as many keep it busy.
const STARTS_MAX: usize = 8;
/// Tasks that are being stopped at once: most of a stop is waiting for the task.
const STOPS_MAX: usize = 32;
/// How often containers are looked at though nothing was heard: what an event that was lost may cost.
pub(crate) const LIST_EVERY: Duration = Duration::from_secs(10);
/// How long after a change of tasks images are cleaned up: a rollback may come at once, and there is no hurry.
const CLEAN_AFTER: Duration = Duration::from_secs(60);
/// How long cleaning up may take; it goes on the next time.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(120);

/// What children did that are not jobs.
pub(super) enum Work {
    Opened(Result<(Arc<dyn ContainerRuntime>, NetworkSpec), RuntimeError>),
    Listed(Result<Vec<Container>, RuntimeError>),
    /// The stream of events began, or could not.
    Events(Result<BoxStream<RuntimeEvent>, RuntimeError>),
    /// Something changed in the runtime, and the stream goes on; or it ended.
    Hint(Option<BoxStream<RuntimeEvent>>),
    Cleaned(Result<Vec<PinnedImage>, RuntimeError>),
    /// Files of tasks that have ended are gone.
    Swept(std::io::Result<bool>),
    /// A child broke.
    Broken,
}

/// How the floor is after a turn.
pub(super) struct Outcome {
    pub(super) statuses: BTreeMap<TaskId, Status>,
    /// Why running strays are left alone.
    pub(super) held: Option<String>,
}

/// What the runtime listed last.
#[derive(Default)]
struct Listing {
    containers: Vec<converge::Container>,
    /// The running ones, with what looking at them takes.
    running: BTreeMap<TaskId, Container>,
    places: Arc<BTreeMap<TaskId, Placed>>,
}

pub(super) struct Floor {
    open: OpenRuntime,
    link: Link,
    network: Option<NetworkSpec>,
    /// Why nothing is known of the containers; absent while the runtime answers.
    silent: Option<String>,
    listing: Option<Listing>,
    /// When to list again, and whether a listing is under way.
    list_at: Tick,
    listing_now: bool,
    /// Something happened since the listing that is under way began.
    list_again: bool,
    hearing: bool,
    memories: BTreeMap<TaskId, Memory>,
    /// Tasks with a job under way, with the way to call it off, and whether it starts them.
    busy: BTreeMap<TaskId, (CancellationToken, bool)>,
    /// Tasks whose job ended since the listing that is used began, and of those the ones that ended before the listing
    /// that is under way began.
    stale: BTreeSet<TaskId>,
    fresh_soon: BTreeSet<TaskId>,
    jobs: JoinSet<Done>,
    work: JoinSet<Work>,
    news: mpsc::Sender<News>,
    prober: Prober,
    resolved: BTreeMap<TaskId, PinnedImage>,
    wake_at: Option<Tick>,
    cleaned_for: Option<Arc<Assignments>>,
    clean_at: Option<Tick>,
    cleaning: bool,
    courier: Courier,
    files: sweep::Files,
    alone: alone::Alone,
}

impl Floor {
    pub(super) fn new(
        open: OpenRuntime,
        cached: &Cached,
        courier: Courier,
        news: mpsc::Sender<News>,
        looked: mpsc::Sender<Looked>,
    ) -> Self {
        let adopted = cached.ready.iter().map(|(task, run)| (*task, Memory::adopted(*run)));
        Self {
            open,
            link: Link::Closed(Tick::default()),
            network: None,
            silent: Some("the container runtime has not been asked yet".to_owned()),
            listing: None,
            list_at: Tick::default(),
            listing_now: false,
            list_again: false,
            hearing: false,
            memories: adopted.collect(),
            busy: BTreeMap::new(),
            stale: BTreeSet::new(),
            fresh_soon: BTreeSet::new(),
            jobs: JoinSet::new(),
            work: JoinSet::new(),
            news,
            prober: Prober::new(looked),
            resolved: BTreeMap::new(),
            wake_at: None,
            cleaned_for: None,
            clean_at: None,
            cleaning: false,
            courier,
            files: sweep::Files::default(),
            alone: alone::Alone::default(),
        }
    }

    pub(super) fn runtime(&self) -> Option<&Arc<dyn ContainerRuntime>> {
        match &self.link {
            Link::Open(runtime) => Some(runtime),
            Link::Closed(_) | Link::Opening => None,
        }
    }

    pub(super) fn resolved(&self) -> &BTreeMap<TaskId, PinnedImage> {
        &self.resolved
    }

    /// The run of a task that is under way.
    pub(super) fn run(&self, task: TaskId) -> Option<u64> {
        self.memories.get(&task).and_then(Memory::run)
    }

    /// Tasks that run, as far as is known.
    pub(super) fn running(&self) -> BTreeSet<TaskId> {
        match &self.listing {
            Some(listing) => listing.running.keys().copied().collect(),
            // Before the first listing whatever ran may run still.
            None => self.memories.keys().copied().collect(),
        }
    }

    pub(super) fn places(&self) -> &Arc<BTreeMap<TaskId, Placed>> {
        static NOWHERE: std::sync::LazyLock<Arc<BTreeMap<TaskId, Placed>>> =
            std::sync::LazyLock::new(Arc::default);
        self.listing.as_ref().map_or(&NOWHERE, |listing| &listing.places)
    }

    pub(super) fn residue(self, desk: &Desk) -> Residue {
        Residue {
            runtime: self.runtime().cloned(),
            files: self.courier.store(),
            open: self.open,
            membership: desk.membership.clone(),
            assignments: Arc::clone(desk.book.assignments()),
        }
    }

    /// When something is to be done even if nothing happens.
    pub(super) fn wake_at(&self, desk: &Desk) -> Option<Tick> {
        let link = match (&self.link, self.listing_now) {
            // Whose containers to ask for is not known before a manager was heard.
            (Link::Closed(at), _) => desk.membership.is_some().then_some(*at),
            (Link::Open(_), false) => Some(self.list_at),
            (Link::Open(_), true) | (Link::Opening, _) => None,
        };
        [link, self.wake_at, self.clean_at, self.alone.at].into_iter().flatten().min()
    }

    /// Waits for the next child to end.
    pub(super) async fn next(&mut self) -> Event {
        let Self { jobs, work, .. } = self;
        tokio::select! {
            Some(done) = jobs.join_next() => match done {
                Ok(done) => Event::Done(done),
                Err(_) => Event::Work(Work::Broken),
            },
            Some(work) = work.join_next() => Event::Work(work.unwrap_or(Work::Broken)),
            else => std::future::pending().await,
        }
    }

    pub(super) fn handle_news(&mut self, news: News) {
        match news {
            News::Begun(task, step) => {
                if let Some(memory) = self.memories.get_mut(&task) {
                    memory.begin(&step);
                }
            }
            News::Note(task, note) => {
                if let Some(memory) = self.memories.get_mut(&task) {
                    memory.note(note);
                }
            }
        }
    }

    pub(super) fn handle_done(&mut self, done: Done, now: Tick) {
        let Done { task, image, result } = done;
        self.busy.remove(&task);
        self.stale.insert(task);
        self.list_soon(now);
        if let Some(image) = image {
            self.resolved.insert(task, image);
        }
        let memory = self.memories.entry(task).or_default();
        match result {
            Ok(()) => memory.done(),
            Err((step, failure)) => memory.failed(&step, failure, now),
        }
    }

    pub(super) fn handle_looked(&mut self, looked: Looked) {
        let Looked { task, check, run, passes, detail } = looked;
        let Some(memory) = self.memories.get_mut(&task) else { return };
        if memory.run() != Some(run) {
            return;
        }
        match passes {
            Some(passes) => {
                tracing::info!(%task, ?check, passes, detail, "verdict of a check");
                if check == Check::Health && !passes {
                    ::metrics::counter!(metrics::UNHEALTHY).increment(1);
                }
                memory.verdict(run, check, passes, detail);
            }
            None => memory.note(detail),
        }
    }

    pub(super) fn handle_work(&mut self, work: Work, desk: &Desk, now: Tick) {
        match work {
            Work::Opened(Ok((runtime, network))) => {
                desk.network_is(network.clone());
                self.network = Some(network);
                self.link = Link::Open(runtime);
                self.list_at = now;
            }
            Work::Opened(Err(error)) => {
                self.link = Link::Closed(now.after(OPEN_AGAIN));
                self.runtime_is_silent(&error);
            }
            Work::Listed(Ok(containers)) => self.listed(&containers, now),
            Work::Listed(Err(error)) => {
                self.listing_now = false;
                // Opened anew, so that a network that went with the runtime is made again.
                self.link = Link::Closed(now.after(OPEN_AGAIN));
                self.runtime_is_silent(&error);
            }
            Work::Events(Ok(stream)) => {
                self.list_soon(now);
                self.work.spawn(hear(stream));
            }
            Work::Hint(Some(stream)) => {
                self.list_soon(now);
                self.work.spawn(hear(stream));
            }
            Work::Events(Err(_)) => self.hearing = false,
            Work::Hint(None) => {
                // The runtime may have gone with its stream of events.
                self.hearing = false;
                self.list_at = self.list_at.min(now.after(HEAR_AGAIN));
            }
            Work::Cleaned(cleaned) => {
                self.cleaning = false;
                match cleaned {
                    Ok(removed) if removed.is_empty() => {}
                    Ok(removed) => tracing::info!(images = removed.len(), "images removed"),
                    Err(error) => tracing::warn!(%error, "images were not cleaned up"),
                }
            }
            Work::Swept(swept) => self.swept(swept),
            Work::Broken => self.mend(now),
        }
    }

    /// A child panicked and took its answer with it: nothing is under way any more, all is looked at anew.
    fn mend(&mut self, now: Tick) {
        tracing::error!("a child of the agent broke, beginning anew");
        self.jobs.abort_all();
        self.work.abort_all();
        (self.jobs, self.work) = (JoinSet::new(), JoinSet::new());
        self.busy.clear();
        (self.listing_now, self.hearing, self.cleaning) = (false, false, false);
        self.files = sweep::Files::default();
        self.listing = None;
        self.link = Link::Closed(now.after(OPEN_AGAIN));
    }

    fn list_soon(&mut self, now: Tick) {
        self.list_at = now;
        self.list_again = self.listing_now;
    }

    fn listed(&mut self, containers: &[Container], now: Tick) {
        self.listing_now = false;
        self.list_at = now.after(LIST_EVERY);
        if self.silent.take().is_some() {
            tracing::info!(containers = containers.len(), "container runtime answers");
        }
        let done = std::mem::take(&mut self.fresh_soon);
        self.stale.retain(|task| !done.contains(task));
        if std::mem::take(&mut self.list_again) {
            self.list_at = now;
        }
        let mut listing = Listing::default();
        let mut places = BTreeMap::new();
        for container in containers {
            let seen = runtime::container(container);
            let run = match seen.state {
                State::Running(run) => Some(run),
                State::Created | State::Exited(_) => None,
            };
            if run.is_some() {
                listing.running.insert(seen.task, container.clone());
            }
            let labels = &container.labels;
            let title = format!("{}.{}", labels.service, labels.slot);
            places.insert(seen.task, Placed { container: container.id.clone(), title, run });
            listing.containers.push(seen);
        }
        listing.places = Arc::new(places);
        self.listing = Some(listing);
    }

    /// Brings the runtime in line with what is wanted now. May be called at any time.
    pub(super) fn turn(&mut self, desk: &Desk, now: Tick) -> Outcome {
        self.reach_runtime(desk, now);
        metrics::flag(metrics::RUNTIME_UP, self.silent.is_none());
        let assignments = self.alone.assignments(desk, now);
        self.resolved.retain(|task, _| assignments.contains_key(task));
        self.call_off(&assignments);
        self.clean(desk, desk.book.assignments(), now);
        let (Some(membership), Some(listing)) = (&desk.membership, &self.listing) else {
            self.wake_at = None;
            let why = self.silent.clone().unwrap_or_default();
            let statuses = converge::unknown(&assignments, &mut self.memories, &why, now);
            return Outcome { statuses, held: None };
        };
        let busy = self.busy.keys().chain(&self.stale).copied().collect();
        let inputs = Inputs {
            assignments: &assignments,
            containers: &listing.containers,
            busy: &busy,
            epoch: membership.epoch,
            sweep: desk.sweep,
            lease: desk.word.lease,
        };
        let Round { jobs, statuses, wake_at, held } = converge(inputs, &mut self.memories, now);
        self.wake_at = wake_at;
        let membership = membership.clone();
        self.start_jobs(jobs, &assignments, &membership, desk);
        self.look(&assignments, &statuses);
        self.sweep_files(&statuses);
        Outcome { statuses, held }
    }

    /// Calls off what is under way for tasks that are not to run any more.
    fn call_off(&self, assignments: &Assignments) {
        for (task, (cancel, _)) in &self.busy {
            let wanted = assignments.get(task).is_some_and(|a| a.want == Want::Run);
            if !wanted {
                cancel.cancel();
            }
        }
    }

    fn start_jobs(
        &mut self,
        jobs: BTreeMap<TaskId, Vec<Step>>,
        assignments: &Assignments,
        membership: &Membership,
        desk: &Desk,
    ) {
        let (Some(runtime), Some(network)) = (self.runtime().cloned(), &self.network) else {
            return;
        };
        let network = network.name.clone();
        for (task, steps) in jobs {
            let starts = steps.iter().any(|step| step.phase().is_some());
            let under_way = self.busy.values().filter(|(_, other)| *other == starts).count();
            // Those that wait are decided again when one under way is done.
            if under_way >= if starts { STARTS_MAX } else { STOPS_MAX } || (starts && self.cleaning)
            {
                continue;
            }
            if let [Step::Start(_)] = steps[..] {
                ::metrics::counter!(metrics::RESTARTS).increment(1);
            }
            let cancel = CancellationToken::new();
            self.busy.insert(task, (cancel.clone(), starts));
            let job = Job {
                task,
                steps,
                assignment: assignments.get(&task).cloned(),
                membership: membership.clone(),
                network: network.clone(),
                resolver: desk.options().resolver,
                runtime: Arc::clone(&runtime),
                courier: self.courier.clone(),
                news: self.news.clone(),
                cancel,
            };
            self.jobs.spawn(job.run());
        }
    }

    /// Has every running task looked at that has a check.
    fn look(&mut self, assignments: &Assignments, statuses: &BTreeMap<TaskId, Status>) {
        let (Some(runtime), Some(listing)) = (self.runtime().cloned(), &self.listing) else {
            return;
        };
        let mut subjects = Subjects::new();
        for (task, container) in &listing.running {
            let Some(assignment) = assignments.get(task).filter(|a| a.want == Want::Run) else {
                continue;
            };
            if statuses.get(task).is_none_or(|status| status.phase.is_final()) {
                continue;
            }
            // A verdict about a run that is not known yet would be lost.
            let known = self.run(*task);
            let checks = checks(assignment, container);
            subjects.extend(checks.filter(|(_, subject)| known == Some(subject.run)));
        }
        self.prober.look_at(subjects, &runtime);
    }

    /// Removes images that nothing needs, a while after the tasks changed.
    fn clean(&mut self, desk: &Desk, assignments: &Arc<Assignments>, now: Tick) {
        let changed =
            self.cleaned_for.as_ref().is_none_or(|known| !Arc::ptr_eq(known, assignments));
        if changed {
            self.cleaned_for = Some(Arc::clone(assignments));
            self.clean_at = Some(now.after(CLEAN_AFTER));
        }
        // A node that no manager has spoken to does not know what it needs.
        let known = desk.sweep != converge::Sweep::Hold;
        if self.clean_at.is_none_or(|at| at > now) {
            return;
        }
        let quiet = known && self.busy.is_empty() && !self.cleaning;
        let Some(runtime) = self.runtime().filter(|_| quiet).cloned() else {
            self.clean_at = Some(now.after(CLEAN_AFTER));
            return;
        };
        let keep = images::keep(&desk.recent, assignments, &self.resolved);
        self.work.spawn(async move {
            let cleaned = limited("cleaning images up", CLEAN_TIMEOUT, runtime.cleanup(&keep));
            Work::Cleaned(cleaned.await)
        });
        self.cleaning = true;
        self.clean_at = None;
    }
}

#[cfg(test)]
mod tests;
