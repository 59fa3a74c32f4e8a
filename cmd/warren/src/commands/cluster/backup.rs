//! `warren cluster backup`

use crate::client::{ClientArgs, request};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{self, Format, OutputArgs};
use crate::passphrase::PassphraseArgs;
use clap::Args;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use warren_core::State;
use warren_core::time::millis;
use warren_raft::decode_state;
use warren_wire::backup::{self, Contents, FILE_BYTES_MAX, Header, Kdf};
use warren_wire::trust::SealKey;
use warren_wire::v1;
use zeroize::Zeroizing;

/// Write all that a restore of the cluster needs into a file
///
/// It is read from the leader while the cluster works; every change that was acknowledged before is in it. The file is
/// sealed with a passphrase: without that it is of no use to anybody, you included.
#[derive(Args, Debug)]
pub struct Backup {
    /// The file; only its owner can read it
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Open a file that is there, and say what is in it
    #[arg(long)]
    verify: bool,
    /// Say what a file that is there says of itself, without its passphrase
    #[arg(long, conflicts_with_all = ["verify", "passphrase_file"])]
    inspect: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is shown of a backup.
#[derive(Serialize)]
struct Shown {
    file: String,
    bytes: usize,
    cluster_id: String,
    epoch: u32,
    index: u64,
    node_id: String,
    made_unix_ms: u64,
    version: String,
    /// Absent where it was not opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<Counts>,
}

#[derive(Serialize)]
struct Counts {
    services: usize,
    nodes: usize,
    tasks: usize,
}

impl Backup {
    /// Runs it.
    ///
    /// # Errors
    /// No leader answers, the file cannot be written, or is no backup.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        if self.inspect || self.verify {
            let file = read_file(&self.file)?;
            let opened = match self.verify {
                true => Some(open_file(&self.file, &file, &self.passphrase)?),
                false => None,
            };
            let header = header_of(&self.file, &file)?;
            return self.show(&header, file.len(), opened.as_ref().map(|opened| &opened.state));
        }
        if self.file.exists() {
            let why = format!("{} is there already", self.file.display());
            return Err(Failure::usage(why).hint("name a new file: backups are not written over"));
        }
        let passphrase = self.passphrase.read(true)?;
        let (header, contents) = fetch(client).await?;
        let state = decode(&self.file, &contents.state)?;
        let sealed = backup::seal(header, &contents, passphrase.as_bytes());
        let sealed = sealed.map_err(|error| Failure::new(Exit::Failed, error))?;
        write_file(&self.file, &sealed)?;
        // What was written is read again: a backup that nobody has read is a hope.
        let read = read_file(&self.file)?;
        let header = header_of(&self.file, &read)?;
        self.show(&header, read.len(), Some(&state))
    }

    fn show(&self, header: &Header, bytes: usize, state: Option<&State>) -> Outcome {
        let shown = Shown {
            file: self.file.display().to_string(),
            bytes,
            cluster_id: header.cluster.clone(),
            epoch: header.epoch,
            index: header.index,
            node_id: header.node.clone(),
            made_unix_ms: header.made_unix_ms,
            version: header.version.clone(),
            holds: state.map(|state| Counts {
                services: state.services().len(),
                nodes: state.nodes().len(),
                tasks: state.tasks().filter(|task| task.is_live()).count(),
            }),
        };
        output::print(self.output.output, &shown, text)?;
        if self.output.output == Format::Table && !self.inspect {
            output::say("keep its passphrase elsewhere: without it nobody opens the file");
        }
        Ok(())
    }
}

fn text(shown: &Shown) -> String {
    let holds = shown.holds.as_ref().map(|holds| {
        format!("{} services, {} nodes, {} tasks", holds.services, holds.nodes, holds.tasks)
    });
    output::pairs(&[
        ("backup", format!("{}, {} bytes, undamaged", shown.file, shown.bytes)),
        ("cluster", shown.cluster_id.clone()),
        ("epoch", shown.epoch.to_string()),
        ("state", format!("up to entry {}, from {}", shown.index, shown.node_id)),
        ("made", output::moment(shown.made_unix_ms)),
        ("by version", shown.version.clone()),
        ("holds", holds.unwrap_or_default()),
    ])
}

async fn fetch(client: &ClientArgs) -> Outcome<(Header, Contents)> {
    let client = client.connect().await?;
    let mut parts = client.clusters().backup(request(v1::BackupRequest {})).await?.into_inner();
    let strange = |what: String| {
        Failure::new(Exit::Failed, format!("the backup did not come whole: {what}"))
            .hint("nothing was written; try again")
    };
    let first = parts.message().await?;
    let head = first.and_then(|part| part.head).ok_or_else(|| strange("it has no head".into()))?;
    let wanted = usize::try_from(head.state_bytes).unwrap_or(usize::MAX);
    if wanted > FILE_BYTES_MAX {
        return Err(strange(format!("{wanted} bytes are more than {FILE_BYTES_MAX}")));
    }
    let mut state = Zeroizing::new(Vec::with_capacity(wanted));
    while let Some(part) = parts.message().await? {
        state.extend_from_slice(&part.state);
        if state.len() > wanted {
            break;
        }
    }
    if state.len() != wanted {
        return Err(strange(format!("{} of {wanted} bytes", state.len())));
    }
    let seal_key = SealKey::parse(&Zeroizing::new(head.seal_key));
    let seal_key = seal_key.ok_or_else(|| strange("its key cannot be read".into()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let header = Header {
        cluster: head.cluster_id,
        epoch: head.epoch,
        index: head.index,
        term: head.term,
        node: head.node_id,
        made_unix_ms: millis(now),
        version: head.version,
        kdf: Kdf::generate().map_err(|error| Failure::new(Exit::Failed, error))?,
        sealed_bytes: 0,
    };
    Ok((header, Contents { seal_key, state }))
}

/// A backup that was opened.
pub struct Opened {
    pub header: Header,
    pub seal_key: SealKey,
    pub state: State,
}

/// Opens the backup in `path` with the passphrase that is given.
///
/// # Errors
/// It is no backup, is damaged, or the passphrase is another.
pub fn open(path: &Path, passphrase: &PassphraseArgs) -> Outcome<Opened> {
    open_file(path, &read_file(path)?, passphrase)
}

fn open_file(path: &Path, file: &[u8], passphrase: &PassphraseArgs) -> Outcome<Opened> {
    let read = backup::Backup::read(file).map_err(|error| unusable(path, &error))?;
    let opened = read.open(passphrase.read(false)?.as_bytes());
    let contents = opened.map_err(|error| unusable(path, &error))?;
    let state = decode(path, &contents.state)?;
    Ok(Opened { header: read.header, seal_key: contents.seal_key, state })
}

fn header_of(path: &Path, file: &[u8]) -> Outcome<Header> {
    let read = backup::Backup::read(file);
    read.map(|read| read.header).map_err(|error| unusable(path, &error))
}

fn decode(path: &Path, bytes: &[u8]) -> Outcome<State> {
    decode_state(bytes).map_err(|why| unusable(path, &format!("its state: {why}")))
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("{}: {why}", path.display()))
}

fn read_file(path: &Path) -> Outcome<Vec<u8>> {
    let failed = |error: std::io::Error| unusable(path, &error);
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    // One more than may be, so that more is seen.
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Writes a new file whole or not at all, for its owner alone.
fn write_file(path: &Path, bytes: &[u8]) -> Outcome {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".partial");
    let draft = PathBuf::from(draft);
    let written = || -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    };
    written().map_err(|error| {
        let _ = std::fs::remove_file(&draft);
        unusable(path, &error)
    })
}
