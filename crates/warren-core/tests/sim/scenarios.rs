//! Scenarios: texts in `test/scenarios`, with what the operator reads as it was when somebody last looked and agreed.
//! `UPDATE_EXPECT=1 cargo test -p warren-core --test sim scenarios` writes them anew; look at the difference before you
//! keep it.

use std::path::{Path, PathBuf};
use warren_core::simulate::play;

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/scenarios");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    paths.sort();
    paths
}

// req: B31
#[test]
fn every_scenario_reads_as_it_did() {
    let paths = scenarios();
    assert!(paths.len() >= 40, "{} scenarios", paths.len());
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let played = play(&text);
        assert!(!played.contains("BROKEN:"), "{}: {played}", path.display());
        expect_test::expect_file![path].assert_eq(&played);
    }
}
