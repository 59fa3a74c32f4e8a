//! Clusters that this user has logged in to, each under a name of its own, in a file that only the user reads.

use crate::failure::{Exit, Failure, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

/// The largest file: hundreds of clusters, each with a certificate.
const BYTES_MAX: u64 = 1 << 20;

/// One cluster.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Where managers can be reached.
    pub managers: Vec<String>,
    /// The secret of the access token.
    pub secret: String,
    /// The authority's certificate, PEM.
    pub authority: String,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("managers", &self.managers).finish_non_exhaustive()
    }
}

/// All of them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one that is used where none is named; absent: the node of this machine.
    pub current: Option<String>,
    /// By name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// Reads the file; nothing where there is none.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn load() -> Outcome<Self> {
        let Some(path) = path() else { return Ok(Self::default()) };
        let refuse = |why: String| {
            Failure::new(Exit::Failed, format!("cannot read {}: {why}", path.display()))
                .hint("mend it, or move it away and log in again")
        };
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(refuse(error.to_string())),
            Ok(meta) if meta.len() > BYTES_MAX => {
                return Err(refuse(format!("it has more than {BYTES_MAX} bytes")));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(&path).map_err(|error| refuse(error.to_string()))?;
        toml::from_str(&text).map_err(|error: toml::de::Error| refuse(error.to_string()))
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// There is no home directory, or it cannot be written.
    pub fn save(&self) -> Outcome {
        let path = path().ok_or_else(|| {
            Failure::new(Exit::Failed, "there is no place for the logins of this user")
                .hint("set HOME, or XDG_CONFIG_HOME")
        })?;
        let text = toml::to_string(self).map_err(anyhow::Error::new)?;
        let written = || -> std::io::Result<()> {
            if let Some(folder) = path.parent() {
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            let draft = path.with_extension("new");
            let mut options = OpenOptions::new();
            let mut file: File =
                options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)
        };
        written().map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
        })
    }

    /// The context of that name.
    ///
    /// # Errors
    /// There is none, with those that there are.
    pub fn named(&self, name: &str) -> Outcome<&Context> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let failure = Failure::new(Exit::NotFound, format!("there is no context {name}"));
            match known.as_slice() {
                [] => failure.hint("`warren login` makes one"),
                known => failure.hint(format!("there are: {}", known.join(", "))),
            }
        })
    }
}

/// Where the file is.
fn path() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = set("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(set("HOME")?).join(".config")))?;
    Some(folder.join("warren/contexts.toml"))
}
