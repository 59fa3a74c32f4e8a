//! Compiles `proto/` without a system protoc.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let names = ["service", "task", "rollout", "node", "cluster", "event", "session", "raft"];
    let files: Vec<PathBuf> =
        names.iter().map(|name| root.join(format!("warren/v1/{name}.proto"))).collect();
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [&root])?;
    std::fs::write(out.join("warren.fds"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        .type_attribute(".", "#[derive(serde::Serialize)]")
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
