//! Whether a manager can do its work, for `/readyz` and `warren status`.

use warren_raft::{Leadership, Raft};

/// How a manager does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// Whether it leads, and its loops run.
    pub leading: bool,
    /// What keeps it from its work, for people; empty while nothing does.
    pub problems: Vec<String>,
}

impl Health {
    /// Whether nothing keeps it from its work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.problems.is_empty()
    }

    /// `leading`: whether the loops run; `wedged`: what the watchdog found, if it did.
    pub(crate) fn look(raft: &Raft, leading: bool, wedged: Option<&'static str>) -> Self {
        let status = raft.status();
        let mut problems: Vec<String> = status.fault.into_iter().collect();
        match status.leadership {
            Leadership::None => problems.push("no leader is known: an election is on".to_owned()),
            Leadership::Leader { .. } if !leading => {
                problems.push("this manager leads and is taking over still".to_owned());
            }
            Leadership::Leader { .. } | Leadership::Follower { .. } => {}
        }
        if let Some(wedged) = wedged {
            problems.push(format!("the {wedged} loop stands still and was started again"));
        }
        Self { leading, problems }
    }
}
