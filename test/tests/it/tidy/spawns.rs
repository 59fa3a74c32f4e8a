//! Nothing runs detached: roles are spawned in one file, everything else lives in a `JoinSet` that its loop owns.

use warren_test::tree;

use super::refuse;

/// The one file that starts the long-lived tasks of the process.
const TASKS: &str = "cmd/warren/src/tasks.rs";
const DETACHED: &[&str] = &["tokio::spawn(", "task::spawn(", "tokio::task::spawn_local("];

#[test]
fn nothing_is_spawned_detached() {
    let mut offences = Vec::new();
    for file in tree::rust_files().iter().filter(|file| file.path != TASKS && !file.is_test()) {
        let code = tree::code_only(&file.text);
        for (index, line) in code.lines().enumerate().take(file.lines_before_tests()) {
            if DETACHED.iter().any(|call| line.contains(call)) {
                offences.push(file.at(index, line.trim()));
            }
        }
    }
    refuse(
        "a task is spawned that nobody owns",
        "spawn it into a bounded JoinSet of the loop that needs it; roles are spawned in cmd/warren/src/tasks.rs",
        &offences,
    );
}
