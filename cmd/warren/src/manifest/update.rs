//! The blocks of a manifest that say how a change is brought in: `update:` and `canary:`.

use super::later::{self, Absent};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// How changes are brought in.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// `rolling` (default), `blue-green`, `canary` or `recreate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// A named set of settings to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Tasks replaced at a time. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// Between batches. Default 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// `start-first` (default) or `stop-first`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// Tasks above the wanted number, as in `1` or `25%`. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<String>,
    /// Tasks below the wanted number. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<String>,
    /// A new task counts once it has been ready this long. Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ready: Option<String>,
    /// A new task not ready in this time has failed. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_deadline: Option<String>,
    /// A rollout without progress for this long has failed. Default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline: Option<String>,
    /// `rollback` (default), `pause` or `continue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_action: Option<String>,
    /// The share of slots that may fail, as in `0.25` or `25%`. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failure_ratio: Option<String>,
    /// What becomes of an update while an earlier one is under way: `replace` (default), `queue` or `reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_update: Option<String>,
    /// How long the new version has all traffic before it is accepted. Default 5m for blue-green, else 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<String>,
    /// How long blue-green keeps the old version at full size after that. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<String>,
    /// How long tasks without traffic are kept for a look at them. Default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down_delay: Option<String>,
    /// How long a task runs on once no answer names it. Default 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
    /// A rollback to one of so many earlier versions goes straight. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_window: Option<u32>,
    /// Who must agree before anything changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approve>,
    /// Who is told and who is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
}

/// Who must agree.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// Any of these; anybody who may steer releases where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// How many different people. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
}

/// Who is told of a release, or asked.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// `pre_rollout`, `per_step`, `pre_promote`, `post_promote` (gates), `rollback` or `event`.
    pub on: String,
    /// `http://` or `https://`.
    pub url: String,
    /// How long one call may take. Default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// `json` (default) or `slack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Signs what is sent; printed as `***`, which keeps the key that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// How a canary gets its share: `steps`, or the sugar of one `weight`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// One step with this share before all traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Share>,
    /// The steps; a bare number is a share that is kept for `window`. Default 10, 25, 50, 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// How long a share is kept whose step does not say. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
}

/// One step of a canary: first the tasks, then the share, then the wait, then the gate.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Step {
    /// The share of traffic in per cent; that of the step before where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<Share>,
    /// Tasks of the new version where there should be more, as in `3` or `25%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<String>,
    /// How long the share is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Whether the gate asks the analysis.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub analyze: bool,
    /// Who must agree before it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approve>,
    /// Address called at the gate; a failure fails the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Stands for several steps that raise the share evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
}

/// Raises the share evenly.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// The share at the end.
    pub to: Share,
    /// By how much each step raises it.
    pub by: Share,
    /// How long each step is kept. Default: the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
}

/// A share of traffic, written in per cent with at most one decimal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// In thousandths, 0 to 1000.
    pub per_mille: u32,
}

impl std::str::FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text);
        let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let read = || {
            let whole: u32 = whole.parse().ok().filter(|_| digits(whole))?;
            let tenth: u32 = tenth.parse().ok().filter(|_| tenth.len() == 1 && digits(tenth))?;
            whole.checked_mul(10)?.checked_add(tenth).filter(|share| *share <= 1000)
        };
        let per_mille = read().ok_or_else(|| {
            format!("{text:?} is not a share of traffic: write per cents, 0 to 100, as in 5 or 2.5")
        })?;
        Ok(Self { per_mille })
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self.per_mille % 10 {
            0 => out.serialize_u32(self.per_mille / 10),
            tenth => out.serialize_str(&format!("{}.{tenth}", self.per_mille / 10)),
        }
    }
}

/// The fields of a step as they are read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepFields {
    #[serde(default)]
    weight: Option<Share>,
    #[serde(default)]
    scale: Option<String>,
    #[serde(default)]
    hold: Option<String>,
    #[serde(default, deserialize_with = "later::analyze")]
    analyze: bool,
    #[serde(default)]
    approve: Option<Approve>,
    #[serde(default)]
    run: Option<String>,
    #[serde(default)]
    ramp: Option<Ramp>,
    #[serde(default, rename = "route", deserialize_with = "later::proxy")]
    _route: Absent,
    #[serde(default, rename = "mirror", deserialize_with = "later::proxy")]
    _mirror: Absent,
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(StepVisitor)
    }
}

/// Reads a step from its fields, or from a bare share.
struct StepVisitor;

impl StepVisitor {
    fn bare<E: serde::de::Error>(text: &str) -> Result<Step, E> {
        let weight = text.parse().map_err(E::custom)?;
        Ok(Step { weight: Some(weight), ..Step::default() })
    }
}

impl<'de> Visitor<'de> for StepVisitor {
    type Value = Step;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a step as in {weight: 10, hold: 5m}, or a share as in 10")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Step, E> {
        Self::bare(&number.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Step, E> {
        Self::bare(&number.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Step, E> {
        Self::bare(&number.to_string())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Step, E> {
        Self::bare(text)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Step, A::Error> {
        let read = StepFields::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Step {
            weight: read.weight,
            scale: read.scale,
            hold: read.hold,
            analyze: read.analyze,
            approve: read.approve,
            run: read.run,
            ramp: read.ramp,
        })
    }
}
