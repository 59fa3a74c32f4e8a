//! The programs under test, built when they are first asked for.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, ensure};

use crate::tree;

/// The `warren` binary: the one named by `WARREN_BIN`, else one built from this tree in the profile of the test.
///
/// # Errors
/// Where it cannot be built; the compiler's words are on standard error.
pub fn warren() -> anyhow::Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    remembered(&BUILT, || {
        if let Some(path) = std::env::var_os("WARREN_BIN") {
            return Ok(path.into());
        }
        let folder = profile_folder()?;
        let mut cargo = cargo();
        // With just the programs that `make test` builds before the tests: which features libraries are built with
        // depends on all that is built at once, and with others it would be a second build of half of them.
        cargo.args(["build", "--workspace", "--bin", "warren", "--bin", "sweep"]);
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        build(&folder, "warren", &mut cargo)?;
        Ok(folder.join("warren"))
    })
}

/// The demo workload as one static file, which runs in an image that holds nothing else.
///
/// # Errors
/// As [`warren`].
pub fn web() -> anyhow::Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    remembered(&BUILT, || {
        // A target of its own: the flags that make it static would rebuild everything else.
        let folder = profile_folder()?.with_file_name("static");
        let machine = machine()?;
        let mut cargo = cargo();
        cargo
            .args(["build", "--release", "--package", "web-app", "--target", &machine])
            .env("CARGO_TARGET_DIR", &folder)
            .env("RUSTFLAGS", "-C target-feature=+crt-static");
        build(&folder, "web", &mut cargo)?;
        Ok(folder.join(machine).join("release/web"))
    })
}

fn remembered(
    cell: &'static OnceLock<Result<PathBuf, String>>,
    make: impl FnOnce() -> anyhow::Result<PathBuf>,
) -> anyhow::Result<&'static Path> {
    let made = cell.get_or_init(|| make().map_err(|error| format!("{error:#}")));
    made.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

/// Where cargo put the running test: `target/debug` or `target/release`.
fn profile_folder() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().context("a program lies in a folder")?;
    let folder = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    Ok(folder.context("cargo's target folder")?.to_path_buf())
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(tree::root()).arg("--quiet");
    cargo
}

/// Runs cargo while no other test does, so that parallel tests wait for one build instead of making it twice.
fn build(folder: &Path, name: &str, cargo: &mut Command) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let lock = File::create(folder.join(format!("{name}.test-lock")))?;
    lock.lock()?;
    let status = cargo.status().with_context(|| format!("cargo builds {name}"))?;
    ensure!(status.success(), "{name} could not be built: {status}");
    Ok(())
}

/// The target that this compiler builds for by default.
fn machine() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("rustc tells its host")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names its host")?.to_owned())
}
