//! The file of a backup: a header that everybody may read, and what a restore needs, sealed with a passphrase.
//!
//! ```text
//! WARRENBK | format, 2 bytes | length of the header, 4 | header, JSON | sealed | SHA-256 of all before
//! ```
//! Numbers are little-endian. The digest tells damage from a wrong passphrase; the seal covers the header too. What is
//! sealed is the key that opens the cluster's authority and secrets, as 64 digits, and then the state.

use crate::trust::{SealKey, TrustError, hex, random, sha256, unhex};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"WARRENBK";

/// The format that this build writes; it reads this one and older ones.
pub const FORMAT: u16 = 1;

/// Magic, format, length of the header.
const PREFIX_BYTES: usize = 14;

/// A header has some hundred bytes.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// The largest file: a state of millions of tasks. All of it is in memory while it is sealed.
pub const FILE_BYTES_MAX: usize = 1 << 30;

/// A shorter passphrase is found by trying.
pub const PASSPHRASE_BYTES_MIN: usize = 8;

/// A longer one is not one but a mistake, as the name of the wrong file.
pub const PASSPHRASE_BYTES_MAX: usize = 1_024;

/// The key, as digits.
const KEY_BYTES: usize = 64;

/// What the seal adds: a nonce of 24 bytes and a tag of 16.
const SEAL_BYTES: usize = 40;

const DIGEST_BYTES: usize = 32;

/// What a backup says of itself without its passphrase.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The cluster, 16 hexadecimal digits.
    pub cluster: String,
    /// Its epoch.
    pub epoch: u32,
    /// Up to and with this entry of the log.
    pub index: u64,
    /// The term in which it was read.
    pub term: u64,
    /// The manager that gave it, as in `n1`.
    pub node: String,
    /// When it was made, by the clock of who made it, in milliseconds since 1970.
    pub made_unix_ms: u64,
    /// The version of Warren that gave it.
    pub version: String,
    /// How the passphrase becomes a key.
    pub kdf: Kdf,
    /// How long the sealed part is.
    pub sealed_bytes: u64,
}

/// How a passphrase becomes a key: Argon2id, version 19.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kdf {
    /// `argon2id`.
    pub name: String,
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
    /// 16 random bytes, in hexadecimal digits.
    pub salt: String,
}

/// The parameters of RFC 9106 §4 for machines with little memory: 64 MiB and three passes, a third of a second.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 4;

/// What a file may ask for at most, so that a forged one does not take all memory or time.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

impl Kdf {
    /// The parameters of today, with a salt of its own.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn generate() -> Result<Self, BackupError> {
        let salt = random::<16>().map_err(|error| BackupError::Seal(error.to_string()))?;
        let name = "argon2id".to_owned();
        let (memory_kib, passes, lanes) = (MEMORY_KIB, PASSES, LANES);
        Ok(Self { name, memory_kib, passes, lanes, salt: hex(&salt) })
    }

    fn key(&self, passphrase: &[u8]) -> Result<SealKey, BackupError> {
        let unfit = |what: &str| BackupError::Header(format!("kdf.{what} is out of range"));
        if self.name != "argon2id" {
            return Err(BackupError::Header(format!("kdf.name {:?} is not known", self.name)));
        }
        let salt = unhex::<16>(&self.salt).ok_or_else(|| unfit("salt"))?;
        if self.memory_kib > MEMORY_KIB_MAX {
            return Err(unfit("memory_kib"));
        }
        if self.passes > PASSES_MAX {
            return Err(unfit("passes"));
        }
        if self.lanes > LANES_MAX {
            return Err(unfit("lanes"));
        }
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        let params = params.map_err(|error| BackupError::Header(format!("kdf: {error}")))?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase, &salt, key.as_mut_slice())
            .map_err(|error| BackupError::Seal(error.to_string()))?;
        Ok(SealKey::from_bytes(key))
    }
}

/// What a restore needs.
pub struct Contents {
    /// Opens the authority and the secrets in the state.
    pub seal_key: SealKey,
    /// The state, as the managers' log encodes it.
    pub state: Zeroizing<Vec<u8>>,
}

/// Why a file is no backup, or does not open.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BackupError {
    /// Something else.
    #[error("it is no backup of Warren: it does not begin as one")]
    Foreign,
    /// A newer build made it.
    #[error(
        "it has format {found}, and this build reads up to {FORMAT}: use a build as new as the one that made it"
    )]
    TooNew {
        /// The format in it.
        found: u16,
    },
    /// It ends early.
    #[error("it is cut short: {found} bytes of {wanted} are there")]
    Short {
        /// What is there.
        found: usize,
        /// What should be, as far as that can be told.
        wanted: usize,
    },
    /// Something follows that is no part of it.
    #[error("{0} bytes follow after its end")]
    Long(usize),
    /// It is larger than any backup.
    #[error("its size of {0} bytes is more than the {FILE_BYTES_MAX} that a backup may have")]
    TooLarge(u64),
    /// It is not what was written.
    #[error("it is damaged: its checksum does not match")]
    Damaged,
    /// Its header cannot be read.
    #[error("its header cannot be read: {0}")]
    Header(String),
    /// The passphrase does not open it.
    #[error("this is not the passphrase that it was sealed with")]
    Passphrase,
    /// The passphrase cannot be one.
    #[error(
        "a passphrase has {PASSPHRASE_BYTES_MIN} to {PASSPHRASE_BYTES_MAX} bytes, and this one {0}"
    )]
    PassphraseLength(usize),
    /// It cannot be sealed.
    #[error("it cannot be sealed: {0}")]
    Seal(String),
}

