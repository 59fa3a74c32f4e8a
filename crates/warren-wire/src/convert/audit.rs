//! Who did what.

use crate::trust::hex;
use crate::v1;
use warren_core::audit::{AuditEntry, AuditLog};
use warren_core::id::LogIndex;
use warren_core::service::Actor;
use warren_core::spec::FieldError;
use warren_core::time::WallTime;

/// The page of at most `limit` entries from `number` on.
#[must_use]
pub fn page(log: &AuditLog, number: u64, limit: usize) -> v1::ListAuditResponse {
    let first = log.entries().next().map_or(1, |entry| entry.number);
    let number = number.max(first);
    let before = log.from(number - 1).next().filter(|entry| entry.number + 1 == number);
    let before = before.map_or_else(|| log.before(), |entry| &entry.hash);
    v1::ListAuditResponse {
        entries: log.from(number).take(limit).map(|entry| render(entry)).collect(),
        hash_before: hex(before),
        count: log.count(),
    }
}

fn render(entry: &AuditEntry) -> v1::AuditEntry {
    v1::AuditEntry {
        number: entry.number,
        revision: entry.index.0,
        at_unix_ms: entry.wall.0,
        by: entry.by.name.clone(),
        from: entry.by.from.clone(),
        action: entry.action.clone(),
        target: entry.target.clone(),
        detail: entry.detail.clone(),
        refused: entry.refused.clone(),
        hash: hex(&entry.hash),
    }
}

/// The entry that a message tells of.
///
/// # Errors
/// Its hash is none.
pub fn parse(entry: v1::AuditEntry) -> Result<AuditEntry, FieldError> {
    Ok(AuditEntry {
        number: entry.number,
        index: LogIndex(entry.revision),
        wall: WallTime(entry.at_unix_ms),
        by: Actor { name: entry.by, from: entry.from },
        action: entry.action,
        target: entry.target,
        detail: entry.detail,
        refused: entry.refused,
        hash: hash("hash", &entry.hash)?,
    })
}

/// A hash from its 64 hexadecimal digits.
///
/// # Errors
/// It has other characters, or more or less of them; `field` is named.
pub fn hash(field: &str, text: &str) -> Result<[u8; 32], FieldError> {
    let wrong =
        || FieldError::new(field, format!("{text:?} is not a hash of 64 hexadecimal digits"));
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect();
    let digits = digits.filter(|digits| digits.len() == 64).ok_or_else(wrong)?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let bytes: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7).unwrap());
        assert_eq!(hash("hash", &hex(&bytes)).unwrap(), bytes);
        for wrong in ["", "ab", &"g".repeat(64), &"é".repeat(32), &"0".repeat(65)] {
            assert!(hash("hash", wrong).unwrap_err().to_string().contains("hash"), "{wrong}");
        }
    }
}
