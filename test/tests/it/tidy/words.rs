//! What is unfinished stands in the issue tracker, not in the tree.

use warren_test::tree;

use super::refuse;

#[test]
fn nothing_is_left_for_later() {
    // Spelt in halves, so that this file does not find itself.
    let marks = [["FIX", "ME"], ["TO", "DO"], ["XX", "X"], ["HA", "CK"]].map(|half| half.concat());
    let mut offences = Vec::new();
    for file in tree::files() {
        for (index, line) in file.text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(|word| marks.iter().any(|mark| mark == word)) {
                offences.push(file.at(index, line.trim()));
            }
        }
    }
    refuse(
        "a note for later is in the tree",
        "do it, or open an issue and delete the note",
        &offences,
    );
}

#[test]
fn no_test_is_ignored() {
    let mut offences = Vec::new();
    for file in tree::rust_files() {
        for (index, line) in tree::code_only(&file.text).lines().enumerate() {
            if line.contains("#[ignore") {
                offences.push(file.at(index, line.trim()));
            }
        }
    }
    refuse(
        "a test is ignored",
        "delete it or make it run; where the machine lacks something, `warren_test::skip` says so aloud",
        &offences,
    );
}
