//! The metrics of this process: every crate's, in one recorder.

use crate::failure::{Failure, Outcome};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Between two tidyings of the histograms: what was not asked for in that time is folded, so that memory stays bounded
/// where nobody asks.
const UPKEEP: Duration = Duration::from_secs(5);

/// Seconds, from a quarter of a millisecond (an fsync on a good disk, a DNS answer is far below) to a minute (a pull).
const SECONDS: [f64; 14] =
    [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

/// Counts, as of commands in a batch.
const COUNTS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0];

/// Name, kind and help of every crate's metrics.
const ALL: [&[(&str, &str, &str)]; 6] = [
    warren_raft::metrics::ALL,
    warren_manager::metrics::ALL,
    warren_manager::api::metrics::ALL,
    warren_agent::metrics::ALL,
    warren_drivers::metrics::ALL,
    warren_dns::metrics::ALL,
];

/// Installs the recorder and gives every metric its help text.
///
/// # Errors
/// Another recorder is installed.
pub fn install() -> Outcome<PrometheusHandle> {
    let failed = |error| Failure::from(anyhow::anyhow!("cannot record metrics: {error}"));
    let builder = PrometheusBuilder::new()
        .set_buckets(&COUNTS)
        .and_then(|it| it.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS));
    let handle = builder.and_then(PrometheusBuilder::install_recorder).map_err(failed)?;
    for (name, kind, help) in ALL.iter().copied().flatten() {
        match *kind {
            "counter" => metrics::describe_counter!(*name, *help),
            "gauge" => metrics::describe_gauge!(*name, *help),
            _ => metrics::describe_histogram!(*name, *help),
        }
    }
    Ok(handle)
}

/// Keeps the histograms small until `shutdown`.
pub async fn upkeep(handle: PrometheusHandle, shutdown: CancellationToken) {
    let mut tick = interval(UPKEEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => handle.run_upkeep(),
        }
    }
}
