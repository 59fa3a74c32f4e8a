//! The page of metrics: the lists that each crate keeps beside the names it uses.

use std::fmt::Write as _;

use super::Page;

/// A crate's metrics: name, kind, help.
type Metrics = &'static [(&'static str, &'static str, &'static str)];

/// Every crate that measures something, by what it does.
pub const LISTS: &[(&str, Metrics)] = &[
    ("Raft and the store", warren_raft::metrics::ALL),
    ("The API", warren_manager::api::metrics::ALL),
    ("Releases", warren_manager::metrics::RELEASES),
    ("The leader", warren_manager::metrics::ALL),
    ("The agent", warren_agent::metrics::ALL),
    ("Runtimes and probes", warren_drivers::metrics::ALL),
    ("DNS", warren_dns::metrics::ALL),
];

/// The generated page.
pub(super) fn page() -> Page {
    let mut text = String::from(
        "# Metrics\n\nWritten by `make fix` from each crate's `metrics.rs`; do not edit.\n\n\
         A node serves them at `/metrics` of its HTTP address, in the Prometheus text form.\n",
    );
    for (title, metrics) in LISTS {
        let _ = writeln!(text, "\n## {title}\n\n| metric | kind | |\n|---|---|---|");
        for (name, kind, help) in *metrics {
            let _ = writeln!(text, "| `{name}` | {kind} | {} |", help.replace('|', "\\|"));
        }
    }
    Page { path: "docs/reference/metrics.md", text }
}
