//! Reads manifests from text that may be anything.

use super::Manifest;
use crate::failure::{Failure, Outcome};
use serde_saphyr::Options;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use warren_wire::v1;

/// The largest manifest file: ten thousand services of a hundred bytes, and far below what a request may carry.
pub const MANIFEST_BYTES_MAX: usize = 1024 * 1024;

/// Documents of one file: as many as a file of that size can sensibly hold.
const DOCUMENTS_MAX: usize = 1024;

/// Aliases of one file: a few per service. More are a bomb.
const ALIASES_MAX: usize = 4096;

/// Nesting: the deepest field of a manifest is at 5.
const DEPTH_MAX: usize = 16;

/// Reads and checks all services of a file, or for `-` of standard input. Returns what it is called in errors as well.
///
/// # Errors
/// It cannot be read, or what is wrong with it, as in [`parse`].
pub fn load(file: &Path) -> Outcome<(String, Vec<v1::ServiceSpec>)> {
    // One byte more than allowed tells that there is more.
    let most = MANIFEST_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    let source = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)?;
        "standard input".to_owned()
    } else {
        let source = file.display().to_string();
        let read =
            std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes));
        read.map_err(|e| Failure::usage(format!("--file {source}: {e}")))?;
        source
    };
    let specs = parse(&source, &bytes)?;
    Ok((source, specs))
}

/// Reads and checks all services of `bytes`; `source` names the file in errors.
///
/// # Errors
/// What is wrong, with its place. Then nothing of the file may be used.
pub fn parse(source: &str, bytes: &[u8]) -> Outcome<Vec<v1::ServiceSpec>> {
    let refuse = |why: String| Failure::usage(format!("{source}: {why}"));
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(refuse(format!("larger than {MANIFEST_BYTES_MAX} bytes"))
            .hint("split it into several files"));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        refuse(format!("not UTF-8 from byte {} on", e.valid_up_to())).hint("save the file as UTF-8")
    })?;
    let manifests: Vec<Manifest> = serde_saphyr::from_multiple_with_options(text, options())
        .map_err(|e| {
            refuse(words(&e.to_string()))
                .hint("docs/guides/getting-started.md shows a whole manifest")
        })?;
    if manifests.is_empty() {
        return Err(refuse("there is no service in it".into()));
    }
    let mut names = BTreeSet::new();
    let mut specs = Vec::with_capacity(manifests.len());
    for manifest in &manifests {
        let name = &manifest.name;
        let spec = manifest.to_spec().map_err(|e| refuse(format!("service {name}: {e}")))?;
        if !names.insert(name) {
            return Err(refuse(format!("service {name} is there twice")));
        }
        specs.push(spec);
    }
    Ok(specs)
}

/// What the reader of YAML says, in words of manifests.
fn words(said: &str) -> String {
    let too_many = format!("more than {DOCUMENTS_MAX} services: split the file\n");
    let said = said.strip_prefix("error: ").unwrap_or(said);
    let mut text = String::new();
    for line in said.split_inclusive('\n') {
        match line.split_once("budget breached: Documents") {
            Some((place, _)) => text.extend([place, &too_many]),
            None => text.push_str(line),
        }
    }
    for number in ["u8", "u16", "u32", "u64"] {
        let library = format!("invalid {number}");
        text = text.replace(&library, "not a whole number, or one that cannot be here");
    }
    text.replace(", set DuplicateKeyPolicy in Options if acceptable", "")
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: DOCUMENTS_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_total_scalar_bytes: 4 * MANIFEST_BYTES_MAX,
        },
        strict_booleans: true,
    }
}
