//! The assignments that a node holds, and when it takes over others.

use std::collections::BTreeSet;
use std::sync::Arc;
use warren_core::assignment::{Assignment, Assignments, Want, digest};
use warren_core::converge::brake;
use warren_core::id::TaskId;
use warren_core::spec::FieldError;
use warren_wire::convert::{assignment, text};
use warren_wire::v1;

/// What the node must run, as far as it accepted what it was told.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Book {
    revision: u64,
    assignments: Arc<Assignments>,
    digest: [u8; 32],
}

/// Why assignments are not taken over. What was held before stands.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Manager and node have diverged; a beat with the node's digest makes the manager send all.
    #[error("the change applies to revision {wanted}, this node holds {held}")]
    Apart { wanted: u64, held: u64 },
    /// The result is not what the manager meant.
    #[error("the digest of revision {revision} does not match")]
    Digest { revision: u64 },
    /// It would stop too much.
    #[error("{0}")]
    Held(String),
    /// A message that cannot be read: a newer manager, or a bug.
    #[error("the assignments cannot be read: {0}")]
    Unreadable(FieldError),
}

impl Book {
    pub(crate) fn new(revision: u64, assignments: Arc<Assignments>) -> Self {
        let digest = digest(&assignments);
        Self { revision, assignments, digest }
    }

    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn assignments(&self) -> &Arc<Assignments> {
        &self.assignments
    }

    pub(crate) const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Takes over all assignments, unless that would stop more of the `running` tasks than it may: the message may name
    /// how many; else it is [`brake`]. Where the message is older than what is held it is none, whatever it names. What
    /// was not to run before is none that it stops: it is on its way out already, or a stray, and those have a brake of
    /// their own. Where it is `strange`, that is the cluster was restored since, nor are tasks that it does not name:
    /// they are left alone, and its revision begins a new count.
    pub(crate) fn full(
        &mut self,
        full: v1::Full,
        running: &BTreeSet<TaskId>,
        strange: bool,
    ) -> Result<(), Refusal> {
        let assignments = assignment::parse_all(full.tasks).map_err(Refusal::Unreadable)?;
        let next = Self::new(full.revision, Arc::new(assignments));
        if next.digest[..] != full.digest[..] {
            return Err(Refusal::Digest { revision: full.revision });
        }
        let runs = |task: &TaskId| match next.assignments.get(task) {
            Some(assignment) => assignment.want == Want::Run,
            None => strange,
        };
        let ran = |task: &TaskId| match self.assignments.get(task) {
            Some(assignment) => assignment.want == Want::Run,
            // Of a book that is lost nobody can tell.
            None => self.revision == 0,
        };
        let stops = running.iter().filter(|task| ran(task) && !runs(task)).count();
        let old = full.revision < self.revision && !strange;
        let allowed = match full.stop_allowance {
            _ if old => 0,
            Some(allowance) => allowance as usize,
            None => brake(running.len()),
        };
        if stops > allowed {
            let why = match (strange, old) {
                (true, _) => ", and the cluster was restored since they were started",
                (false, true) => ", and it is older than what this node holds",
                (false, false) => "",
            };
            return Err(Refusal::Held(format!(
                "revision {} of the assignments would stop {stops} of {} running tasks, {allowed} may be stopped at \
                 once{why}: they keep running until the manager allows it",
                full.revision,
                running.len(),
            )));
        }
        *self = next;
        Ok(())
    }

