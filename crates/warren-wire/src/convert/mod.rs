//! Messages and their meaning in the model, both ways. Parsing is strict and names the field it refuses; what is
//! parsed is valid. Rendering what was parsed and parsing it again gives the same.

pub mod assignment;
pub mod audit;
pub mod event;
pub mod file;
pub mod health;
pub mod hook;
pub mod node;
pub mod spec;
pub mod step;
pub mod task;
pub mod template;
pub mod traffic;
pub mod update;

#[cfg(test)]
mod release_strategies;
#[cfg(test)]
mod release_tests;
#[cfg(test)]
pub(crate) mod strategies;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;
use warren_core::spec::{
    FieldError, LABEL_VALUE_BYTES_MAX, LABELS_MAX, LabelKey, PATH_BYTES_MAX, SPAN_MAX,
};
use warren_core::time::millis;

/// Labels whose key begins so are Warren's own.
pub const OWN_LABEL_PREFIX: &str = "warren.";

/// Reads `text` as a `T`: an id, a name, an address.
///
/// # Errors
/// `text` is not a `T`; the error is about `field`.
pub fn text<T>(field: &str, text: &str) -> Result<T, FieldError>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| FieldError::new(field, error))
}

/// Labels that a user may set.
///
/// # Errors
/// A key outside its alphabet or of Warren's own, a value that is too long or holds a NUL, or too many of them.
pub fn labels(
    field: &str,
    labels: BTreeMap<String, String>,
) -> Result<BTreeMap<LabelKey, String>, FieldError> {
    if labels.len() > LABELS_MAX {
        let problem = format!("{} is more than {LABELS_MAX}, the most there may be", labels.len());
        return Err(FieldError::new(field, problem));
    }
    labels.into_iter().map(|(key, value)| label(field, &key, value)).collect()
}

fn label(field: &str, key: &str, value: String) -> Result<(LabelKey, String), FieldError> {
    let at = |problem: String| Err(FieldError::new(field, problem));
    if key.starts_with(OWN_LABEL_PREFIX) {
        return at(format!("{key:?}: keys from {OWN_LABEL_PREFIX:?} on are Warren's own"));
    }
    let key: LabelKey = text(field, key)?;
    if value.len() > LABEL_VALUE_BYTES_MAX {
        return at(format!("{key}: the value is longer than {LABEL_VALUE_BYTES_MAX} bytes"));
    }
    if value.contains('\0') {
        return at(format!("{key}: the value holds a NUL byte"));
    }
    Ok((key, value))
}

/// Labels as text.
#[must_use]
pub fn labels_text(labels: &BTreeMap<LabelKey, String>) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_string(), value.clone())).collect()
}

/// A number of the wire's width in the width that it means.
pub(crate) fn narrow<T: TryFrom<u32>>(
    field: &str,
    number: u32,
    rule: &str,
) -> Result<T, FieldError> {
    T::try_from(number).map_err(|_| FieldError::new(field, format!("{number} is not {rule}")))
}

/// A port, 1 to 65535.
pub(crate) fn port(field: &str, number: u32) -> Result<u16, FieldError> {
    match narrow(field, number, "a port: write 1 to 65535")? {
        0 => Err(FieldError::new(field, "0 is not a port: write 1 to 65535")),
        port => Ok(port),
    }
}

/// A span of `least` to [`SPAN_MAX`]; `default` where absent.
pub(crate) fn span(
    field: &str,
    ms: Option<u64>,
    least: Duration,
    default: Duration,
) -> Result<Duration, FieldError> {
    let Some(ms) = ms else { return Ok(default) };
    let span = Duration::from_millis(ms);
    if span < least {
        let problem = format!("{ms} ms is too short: {} ms is the least", millis(least));
        return Err(FieldError::new(field, problem));
    }
    if span > SPAN_MAX {
        let problem = format!("{ms} ms is longer than a year: is the unit milliseconds?");
        return Err(FieldError::new(field, problem));
    }
    Ok(span)
}

/// The shortest span that is not nothing.
pub(crate) const NOT_ZERO: Duration = Duration::from_millis(1);

/// A text without NUL bytes, as everything that reaches a kernel must be.
pub(crate) fn no_nul(field: &str, text: String) -> Result<String, FieldError> {
    if text.contains('\0') {
        return Err(FieldError::new(field, "holds a NUL byte"));
    }
    Ok(text)
}

/// An absolute path without `..`.
pub(crate) fn path(field: &str, path: String) -> Result<String, FieldError> {
    let path = no_nul(field, path)?;
    let problem = if !path.starts_with('/') {
        format!("{path:?} is not absolute: write a path from '/' on")
    } else if path.split('/').any(|part| part == "..") {
        format!("{path:?} has a '..' in it: write the path that is meant")
    } else if path.len() > PATH_BYTES_MAX {
        format!("{} bytes are more than {PATH_BYTES_MAX}, the longest a path may be", path.len())
    } else {
        return Ok(path);
    };
    Err(FieldError::new(field, problem))
}

/// `None` for the empty text.
pub(crate) fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A word out of a few.
pub(crate) fn word<T: Copy>(field: &str, text: &str, words: &[(&str, T)]) -> Result<T, FieldError> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        FieldError::new(field, format!("{text:?} is not known here: write {}", known.join(" or ")))
    })
}

/// A value of a proto enum, whose senders may be newer than we are.
pub(crate) fn variant<T: TryFrom<i32>>(field: &str, number: i32) -> Result<T, FieldError> {
    T::try_from(number).map_err(|_| {
        FieldError::new(field, format!("{number} is not known to this version of Warren"))
    })
}

/// The error about a field that says the same as another one.
pub(crate) fn twice(field: &str, other: &str) -> FieldError {
    FieldError::new(field, format!("says the same as {other}: give one of them"))
}

/// The error about the `i`th item of the list `field`.
pub(crate) fn item(error: FieldError, list: &str, i: usize) -> FieldError {
    error.within(&format!("{list}[{i}]"))
}
