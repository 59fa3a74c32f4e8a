//! What versions of Warren have in common.
//!
//! A new version may write what an older one cannot read: another command, another rule in an old one. It says so by a
//! higher level, and writes nothing of it before the cluster is at that level. The cluster's level is raised when every
//! manager has the higher one, and is never lowered: what has been written stays written. From then on a node of a
//! lower level is of no use to the cluster, and is refused before it does harm.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How much of Warren's language a version speaks. Nothing is left out: who speaks one level speaks all below.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Level(pub u32);

impl Level {
    /// The first one, which every cluster begins with.
    pub const FIRST: Self = Self(1);
    /// That of this version. Raised by a version that writes what its predecessor cannot read.
    pub const OURS: Self = Self(1);
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The level to raise a cluster to that is at `now`, with what its managers speak; `None` where it stays.
#[must_use]
pub fn next(now: Level, managers: impl Iterator<Item = Level>) -> Option<Level> {
    managers.min().filter(|common| *common > now)
}

/// Why a node of `version` that speaks `node` has no place in a cluster at `cluster`; `None` where it has.
#[must_use]
pub fn too_old(node: Level, cluster: Level, version: &str) -> Option<String> {
    (node < cluster).then(|| {
        format!(
            "this node speaks level {node}, the cluster needs {cluster}: upgrade it (it runs Warren {version}; \
             `warren node ls` shows what the others run) and start it again"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(now: u32, managers: &[u32]) -> Option<u32> {
        next(Level(now), managers.iter().copied().map(Level)).map(|level| level.0)
    }

    #[test]
    fn it_rises_to_what_all_managers_speak_and_never_falls() {
        assert_eq!(after(1, &[1, 2, 2]), None, "one is behind");
        assert_eq!(after(1, &[2, 3, 2]), Some(2));
        assert_eq!(after(2, &[1, 1]), None, "never lowered");
        assert_eq!(after(1, &[]), None, "nobody has said what it speaks");
    }

    #[test]
    fn who_speaks_less_is_told_what_to_do() {
        assert_eq!(too_old(Level(2), Level(2), "0.2.0"), None);
        assert_eq!(too_old(Level(3), Level(2), "0.3.0"), None);
        let told = too_old(Level(1), Level(2), "0.1.0").unwrap();
        assert!(
            told.starts_with("this node speaks level 1, the cluster needs 2: upgrade it"),
            "{told}"
        );
    }
}
