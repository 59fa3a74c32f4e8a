//! The floor by itself, with time as the test has it.

use super::super::{Agent, LOOKED_QUEUED, NEWS_QUEUED, Published};
use super::*;
use crate::book::Book;
use crate::book::tests::task;
use crate::tests::{Sim, options};
use tokio::sync::watch;
use warren_core::ClusterId;
use warren_core::assignment::Assignment;
use warren_core::converge::Sweep;
use warren_core::id::NodeId;

/// A floor and a desk that nobody talks to.
struct Bench {
    desk: Desk,
    floor: Floor,
    sim: Sim,
    now: Tick,
    _dir: tempfile::TempDir,
    _news: mpsc::Receiver<News>,
    _looked: mpsc::Receiver<Looked>,
    _published: Published,
}

impl Bench {
    fn new() -> Self {
        let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::new());
        let membership = Membership {
            node: NodeId(1),
            cluster: ClusterId(7),
            epoch: 1,
            subnet: "10.210.0.0/24".parse().unwrap(),
            zone: "warren".to_owned(),
        };
        let cached = Cached { membership: Some(membership), ..Cached::default() };
        let options = options(dir.path(), dir.path().join("none.sock"));
        let (agent, published) = Agent::new(options, sim.opener()).unwrap();
        let (keep, _) = watch::channel(Arc::new(cached.clone()));
        let desk = Desk::new(agent.options, 1, &cached, agent.publish, keep);
        let (news, news_out) = mpsc::channel(NEWS_QUEUED);
        let (looked, looked_out) = mpsc::channel(LOOKED_QUEUED);
        let courier = super::super::courier(desk.options(), watch::channel(None).1);
        let floor = Floor::new(agent.open, &cached, courier, news, looked);
        let now = Tick::from_ms(1);
        let (_news, _looked, _published, _dir) = (news_out, looked_out, published, dir);
        Self { desk, floor, sim, now, _dir, _news, _looked, _published }
    }

    fn assign(&mut self, revision: u64, tasks: &[Assignment]) {
        let all = tasks.iter().map(|task| (task.task, task.clone())).collect();
        self.desk.book = Book::new(revision, Arc::new(all));
        self.desk.sweep = Sweep::AtMost(None);
    }

    fn turn(&mut self) {
        let outcome = self.floor.turn(&self.desk, self.now);
        self.desk.take_over(outcome, &self.floor, self.now);
    }

    /// Turns, with all that children bring, until the world is as `done` says.
    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        self.turn();
        while !done(self) {
            match crate::tests::within(what, self.floor.next()).await {
                Event::Done(done) => self.floor.handle_done(done, self.now),
                Event::Work(work) => self.floor.handle_work(work, &self.desk, self.now),
                Event::Shutdown
                | Event::Session(_)
                | Event::News(_)
                | Event::Looked(_)
                | Event::Acked
                | Event::RelayEnded(_)
                | Event::Time => {}
            }
            self.turn();
        }
    }

    fn cleanups(&self) -> Vec<Vec<PinnedImage>> {
        self.sim.world().cleaned.clone()
    }
}

#[tokio::test]
async fn images_are_cleaned_up_a_while_after_tasks_changed_and_not_before() {
    let mut bench = Bench::new();
    let mut web = task(1, Want::Run);
    web.template.pinned = Some(PinnedImage("sha256:v1".to_owned()));
    bench.assign(1, &[web.clone()]);
    let up = |bench: &Bench| bench.desk.outbox.statuses().values().any(|status| status.ready);
    bench.until("the task runs", up).await;
    bench.now = bench.now.after(Duration::from_secs(50));
    web.template.pinned = Some(PinnedImage("sha256:v2".to_owned()));
    bench.assign(2, &[web]);
    bench.turn();
    bench.now = bench.now.after(Duration::from_secs(50));
    bench.turn();
    assert_eq!(bench.cleanups().len(), 0, "tasks changed a moment ago");
    bench.now = bench.now.after(Duration::from_secs(20));
    let cleaned = |bench: &Bench| !bench.floor.cleaning && !bench.cleanups().is_empty();
    bench.until("images are cleaned up", cleaned).await;
    let both = ["sha256:v1", "sha256:v2"].map(|image| PinnedImage(image.to_owned()));
    assert_eq!(bench.cleanups(), [both.to_vec()]);
    bench.now = bench.now.after(Duration::from_secs(3600));
    bench.turn();
    assert!(!bench.floor.cleaning, "once is enough while nothing changes");
}

#[tokio::test]
async fn starts_are_bounded_and_all_come_to_run() {
    let mut bench = Bench::new();
    let tasks: Vec<_> = (1..=40).map(|id| task(id, Want::Run)).collect();
    bench.assign(1, &tasks);
    let most = std::cell::Cell::new(0);
    let all_run = |bench: &Bench| {
        most.set(most.get().max(bench.floor.busy.len()));
        bench.sim.running().len() == 40
    };
    bench.until("all run", all_run).await;
    assert_eq!(most.get(), STARTS_MAX);
}
