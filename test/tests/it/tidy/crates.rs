//! Each crate takes the workspace's lints, core repeats the root's bans, and each dependency has its reason.

use warren_test::tree;

use super::refuse;

#[test]
fn every_crate_takes_the_workspace_lints() {
    let offences: Vec<String> = tree::files()
        .into_iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
        .filter(|file| !file.text.contains("[lints]\nworkspace = true\n"))
        .map(|file| file.path)
        .collect();
    refuse("a crate sets its own lints", "write `[lints]` and `workspace = true` in it", &offences);
}

/// The `path = "…"` of each ban.
fn bans(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once("path = \"")?.1.split('"').next()).collect()
}

#[test]
fn core_repeats_the_root_bans() {
    let read = |path: &str| std::fs::read_to_string(tree::root().join(path)).expect(path);
    let (root, core) = (read("clippy.toml"), read("crates/warren-core/clippy.toml"));
    let core_bans = bans(&core);
    let offences: Vec<String> = bans(&root)
        .into_iter()
        .filter(|ban| !core_bans.contains(ban))
        .map(|ban| format!("crates/warren-core/clippy.toml lacks {ban}"))
        .collect();
    assert!(!bans(&root).is_empty(), "the root bans nothing: was clippy.toml renamed?");
    refuse(
        "core lost a ban of the root",
        "copy it: a crate's clippy.toml replaces the root's, it does not add to it",
        &offences,
    );
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = std::fs::read_to_string(tree::root().join("Cargo.toml")).expect("Cargo.toml");
    let page = std::fs::read_to_string(tree::root().join("docs/reference/dependencies.md"))
        .expect("docs/reference/dependencies.md");
    let table =
        manifest.split("[workspace.dependencies]").nth(1).expect("the table of dependencies");
    let table = table.split("\n[").next().expect("a section has a start");
    let offences: Vec<String> = table
        .lines()
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .filter(|name| !name.starts_with('#') && !name.starts_with("warren-"))
        .filter(|name| !page.contains(&format!("| `{name}` |")))
        .map(|name| format!("{name} is in no row of docs/reference/dependencies.md"))
        .collect();
    refuse("a dependency came without a reason", "add one row: what it does for us", &offences);
}
