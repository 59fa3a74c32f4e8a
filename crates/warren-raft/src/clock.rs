//! Cluster time on the leader: the last committed time, carried on by this process's own monotonic clock.

use std::time::Duration;
use tokio::time::Instant;
use warren_core::time::ClusterTime;

/// The most that time moves between two looks at the monotonic clock. A process or machine that stood still for longer
/// did not lead in that time, so it must not count as time that the cluster was watched.
const STRIDE_MAX: Duration = Duration::from_secs(2);

/// The clock of one manager. It runs while the manager leads and stands still otherwise.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    /// Cluster time when leadership began.
    base: ClusterTime,
    /// Time counted since.
    counted: Duration,
    /// When it was last counted.
    looked: Instant,
}

impl Clock {
    /// Starts the clock at `committed`: this manager leads from `now` on.
    pub(crate) fn lead(&mut self, committed: ClusterTime, now: Instant) {
        self.running = Some(Running { base: committed, counted: Duration::ZERO, looked: now });
    }

    /// Stops the clock: this manager does not lead any more.
    pub(crate) fn follow(&mut self) {
        self.running = None;
    }

    /// Cluster time at `now`, never before `committed`. To be called more often than every two seconds while leading.
    pub(crate) fn at(&mut self, committed: ClusterTime, now: Instant) -> ClusterTime {
        let Some(running) = &mut self.running else { return committed };
        running.counted += now.saturating_duration_since(running.looked).min(STRIDE_MAX);
        running.looked = running.looked.max(now);
        running.base.after(running.counted).max(committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn time_goes_on_from_the_last_committed_time_while_leading() {
        let start = Instant::now();
        let mut clock = Clock::default();
        let committed = ClusterTime::from_ms(5_000);
        assert_eq!(
            clock.at(committed, start + ms(700)),
            committed,
            "a follower's time stands still"
        );
        clock.lead(committed, start + ms(700));
        assert_eq!(clock.at(committed, start + ms(1_700)), ClusterTime::from_ms(6_000));
        clock.follow();
        assert_eq!(
            clock.at(ClusterTime::from_ms(6_000), start + ms(9_000)),
            ClusterTime::from_ms(6_000)
        );
    }

    #[test]
    fn a_suspended_leader_counts_two_seconds_at_most() {
        let start = Instant::now();
        let mut clock = Clock::default();
        clock.lead(ClusterTime::START, start);
        assert_eq!(
            clock.at(ClusterTime::START, start + ms(3_600_000)),
            ClusterTime::from_ms(2_000)
        );
        assert_eq!(
            clock.at(ClusterTime::START, start + ms(3_600_500)),
            ClusterTime::from_ms(2_500)
        );
    }

    #[test]
    fn short_looks_lose_no_time() {
        let start = Instant::now();
        let mut clock = Clock::default();
        clock.lead(ClusterTime::START, start);
        for step in 1..=10_000 {
            clock.at(ClusterTime::START, start + Duration::from_micros(step * 100));
        }
        assert_eq!(clock.at(ClusterTime::START, start + ms(1_000)), ClusterTime::from_ms(1_000));
    }

    proptest! {
        #[test]
        fn time_never_runs_backwards_or_faster_than_the_monotonic_clock(
            looks in proptest::collection::vec(0_u64..10_000, 1..50),
        ) {
            let start = Instant::now();
            let mut clock = Clock::default();
            clock.lead(ClusterTime::START, start);
            let mut last = ClusterTime::START;
            for look in looks {
                // Looks may come in any order: two threads may have read the clock at about the same time.
                let at = clock.at(ClusterTime::START, start + ms(look));
                prop_assert!(at >= last);
                prop_assert!(at <= ClusterTime::from_ms(10_000));
                last = at;
            }
        }
    }
}
