//! Names, each with its alphabet.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A text that is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {kind}: {rule}")]
pub struct InvalidName {
    /// The text as given, cut to its first 80 characters.
    pub text: String,
    kind: &'static str,
    rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            #[doc = concat!("Reads ", $kind, ": ", $rule, ".")]
            ///
            /// # Errors
            /// The text and the rule that it breaks.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    let text = text.chars().take(80).collect();
                    Err(InvalidName { text, kind: $kind, rule: $rule })
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// A service's name, one DNS label. `node` is kept for the names of machines.
    ServiceName,
    "a service name",
    "1 to 63 of a-z, 0-9 and '-', from a letter to a letter or digit, and not 'node'",
    |text| is_dns_label(text) && text != "node"
);
name!(
    /// A machine's name, one or more DNS labels.
    HostName,
    "a host name",
    "labels of a-z, 0-9 and '-' separated by dots, 253 characters at most",
    |text| text.len() <= 253 && text.split('.').all(is_host_label)
);
name!(
    /// A port's name, as SRV questions use it.
    PortName,
    "a port name",
    "1 to 15 of a-z, 0-9 and '-', from a letter to a letter or digit",
    |text| text.len() <= 15 && is_dns_label(text)
);
name!(
    /// The name of a volume that the runtime keeps.
    VolumeName,
    "a volume name",
    "1 to 63 of a-z, A-Z, 0-9, '_', '.' and '-', starting with a letter or digit",
    |text| {
        text.len() <= 63
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    }
);
name!(
    /// The name of a secret or a config.
    FileName,
    "a name of a secret or a config",
    "1 to 63 of a-z, A-Z, 0-9, '_', '.' and '-', starting with a letter or digit",
    |text| {
        text.len() <= 63
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    }
);
name!(
    /// What a person may do in an organisation, as approvals name it.
    RoleName,
    "a role",
    "1 to 63 of a-z, 0-9 and '-', from a letter to a letter or digit",
    is_dns_label
);
name!(
    /// A label's key. `warren.` keys are written by Warren alone, which the API refuses from users.
    LabelKey,
    "a label key",
    "1 to 128 of a-z, A-Z, 0-9, '_', '.', '-' and '/', starting with a letter or digit",
    |text| {
        (1..=128).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/'))
    }
);
name!(
    /// What a runtime runs: an image reference, or a path to an executable.
    Image,
    "an image",
    "1 to 1024 printable characters without spaces",
    |text| (1..=1024).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
);

fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && is_host_label(text)
}

fn is_host_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
