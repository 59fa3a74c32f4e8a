//! The tree builds anywhere: it names no machine's folders and no package registry.

use warren_test::tree;

use super::refuse;

#[test]
fn the_tree_names_no_machine() {
    // Spelt in halves, so that this file does not find itself.
    let places = [
        ["/wo", "rk/"],
        ["/ro", "ot/"],
        ["/ho", "me/"],
        ["crates", ".io"],
        ["docker", ".io"],
        ["gh", "cr.io"],
        ["qu", "ay.io"],
    ];
    let places = places.map(|half| half.concat());
    let mut offences = Vec::new();
    // Cargo itself writes the index it used into the lock file.
    for file in tree::files().iter().filter(|file| file.path != "Cargo.lock") {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(place) = places.iter().find(|place| line.contains(place.as_str())) {
                offences.push(file.at(index, &format!("names {place}")));
            }
        }
    }
    refuse(
        "a file names a folder of one machine or a registry",
        "use a relative path, a temporary folder, or a name under example.com",
        &offences,
    );
}
