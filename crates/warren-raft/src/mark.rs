//! A second witness of what is durable: a small file that says how far the log, the vote and the commits have come.
//!
//! A storage engine that meets damage may fall back to an older state of its file and say nothing. The mark is written
//! after each durable commit, without a sync of its own, so it is never ahead of the log; a log that ends before its
//! mark has lost what was acknowledged. It also lets a restarted node show its state before there is a leader.

use crate::record;
use crate::types::{LogId, Vote};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Fixed, so that the file never grows and is one sector.
const FILE_BYTES: usize = 256;

/// How far this node has come.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The last entry that is durable, or was purged.
    pub(crate) last: Option<u64>,
    /// The last entry known to be committed.
    pub(crate) committed: Option<LogId>,
    /// The last vote.
    pub(crate) vote: Option<Vote>,
}

/// The file of a [`Mark`].
#[derive(Debug)]
pub(crate) struct MarkFile {
    file: File,
}

impl MarkFile {
    /// Opens or makes the file. One that is cut short or damaged counts as empty: it is a witness, not the state.
    ///
    /// # Errors
    /// The file cannot be made or read.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Mark)> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = [0; FILE_BYTES];
        let mark = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => decode(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Mark::default(),
            Err(error) => return Err(error),
        };
        Ok((Self { file }, mark))
    }

    /// Replaces the mark; with `durable`, waits until the disk has it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, mark: &Mark, durable: bool) -> io::Result<()> {
        let record = record::seal(0, mark).map_err(io::Error::other)?;
        let mut bytes = [0; FILE_BYTES];
        let length = u8::try_from(record.len()).map_err(io::Error::other)?;
        bytes[0] = length;
        bytes[1..=record.len()].copy_from_slice(&record);
        self.file.write_all_at(&bytes, 0)?;
        if durable { self.file.sync_data() } else { Ok(()) }
    }
}

fn decode(bytes: &[u8; FILE_BYTES]) -> Option<Mark> {
    let length = usize::from(bytes[0]);
    record::open(0, bytes.get(1..=length)?).ok()
}
