//! Compiles `proto/` without a system protoc.

use std::path::PathBuf;

/// Fields that hold one of several messages: in JSON the one that is there stands in its parent, under its own name.
const ONE_OF: [&str; 3] = ["ServiceSpec.mode", "HealthCheck.probe", "Mount.source"];
/// Messages with a content that is never printed: they have a `Debug` of their own.
const SILENT: [&str; 3] = ["CreateFileRequest", "UpdateFileRequest", "FetchFileResponse"];
/// Fields with a value of an enum, and who writes it as a word.
const WORDS: [(&str, &str); 5] = [
    ("ServiceSpec.strategy", "strategy"),
    ("Profile.strategy", "strategy"),
    ("TaskTemplate.pull", "pull"),
    ("Port.protocol", "protocol"),
    ("FileInfo.kind", "file_kind"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let names = [
        "service",
        "task",
        "rollout",
        "node",
        "cluster",
        "event",
        "session",
        "raft",
        "membership",
        "file",
    ];
    let files: Vec<PathBuf> =
        names.iter().map(|name| root.join(format!("warren/v1/{name}.proto"))).collect();
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [&root])?;
    std::fs::write(out.join("warren.fds"), prost::Message::encode_to_vec(&descriptors))?;
    let mut config = tonic_prost_build::configure()
        .type_attribute(".", "#[derive(serde::Serialize)]")
        .btree_map(".");
    for field in ONE_OF {
        // Without a leading dot a path means what ends so: the field, and not the variants below it.
        config = config
            .type_attribute(field, "#[serde(rename_all = \"snake_case\")]")
            .field_attribute(field, "#[serde(flatten)]");
    }
    config = config.skip_debug(SILENT);
    for (field, word) in WORDS {
        let written = format!("#[serde(serialize_with = \"crate::json::{word}\")]");
        config = config.field_attribute(field, written);
    }
    config.compile_fds(descriptors)?;
    Ok(())
}
