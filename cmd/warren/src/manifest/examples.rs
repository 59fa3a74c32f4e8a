//! The manifests that people copy: those of `docs/examples`, and the YAML blocks of the guides.

use super::parse;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use warren_core::spec::ProfileName;
use warren_wire::v1;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn files(folder: &str, end: &str) -> Vec<(String, String)> {
    let entries =
        std::fs::read_dir(docs().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|found| found == end)).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

fn read(name: &str, text: &str) -> Vec<v1::ServiceSpec> {
    parse(name, text.as_bytes()).unwrap_or_else(|failure| panic!("{failure}"))
}

// req: B53
#[test]
fn there_is_an_example_of_each_strategy_and_profile() {
    let mut strategies = BTreeSet::new();
    let mut profiles = BTreeSet::new();
    let mut names = BTreeSet::new();
    let examples = files("examples", "yaml");
    assert!(examples.len() >= 10, "the examples are gone");
    for (file, text) in &examples {
        assert!(text.starts_with("# "), "{file} does not say what it is for");
        let specs = read(file, text);
        let [spec] = &specs[..] else { panic!("{file} has {} services", specs.len()) };
        assert!(names.insert(spec.name.clone()), "{file}: {} is in another one too", spec.name);
        let model = warren_wire::convert::spec::parse(spec.clone()).unwrap();
        strategies.insert(model.update.strategy.to_string());
        profiles.extend(model.update.profile.map(|profile| profile.to_string()));
        // A file has the shape that its name promises.
        if let Some(profile) = file.strip_prefix("profile-").and_then(|f| f.strip_suffix(".yaml")) {
            assert_eq!(
                model.update.profile.map(|found| found.to_string()).as_deref(),
                Some(profile)
            );
        }
    }
    assert_eq!(
        strategies.into_iter().collect::<Vec<_>>(),
        ["blue-green", "canary", "recreate", "rolling"]
    );
    assert_eq!(profiles, ProfileName::ALL.map(|name| name.to_string()).into());
}

#[test]
fn all_settings_are_all() {
    let examples = files("examples", "yaml");
    let (_, text) = examples.iter().find(|(file, _)| file == "all-settings.yaml").unwrap();
    let guides = files("guides", "md");
    let (_, guide) = guides.iter().find(|(file, _)| file == "deployment-strategies.md").unwrap();
    let (_, settings) = guide.split_once("\n## Settings\n").unwrap();
    let (settings, _) = settings.split_once("\n## ").unwrap();
    let keys: Vec<&str> = settings
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|keys| keys.split(','))
        .map(|key| key.trim().trim_matches('`'))
        .collect();
    assert!(keys.len() >= 15, "the table of settings has lost its rows: {keys:?}");
    // What means something with one strategy alone stands in the file of that strategy.
    let (_, blue) = examples.iter().find(|(file, _)| file == "blue-green.yaml").unwrap();
    for key in keys {
        let text = if key == "standby" { blue } else { text };
        assert!(text.contains(&format!("\n  {key}: ")), "all-settings.yaml has no {key}");
    }
}

#[test]
fn every_yaml_block_of_the_guides_can_be_applied() {
    let readme = std::fs::read_to_string(docs().join("../README.md")).unwrap();
    let mut pages = files("guides", "md");
    pages.push(("README.md".to_owned(), readme));
    let mut blocks = 0;
    for (page, text) in &pages {
        for block in text.split("```yaml\n").skip(1) {
            let (block, _) = block.split_once("```").unwrap();
            // What shows a part of a manifest is read as a part of one.
            let whole = if block.contains("name: ") && block.contains("image: ") {
                block.to_owned()
            } else {
                format!("name: web\nimage: web:v1\n{block}")
            };
            read(page, &whole);
            blocks += 1;
        }
    }
    assert!(blocks >= 3, "the guides have lost their manifests");
}
