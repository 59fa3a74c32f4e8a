//! The alerts that are shipped ask for metrics that there are, and lead to what is to be done.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use warren_test::{reference, tree};

use super::refuse;

const ALERTS: &str = "docs/guides/alerts.yaml";
const GUIDE: &str = "docs/guides/observability.md";
/// What the rules ask of the services themselves: the example service has it.
const OF_SERVICES: [(&str, &str); 2] =
    [("http_requests_total", "counter"), ("request_duration_seconds", "histogram")];
const EXAMPLE: &str = "test/apps/web/src/metrics.rs";
/// How fast somebody has to look.
const SEVS: [&str; 4] = ["sev1", "sev2", "sev3", "sev4"];

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(rename = "name")]
    _name: String,
    interval: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(default, rename = "for")]
    _for: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(tree::root().join(path)).expect(path)
}

fn groups() -> Vec<Group> {
    serde_saphyr::from_str::<File>(&read(ALERTS)).expect("the alerts are YAML").groups
}

/// Every name of a series that there can be: a histogram has three.
fn series() -> BTreeSet<String> {
    let ours = reference::metrics::LISTS.iter().flat_map(|(_, list)| *list);
    let all = ours.map(|(name, kind, _)| (*name, *kind)).chain(OF_SERVICES);
    let mut names = BTreeSet::new();
    for (name, kind) in all {
        match kind {
            "histogram" => {
                names.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
            }
            _ => {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// The names of series in an expression: words with an underscore that are neither labels nor functions.
fn asked(expr: &str) -> Vec<&str> {
    let words = expr.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    words.filter(|word| word.contains('_') && *word != "histogram_quantile").collect()
}

// req: C30 A33 A34 A36 A37 D33 D34
#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let series = series();
    let mut offences = Vec::new();
    for rule in groups().iter().flat_map(|group| &group.rules) {
        let asked = asked(&rule.expr);
        if asked.is_empty() {
            offences.push(format!("{} asks for nothing", rule.alert));
        }
        for name in asked.into_iter().filter(|name| !series.contains(*name)) {
            offences.push(format!("{} asks for {name}", rule.alert));
        }
        let count = |brackets: [char; 2]| brackets.map(|c| rule.expr.matches(c).count());
        for [open, close] in [count(['(', ')']), count(['[', ']']), count(['{', '}'])] {
            if open != close {
                offences.push(format!("{} has {open} open and {close} closed", rule.alert));
            }
        }
    }
    for (name, _) in OF_SERVICES {
        if !read(EXAMPLE).contains(&format!("# TYPE {name} ")) {
            offences.push(format!("{EXAMPLE} does not tell {name}"));
        }
    }
    refuse("an alert would never fire", "ask for a name of docs/reference/metrics.md", &offences);
}

// req: E32 D34
#[test]
fn alerts_say_how_fast_and_where_to_look() {
    let guide = read(GUIDE);
    let mut offences = Vec::new();
    for group in groups() {
        assert_eq!(group.interval, "30s");
        for rule in group.rules {
            let sev = rule.labels.get("sev").map(String::as_str).unwrap_or_default();
            let row = guide.lines().find(|line| line.starts_with(&format!("| {sev} |")));
            if !SEVS.contains(&sev) || !rule.labels.contains_key("severity") {
                offences.push(format!("{} has no severity", rule.alert));
            } else if !row.is_some_and(|row| row.contains(&format!("`{}`", rule.alert))) {
                offences.push(format!("{} is not in the row {sev} of {GUIDE}", rule.alert));
            }
            let runbook = rule.annotations.get("runbook").map(String::as_str).unwrap_or_default();
            let (page, anchor) = runbook.split_once('#').unwrap_or((runbook, ""));
            let text = std::fs::read_to_string(tree::root().join("docs/guides").join(page));
            let is_there = text.is_ok_and(|text| {
                let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
                headings
                    .map(|line| {
                        line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-")
                    })
                    .any(|heading| heading == anchor)
            });
            if !is_there {
                offences.push(format!("{}: no heading is {runbook}", rule.alert));
            }
        }
    }
    refuse("an alert leaves people alone", "give it a sev and a runbook", &offences);
}

#[test]
fn names_are_found_in_expressions() {
    let expr = "sum by (le) (rate(a_total{reason=\"x\"}[5m])) > histogram_quantile(1, b_bucket)";
    assert_eq!(asked(expr), ["a_total", "b_bucket"]);
}
