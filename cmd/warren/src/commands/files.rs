//! What `warren secret` and `warren config` do alike.

use crate::client::{ClientArgs, request};
use crate::failure::{Failure, Outcome};
use crate::output::{self, OutputArgs};
use clap::Args;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use warren_core::spec::FileKind;
use warren_core::vault::{CONFIG_BYTES_MAX, SECRET_BYTES_MAX};
use warren_wire::convert::file;
use warren_wire::v1;
use zeroize::Zeroizing;

/// Make one, with its first version
#[derive(Args, Debug)]
pub struct Create {
    /// Its name
    name: String,
    /// File with the content, taken byte by byte; `-` for standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Label, for people; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = crate::flags::words::pair)]
    label: Vec<(String, String)>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Give one another version
#[derive(Args, Debug)]
pub struct Update {
    /// Its name
    name: String,
    /// File with the content, taken byte by byte; `-` for standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// List them
#[derive(Args, Debug)]
pub struct Ls {
    #[command(flatten)]
    output: OutputArgs,
}

/// Take one away that no service uses
#[derive(Args, Debug)]
pub struct Rm {
    /// Its name
    name: String,
}

impl Create {
    /// Runs it.
    ///
    /// # Errors
    /// The name is taken, the content cannot be read or is too large, or the caller may not.
    pub async fn run(self, kind: FileKind, client: &ClientArgs) -> Outcome {
        let content = read(kind, &self.file)?;
        let client = client.connect().await?;
        let asked = v1::CreateFileRequest {
            kind: number(kind),
            name: self.name,
            content: content.to_vec(),
            labels: self.label.into_iter().collect(),
        };
        let made = client.files().create_file(request(asked)).await?.into_inner();
        output::print(self.output.output, &made.file.unwrap_or_default(), |made| {
            format!("{kind} {} created, version {}\n", made.name, made.newest)
        })
    }
}

impl Update {
    /// Runs it.
    ///
    /// # Errors
    /// There is none of that name, the content cannot be read or is too large, or the caller may not.
    pub async fn run(self, kind: FileKind, client: &ClientArgs) -> Outcome {
        let content = read(kind, &self.file)?;
        let client = client.connect().await?;
        let asked = v1::UpdateFileRequest {
            kind: number(kind),
            name: self.name,
            content: content.to_vec(),
        };
        let made = client.files().update_file(request(asked)).await?.into_inner();
        let made = made.file.unwrap_or_default();
        for one in made.uses.iter().filter(|one| one.current) {
            output::say(format_args!(
                "{} goes on with version {}: `warren service update {} --{kind}-rotate` releases it with the newest",
                one.service, one.version, one.service
            ));
        }
        output::print(self.output.output, &made, |made| {
            format!("{kind} {} has version {} now\n", made.name, made.newest)
        })
    }
}

impl Ls {
    /// Runs it.
    ///
    /// # Errors
    /// No Warren answers.
    pub async fn run(self, kind: FileKind, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let asked = request(v1::ListFilesRequest { kind: number(kind) });
        let files = client.files().list_files(asked).await?.into_inner().files;
        output::print(self.output.output, &files, |files| {
            let rows = files.iter().map(|file| {
                let newest = file.versions.last().cloned().unwrap_or_default();
                let moment = output::moment(newest.created_unix_ms);
                let (name, version) = (file.name.clone(), file.newest.to_string());
                vec![name, version, output::size(newest.bytes.into()), moment, services(file)]
            });
            output::table(&["NAME", "VERSION", "BYTES", "SINCE", "USED BY"], rows)
        })
    }
}

impl Rm {
    /// Runs it.
    ///
    /// # Errors
    /// There is none of that name, a revision of a service uses it, or the caller may not.
    pub async fn run(self, kind: FileKind, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let asked = v1::DeleteFileRequest { kind: number(kind), name: self.name.clone() };
        client.files().delete_file(request(asked)).await?;
        output::say(format_args!("{kind} {} is gone, with all its versions", self.name));
        Ok(())
    }
}

/// One of them, with the content of a version where that is shown; the newest for 0.
///
/// # Errors
/// There is none of that name, or no such version.
pub async fn get(
    kind: FileKind,
    name: String,
    version: u32,
    client: &ClientArgs,
) -> Outcome<(v1::FileInfo, Vec<u8>)> {
    let client = client.connect().await?;
    let asked = request(v1::GetFileRequest { kind: number(kind), name, version });
    let answer = client.files().get_file(asked).await?.into_inner();
    Ok((answer.file.unwrap_or_default(), answer.content))
}

/// The API's number for what a file is.
fn number(kind: FileKind) -> i32 {
    file::render_kind(kind).into()
}

/// What there is to say of one, without its content.
pub fn page(kind: FileKind, file: &v1::FileInfo) -> String {
    let labels = file.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let mut text = output::pairs(&[
        ("name", file.name.clone()),
        ("kind", kind.to_string()),
        ("newest", file.newest.to_string()),
        ("labels", labels.collect::<Vec<_>>().join(", ")),
    ]);
    let versions = file.versions.iter().map(|version| {
        let uses = file.uses.iter().filter(|one| one.version == version.number);
        let uses: Vec<_> = uses.map(used).collect();
        vec![
            version.number.to_string(),
            output::size(version.bytes.into()),
            output::moment(version.created_unix_ms),
            version.by.clone(),
            uses.join(", "),
        ]
    });
    text.push('\n');
    text.push_str(&output::table(&["VERSION", "BYTES", "MADE", "BY", "USED BY"], versions));
    text
}

fn used(one: &v1::FileUse) -> String {
    match (one.revision, one.current) {
        (0, _) => format!("{} (waits)", one.service),
        (revision, true) => format!("{} v{revision}", one.service),
        (revision, false) => format!("{} v{revision} (kept)", one.service),
    }
}

/// The services that are to run with it.
fn services(file: &v1::FileInfo) -> String {
    let mut names: Vec<&str> = file.uses.iter().map(|one| one.service.as_str()).collect();
    names.dedup();
    names.join(", ")
}

/// Reads a content, and no more than it may have.
fn read(kind: FileKind, path: &Path) -> Outcome<Zeroizing<Vec<u8>>> {
    let most = match kind {
        FileKind::Secret => SECRET_BYTES_MAX,
        FileKind::Config => CONFIG_BYTES_MAX,
    };
    if path == Path::new("-") && std::io::stdin().is_terminal() {
        let hint = format!("name a file, or pipe it in: `warren {kind} create NAME < FILE`");
        return Err(Failure::usage(format!("there is no content for the {kind}")).hint(hint));
    }
    let shown = path.display();
    let failed = |error: std::io::Error| Failure::usage(format!("{shown}: {error}"));
    // All of it at once: a vector that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(most + 1));
    let limit = most as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut content).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(limit).read_to_end(&mut content).map_err(failed)?;
    }
    if content.len() > most {
        return Err(Failure::usage(format!(
            "{shown}: it is larger than {most} bytes, the most a {kind} may have"
        )));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("content");
        std::fs::write(&path, b"a\0b\n").unwrap();
        assert_eq!(**read(FileKind::Secret, &path).unwrap(), *b"a\0b\n");
        std::fs::write(&path, vec![1; SECRET_BYTES_MAX + 1]).unwrap();
        let refused = read(FileKind::Secret, &path).unwrap_err();
        assert!(refused.to_string().contains("larger than 65536 bytes"), "{refused}");
        assert_eq!(read(FileKind::Config, &path).unwrap().len(), SECRET_BYTES_MAX + 1);
        let missing = read(FileKind::Secret, &dir.path().join("no")).unwrap_err();
        assert!(missing.to_string().contains("No such file"), "{missing}");
    }
}
