//! `warren __reference`: the pages of docs/reference that describe this binary.

use crate::config::KEYS;
use crate::failure::{EXIT_CODES, Outcome};
use crate::output;
use clap::{Args, ValueEnum};
use std::fmt::Write as _;

/// Print a page of the reference
#[derive(Args, Debug)]
pub struct Reference {
    /// Which page
    page: Page,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Page {
    /// All commands
    Cli,
    /// All configuration keys
    Config,
}

impl Reference {
    /// Runs it.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn run(self) -> Outcome {
        output::raw(match self.page {
            Page::Cli => cli(),
            Page::Config => config(),
        })
    }
}

fn cli() -> String {
    let mut page = String::from(
        "# Command line\n\nGenerated from the binary by `warren __reference cli`. Data goes to standard output, talk \
         to standard error.\n\n",
    );
    let mut tree = crate::cli::tree().term_width(100);
    tree.build();
    let about = tree.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(page, "`warren`: {about}.\n\n```text\n{EXIT_CODES}\n```\n");
    describe(&mut page, &tree, "warren");
    page
}

fn describe(page: &mut String, command: &clap::Command, path: &str) {
    for sub in
        command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        let path = format!("{path} {}", sub.get_name());
        let help = sub.clone().bin_name(&path).after_help("").render_long_help().to_string();
        let _ = writeln!(page, "## `{path}`\n\n```text\n{}\n```\n", trimmed(&help));
        describe(page, sub, &path);
    }
}

fn trimmed(help: &str) -> String {
    help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

fn config() -> String {
    let mut page = String::from(
        "# Configuration\n\nGenerated from the binary by `warren __reference config`.\n\nA node reads its settings \
         once, before it opens a port: the defaults, then a TOML file (`--config`, `WARREN_CONFIG`, or \
         `/etc/warren/warren.toml` where it exists), then the environment, then flags; the last one wins. A key that \
         there is not is an error. `warren config show` prints what holds and where it came from.\n\n",
    );
    for key in KEYS {
        let flag = key.name.replace('_', "-");
        let default =
            if key.default.is_empty() { "empty".to_owned() } else { format!("`{}`", key.default) };
        let _ = writeln!(
            page,
            "## `{}`\n\n{}\n\n- Value: {}\n- Default: {default}\n- Environment: `{}`\n- Flag: `--{flag}`\n- Since: {}\n",
            key.name,
            key.about,
            key.value,
            key.env(),
            key.since
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_name_every_command_and_key() {
        let cli = cli();
        for command in ["warren up", "warren service create", "warren node drain", "warren apply"] {
            assert!(cli.contains(&format!("## `{command}`")), "{command}");
        }
        assert!(!cli.contains("__reference cli`\n\n```"), "hidden commands stay hidden");
        let config = config();
        for key in KEYS {
            assert!(config.contains(&format!("## `{}`", key.name)), "{}", key.name);
        }
    }
}
