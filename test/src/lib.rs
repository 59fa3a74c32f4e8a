//! What the tests share: the tree as text, the reference pages, and real clusters to try things on.
//!
//! Nothing here is part of the product. A test that cannot run on this machine says so with [`skip`], so that the
//! end of `make test` can count it.

pub mod api;
pub mod bench_store;
pub mod binary;
pub mod cluster;
pub mod dns;
pub mod example;
pub mod fleet;
pub mod gate;
pub mod history;
pub mod http;
pub mod image;
pub mod leaders;
pub mod load;
pub mod pool;
pub mod reference;
pub mod release;
pub mod sink;
pub mod store;
pub mod sweep;
pub mod systemd;
pub mod testbed;
pub mod torture;
pub mod tree;
pub mod wait;
pub mod watch;

use std::io::Write as _;

/// Says that a test did not run here and why, on standard error and in the file named by `WARREN_SKIPS`, from which
/// `make test` prints the list at its end. The caller returns right after.
pub fn skip(test: &str, why: &str) {
    let line = format!("skipped {test}: {why}\n");
    say(line.trim_end());
    if let Some(path) = std::env::var_os("WARREN_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        if let Ok(mut file) = file {
            let _ = file.write_all(line.as_bytes());
        }
    }
}

/// Says a line on standard error, which a runner shows with the test.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
