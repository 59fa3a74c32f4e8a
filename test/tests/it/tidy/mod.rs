//! Rules about the tree itself, each a small file with one test and a message that says how to fix what it found.
//!
//! They read plain text: no rule here needs a parser, and a rule that would is a lint. `docs/STYLE.md` gives the
//! reasons; this folder only enforces them.

mod alerts;
mod crates;
mod floors;
mod layout;
mod logs;
mod matches;
mod messages;
mod metrics;
mod paths;
mod requirements;
mod spawns;
mod words;

/// Fails with every offence at once and the way out, because fixing them one run at a time is tedious.
#[track_caller]
fn refuse(rule: &str, fix: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}\n  fix: {fix}\n  at:\n    {}\n", offences.join("\n    "));
}
