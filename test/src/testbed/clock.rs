//! A wall clock of its own for a node, which a test can step. The kernel has one wall clock for all namespaces, so this
//! stands between the node's program and its C library, with `libfaketime` where that is installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::NotHere;

/// Where Debian puts the library, below the folder of the machine's own libraries.
const LIBRARY: &str = "faketime/libfaketime.so.1";

/// A clock that one node reads.
#[derive(Clone, Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that shows what this machine's shows, kept in `folder`.
    ///
    /// # Errors
    /// [`NotHere`] where the library is not installed.
    pub fn make(folder: &Path) -> anyhow::Result<Self> {
        let machine = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let places = [machine.as_str(), "/usr/lib", "/usr/lib64"];
        let found = places.iter().map(|place| Path::new(place).join(LIBRARY));
        let library = found.into_iter().find(|path| path.is_file());
        let library = library.ok_or_else(|| {
            NotHere(
                "libfaketime is not installed, so no node can have a wall clock of its own".into(),
            )
        })?;
        let clock = Self { library, file: folder.join("clock") };
        clock.show(0)?;
        Ok(clock)
    }

    /// Shows a time so many seconds after this machine's, or before it.
    ///
    /// # Errors
    /// Where its file cannot be written.
    pub fn show(&self, seconds_ahead: i64) -> anyhow::Result<()> {
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, format!("{seconds_ahead:+}\n"))?;
        std::fs::rename(beside, &self.file)?;
        Ok(())
    }

    /// What a program needs in its environment to read this clock.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            // Stepping a wall clock does not touch what time-outs are counted with.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}
