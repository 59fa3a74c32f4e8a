//! The node's key: how managers know a machine again. It is random, made once, and no secret that opens anything.

use crate::StartError;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file in the data directory.
const FILE: &str = "node.key";

/// Reads the key in `dir`, or makes one.
pub(crate) fn load_or_create(dir: &Path) -> Result<String, StartError> {
    let path = dir.join(FILE);
    let read = || -> io::Result<String> {
        fs::create_dir_all(dir)?;
        match fs::read_to_string(&path) {
            Ok(text) if is_key(text.trim()) => Ok(text.trim().to_owned()),
            Ok(_) => Err(io::Error::other(
                "the file is damaged; remove it to join the cluster as a new node",
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(dir, &path),
            Err(error) => Err(error),
        }
    };
    read().map_err(|source| StartError::DataDir { path: path.clone(), source })
}

/// Written beside, synced and renamed, so that a crash leaves no half a key.
fn create(dir: &Path, path: &Path) -> io::Result<String> {
    let key: String = random::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    let beside = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(key.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    fs::File::open(dir)?.sync_all()?;
    Ok(key)
}

fn is_key(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Bytes from the kernel's generator.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_read_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        let key = load_or_create(&dir).unwrap();
        assert!(is_key(&key));
        assert_eq!(load_or_create(&dir).unwrap(), key);
        let mode = fs::metadata(dir.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_never_replaced_silently() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "half").unwrap();
        let StartError::DataDir { path, source } = load_or_create(dir.path()).unwrap_err();
        assert_eq!(path, dir.path().join(FILE));
        assert!(source.to_string().contains("damaged"));
    }
}
