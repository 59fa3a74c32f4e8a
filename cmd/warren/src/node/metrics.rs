//! The metrics of this process: every crate's, in one recorder.

use crate::failure::{Failure, Outcome};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use warren_manager::ManagerHandle;
use warren_manager::metrics::{DEPLOYMENT_SECONDS, RELEASES, SWITCH_SECONDS};

/// Between two tidyings of the histograms: what was not asked for in that time is folded, so that memory stays bounded
/// where nobody asks.
const UPKEEP: Duration = Duration::from_secs(5);

/// Seconds, from a quarter of a millisecond (an fsync on a good disk, a DNS answer is far below) to a minute (a pull).
const SECONDS: [f64; 14] =
    [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

/// The same for a whole release: from some seconds to a day.
const RELEASE_SECONDS: [f64; 12] =
    [5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 10_800.0, 28_800.0, 86_400.0];

/// The same for a switch, which is late after 30 s.
const SWITCH: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

/// Counts, as of commands in a batch.
const COUNTS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0];

/// Name, kind and help of every crate's metrics.
const ALL: [&[(&str, &str, &str)]; 7] = [
    warren_raft::metrics::ALL,
    RELEASES,
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
        .and_then(|it| it.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS))
        .and_then(|it| {
            it.set_buckets_for_metric(Matcher::Full(DEPLOYMENT_SECONDS.into()), &RELEASE_SECONDS)
        })
        .and_then(|it| it.set_buckets_for_metric(Matcher::Full(SWITCH_SECONDS.into()), &SWITCH));
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

/// The page at `/metrics`.
#[derive(Clone)]
pub struct Page {
    /// What was recorded.
    pub recorder: PrometheusHandle,
    /// Who knows the releases; absent in a worker.
    pub manager: Option<ManagerHandle>,
    /// The metrics of releases are there under this prefix besides; empty for none.
    pub alias_prefix: String,
}

impl Page {
    /// The page as it is now, in the Prometheus text form.
    pub fn text(&self) -> String {
        let mut text = self.recorder.render();
        if let Some(manager) = &self.manager {
            text.push_str(&manager.release_gauges());
        }
        let alias = aliases(&text, &self.alias_prefix);
        text + &alias
    }
}

/// The lines of `text` about releases, with `prefix` in the place of `warren_`.
fn aliases(text: &str, prefix: &str) -> String {
    let mut alias = String::new();
    if prefix.is_empty() {
        return alias;
    }
    for line in text.lines() {
        let comment = ["# HELP ", "# TYPE "].into_iter().find(|start| line.starts_with(start));
        let start = comment.unwrap_or_default();
        let rest = &line[start.len()..];
        let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if let Some(name) = rest.strip_prefix(PREFIX).filter(|_| is_of_releases(&rest[..end])) {
            let _ = writeln!(alias, "{start}{prefix}{name}");
        }
    }
    alias
}

/// What all of our names begin with.
const PREFIX: &str = "warren_";

/// Whether a series of this name belongs to a metric of releases; a histogram has three names.
fn is_of_releases(series: &str) -> bool {
    RELEASES.iter().any(|(name, kind, _)| {
        let rest = series.strip_prefix(name);
        rest == Some("")
            || (*kind == "histogram" && matches!(rest, Some("_bucket" | "_sum" | "_count")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: A37
    #[test]
    fn releases_are_told_under_another_prefix_too() {
        let text = "# HELP warren_canary_progress How far.\n\
                    # TYPE warren_canary_progress gauge\n\
                    warren_canary_progress{service=\"warren_x\"} 25\n\
                    warren_bluegreen_switch_duration_seconds_bucket{le=\"0.1\"} 1\n\
                    warren_bluegreen_switch_total 1\n\
                    warren_tasks 7\n\
                    \n\
                    warren_canary_progress_of_another 1\n";
        let wanted = "# HELP veritas_canary_progress How far.\n\
                      # TYPE veritas_canary_progress gauge\n\
                      veritas_canary_progress{service=\"warren_x\"} 25\n\
                      veritas_bluegreen_switch_duration_seconds_bucket{le=\"0.1\"} 1\n\
                      veritas_bluegreen_switch_total 1\n";
        assert_eq!(aliases(text, "veritas_"), wanted);
        assert_eq!(aliases(text, ""), "");
    }
}
