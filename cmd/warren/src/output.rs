//! What commands print: data on standard output as a table, JSON or YAML, talk on standard error.

use crate::failure::{Failure, Outcome};
use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How data is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: the API's messages.
    Json,
    /// The same in YAML.
    Yaml,
}

/// The flag of every command that reads.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputArgs {
    /// How to print
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// Writes `text` as it is to standard output.
///
/// # Errors
/// Standard output cannot be written.
pub fn raw(text: impl AsRef<[u8]>) -> Outcome {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_ref())?;
    Ok(out.flush()?)
}

/// Writes one line of data to standard output.
///
/// # Errors
/// Standard output cannot be written.
pub fn line(text: impl std::fmt::Display) -> Outcome {
    raw(format!("{text}\n"))
}

/// Tells the user something on standard error. A user who cannot be told has gone.
pub fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints `data` as JSON or YAML, or what `table` makes of it.
///
/// # Errors
/// Standard output cannot be written.
pub fn print<T: Serialize>(format: Format, data: &T, table: impl FnOnce(&T) -> String) -> Outcome {
    match format {
        Format::Table => raw(table(data)),
        Format::Json => line(json(data)?),
        Format::Yaml => raw(yaml(data)?),
    }
}

/// `data` as indented JSON.
///
/// # Errors
/// A value without a JSON form.
pub fn json<T: Serialize>(data: &T) -> Outcome<String> {
    serde_json::to_string_pretty(data).map_err(|e| Failure::from(anyhow::Error::new(e)))
}

/// `data` as YAML, with a newline at its end.
///
/// # Errors
/// A value without a YAML form.
pub fn yaml<T: Serialize>(data: &T) -> Outcome<String> {
    let text = serde_saphyr::to_string(data).map_err(|e| Failure::from(anyhow::Error::new(e)))?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

/// A table with `header`, its rows, and a newline at its end.
pub fn table<R: IntoIterator<Item = Vec<String>>>(header: &[&str], rows: R) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| (*name).to_owned()));
    for row in rows {
        table.add_row(row);
    }
    trimmed(&table.to_string())
}

/// Pairs of a name and a value, one a line, without those that are empty.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    let shown = pairs.iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(name, value)| format!("{:<width$} {value}\n", format!("{name}:"))).collect()
}

fn trimmed(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line).trim_end()))
        .collect()
}

/// Whether standard error is a terminal that lines can be redrawn on.
pub fn live() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether what is written to standard error may have colours.
pub fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && live()
}

/// A duration as people say it: `3s`, `2m 5s`, `4h 10m`, `12d 3h`.
pub fn duration(length: Duration) -> String {
    let secs = length.as_secs();
    match secs {
        0 if !length.is_zero() => format!("{}ms", length.as_millis()),
        0..60 => format!("{secs}s"),
        60..3_600 => format!("{}m {}s", secs / 60, secs % 60),
        3_600..86_400 => format!("{}h {}m", secs / 3_600, secs % 3_600 / 60),
        _ => format!("{}d {}h", secs / 86_400, secs % 86_400 / 3_600),
    }
}

/// A moment in milliseconds since the Unix epoch, as `2026-01-31T12:00:00Z`; empty for 0.
pub fn moment(unix_ms: u64) -> String {
    i64::try_from(unix_ms)
        .ok()
        .filter(|ms| *ms != 0)
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

/// A size with the largest binary unit that keeps it at 1 or more, to one decimal: `15.6Gi`.
pub fn size(bytes: u64) -> String {
    let units = [(1_u64 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    match units.iter().find(|(factor, _)| bytes >= *factor) {
        None => bytes.to_string(),
        Some((factor, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*factor);
            match tenths % 10 {
                0 => format!("{}{unit}", tenths / 10),
                rest => format!("{}.{rest}{unit}", tenths / 10),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_a_header_and_no_padding_at_their_edges() {
        let text = table(&["NAME", "STATE"], [vec!["web".into(), "ready".into()]]);
        assert_eq!(text, "NAME  STATE\nweb   ready\n");
    }

    #[test]
    fn an_empty_first_column_keeps_its_place() {
        let rows = [vec!["*".into(), "a".into()], vec![String::new(), "b".into()]];
        assert_eq!(table(&["", "NAME"], rows), "   NAME\n*  a\n   b\n");
    }

    #[test]
    fn pairs_leave_out_what_is_empty() {
        let text = pairs(&[("id", "s1".into()), ("user", String::new()), ("name", "web".into())]);
        assert_eq!(text, "id:   s1\nname: web\n");
    }

    #[test]
    fn numbers_read_as_people_say_them() {
        assert_eq!(duration(Duration::from_millis(250)), "250ms");
        assert_eq!(duration(Duration::from_secs(59)), "59s");
        assert_eq!(duration(Duration::from_secs(125)), "2m 5s");
        assert_eq!(duration(Duration::from_secs(90_000)), "1d 1h");
        assert_eq!(size(512), "512");
        assert_eq!(size(64 << 20), "64Mi");
        assert_eq!(size(16_777_216_000), "15.6Gi");
        assert_eq!(moment(0), "");
        assert_eq!(moment(1_000), "1970-01-01T00:00:01Z");
    }
}
