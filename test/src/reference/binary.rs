//! The pages that only the binary can tell: its commands and its settings.

use std::process::Command;

use anyhow::ensure;

use super::Page;

/// The pages, each printed by a hidden command of the binary.
///
/// # Errors
/// Where the binary cannot be built or does not print them.
pub fn pages() -> anyhow::Result<Vec<Page>> {
    let pages = [("cli", "docs/reference/cli.md"), ("config", "docs/reference/config.md")];
    pages.into_iter().map(|(name, path)| Ok(Page { path, text: printed(name)? })).collect()
}

fn printed(name: &str) -> anyhow::Result<String> {
    let mut command = Command::new(crate::binary::warren()?);
    // What this shell happens to have set is no part of the reference.
    let output = command.args(["__reference", name]).env_clear().output()?;
    ensure!(output.status.success(), "warren __reference {name}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
