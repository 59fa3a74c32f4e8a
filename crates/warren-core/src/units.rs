//! Numbers that carry their unit.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A share of traffic in per-mille, 0 to 1000.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Weight(u16);

impl Weight {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// All of it.
    pub const FULL: Self = Self(1000);

    /// A weight of `per_mille`; `None` above 1000.
    #[must_use]
    pub const fn from_per_mille(per_mille: u16) -> Option<Self> {
        if per_mille <= 1000 { Some(Self(per_mille)) } else { None }
    }

    /// What is left of all traffic.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(1000 - self.0)
    }

    /// Both together, all of the traffic at most.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self((self.0 + other.0).min(1000))
    }

    /// This less `other`, nothing at least.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// How many of `count` tasks this share needs: rounded up.
    #[must_use]
    pub fn ceil_of(self, count: u32) -> u32 {
        let product = u64::from(count) * u64::from(self.0);
        u32::try_from(product.div_ceil(1000)).unwrap_or(u32::MAX)
    }

    /// The share that `part` of `whole` tasks can carry, rounded down; all of it where `whole` is 0.
    #[must_use]
    pub fn carried_by(part: u32, whole: u32) -> Self {
        let share = (u64::from(part) * 1000).checked_div(u64::from(whole)).unwrap_or(1000);
        Self(u16::try_from(share.min(1000)).unwrap_or(1000))
    }

    /// The weight in per-mille.
    #[must_use]
    pub const fn per_mille(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(10) {
            write!(f, "{}%", self.0 / 10)
        } else {
            write!(f, "{}.{}%", self.0 / 10, self.0 % 10)
        }
    }
}

/// An amount of memory or disk, in bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Bytes(pub u64);

impl Bytes {
    /// `count` mebibytes.
    #[must_use]
    pub const fn from_mib(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }

    /// The whole mebibytes of it, which read better than a crooked number of bytes.
    #[must_use]
    pub const fn whole_mib(self) -> Self {
        Self::from_mib(self.0 / (1024 * 1024))
    }
}

/// The binary units, largest first, with the factor of each.
const BINARY_UNITS: [(&str, u64); 4] =
    [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in BINARY_UNITS {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A text that is not an amount with a unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAmount {
    /// Not a size in bytes.
    #[error(
        "{0:?} is not a size: write bytes or a binary unit, as in 268435456, 512Ki, 256Mi, 2Gi"
    )]
    Bytes(String),
    /// Not a CPU share.
    #[error("{0:?} is not an amount of CPU: write cores or millicores, as in 2, 0.5, 250m")]
    Cpu(String),
}

impl std::str::FromStr for Bytes {
    type Err = InvalidAmount;

    /// Accepts plain bytes and `Ki`, `Mi`, `Gi`, `Ti` (also `k`, `m`, `g` and `b` in the Docker way: binary, any case).
    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let refuse = || InvalidAmount::Bytes(text.to_owned());
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "ki" | "kib" => 1 << 10,
            "m" | "mi" | "mib" => 1 << 20,
            "g" | "gi" | "gib" => 1 << 30,
            "t" | "ti" | "tib" => 1 << 40,
            _ => return Err(refuse()),
        };
        let count: u64 = digits.parse().map_err(|_| refuse())?;
        count.checked_mul(factor).map(Self).ok_or_else(refuse)
    }
}

/// An amount of CPU, in thousandths of one core.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct MilliCpu(pub u32);

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            write!(f, "{}", self.0 / 1000)
        } else {
            write!(f, "{}m", self.0)
        }
    }
}

impl std::str::FromStr for MilliCpu {
    type Err = InvalidAmount;

    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let refuse = || InvalidAmount::Cpu(text.to_owned());
        if let Some(milli) = text.strip_suffix('m') {
            return digits(milli).and_then(|n| n.parse().ok()).map(Self).ok_or_else(refuse);
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let (Some(whole), Some(fraction)) = (digits(whole), digits(fraction)) else {
            return Err(refuse());
        };
        if fraction.len() > 3 {
            return Err(refuse());
        }
        let thousandths: u32 = format!("{fraction:0<3}").parse().map_err(|_| refuse())?;
        let whole: u32 = whole.parse().map_err(|_| refuse())?;
        whole
            .checked_mul(1000)
            .and_then(|milli| milli.checked_add(thousandths))
            .map(Self)
            .ok_or_else(refuse)
    }
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

/// A number of things, as people say it: `1 task`, `3 tasks`.
#[must_use]
pub fn counted(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// A length of time as people write it: `10 s`, `5 min`, `1 h 30 min`.
pub(crate) fn span(span: Duration) -> String {
    let ms = span.as_millis();
    if !ms.is_multiple_of(1000) {
        return format!("{ms} ms");
    }
    let seconds = span.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let words: Vec<_> = parts.map(|(count, unit)| format!("{count} {unit}")).collect();
    if words.is_empty() { "0 s".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_what_they_print() {
        for text in ["0", "1", "512Ki", "256Mi", "2Gi", "3Ti", "1023"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        for text in ["0", "2", "250m", "1500m"] {
            assert_eq!(text.parse::<MilliCpu>().unwrap().to_string(), text);
        }
        assert_eq!("0.5".parse(), Ok(MilliCpu(500)));
        assert_eq!("1.25".parse(), Ok(MilliCpu(1250)));
        assert_eq!("64m".parse(), Ok(Bytes::from_mib(64)));
    }

    #[test]
    fn amounts_refuse_what_has_no_unit_of_theirs() {
        for wrong in ["", "Mi", "-1", "1.5Gi", "12Qi", "99999999999Ti", "1 Mi"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
        for wrong in ["", "m", ".", "-1", "0.0001", "1.", "two", "9999999999"] {
            assert!(wrong.parse::<MilliCpu>().is_err(), "{wrong}");
        }
    }
}
