//! What goes wrong, as values and as words.

use crate::id::RevisionNumber;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How the tasks of a revision behave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Behaviour {
    /// They start, become ready and stay so.
    #[default]
    Healthy,
    /// They end by themselves, so long after each start.
    Crash {
        /// How long they run.
        after: Duration,
    },
    /// They run and never become ready.
    NeverReady,
    /// They take so much longer to become ready.
    Slow {
        /// How much.
        by: Duration,
    },
    /// They are ready and not ready in turns.
    Flap {
        /// How long each turn is.
        every: Duration,
    },
    /// Their image is gone: they can never be started.
    NoImage,
}

/// Something that goes wrong. Its text form is `KIND[:SUBJECT][@WHEN[+LENGTH]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// `crash:v2`, `crash:v2@50%` (of its tasks), `crash:v2@90s` (after so long), `never-ready:v2`, `slow:v2@40s`,
    /// `flap:v2`, `no-image:v2`, `healthy:v2`: how the tasks of a revision behave that start from now on.
    Behave {
        /// Whose tasks.
        revision: RevisionNumber,
        /// How.
        how: Behaviour,
        /// How many of a hundred.
        percent: u8,
    },
    /// `node-loss:node-2@3m` (and back after `+1m`): a machine stops with all that runs on it.
    NodeLoss(Disturbance),
    /// `partition:node-2@1m+30s`: a machine runs on and hears nothing of the leader.
    Partition(Disturbance),
    /// `leader-change@2m`: another manager leads, and what was only heard is lost.
    LeaderChange {
        /// When.
        at: Duration,
    },
    /// `quorum-loss@2m+5m`: nobody leads for a while; cluster time stands still.
    QuorumLoss {
        /// When.
        at: Duration,
        /// For how long.
        length: Duration,
    },
    /// `clock-jump@1m+10m`: the leader is suspended, and its clock jumps.
    ClockJump {
        /// When.
        at: Duration,
        /// How far.
        length: Duration,
    },
    /// `hook-fails:URL`: calls of hooks to addresses that contain this text are refused.
    HookFails {
        /// Part of the address.
        url: String,
    },
}

/// A machine that is disturbed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disturbance {
    /// Its name; the last machine where absent.
    pub node: Option<String>,
    /// When, from now.
    pub at: Duration,
    /// For how long; for ever where absent.
    pub length: Option<Duration>,
}

impl Fault {
    /// When it comes; at once where it is a way in which tasks behave.
    #[must_use]
    pub fn at(&self) -> Duration {
        match self {
            Self::Behave { .. } | Self::HookFails { .. } => Duration::ZERO,
            Self::NodeLoss(disturbance) | Self::Partition(disturbance) => disturbance.at,
            Self::LeaderChange { at }
            | Self::QuorumLoss { at, .. }
            | Self::ClockJump { at, .. } => *at,
        }
    }
}

/// How long tasks that flap are ready, and are not.
const FLAP: Duration = Duration::from_secs(3);
/// How long nobody leads where nothing else is said.
const QUORUM_LOSS: Duration = Duration::from_secs(60);

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (head, when) = match text.split_once('@') {
            Some((head, when)) => (head, Some(when)),
            None => (text, None),
        };
        let (kind, subject) = match head.split_once(':') {
            Some((kind, subject)) => (kind, Some(subject)),
            None => (head, None),
        };
        let (at, length) = match when.map(|when| when.split_once('+').unwrap_or((when, ""))) {
            None => (None, None),
            Some((at, "")) => (Some(at), None),
            Some((at, length)) => (Some(at), Some(span(length)?)),
        };
        let moment = || at.map_or(Ok(Duration::ZERO), span);
        let node = || -> Result<_, String> {
            Ok(Disturbance { node: subject.map(str::to_owned), at: moment()?, length })
        };
        match kind {
            "node-loss" => Ok(Self::NodeLoss(node()?)),
            "partition" => Ok(Self::Partition(node()?)),
            "leader-change" => Ok(Self::LeaderChange { at: moment()? }),
            "quorum-loss" => {
                Ok(Self::QuorumLoss { at: moment()?, length: length.unwrap_or(QUORUM_LOSS) })
            }
            "clock-jump" => {
                Ok(Self::ClockJump { at: moment()?, length: length.unwrap_or(QUORUM_LOSS) })
            }
            "hook-fails" => Ok(Self::HookFails { url: subject.unwrap_or_default().to_owned() }),
            kind => behave(text, kind, subject, at),
        }
    }
}

