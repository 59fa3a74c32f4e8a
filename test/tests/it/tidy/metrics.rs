//! Each metric has one constant, one row of the reference, and a name that says its kind.

use warren_test::{reference, tree};

use super::refuse;

const MACROS: [&str; 3] = ["counter!(", "gauge!(", "histogram!("];

fn is_list(file: &tree::File) -> bool {
    file.path.ends_with("/src/metrics.rs")
}

#[test]
fn every_metric_is_in_the_reference() {
    let listed: Vec<&str> = reference::metrics::LISTS
        .iter()
        .flat_map(|(_, metrics)| metrics.iter().map(|(name, _, _)| *name))
        .collect();
    let mut offences = Vec::new();
    for file in tree::rust_files().iter().filter(|file| !file.path.starts_with("test/")) {
        for (index, line) in file.text.lines().enumerate().take(file.lines_before_tests()) {
            let literal = line.split('"').nth(1).unwrap_or_default();
            if is_list(file) && literal.starts_with("warren_") && !listed.contains(&literal) {
                offences.push(file.at(index, &format!("{literal} is in no list")));
            }
            if MACROS.iter().any(|name| line.contains(&format!("{name}\""))) {
                offences.push(file.at(index, "names its metric by a literal"));
            }
        }
    }
    refuse(
        "a metric is not in the reference",
        "make it a constant of the crate's metrics.rs, a row of its ALL, and its ALL a row of \
         test/src/reference/metrics.rs",
        &offences,
    );
}

/// A counter whose name others ask for as it is.
const GIVEN: &str = "warren_canary_analysis_failed";

#[test]
fn names_say_their_kind() {
    let mut offences = Vec::new();
    for (name, kind, help) in reference::metrics::LISTS.iter().flat_map(|(_, list)| *list) {
        let fits = match *kind {
            "counter" => name.ends_with("_total") || *name == GIVEN,
            "gauge" | "histogram" => !name.ends_with("_total"),
            _ => false,
        };
        if !fits || !name.starts_with("warren_") || !help.ends_with('.') {
            offences.push(format!("{name}, a {kind}: {help}"));
        }
    }
    refuse(
        "a metric does not read as the others",
        "it begins with warren_, ends with _total if and only if it is a counter, and its help is a sentence",
        &offences,
    );
}
