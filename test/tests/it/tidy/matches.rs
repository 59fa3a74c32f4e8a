//! Core has no catch-all arm on its own enums: a new variant must be thought through wherever it is matched.

use warren_test::tree;

use super::refuse;

#[test]
fn core_denies_wildcard_arms() {
    let path = "crates/warren-core/src/lib.rs";
    let text = std::fs::read_to_string(tree::root().join(path)).expect(path);
    let found = text.contains("deny(clippy::wildcard_enum_match_arm)");
    let offences = if found { vec![] } else { vec![path.to_owned()] };
    refuse(
        "core may match its enums with a catch-all arm",
        "write `#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]` below the crate's doc comment",
        &offences,
    );
}
