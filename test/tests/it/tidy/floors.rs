//! Who may import whom: the floors of the house.
//!
//! A new edge is a reviewed change of these tables, never a by-product.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use warren_test::tree;

use super::refuse;

/// Our crates, and which of ours each may import.
const OURS: &[(&str, &[&str])] = &[
    ("warren-core", &[]),
    ("warren-wire", &["warren-core"]),
    ("warren-drivers", &["warren-core"]),
    ("warren-dns", &["warren-core"]),
    ("warren-raft", &["warren-core", "warren-wire"]),
    ("warren-agent", &["warren-core", "warren-wire", "warren-drivers"]),
    ("warren-manager", &["warren-core", "warren-wire", "warren-raft", "warren-drivers"]),
    ("warren", EVERY_LIBRARY),
    ("warren-test", EVERY_LIBRARY),
    ("web-app", &[]),
];

const EVERY_LIBRARY: &[&str] = &[
    "warren-core",
    "warren-wire",
    "warren-drivers",
    "warren-dns",
    "warren-raft",
    "warren-agent",
    "warren-manager",
];

/// All that core may import: values and pure functions, nothing that waits or touches the world.
const CORE: &[&str] = &["imbl", "ipnet", "serde", "serde_json", "sha2", "thiserror"];

/// Heavy libraries live behind one crate each, so that one folder replaces them. `test` may import any.
const QUARANTINED: &[(&str, &[&str])] = &[
    ("bollard", &["warren-drivers"]),
    ("rtnetlink", &["warren-drivers"]),
    ("hickory-server", &["warren-dns"]),
    ("hickory-proto", &["warren-dns"]),
    ("hickory-resolver", &["warren-dns"]),
    ("openraft", &["warren-raft"]),
    ("redb", &["warren-raft"]),
    ("sled", &["warren-raft", "warren-agent"]),
    ("prost", &["warren-wire"]),
    (
        "tonic",
        &[
            "warren-wire",
            "warren-drivers",
            "warren-raft",
            "warren-agent",
            "warren-manager",
            "warren",
        ],
    ),
    ("rustls", &["warren-wire", "warren-drivers"]),
    ("rcgen", &["warren-wire"]),
    ("x509-parser", &["warren-wire"]),
    ("chacha20poly1305", &["warren-wire"]),
    ("clap", &["warren"]),
    ("toml", &["warren"]),
    ("serde-saphyr", &["warren"]),
    ("tracing-subscriber", &["warren"]),
    ("metrics-exporter-prometheus", &["warren-manager", "warren"]),
    ("anyhow", &["warren"]),
    ("proptest", &[]),
    ("expect-test", &[]),
];

fn packages() -> Vec<Package> {
    MetadataCommand::new()
        .manifest_path(tree::root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata reads the workspace")
        .packages
}

/// The names of what `package` imports outside its own tests, as the registry spells them.
fn imports(package: &Package) -> Vec<&str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal)
        .map(|dependency| dependency.name.as_str())
        .collect()
}

#[test]
fn every_import_is_an_edge_of_the_table() {
    let ours: BTreeMap<&str, &[&str]> = OURS.iter().copied().collect();
    let mut offences = Vec::new();
    for package in packages() {
        let name = package.name.as_str();
        let Some(allowed) = ours.get(name) else {
            offences.push(format!("{name} is in no row of the table"));
            continue;
        };
        for import in package.dependencies.iter().map(|dependency| dependency.name.as_str()) {
            if ours.contains_key(import) && !allowed.contains(&import) {
                offences.push(format!("{name} imports {import}"));
            }
        }
        if name == "warren-test" {
            continue;
        }
        for import in imports(&package) {
            let holders = QUARANTINED.iter().find(|(library, _)| *library == import);
            if holders.is_some_and(|(_, holders)| !holders.contains(&name)) {
                offences.push(format!("{name} imports {import}"));
            }
            if name == "warren-core" && !CORE.contains(&import) {
                offences.push(format!("{name} imports {import}, which is not in its short list"));
            }
        }
    }
    refuse(
        "an import is not an edge of the floor table",
        "move the code to the floor that may know this, or argue for a row in test/tests/it/tidy/floors.rs",
        &offences,
    );
}

#[test]
fn one_tls_provider_and_no_c_toolchain() {
    let lock =
        std::fs::read_to_string(tree::root().join("Cargo.lock")).expect("Cargo.lock is committed");
    let offences: Vec<String> = ["aws-lc-sys", "openssl-sys", "native-tls"]
        .iter()
        .filter(|name| lock.contains(&format!("name = \"{name}\"")))
        .map(|name| format!("Cargo.lock has {name}: `cargo tree -i {name}` says who pulls it"))
        .collect();
    refuse(
        "a second TLS provider came in",
        "turn off the default features of the crate that pulls it; ring is our only provider",
        &offences,
    );
}
