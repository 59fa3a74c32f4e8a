//! What an installed Warren is on disk, and how it gets there: each file whole, or as it was before.

use crate::failure::{Exit, Failure, Outcome};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where the parts of an installed Warren are, below the root of a file system.
#[derive(Clone, Debug)]
pub struct Places {
    root: PathBuf,
}

/// Where the program is put; a package of the distribution puts it elsewhere.
const BINARY: &str = "/usr/local/bin/warren";
/// Where a package puts it.
const PACKAGED: &str = "/usr/bin/warren";
const UNIT: &str = "/etc/systemd/system/warren.service";
const PACKAGED_UNIT: &str = "/lib/systemd/system/warren.service";

impl Places {
    /// Below `root`, which is `/` unless an image is being made.
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Whether this is the running system.
    pub fn live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The program.
    pub fn binary(&self) -> PathBuf {
        self.at(BINARY)
    }

    /// The unit of systemd.
    pub fn unit(&self) -> PathBuf {
        self.at(UNIT)
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.at(crate::config::CONFIG_FILE)
    }

    /// Whether a package of the distribution brought Warren, whose files are not ours to change.
    pub fn packaged(&self) -> bool {
        self.at(PACKAGED).exists() && self.at(PACKAGED_UNIT).exists()
    }

    /// A path of the system as it is below the root.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

fn unit(binary: &str) -> String {
    include_str!("warren.service").replace("@BINARY@", binary)
}

/// The unit of systemd as `warren install` writes it.
pub fn own_unit() -> String {
    unit(BINARY)
}

/// The unit of systemd as a package brings it.
pub fn packaged_unit() -> String {
    unit(PACKAGED)
}

/// Writes a file whole and durably: readers see the old one or the new one. Says whether it changed anything.
///
/// # Errors
/// The file system refuses.
pub fn put(path: &Path, content: &[u8], mode: u32) -> Outcome<bool> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    let failed = |error: std::io::Error| cannot("write", path, &error);
    let folder = path.parent().unwrap_or(path);
    DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.new"));
    // What an interrupted run left would keep its mode.
    let _ = fs::remove_file(&beside);
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside);
    let written = written.and_then(|mut file| {
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed)?;
    Ok(true)
}

/// Removes a file or a folder with all that is in it. Says whether there was one.
///
/// # Errors
/// The file system refuses.
pub fn take_away(path: &Path) -> Outcome<bool> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => Err(error),
    };
    removed.map_err(|error| cannot("remove", path, &error))?;
    Ok(true)
}

/// A failure of the file system, in words.
pub fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::new(Exit::Failed, format!("cannot {what} {}: {error}", path.display()));
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => failure.hint("run it as root: sudo warren …"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_once_with_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etc/warren.toml");
        assert!(put(&path, b"a = 1\n", 0o600).unwrap());
        assert!(!put(&path, b"a = 1\n", 0o600).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(put(&path, b"a = 2\n", 0o600).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"a = 2\n");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(take_away(&path).unwrap() && !take_away(&path).unwrap());
    }

    #[test]
    fn units_name_a_program() {
        for (unit, program) in [(own_unit(), BINARY), (packaged_unit(), PACKAGED)] {
            assert!(unit.contains(&format!("ExecStart={program} up\n")));
            assert!(!unit.contains('@'), "{unit}");
        }
    }
}
