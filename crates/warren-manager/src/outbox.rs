//! The outbox: calls the hooks that the state says are to be called, and writes what came of it. It lives for one term
//! of leadership; what the one before had not written down is done again, so that each call is made at least once.
//!
//! Calls of one release to one address are made in order, one at a time. What hangs holds up nothing else: every
//! service has room of its own.

use crate::metrics;
use crate::options::Options;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use warren_core::State;
use warren_core::command::Command;
use warren_core::id::{NoticeId, ServiceId};
use warren_core::notice::Notice;
use warren_core::spec::HookUrl;
use warren_drivers::hook::Hooks;
use warren_raft::{ProposeError, Raft};

/// Calls of one service that are under way at once: half of the hooks that it may have, and no two to one address.
const CALLS_PER_SERVICE: usize = 8;
/// Calls that are under way at once. Each costs a socket and some kilobytes, for ten minutes at most.
const CALLS_MAX: usize = 512;
/// Results that are written at once: a reason is a quarter of a kilobyte, so that they fit into one entry.
const RESULTS_AT_ONCE: usize = 256;
/// The wait before results are written again where that failed.
const RETRY: Duration = Duration::from_millis(500);

/// What came of a call: why it failed, if it did.
type Answer = Option<String>;

/// What a child of the loop has done.
enum Done {
    /// A hook answered, or was given up.
    Called(NoticeId, Answer),
    /// Results were written, or not.
    Settled(Result<(), ProposeError>),
}

/// See the module's documentation.
pub(crate) struct Outbox {
    raft: Raft,
    hooks: Arc<dyn Hooks>,
    options: Options,
    states: watch::Receiver<Arc<State>>,
    book: Book,
    work: JoinSet<Done>,
    /// The calls among the children.
    calls: HashMap<Id, NoticeId>,
    settling: bool,
    /// Results are not written before this moment.
    not_before: Instant,
}

impl Outbox {
    pub(crate) fn new(raft: Raft, hooks: Arc<dyn Hooks>, options: Options) -> Self {
        let states = raft.state();
        Self {
            raft,
            hooks,
            options,
            states,
            book: Book::default(),
            work: JoinSet::new(),
            calls: HashMap::new(),
            settling: false,
            not_before: Instant::now(),
        }
    }

    /// Runs until `stop`. Calls that are under way then are cut off: the next leader makes them again.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            self.perform();
            let retry = self.not_before;
            let waits = !self.settling && !self.book.answers.is_empty();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(done) = self.work.join_next_with_id() => match done {
                    Ok((child, done)) => {
                        self.calls.remove(&child);
                        self.handle(done);
                    }
                    Err(error) => self.broke_off(&error),
                },
                changed = self.states.changed() => if changed.is_err() { return },
                () = sleep_until(retry), if waits => {}
            }
        }
    }

    fn handle(&mut self, done: Done) {
        match done {
            Done::Called(id, answer) => self.book.answered(id, answer),
            Done::Settled(outcome) => {
                self.settling = false;
                if let Err(error) = outcome {
                    tracing::warn!(%error, "answers of hooks could not be written");
                    self.not_before = Instant::now() + RETRY;
                }
            }
        }
    }

    /// A child has panicked. A call counts as failed, or it would be made and break off for ever.
    fn broke_off(&mut self, error: &JoinError) {
        tracing::error!(%error, "a call of a hook broke off");
        match self.calls.remove(&error.id()) {
            Some(call) => {
                self.book.answered(call, Some("the call broke off inside Warren".to_owned()))
            }
            None => self.settling = false,
        }
    }

    /// Begins the calls that are due, and writes the results that are there.
    fn perform(&mut self) {
        let state = Arc::clone(&self.states.borrow_and_update());
        self.book.forget_settled(&state);
        metrics::hooks_waiting(state.notices().len());
        for notice in self.book.due(state.notices()) {
            self.book.begin(&notice);
            let id = notice.id;
            let call = deliver(Arc::clone(&self.hooks), notice, self.options.hook_back_off);
            self.calls.insert(self.work.spawn(call).id(), id);
        }
        if self.settling || self.book.answers.is_empty() || Instant::now() < self.not_before {
            return;
        }
        let answers = self.book.answers.iter().take(RESULTS_AT_ONCE);
        let results = answers.map(|(id, answer)| (*id, answer.clone())).collect();
        let raft = self.raft.clone();
        self.settling = true;
        self.work.spawn(async move {
            let written = raft.propose(vec![Command::SettleNotices { results }]).await;
            Done::Settled(written.map(|_| ()))
        });
    }
}

