//! The bytes of one stored value: a format version, a checksum, the value in postcard.
//!
//! The checksum covers the place where the value lies, so that a record under a wrong index is found out too.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The format that this build writes. Readers keep every older one.
pub(crate) const VERSION: u8 = 1;

/// Version and checksum.
const HEADER_BYTES: usize = 5;

/// Why bytes are not a record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Flaw {
    /// It ends before its header does.
    #[error("it is cut short after {0} bytes")]
    Short(usize),
    /// Written by a newer build.
    #[error("it has format {found}, and this build reads up to {VERSION}")]
    TooNew {
        /// The version in the record.
        found: u8,
    },
    /// The bytes are not those that were written.
    #[error("its checksum does not match")]
    Checksum,
    /// The bytes are those that were written, but mean nothing here.
    #[error("it cannot be read: {0}")]
    Meaning(String),
}

/// The bytes to store `value` as, at `place`.
///
/// # Errors
/// The value cannot be encoded; a fault of this program.
pub(crate) fn seal<T: Serialize>(place: u64, value: &T) -> Result<Vec<u8>, Flaw> {
    let mut bytes = vec![VERSION, 0, 0, 0, 0];
    bytes = postcard::to_extend(value, bytes).map_err(|error| Flaw::Meaning(error.to_string()))?;
    let checksum = checksum(place, &bytes);
    bytes[1..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// The value in `bytes`, which lay at `place`.
///
/// # Errors
/// See [`Flaw`].
pub(crate) fn open<T: DeserializeOwned>(place: u64, bytes: &[u8]) -> Result<T, Flaw> {
    let Some((header, payload)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(Flaw::Short(bytes.len()));
    };
    if header[1..] != checksum(place, bytes).to_le_bytes() {
        return Err(Flaw::Checksum);
    }
    if header[0] != VERSION {
        return Err(Flaw::TooNew { found: header[0] });
    }
    postcard::from_bytes(payload).map_err(|error| Flaw::Meaning(error.to_string()))
}

/// Over everything but the checksum itself.
fn checksum(place: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place.to_le_bytes());
    hasher.update(&bytes[..1]);
    hasher.update(&bytes[HEADER_BYTES..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
