//! Credentials for registries, and how far a pull is.

use std::fmt;

/// Who pulls, for one registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The account.
    pub username: String,
    /// Its password or access token.
    pub password: String,
}

impl fmt::Debug for Credentials {
    /// Leaves the password out, so that no log can hold it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How far a pull is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PullProgress {
    /// Layers that are here.
    pub layers_done: u32,
    /// Layers known so far; it grows while the registry answers.
    pub layers: u32,
    /// Bytes fetched of the layers being fetched.
    pub bytes_done: u64,
    /// Bytes of the layers whose size is known.
    pub bytes: u64,
}
