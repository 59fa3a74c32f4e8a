//! What the tests share: the probe program, random names, and saying aloud what is skipped.

pub(crate) mod registry;
pub(crate) mod tar;

use futures::FutureExt;
use futures::future::BoxFuture;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};
use std::future::Future;
use std::io::Write;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use warren_core::id::NodeId;
use warren_drivers::runtime::Scope;
use warren_drivers::runtime::contract::{Checked, Fixture};

/// A check of the contract.
pub(crate) type Check = for<'a> fn(&'a dyn Fixture) -> BoxFuture<'a, Checked>;

/// The probe program, compiled once for each content of its source.
pub(crate) fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(compile)
}

fn compile() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/probe.rs");
    let digest = Sha256::digest(std::fs::read(&source).unwrap());
    let name: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(folder).unwrap();
    let program = folder.join(format!("probe-{name}"));
    // Every test is a process of its own: only one compiles, the others wait for it.
    let lock = std::fs::File::create(folder.join("probe.lock")).unwrap();
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap();
    if !program.exists() {
        let new = folder.join(format!("new-{name}"));
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let done = Command::new(rustc)
            .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static"])
            .args(["-C", "panic=abort", "-C", "strip=symbols", "-o"])
            .args([new.as_os_str(), source.as_os_str()])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::rename(new, &program).unwrap();
    }
    program
}

/// Random bytes, from the kernel.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    let mut file = std::fs::File::open("/dev/urandom").unwrap();
    std::io::Read::read_exact(&mut file, &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

/// A scope that no other test has.
pub(crate) fn scope() -> Scope {
    Scope { cluster: format!("{:016x}", random()), node: NodeId(1 + random() % 1_000_000) }
}

/// Says that a test did not run and why, also in the file that `make test` lists at its end.
pub(crate) fn skip(test: &str, why: &str) {
    let line = format!("skipped {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("WARREN_SKIPS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Runs the test, cleans up after it also where it failed, and fails then.
pub(crate) async fn and_then_clean<T>(
    test: impl Future<Output = T>,
    clean: impl Future<Output = ()>,
) -> T {
    let outcome = AssertUnwindSafe(test).catch_unwind().await;
    clean.await;
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
