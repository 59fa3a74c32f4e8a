//! What several looks at a task mean: whether it is well, and when to look again.

use crate::spec::HealthCheck;
use crate::time::Tick;
use std::time::Duration;

/// The pause between looks while a task has not passed yet: a start is noticed within a second, whatever the interval.
pub const START_INTERVAL: Duration = Duration::from_secs(1);
/// The same right after the start. From here the pauses grow with the task's age, so that what starts within a moment
/// is in use a moment later.
const START_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// What is known of a task by one check.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verdict {
    /// Not enough looks yet.
    #[default]
    Unknown,
    /// So many looks in a row passed as the check asks for.
    Healthy,
    /// So many in a row failed.
    Unhealthy,
}

/// A change of the verdict, told once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edge {
    /// It is well from now on.
    Healthy,
    /// It is not well from now on.
    Unhealthy,
}

/// Folds the looks of one check at one run of a task. A restart begins with a new one.
///
/// Within the start period failures do not count and looks come every [`START_INTERVAL`] (or sooner, where the check's
/// interval is shorter or the task is younger), until the task is well for the first time; then the start is over and
/// every failure counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HealthFold {
    verdict: Verdict,
    /// Looks in a row that speak against the verdict. Of an unknown verdict: that passed.
    against: u32,
    /// Of an unknown verdict: looks in a row that failed and count.
    failed: u32,
}

impl HealthFold {
    /// What is known so far.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Adds one look that ended at `now`, of a task that runs since `started`, and tells whether the verdict changed.
    pub fn observe(
        &mut self,
        check: &HealthCheck,
        started: Tick,
        now: Tick,
        pass: bool,
    ) -> Option<Edge> {
        match (self.verdict, pass) {
            (Verdict::Healthy, true) | (Verdict::Unhealthy, false) => self.against = 0,
            (Verdict::Healthy, false) => {
                self.against = self.against.saturating_add(1);
                if self.against >= check.retries {
                    return Some(self.turn(Edge::Unhealthy));
                }
            }
            (Verdict::Unhealthy | Verdict::Unknown, true) => {
                self.against = self.against.saturating_add(1);
                self.failed = 0;
                if self.against >= check.successes {
                    return Some(self.turn(Edge::Healthy));
                }
            }
            (Verdict::Unknown, false) => {
                self.against = 0;
                if now.since(started) >= check.start_period {
                    self.failed = self.failed.saturating_add(1);
                }
                if self.failed >= check.retries {
                    return Some(self.turn(Edge::Unhealthy));
                }
            }
        }
        None
    }

    /// When to begin the next look after one that ended at `now`.
    #[must_use]
    pub fn next_at(&self, check: &HealthCheck, started: Tick, now: Tick) -> Tick {
        let starting = match self.verdict {
            Verdict::Unknown => now.since(started) < check.start_period,
            Verdict::Healthy | Verdict::Unhealthy => false,
        };
        let age = now.since(started).max(START_INTERVAL_MIN);
        now.after(if starting {
            check.interval.min(START_INTERVAL).min(age)
        } else {
            check.interval
        })
    }

    fn turn(&mut self, edge: Edge) -> Edge {
        let verdict = match edge {
            Edge::Healthy => Verdict::Healthy,
            Edge::Unhealthy => Verdict::Unhealthy,
        };
        *self = Self { verdict, ..Self::default() };
        edge
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Probe;
    use proptest::prelude::*;

    prop_compose! {
        fn checks()(
            interval in 100_u64..20_000,
            start in 0_u64..30_000,
            retries in 1_u32..5,
            successes in 1_u32..5,
        ) -> HealthCheck {
            HealthCheck {
                interval: Duration::from_millis(interval),
                start_period: Duration::from_millis(start),
                retries,
                successes,
                ..HealthCheck::new(Probe::Tcp { port: 80 })
            }
        }
    }

    /// Looks as `next_at` wants them, and what each told.
    fn run(check: &HealthCheck, looks: &[bool]) -> Vec<(Tick, bool, Option<Edge>, Verdict)> {
        let started = Tick::from_ms(5_000);
        let (mut fold, mut now) = (HealthFold::default(), started);
        let mut told = Vec::new();
        for pass in looks {
            let edge = fold.observe(check, started, now, *pass);
            told.push((now, *pass, edge, fold.verdict()));
            let next = fold.next_at(check, started, now);
            assert!(next > now && next.since(now) <= check.interval);
            now = next;
        }
        told
    }

    proptest! {
        /// An edge comes exactly where the last looks in a row say so and the verdict was another.
        #[test]
        fn edges_follow_runs(check in checks(), looks in prop::collection::vec(any::<bool>(), 1..80)) {
            let started = Tick::from_ms(5_000);
            let (mut passes, mut counted, mut verdict) = (0, 0, Verdict::Unknown);
            for (now, pass, edge, after) in run(&check, &looks) {
                if pass {
                    (passes, counted) = (passes + 1, 0);
                } else {
                    let forgiven = verdict == Verdict::Unknown
                        && now.since(started) < check.start_period;
                    (passes, counted) = (0, if forgiven { 0 } else { counted + 1 });
                }
                let wanted = if passes >= check.successes {
                    Verdict::Healthy
                } else if counted >= check.retries {
                    Verdict::Unhealthy
                } else {
                    verdict
                };
                let told = match (wanted != verdict, wanted) {
                    (true, Verdict::Healthy) => Some(Edge::Healthy),
                    (true, Verdict::Unhealthy) => Some(Edge::Unhealthy),
                    (true | false, _) => None,
                };
                prop_assert_eq!(edge, told);
                prop_assert_eq!(after, wanted);
                verdict = wanted;
            }
        }

        /// A task that never passes is not called unhealthy within its start period, and is soon after it.
        #[test]
        fn a_start_has_its_time(check in checks()) {
            let told = run(&check, &[false; 400]);
            let edge = told.iter().find(|(_, _, edge, _)| edge.is_some());
            let (at, ..) = edge.expect("400 looks are enough");
            let since = at.since(Tick::from_ms(5_000));
            prop_assert!(since >= check.start_period);
            let slack = check.interval * (check.retries + 1);
            prop_assert!(since <= check.start_period + slack);
        }

        /// A task that passes from its start is healthy after as many looks as asked for, a second apart at most.
        #[test]
        fn a_good_start_is_seen_at_once(check in checks()) {
            let told = run(&check, &[true; 5]);
            let at = told.iter().position(|(_, _, edge, _)| *edge == Some(Edge::Healthy));
            prop_assert_eq!(at, usize::try_from(check.successes - 1).ok());
        }
    }
}
