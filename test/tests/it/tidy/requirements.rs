//! Each tag names a real demand and stands where something is proved; the pages made from the code are current.

use std::collections::BTreeSet;

use warren_test::{reference, tree};

use super::refuse;

#[test]
fn every_tag_names_a_demand() {
    let listed = reference::requirements::listed().expect("the list of demands");
    let ids: BTreeSet<&str> = listed.iter().map(|demand| demand.id.as_str()).collect();
    assert_eq!(ids.len(), listed.len(), "docs/reference/requirements-ids.txt names a demand twice");
    let mut offences = Vec::new();
    for proof in reference::requirements::proofs() {
        let place = format!("{}:{}: {}", proof.path, proof.line, proof.id);
        if !ids.contains(proof.id.as_str()) {
            offences.push(format!("{place} is in no line of docs/reference/requirements-ids.txt"));
        } else if !proof.proves {
            offences.push(format!("{place} is tagged outside tests, benches and documents"));
        } else if proof.name.is_empty() {
            offences.push(format!("{place} belongs to no test and no heading"));
        }
    }
    refuse(
        "a requirement tag proves nothing",
        "put it above the test or below the heading that proves the demand",
        &offences,
    );
}

// req: B49
#[test]
fn pages_of_the_libraries_are_current() {
    refuse_stale(reference::pages().expect("the pages can be made"));
}

// req: B48
#[test]
fn pages_of_the_binary_are_current() {
    refuse_stale(reference::binary::pages().expect("the binary prints them"));
}

#[track_caller]
fn refuse_stale(pages: Vec<reference::Page>) {
    let offences: Vec<String> = pages
        .into_iter()
        .filter(|page| {
            let now = std::fs::read_to_string(tree::root().join(page.path)).unwrap_or_default();
            now != page.text
        })
        .map(|page| page.path.to_owned())
        .collect();
    refuse("a reference page is not current", "run `make reference`", &offences);
}
