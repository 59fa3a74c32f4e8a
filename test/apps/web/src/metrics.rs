//! What `/metrics` says, in the Prometheus text form. Probes, metrics and the admin page are not counted: they would
//! water down the error rate of what users ask for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

/// Upper bounds of the latency histogram, in seconds.
const BOUNDS_S: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Default)]
struct Counts {
    by_status: BTreeMap<u16, u64>,
    /// One per bound; each counts the requests up to its own bound only, and they are added up when shown.
    by_bound: [u64; BOUNDS_S.len()],
    total: u64,
    total_time: Duration,
}

/// Counts since the start.
#[derive(Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
}

impl Metrics {
    /// Counts one request that was answered.
    pub(crate) fn record(&self, status: u16, took: Duration) {
        let mut counts = self.counts.lock().expect("no holder panics");
        *counts.by_status.entry(status).or_default() += 1;
        if let Some(bound) = BOUNDS_S.iter().position(|bound| took.as_secs_f64() <= *bound) {
            counts.by_bound[bound] += 1;
        }
        counts.total += 1;
        counts.total_time += took;
    }

    /// The whole page.
    pub(crate) fn page(&self, version: &str, in_flight: usize, queue_depth: usize) -> String {
        let counts = self.counts.lock().expect("no holder panics");
        let mut page = String::from(
            "# HELP http_requests_total Requests answered, by status.\n\
             # TYPE http_requests_total counter\n",
        );
        for (status, count) in &counts.by_status {
            let labels = format!("status=\"{status}\",version=\"{version}\"");
            let _ = writeln!(page, "http_requests_total{{{labels}}} {count}");
        }
        page.push_str(
            "# HELP request_duration_seconds Time from a read request to its answer.\n\
             # TYPE request_duration_seconds histogram\n",
        );
        let mut below = 0;
        for (bound, count) in BOUNDS_S.iter().zip(counts.by_bound) {
            below += count;
            let labels = format!("version=\"{version}\",le=\"{bound}\"");
            let _ = writeln!(page, "request_duration_seconds_bucket{{{labels}}} {below}");
        }
        let _ = write!(
            page,
            "request_duration_seconds_bucket{{version=\"{version}\",le=\"+Inf\"}} {total}\n\
             request_duration_seconds_sum{{version=\"{version}\"}} {sum}\n\
             request_duration_seconds_count{{version=\"{version}\"}} {total}\n\
             # HELP requests_in_flight Requests read and not yet answered, this one included.\n\
             # TYPE requests_in_flight gauge\n\
             requests_in_flight{{version=\"{version}\"}} {in_flight}\n\
             # HELP offline_queue_depth Items taken in and not yet worked off.\n\
             # TYPE offline_queue_depth gauge\n\
             offline_queue_depth{{version=\"{version}\"}} {queue_depth}\n",
            total = counts.total,
            sum = counts.total_time.as_secs_f64(),
        );
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let metrics = Metrics::default();
        for ms in [1, 30, 30, 20_000] {
            metrics.record(200, Duration::from_millis(ms));
        }
        metrics.record(500, Duration::from_millis(2));
        let page = metrics.page("v1", 1, 3);
        for line in [
            "http_requests_total{status=\"200\",version=\"v1\"} 4",
            "http_requests_total{status=\"500\",version=\"v1\"} 1",
            "request_duration_seconds_bucket{version=\"v1\",le=\"0.001\"} 1",
            "request_duration_seconds_bucket{version=\"v1\",le=\"0.005\"} 2",
            "request_duration_seconds_bucket{version=\"v1\",le=\"0.05\"} 4",
            "request_duration_seconds_bucket{version=\"v1\",le=\"10\"} 4",
            "request_duration_seconds_bucket{version=\"v1\",le=\"+Inf\"} 5",
            "request_duration_seconds_count{version=\"v1\"} 5",
            "offline_queue_depth{version=\"v1\"} 3",
        ] {
            assert!(page.lines().any(|found| found == line), "no `{line}` in\n{page}");
        }
    }
}
