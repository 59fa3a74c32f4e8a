//! Fields of a manifest that mean something that Warren cannot do yet. Each is refused by its name with the reason, and
//! not as an unknown field.

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// A field that is never there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Absent;

/// `analysis:` of a service.
///
/// # Errors
/// Always.
pub(super) fn analysis<'de, D: Deserializer<'de>>(from: D) -> Result<Absent, D::Error> {
    IgnoredAny::deserialize(from)?;
    Err(D::Error::custom(
        "analysis: comes with metric analysis, which is not built yet: leave it out; health checks \
         and hooks gate a release already",
    ))
}

/// `route` and `mirror` of a step.
///
/// # Errors
/// Always.
pub(super) fn proxy<'de, D: Deserializer<'de>>(from: D) -> Result<Absent, D::Error> {
    IgnoredAny::deserialize(from)?;
    Err(D::Error::custom(
        "route and mirror: needs the proxy, which is not built yet: leave it out and give the step a weight",
    ))
}

/// `analyze` of a step: whether the gate asks the analysis. What it is to measure there cannot be said yet.
///
/// # Errors
/// It is neither `true` nor `false`.
pub(super) fn analyze<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    from.deserialize_any(Analyze)
}

struct Analyze;

const MEASURES: &str = "analyze: what a step measures comes with metric analysis, which is not \
                        built yet: write true or false";

impl<'de> Visitor<'de> for Analyze {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        Ok(value)
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<bool, A::Error> {
        Err(A::Error::custom(MEASURES))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<bool, A::Error> {
        Err(A::Error::custom(MEASURES))
    }
}