    /// Takes over a change.
    pub(crate) fn change(&mut self, change: v1::Assign) -> Result<(), Refusal> {
        if change.applies_to != self.revision {
            return Err(Refusal::Apart { wanted: change.applies_to, held: self.revision });
        }
        let set = change.set.into_iter().map(assignment::parse);
        let set: Vec<Assignment> = set.collect::<Result<_, _>>().map_err(Refusal::Unreadable)?;
        let removed = change.remove.iter().map(|id| text("remove", id));
        let removed: Vec<TaskId> =
            removed.collect::<Result<_, _>>().map_err(Refusal::Unreadable)?;
        let mut assignments = Assignments::clone(&self.assignments);
        assignments.extend(set.into_iter().map(|assignment| (assignment.task, assignment)));
        for task in removed {
            assignments.remove(&task);
        }
        let next = Self::new(change.results_in, Arc::new(assignments));
        if next.digest[..] != change.digest[..] {
            return Err(Refusal::Digest { revision: change.results_in });
        }
        *self = next;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use warren_core::id::{RevisionNumber, ServiceId, Slot};
    use warren_core::spec::{Image, RestartPolicy, ServiceName, Strategy, Template};
    use warren_core::task::{DeploymentState, Track};

    pub(crate) fn task(id: u64, want: Want) -> Assignment {
        Assignment {
            task: TaskId(id),
            service: ServiceId(1),
            name: ServiceName::parse("web").unwrap(),
            slot: Slot(1),
            revision: RevisionNumber(1),
            template: Template::new(Image::parse("web:v1").unwrap()),
            restart: RestartPolicy::default(),
            track: Track { strategy: Strategy::Rolling, state: DeploymentState::Active },
            address: Ipv4Addr::new(10, 0, 0, 2),
            want,
        }
    }

    fn all(tasks: &[Assignment]) -> Assignments {
        tasks.iter().map(|assignment| (assignment.task, assignment.clone())).collect()
    }

    fn full(revision: u64, tasks: &[Assignment], stop_allowance: Option<u32>) -> v1::Full {
        v1::Full {
            revision,
            tasks: tasks.iter().map(assignment::render).collect(),
            digest: digest(&all(tasks)).to_vec(),
            stop_allowance,
        }
    }

    fn ten() -> (Book, BTreeSet<TaskId>) {
        let tasks: Vec<_> = (1..=10).map(|id| task(id, Want::Run)).collect();
        let book = Book::new(5, Arc::new(all(&tasks)));
        (book, (1..=10).map(TaskId).collect())
    }

    #[test]
    fn a_change_applies_to_what_it_was_made_from_and_nothing_else() {
        let (mut book, _) = ten();
        let mut result = Assignments::clone(book.assignments());
        result.insert(TaskId(11), task(11, Want::Run));
        result.insert(TaskId(2), task(2, Want::Stop));
        result.remove(&TaskId(1));
        let change = v1::Assign {
            applies_to: 5,
            results_in: 6,
            set: vec![
                assignment::render(&task(11, Want::Run)),
                assignment::render(&task(2, Want::Stop)),
            ],
            remove: vec!["t1".to_owned()],
            digest: digest(&result).to_vec(),
        };
        let before = book.clone();
        let wrong = v1::Assign { digest: vec![0; 32], ..change.clone() };
        assert_eq!(book.change(wrong), Err(Refusal::Digest { revision: 6 }));
        let wrong = v1::Assign { remove: vec!["x".to_owned()], ..change.clone() };
        assert!(matches!(book.change(wrong), Err(Refusal::Unreadable(_))));
        assert_eq!(book, before);
        assert_eq!(book.change(change.clone()), Ok(()));
        assert_eq!((book.revision(), &**book.assignments()), (6, &result));
        assert_eq!(book.change(change), Err(Refusal::Apart { wanted: 5, held: 6 }));
    }

    #[test]
    fn a_full_list_that_stops_too_much_is_held() {
        let (mut book, running) = ten();
        let six: Vec<_> = (1..=6).map(|id| task(id, Want::Run)).collect();
        let Err(Refusal::Held(why)) = book.full(full(6, &six, None), &running, false) else {
            panic!("four of ten are more than three");
        };
        assert!(why.contains("would stop 4 of 10 running tasks, 3 may be"), "{why}");
        assert_eq!(book.revision(), 5);
        assert_eq!(book.full(full(6, &six, Some(4)), &running, false), Ok(()));
        assert_eq!(book.assignments().len(), 6);
    }

    // As after a node was taken for lost: what was given up runs on for some seconds.
    #[test]
    fn what_is_on_its_way_out_already_does_not_hold_a_full_list() {
        let (mut book, mut running) = ten();
        let mut tasks: Vec<_> = (1..=10).map(|id| task(id, Want::Run)).collect();
        tasks[9].want = Want::Keep;
        assert_eq!(book.full(full(6, &tasks, Some(1)), &running, false), Ok(()));
        running.extend((11..=14).map(TaskId));
        let seven = &tasks[..7];
        assert_eq!(book.full(full(7, seven, Some(2)), &running, false), Ok(()), "8 and 9 stop");
    }

    #[test]
    fn who_has_lost_the_book_counts_all_that_runs() {
        let (_, running) = ten();
        let six: Vec<_> = (1..=6).map(|id| task(id, Want::Run)).collect();
        let held = Book::default().full(full(6, &six, None), &running, false);
        assert!(matches!(held, Err(Refusal::Held(_))), "{held:?}");
    }

    #[test]
    fn a_full_list_that_stops_a_few_is_taken_over_if_it_is_news_of_this_cluster() {
        let (mut book, running) = ten();
        let mut tasks: Vec<_> = (1..=8).map(|id| task(id, Want::Run)).collect();
        tasks[0].want = Want::Stop;
        for allowance in [None, Some(9)] {
            let Err(Refusal::Held(why)) = book.full(full(4, &tasks, allowance), &running, false)
            else {
                panic!("it is older: {allowance:?}");
            };
            assert!(why.contains("older than what this node holds"), "{why}");
        }
        assert!(book.full(full(6, &tasks, None), &running, false).is_ok());
    }

    #[test]
    fn after_a_restore_what_is_known_is_adopted_and_the_rest_is_left_alone() {
        let (mut book, running) = ten();
        let mut tasks: Vec<_> = (1..=7).map(|id| task(id, Want::Run)).collect();
        assert!(book.clone().full(full(3, &tasks, None), &running, true).is_ok(), "three unknown");
        assert!(book.clone().full(full(3, &[], None), &running, true).is_ok(), "all unknown");
        for task in &mut tasks[..4] {
            task.want = Want::Stop;
        }
        let Err(Refusal::Held(why)) = book.full(full(3, &tasks, None), &running, true) else {
            panic!("four of ten are more than three");
        };
        assert!(why.contains("would stop 4 of 10") && why.contains("restored"), "{why}");
    }
}
