//! Secrets and configs: how templates refer to them, and how they are shown.

use super::{labels_text, narrow, path, text, variant};
use crate::v1;
use std::fmt;
use warren_core::State;
use warren_core::spec::{FILE_MODE_MAX, FieldError, FileKind, FileName, FileRef, FileVersion};
use warren_core::vault::{Content, Item, Use};

/// Reads what a file is.
///
/// # Errors
/// A number that this version does not know.
pub fn kind(field: &str, number: i32) -> Result<FileKind, FieldError> {
    Ok(match variant(field, number)? {
        v1::FileKind::Secret => FileKind::Secret,
        v1::FileKind::Config => FileKind::Config,
    })
}

/// The enum value of what a file is.
#[must_use]
pub const fn render_kind(kind: FileKind) -> v1::FileKind {
    match kind {
        FileKind::Secret => v1::FileKind::Secret,
        FileKind::Config => v1::FileKind::Config,
    }
}

/// Reads how a template refers to a secret or a config.
///
/// # Errors
/// The first field that cannot be what it is.
pub fn parse(kind: FileKind, file: v1::FileRef) -> Result<FileRef, FieldError> {
    let name: FileName = text("name", &file.name)?;
    let target = match (file.target.is_empty(), kind) {
        (true, FileKind::Secret) => FileRef::secret_target(&name),
        (true, FileKind::Config) => {
            return Err(FieldError::new("target", "is empty: write the path that it is to have"));
        }
        (false, _) => path("target", file.target)?,
    };
    if target.split('/').skip(1).any(|part| part.is_empty() || part == ".") {
        let problem = format!(
            "{target:?} is not the path of a file: write it without '//', '/./' and '/' at its end"
        );
        return Err(FieldError::new("target", problem));
    }
    let rule = format!("a mode: write up to {FILE_MODE_MAX:o} in octal digits");
    let mode = file.mode.map(|mode| narrow("mode", mode, &rule)).transpose()?;
    if mode.is_some_and(|mode| mode > FILE_MODE_MAX) {
        return Err(FieldError::new("mode", format!("it is not {rule}")));
    }
    Ok(FileRef {
        kind,
        name,
        version: (file.version > 0).then_some(FileVersion(file.version)),
        target,
        mode: mode.unwrap_or(FileRef::MODE),
        uid: file.uid,
        gid: file.gid,
    })
}

/// The message that parses to `file`.
#[must_use]
pub fn render(file: &FileRef) -> v1::FileRef {
    v1::FileRef {
        name: file.name.to_string(),
        version: file.version.map_or(0, |version| version.0),
        target: file.target.clone(),
        mode: Some(file.mode.into()),
        uid: file.uid,
        gid: file.gid,
    }
}

/// What is shown of a secret or a config. Its content is not.
#[must_use]
pub fn info(state: &State, item: &Item) -> v1::FileInfo {
    let versions = item.versions.iter().map(|(version, content)| shown(*version, content));
    v1::FileInfo {
        kind: render_kind(item.kind).into(),
        name: item.name.to_string(),
        labels: labels_text(&item.labels),
        newest: item.newest.0,
        versions: versions.collect(),
        uses: state.uses(item.kind, &item.name).iter().map(used).collect(),
    }
}

fn shown(version: FileVersion, content: &Content) -> v1::FileVersionInfo {
    v1::FileVersionInfo {
        number: version.0,
        bytes: content.bytes,
        created_unix_ms: content.created.0,
        by: content.by.name.clone(),
    }
}

fn used(one: &Use) -> v1::FileUse {
    v1::FileUse {
        service: one.service.to_string(),
        revision: one.revision.map_or(0, |revision| revision.0),
        version: one.version.0,
        current: one.current,
    }
}

impl fmt::Debug for v1::CreateFileRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateFileRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::UpdateFileRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateFileRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::FetchFileResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchFileResponse").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> v1::FileRef {
        v1::FileRef { name: name.to_owned(), ..Default::default() }
    }

    #[test]
    fn a_reference_comes_back_as_it_went() {
        let plain = parse(FileKind::Secret, named("db")).unwrap();
        assert_eq!((plain.target.as_str(), plain.mode), ("/run/secrets/db", 0o444));
        assert_eq!(plain.version, None);
        let full = v1::FileRef {
            version: 3,
            target: "/etc/app.toml".to_owned(),
            mode: Some(0o400),
            uid: Some(1000),
            gid: Some(0),
            ..named("app")
        };
        for (kind, file) in [(FileKind::Secret, named("db")), (FileKind::Config, full)] {
            let file = parse(kind, file).unwrap();
            assert_eq!(parse(kind, render(&file)).unwrap(), file);
        }
    }

    #[test]
    fn a_reference_that_cannot_be_names_its_field() {
        let field = |kind, file| parse(kind, file).unwrap_err().field;
        assert_eq!(field(FileKind::Secret, named("../db")), "name");
        assert_eq!(
            field(FileKind::Config, named("app")),
            "target",
            "a config has no place of its own"
        );
        for target in ["app.toml", "/etc/../x", "/etc//x", "/etc/", "/./x", "/"] {
            let file = v1::FileRef { target: target.to_owned(), ..named("app") };
            assert_eq!(field(FileKind::Config, file), "target", "{target}");
        }
        for mode in [0o1000, 0o4755, u32::MAX] {
            let file = v1::FileRef { mode: Some(mode), ..named("db") };
            assert_eq!(field(FileKind::Secret, file), "mode");
        }
    }

    #[test]
    fn a_content_is_never_printed() {
        let content = b"canary".to_vec();
        let create = v1::CreateFileRequest { content: content.clone(), ..Default::default() };
        let update = v1::UpdateFileRequest { content: content.clone(), ..Default::default() };
        let fetched = v1::FetchFileResponse { content };
        let printed = format!("{create:?}{update:?}{fetched:?}");
        assert!(!printed.contains("canary") && !printed.contains("99, 97"), "{printed}");
    }
}
