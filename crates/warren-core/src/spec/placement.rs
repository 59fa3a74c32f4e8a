//! Where tasks may run.

use crate::spec::LabelKey;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What of a node a constraint looks at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Subject {
    /// `node.id`
    Id,
    /// `node.hostname`
    HostName,
    /// `node.role`: `manager` or `worker`
    Role,
    /// `node.platform`: as in `linux/amd64`
    Platform,
    /// `node.labels.KEY`
    Label(LabelKey),
}

/// How a constraint compares.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Operator {
    /// `==`
    Equal(String),
    /// `!=`, true also where there is no value
    NotEqual(String),
    /// `in (a, b)`
    In(Vec<String>),
    /// `exists`
    Exists,
    /// `>`, of whole numbers
    Greater(i64),
    /// `<`, of whole numbers
    Less(i64),
}

/// A condition on nodes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Constraint {
    /// What is looked at.
    pub subject: Subject,
    /// What it must be.
    pub operator: Operator,
}

/// A text that is not a constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a constraint ({why}): write as in node.labels.disk==ssd, node.role!=manager, \
     'node.labels.zone in (a, b)', 'node.labels.gpu exists', 'node.labels.rank > 3'"
)]
pub struct InvalidConstraint {
    /// The text as given.
    pub text: String,
    why: &'static str,
}

impl std::str::FromStr for Constraint {
    type Err = InvalidConstraint;

    fn from_str(text: &str) -> Result<Self, InvalidConstraint> {
        let refuse = |why| InvalidConstraint { text: text.chars().take(120).collect(), why };
        let (subject, operator) = split(text).ok_or_else(|| refuse("no operator"))?;
        let subject = match subject.trim() {
            "node.id" => Subject::Id,
            "node.hostname" => Subject::HostName,
            "node.role" => Subject::Role,
            "node.platform" => Subject::Platform,
            other => match other.strip_prefix("node.labels.") {
                Some(key) => {
                    Subject::Label(LabelKey::parse(key).map_err(|_| refuse("bad label key"))?)
                }
                None => return Err(refuse("unknown subject")),
            },
        };
        Ok(Self { subject, operator: operator.map_err(refuse)? })
    }
}

type Parsed = Result<Operator, &'static str>;

fn split(text: &str) -> Option<(&str, Parsed)> {
    if let Some((subject, value)) = text.split_once("!=") {
        return Some((subject, value_of(value).map(Operator::NotEqual)));
    }
    if let Some((subject, value)) = text.split_once("==") {
        return Some((subject, value_of(value).map(Operator::Equal)));
    }
    if let Some((subject, list)) = text.split_once(" in ") {
        return Some((subject, list_of(list)));
    }
    if let Some(subject) = text.trim_end().strip_suffix(" exists") {
        return Some((subject, Ok(Operator::Exists)));
    }
    if let Some((subject, value)) = text.split_once('>') {
        return Some((subject, number_of(value).map(Operator::Greater)));
    }
    let (subject, value) = text.split_once('<')?;
    Some((subject, number_of(value).map(Operator::Less)))
}

fn value_of(text: &str) -> Result<String, &'static str> {
    let value = text.trim();
    if value.is_empty() || value.len() > 256 || value.contains(['=', '!']) {
        return Err("bad value");
    }
    Ok(value.to_owned())
}

fn number_of(text: &str) -> Result<i64, &'static str> {
    text.trim().parse().map_err(|_| "not a whole number")
}

fn list_of(text: &str) -> Parsed {
    let inner = text.trim().strip_prefix('(').and_then(|t| t.strip_suffix(')'));
    let values: Result<Vec<_>, _> =
        inner.ok_or("no list in parentheses")?.split(',').map(value_of).collect();
    values.map(Operator::In)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("node.id"),
            Self::HostName => f.write_str("node.hostname"),
            Self::Role => f.write_str("node.role"),
            Self::Platform => f.write_str("node.platform"),
            Self::Label(key) => write!(f, "node.labels.{key}"),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = &self.subject;
        match &self.operator {
            Operator::Equal(value) => write!(f, "{subject}=={value}"),
            Operator::NotEqual(value) => write!(f, "{subject}!={value}"),
            Operator::In(values) => write!(f, "{subject} in ({})", values.join(", ")),
            Operator::Exists => write!(f, "{subject} exists"),
            Operator::Greater(value) => write!(f, "{subject} > {value}"),
            Operator::Less(value) => write!(f, "{subject} < {value}"),
        }
    }
}

/// Where tasks of a service may run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Placement {
    /// All must hold on a node.
    pub constraints: Vec<Constraint>,
    /// Tasks are spread evenly over the values of these node labels, the first foremost, then over nodes.
    pub spread: Vec<LabelKey>,
    /// At most so many tasks of the service on one node; no limit when absent.
    pub max_per_node: Option<u32>,
}