fn behave(
    text: &str,
    kind: &str,
    subject: Option<&str>,
    at: Option<&str>,
) -> Result<Fault, String> {
    let revision = subject.and_then(|subject| subject.parse().ok());
    let percent = at.and_then(|at| at.strip_suffix('%')).map(str::parse);
    let (percent, at) = match percent {
        Some(Ok(percent)) if percent <= 100 => (percent, None),
        Some(Ok(_) | Err(_)) => return Err(format!("{text:?}: write a share as in crash:v2@50%")),
        None => (100, at.map(span).transpose()?),
    };
    let how = match kind {
        "healthy" => Behaviour::Healthy,
        "crash" => Behaviour::Crash { after: at.unwrap_or(Duration::from_secs(1)) },
        "never-ready" => Behaviour::NeverReady,
        "slow" => Behaviour::Slow { by: at.unwrap_or(Duration::from_secs(30)) },
        "flap" => Behaviour::Flap { every: at.unwrap_or(FLAP) },
        "no-image" => Behaviour::NoImage,
        _ => {
            return Err(format!(
                "there is no fault {kind:?}: write crash, never-ready, slow, flap, no-image or healthy with a \
                 revision (crash:v2@50%), node-loss or partition with a node (node-loss:node-2@3m+1m), leader-change, \
                 quorum-loss, clock-jump, or hook-fails:URL"
            ));
        }
    };
    let revision = revision.ok_or_else(|| format!("{text:?}: name a revision, as in {kind}:v2"))?;
    Ok(Fault::Behave { revision, how, percent })
}

/// Reads a span of time: `250ms`, `40s`, `5m`, `1h`, `1m30s`.
///
/// # Errors
/// What to write instead.
pub fn span(text: &str) -> Result<Duration, String> {
    let refuse =
        || format!("{text:?} is not a span of time: write as in 250ms, 40s, 5m, 1m30s, 1h");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(refuse()),
        };
        let number: u64 = number.parse().map_err(|_| refuse())?;
        total += Duration::from_millis(number.checked_mul(factor).ok_or_else(refuse)?);
        rest = tail;
    }
    if text.is_empty() { Err(refuse()) } else { Ok(total) }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::Crash { after } => write!(f, "crash after {} s", after.as_secs_f32()),
            Self::NeverReady => f.write_str("never ready"),
            Self::Slow { by } => write!(f, "slower by {} s", by.as_secs_f32()),
            Self::Flap { every } => write!(f, "flap every {} s", every.as_secs_f32()),
            Self::NoImage => f.write_str("without their image"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_read_as_they_are_documented() {
        let v2 = RevisionNumber(2);
        let crash = Behaviour::Crash { after: Duration::from_secs(1) };
        assert_eq!(
            "crash:v2@50%".parse(),
            Ok(Fault::Behave { revision: v2, how: crash, percent: 50 })
        );
        let slow = Behaviour::Slow { by: Duration::from_secs(40) };
        assert_eq!(
            "slow:v2@40s".parse(),
            Ok(Fault::Behave { revision: v2, how: slow, percent: 100 })
        );
        let cut = Disturbance {
            node: Some("node-2".to_owned()),
            at: Duration::from_secs(60),
            length: Some(Duration::from_secs(30)),
        };
        assert_eq!("partition:node-2@1m+30s".parse(), Ok(Fault::Partition(cut)));
        let gone = Disturbance { node: None, at: Duration::from_secs(180), length: None };
        assert_eq!("node-loss@3m".parse(), Ok(Fault::NodeLoss(gone)));
        for wrong in ["", "crash", "crash:2", "crash:v2@500%", "node-loss@soon", "rain"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
        assert_eq!(span("1m30s"), Ok(Duration::from_secs(90)));
    }
}
