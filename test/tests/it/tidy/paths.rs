//! The tree builds anywhere: it names no machine's folders and no package registry.

use warren_test::tree;

use super::refuse;

/// A short image name means an image of this one registry: a rule of Docker's that its driver has to know.
fn is_the_default_registry(file: &tree::File, place: &str) -> bool {
    place == ["docker", ".io"].concat() && file.path.starts_with("crates/warren-drivers/src/")
}

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
            let place = places.iter().find(|place| line.contains(place.as_str()));
            if let Some(place) = place
                && !is_the_default_registry(file, place)
            {
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
