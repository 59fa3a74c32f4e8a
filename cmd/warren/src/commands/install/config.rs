//! The configuration of an installed node: what the file said, and what the command line said over it.

use crate::config::{KEYS, Settings, Source};
use crate::failure::{Failure, Outcome};
use std::path::Path;

/// Stands at the top of a file that is made here.
const HEAD: &str =
    "# Settings of this node; `warren config show` lists all there are, with what each is now.\n";

/// The text of the file at `path` with every setting that was given by a flag or the environment. Comments in it stay
/// only where nothing changes.
///
/// # Errors
/// What is there cannot be read.
pub fn with(path: &Path, settings: &Settings) -> Outcome<String> {
    let old = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => HEAD.to_owned(),
        Err(error) => return Err(super::files::cannot("read", path, &error)),
    };
    let refuse = |why: toml::de::Error| Failure::usage(format!("{}: {why}", path.display()));
    let mut table: toml::Table = old.parse().map_err(refuse)?;
    let before = table.clone();
    for key in KEYS {
        let Some(setting) = settings.get(key.name) else { continue };
        if matches!(setting.source, Source::Flag(_) | Source::Env(_)) {
            let value = toml::Value::String(setting.value.clone());
            table.insert(key.name.to_owned(), value);
        }
    }
    if table == before {
        return Ok(old);
    }
    Ok(format!("{HEAD}{table}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Setting;

    fn given(key: &'static str, value: &str) -> Settings {
        let source = Source::Flag(format!("--{key}"));
        [(key, Setting { value: value.to_owned(), source })].into()
    }

    #[test]
    fn flags_go_over_what_is_there_and_nothing_else_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("warren.toml");
        let first = with(&path, &given("hostname", "m1")).unwrap();
        assert_eq!(first, format!("{HEAD}hostname = \"m1\"\n"));
        std::fs::write(&path, "# mine\nhostname = \"m1\"\nlog = \"debug\"\n").unwrap();
        assert_eq!(
            with(&path, &given("hostname", "m1")).unwrap(),
            std::fs::read_to_string(&path).unwrap()
        );
        let changed = with(&path, &given("hostname", "m2")).unwrap();
        assert!(changed.contains("hostname = \"m2\"\n") && changed.contains("log = \"debug\"\n"));
    }

    #[test]
    fn what_is_no_configuration_is_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("warren.toml");
        std::fs::write(&path, "hostname = \n").unwrap();
        let failure = with(&path, &Settings::new()).unwrap_err();
        assert!(failure.message.contains("warren.toml"), "{failure}");
    }
}
