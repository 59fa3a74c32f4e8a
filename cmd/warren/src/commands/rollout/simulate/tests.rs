//! What a simulation prints and how it ends.

use super::*;

const MANIFEST: &str = "\
name: web
replicas: 4
image: web:v1
placement: {constraints: [node.labels.disk==ssd]}
update: {strategy: canary}
canary:
  steps: [{weight: 25%, hold: 1m}, {weight: 100%}]
";

fn played(faults: &[&str]) -> (Played, Course) {
    let spec = |notes: &mut Vec<String>| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), MANIFEST).unwrap();
        let (_, specs) = manifest::load(file.path()).unwrap();
        model(specs.into_iter().next().unwrap(), notes).unwrap()
    };
    let mut notes = Vec::new();
    let simulation = Simulation {
        stable: spec(&mut notes),
        next: spec(&mut Vec::new()),
        numbers: (RevisionNumber(1), RevisionNumber(1)),
        nodes: 3,
        seed: 1,
        faults: faults.iter().map(|text| fault(text).unwrap()).collect(),
        approve: true,
        longest: Duration::from_secs(3_600),
    };
    let course = simulation.play().unwrap();
    notes.extend(unused(&simulation.faults, &course));
    (Played::new("web", 3, &course, notes), course)
}

#[test]
fn a_simulated_release_reads_as_one_that_was_watched() {
    let (good, course) = played(&[]);
    let text = show::page(&good);
    assert!(text.starts_with("release: web, v1 -> v2, canary\nmodel:   4 tasks on 3 nodes\n\n"));
    assert!(text.contains("AFTER "), "{text}");
    let held = text.lines().find(|line| line.contains("step 1: holding")).unwrap();
    for part in ["1 of 2", "25%", "4/4", "1/1", "waits: holding for another 60 s"] {
        assert!(held.contains(part), "{part}: {held}");
    }
    for part in ["outcome: completed\n", "at risk: no request\n", "note: placement is not"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(verdict("web", &course).is_ok());
    let json: serde_json::Value = serde_json::from_str(&output::json(&good).unwrap()).unwrap();
    assert_eq!((&json["outcome"], &json["lost_ms"]), (&"completed".into(), &0.into()));
    assert_eq!(json["timeline"][0]["text"], "started");
}

#[test]
fn a_fault_of_a_version_that_is_no_part_of_the_release_is_refused() {
    let (_, course) = played(&[]);
    let faults = |text| [fault(text).unwrap()];
    assert!(check_versions(&faults("crash:v1"), &course).is_ok());
    assert!(check_versions(&faults("node-loss@59m"), &course).is_ok());
    let refused = check_versions(&faults("crash:v7"), &course).unwrap_err();
    assert_eq!(refused.exit, Exit::Usage as u8);
    let told = refused.to_string();
    assert!(told.contains("v7 is no part") && told.contains("from v1 to v2"), "{told}");
}

#[test]
fn a_simulation_ends_as_the_release_does_and_says_which_faults_did_not_show() {
    let (bad, course) = played(&["crash:v2@100%", "node-loss@59m"]);
    let failure = verdict("web", &course).unwrap_err();
    assert_eq!(failure.exit, Exit::RolledBack as u8, "{failure}");
    assert!(failure.message.starts_with("web: simulated: rolled back after "), "{failure}");
    let text = show::page(&bad);
    assert!(text.contains("note: --fault node-loss@59m: the release was over before"), "{text}");
    let exit = |finish| verdict("web", &Course { finish, ..course.clone() }).unwrap_err().exit;
    let ended = |outcome| Finish::Ended { outcome, reason: String::new() };
    assert_eq!(exit(ended(End::Cancelled)), Exit::Superseded as u8);
    assert_eq!(exit(ended(End::Failed)), Exit::Failed as u8);
    assert_eq!(exit(Finish::Waits(vec![])), Exit::Unfinished as u8);
    assert_eq!(exit(Finish::TimeUp(vec![])), Exit::Unfinished as u8);
    assert_eq!(exit(Finish::Broken("I4".into())), Exit::Failed as u8);
}