/// Checks a passphrase before anything is done with it.
///
/// # Errors
/// It is too short or too long.
pub fn check_passphrase(passphrase: &[u8]) -> Result<(), BackupError> {
    match passphrase.len() {
        PASSPHRASE_BYTES_MIN..=PASSPHRASE_BYTES_MAX => Ok(()),
        other => Err(BackupError::PassphraseLength(other)),
    }
}

/// The bytes of a backup. The header's `sealed_bytes` is set here.
///
/// # Errors
/// The passphrase cannot be one, or what is to be sealed is too large.
pub fn seal(
    mut header: Header,
    contents: &Contents,
    passphrase: &[u8],
) -> Result<Vec<u8>, BackupError> {
    check_passphrase(passphrase)?;
    let plain_bytes = KEY_BYTES + contents.state.len();
    header.sealed_bytes = (plain_bytes + SEAL_BYTES) as u64;
    let head = serde_json::to_vec(&header).map_err(|e| BackupError::Header(e.to_string()))?;
    let head_bytes = u32::try_from(head.len()).map_err(|e| BackupError::Header(e.to_string()))?;
    let bytes_max = FILE_BYTES_MAX - HEADER_BYTES_MAX - PREFIX_BYTES - DIGEST_BYTES;
    if header.sealed_bytes > bytes_max as u64 {
        return Err(BackupError::TooLarge(header.sealed_bytes));
    }
    let mut file = Vec::with_capacity(plain_bytes + SEAL_BYTES + head.len() + PREFIX_BYTES + 32);
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&FORMAT.to_le_bytes());
    file.extend_from_slice(&head_bytes.to_le_bytes());
    file.extend_from_slice(&head);
    let mut plain = Zeroizing::new(Vec::with_capacity(plain_bytes));
    plain.extend_from_slice(contents.seal_key.to_text().as_bytes());
    plain.extend_from_slice(&contents.state);
    let sealed = header.kdf.key(passphrase)?.seal(&purpose(&file), &plain);
    file.extend(sealed.map_err(|error| BackupError::Seal(error.to_string()))?);
    let digest = sha256(&file);
    file.extend_from_slice(&digest);
    Ok(file)
}

/// For what the contents are sealed: this header and no other.
fn purpose(before: &[u8]) -> String {
    format!("backup {}", hex(&sha256(before)))
}

/// A file that is whole.
#[derive(Debug)]
pub struct Backup<'a> {
    /// What it says of itself. Only [`Self::open`] proves it.
    pub header: Header,
    before: &'a [u8],
    sealed: &'a [u8],
}

impl<'a> Backup<'a> {
    /// Reads a file and checks that all of it is there and undamaged.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(file: &'a [u8]) -> Result<Self, BackupError> {
        if file.len() > FILE_BYTES_MAX {
            return Err(BackupError::TooLarge(file.len() as u64));
        }
        if !file.starts_with(&MAGIC[..file.len().min(MAGIC.len())]) || file.is_empty() {
            return Err(BackupError::Foreign);
        }
        let short = |wanted| BackupError::Short { found: file.len(), wanted };
        let prefix = file.first_chunk::<PREFIX_BYTES>().ok_or_else(|| short(PREFIX_BYTES))?;
        let [_, _, _, _, _, _, _, _, f0, f1, h0, h1, h2, h3] = *prefix;
        let found = u16::from_le_bytes([f0, f1]);
        if found > FORMAT || found == 0 {
            return Err(BackupError::TooNew { found });
        }
        let head_bytes = u32::from_le_bytes([h0, h1, h2, h3]) as usize;
        if head_bytes > HEADER_BYTES_MAX {
            let why = format!("{head_bytes} bytes are more than {HEADER_BYTES_MAX}");
            return Err(BackupError::Header(why));
        }
        let at = PREFIX_BYTES + head_bytes;
        let head = file.get(PREFIX_BYTES..at).ok_or_else(|| short(at))?;
        let header: Header =
            serde_json::from_slice(head).map_err(|e| BackupError::Header(e.to_string()))?;
        let sealed = usize::try_from(header.sealed_bytes).unwrap_or(usize::MAX);
        let end = at.saturating_add(sealed);
        let wanted = end.saturating_add(DIGEST_BYTES);
        if wanted > FILE_BYTES_MAX {
            return Err(BackupError::TooLarge(header.sealed_bytes));
        }
        let (Some(covered), Some(digest)) = (file.get(..end), file.get(end..wanted)) else {
            return Err(short(wanted));
        };
        if file.len() > wanted {
            return Err(BackupError::Long(file.len() - wanted));
        }
        if sha256(covered) != *digest {
            return Err(BackupError::Damaged);
        }
        let (before, sealed) = covered.split_at(at);
        Ok(Self { header, before, sealed })
    }

    /// Opens it.
    ///
    /// # Errors
    /// The passphrase is another, or the header asks for something that cannot be.
    pub fn open(&self, passphrase: &[u8]) -> Result<Contents, BackupError> {
        check_passphrase(passphrase)?;
        let key = self.header.kdf.key(passphrase)?;
        let plain = key.open(&purpose(self.before), self.sealed);
        let plain = plain.map_err(|_: TrustError| BackupError::Passphrase)?;
        let (key, state) = plain.split_at_checked(KEY_BYTES).ok_or(BackupError::Damaged)?;
        let key = std::str::from_utf8(key).ok().and_then(SealKey::parse);
        let seal_key = key.ok_or(BackupError::Damaged)?;
        Ok(Contents { seal_key, state: Zeroizing::new(state.to_vec()) })
    }
}

#[cfg(test)]
mod tests;