/// Calls a hook, again after each pause of `back_off` where that may help.
async fn deliver(
    hooks: Arc<dyn Hooks>,
    notice: Arc<Notice>,
    back_off: &'static [Duration],
) -> Done {
    let mut pauses = back_off.iter();
    let mut attempts = 1_u32;
    let failure = loop {
        let Err(error) = hooks.call(&notice).await else { break None };
        let pause = pauses.next().filter(|_| error.may_pass());
        let (hook, service) = (notice.id, &notice.name);
        tracing::debug!(%hook, %service, %error, attempts, "a hook did not say yes");
        let Some(pause) = pause else { break Some(error) };
        sleep(*pause).await;
        attempts += 1;
    };
    let on = notice.hook.on;
    metrics::hook_done(on, failure.is_none());
    let Some(error) = failure else { return Done::Called(notice.id, None) };
    let why = match attempts {
        1 => error.to_string(),
        _ => format!("{error} ({attempts} attempts)"),
    };
    let (service, rollout) = (&notice.name, notice.rollout);
    tracing::warn!(%service, %rollout, point = %on, error = why, "a hook failed");
    Done::Called(notice.id, Some(why))
}

/// Which calls are under way and which are answered, but not yet written.
#[derive(Default)]
struct Book {
    under_way: BTreeMap<NoticeId, (ServiceId, HookUrl)>,
    answers: BTreeMap<NoticeId, Answer>,
}

impl Book {
    /// The calls to begin now, oldest first.
    fn due<'a>(&self, notices: impl Iterator<Item = &'a Arc<Notice>>) -> Vec<Arc<Notice>> {
        let mut taken: BTreeSet<(ServiceId, &HookUrl)> =
            self.under_way.values().map(|(service, url)| (*service, url)).collect();
        let mut counts: BTreeMap<ServiceId, usize> = BTreeMap::new();
        for (service, _) in self.under_way.values() {
            *counts.entry(*service).or_default() += 1;
        }
        let mut due = Vec::new();
        for notice in notices {
            if self.under_way.len() + due.len() >= CALLS_MAX {
                break;
            }
            if self.under_way.contains_key(&notice.id) || self.answers.contains_key(&notice.id) {
                continue;
            }
            let count = counts.entry(notice.service).or_default();
            if *count < CALLS_PER_SERVICE && taken.insert((notice.service, &notice.hook.url)) {
                *count += 1;
                due.push(Arc::clone(notice));
            }
        }
        due
    }

    fn begin(&mut self, notice: &Notice) {
        self.under_way.insert(notice.id, (notice.service, notice.hook.url.clone()));
    }

    fn answered(&mut self, id: NoticeId, answer: Answer) {
        self.under_way.remove(&id);
        self.answers.insert(id, answer);
    }

    /// Drops the answers that are written, and those that nobody asks for any more.
    fn forget_settled(&mut self, state: &State) {
        if !self.answers.is_empty() {
            let open: BTreeSet<NoticeId> = state.notices().map(|notice| notice.id).collect();
            self.answers.retain(|id, _| open.contains(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_core::id::{RevisionNumber, RolloutId};
    use warren_core::rollout::{Happened, Moment, Phase};
    use warren_core::service::Actor;
    use warren_core::spec::{Hash, Hook, HookPoint, Image, ServiceName, Strategy};
    use warren_core::time::{ClusterTime, WallTime};
    use warren_core::units::Weight;

    fn notice(id: u64, service: u64, url: &str) -> Arc<Notice> {
        let (at, wall) = (ClusterTime::START, WallTime(0));
        Arc::new(Notice {
            id: NoticeId(id),
            hook: Hook::new(HookPoint::Event, HookUrl::parse(url).unwrap()),
            service: ServiceId(service),
            name: ServiceName::parse("web").unwrap(),
            rollout: RolloutId(1),
            attempt: 1,
            strategy: Strategy::Rolling,
            phase: Phase::Updating,
            step: 0,
            weight: Weight::ZERO,
            from: None,
            to: RevisionNumber(1),
            checksum: Hash([0; 32]),
            image: Image::parse("web:v1").unwrap(),
            pinned: None,
            moment: Moment { at, wall, by: Actor::warren(), what: Happened::Started },
        })
    }

    fn due(book: &Book, notices: &[Arc<Notice>]) -> Vec<u64> {
        book.due(notices.iter()).iter().map(|notice| notice.id.0).collect()
    }

    #[test]
    fn calls_to_one_address_wait_for_each_other_and_for_nobody_else() {
        let mut book = Book::default();
        let all = [
            notice(1, 1, "http://a"),
            notice(2, 1, "http://a"),
            notice(3, 1, "http://b"),
            notice(4, 2, "http://a"),
        ];
        assert_eq!(due(&book, &all), [1, 3, 4]);
        book.begin(&all[0]);
        assert_eq!(due(&book, &all), [3, 4]);
        book.answered(NoticeId(1), None);
        assert_eq!(due(&book, &all), [2, 3, 4], "an answer that is not written is not asked again");
    }

    #[test]
    fn a_service_whose_hooks_hang_leaves_room_for_others() {
        let mut all: Vec<_> = (0..20).map(|id| notice(id, 1, &format!("http://h{id}"))).collect();
        all.push(notice(99, 2, "http://h0"));
        let now = due(&Book::default(), &all);
        assert_eq!(now.len(), CALLS_PER_SERVICE + 1);
        assert_eq!(now.last(), Some(&99));
    }
}
