//! The log of a task: written by its supervisor, read by everybody else.
//!
//! One record is `<nanoseconds since 1970> <o or e> <line>` and a newline. When `log` is full it becomes `log.1` and
//! a new `log` begins, so a reader that is at the end looks whether the file still is the one it reads.

use crate::runtime::process::files::{Root, TaskFolder, not_found, unavailable};
use crate::runtime::{
    BoxStream, ContainerRef, LOG_LINE_BYTES_MAX, LogLine, LogOptions, OutputStream, RuntimeError,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How often a follower looks for more.
const FOLLOW: Duration = Duration::from_millis(100);

/// How much is read at a time.
const CHUNK_BYTES: usize = 1 << 16;

/// The longest record: a line with its time and stream.
const RECORD_BYTES_MAX: usize = LOG_LINE_BYTES_MAX + 32;

/// Appends lines and keeps the files within their size.
pub(super) struct Writer {
    folder: TaskFolder,
    file: File,
    size: u64,
    file_bytes_max: u64,
}

impl Writer {
    pub(super) fn open(folder: &TaskFolder, log_bytes_max: u64) -> io::Result<Self> {
        let file = append(folder)?;
        let size = file.metadata()?.len();
        Ok(Self { folder: folder.clone(), file, size, file_bytes_max: log_bytes_max / 2 })
    }

    /// Appends one line without its end.
    pub(super) fn write(&mut self, from: OutputStream, line: &[u8]) -> io::Result<()> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mark = match from {
            OutputStream::Stdout => 'o',
            OutputStream::Stderr => 'e',
        };
        let mut record = format!("{} {mark} ", since.as_nanos()).into_bytes();
        record.extend_from_slice(line);
        record.push(b'\n');
        let length = u64::try_from(record.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size + length > self.file_bytes_max {
            std::fs::rename(self.folder.file("log"), self.folder.file("log.1"))?;
            self.file = append(&self.folder)?;
            self.size = 0;
        }
        // One write for a whole record: a reader never waits long for the rest of a line.
        self.file.write_all(&record)?;
        self.size += length;
        Ok(())
    }
}

fn append(folder: &TaskFolder) -> io::Result<File> {
    std::fs::OpenOptions::new().append(true).create(true).open(folder.file("log"))
}

pub(super) async fn read(
    root: &Root,
    id: &ContainerRef,
    options: LogOptions,
) -> Result<BoxStream<LogLine>, RuntimeError> {
    let folder = root.task(id)?;
    let since = options.since;
    let begin = move || -> io::Result<Option<(Reader, VecDeque<LogLine>)>> {
        if folder.record()?.is_none() {
            return Ok(None);
        }
        let mut reader = Reader::open(folder)?;
        // Without a tail nothing is read ahead.
        let last = options.tail.map_or_else(|| Ok(VecDeque::new()), |n| reader.last(n))?;
        Ok(Some((reader, last)))
    };
    let at = root.clone();
    let Some((reader, last)) = super::files::blocking(root, begin).await? else {
        return Err(not_found(id));
    };
    let follow = options.follow;
    let rest = stream::try_unfold(Some(reader), move |reader| {
        let at = at.clone();
        async move {
            let Some(reader) = reader else { return Ok(None) };
            reader.next(follow).await.map_err(|error| unavailable(&at, &error))
        }
    });
    let lines = stream::iter(last.into_iter().map(Ok))
        .chain(rest.map_ok(|lines| stream::iter(lines.into_iter().map(Ok))).try_flatten());
    let recent = lines
        .try_filter(move |line| futures::future::ready(since.is_none_or(|since| line.at >= since)));
    Ok(recent.boxed())
}

/// A place in a log.
struct Reader {
    folder: TaskFolder,
    /// Older files to read first, then the newest.
    next: VecDeque<PathBuf>,
    file: Option<File>,
    partial: Vec<u8>,
}

impl Reader {
    fn open(folder: TaskFolder) -> io::Result<Self> {
        let next = ["log.1", "log"].map(|name| folder.file(name)).into();
        let mut reader = Self { folder, next, file: None, partial: Vec::new() };
        reader.advance()?;
        Ok(reader)
    }

    /// The last `n` lines that are there; the reader stands behind them.
    fn last(&mut self, n: u32) -> io::Result<VecDeque<LogLine>> {
        let wanted = usize::try_from(n).unwrap_or(usize::MAX);
        let mut last = VecDeque::new();
        while let Some(lines) = self.read()? {
            for line in lines {
                last.push_back(line);
                if last.len() > wanted {
                    last.pop_front();
                }
            }
        }
        Ok(last)
    }

    /// The next lines, and the reader behind them. The end is known only when nothing came although the task had
    /// ended before.
    async fn next(mut self, follow: bool) -> io::Result<Option<(Vec<LogLine>, Option<Self>)>> {
        loop {
            let look = move || -> io::Result<_> {
                let live = follow && self.folder.live()?.is_some();
                let lines = self.read()?;
                Ok((self, lines, live))
            };
            let looked = tokio::task::spawn_blocking(look).await.map_err(io::Error::other)??;
            let (reader, lines, live) = looked;
            self = reader;
            match lines {
                Some(lines) => return Ok(Some((lines, Some(self)))),
                None if live => tokio::time::sleep(FOLLOW).await,
                None => return Ok(None),
            }
        }
    }

    /// What a single look finds; `None` at the end of all files.
    fn read(&mut self) -> io::Result<Option<Vec<LogLine>>> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if let Some(file) = &mut self.file {
                let read = file.read(&mut chunk)?;
                if read > 0 {
                    self.partial.extend_from_slice(&chunk[..read]);
                    return Ok(Some(self.whole_lines()));
                }
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// Goes on to the next file, where there is one.
    fn advance(&mut self) -> io::Result<bool> {
        if self.next.is_empty() && self.is_rotated()? {
            self.next.push_back(self.folder.file("log"));
        }
        while let Some(path) = self.next.pop_front() {
            match File::open(&path) {
                Ok(file) => {
                    self.file = Some(file);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Whether `log` is another file than the one being read.
    fn is_rotated(&self) -> io::Result<bool> {
        let newest = match std::fs::metadata(self.folder.file("log")) {
            Ok(newest) => newest,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(file) = &self.file else { return Ok(true) };
        Ok(file.metadata()?.ino() != newest.ino())
    }

    fn whole_lines(&mut self) -> Vec<LogLine> {
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else {
            if self.partial.len() > RECORD_BYTES_MAX {
                self.partial.clear();
            }
            return Vec::new();
        };
        let rest = self.partial.split_off(end + 1);
        let whole = Bytes::from(std::mem::replace(&mut self.partial, rest));
        let records = whole[..end].split(|byte| *byte == b'\n');
        records.filter_map(|record| parse(&whole.slice_ref(record))).collect()
    }
}

/// A record torn by a crash of the machine is no line.
fn parse(record: &Bytes) -> Option<LogLine> {
    let mut parts = record.splitn(3, |byte| *byte == b' ');
    let nanos: u64 = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let stream = match parts.next()? {
        b"o" => OutputStream::Stdout,
        b"e" => OutputStream::Stderr,
        _ => return None,
    };
    let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
    Some(LogLine { at, stream, bytes: record.slice_ref(parts.next()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(reader: &mut Reader) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(read) = reader.read().unwrap() {
            lines.extend(read.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()));
        }
        lines
    }

    #[test]
    fn a_log_keeps_its_size_and_a_reader_goes_on_over_its_rotation() {
        let path = tempfile::tempdir().unwrap();
        let folder = TaskFolder { path: path.path().to_owned() };
        let mut reader = Reader::open(folder.clone()).unwrap();
        assert!(lines(&mut reader).is_empty());
        let mut writer = Writer::open(&folder, 2_000).unwrap();
        let mut seen = Vec::new();
        for i in 0..300 {
            writer.write(OutputStream::Stdout, format!("line {i}").as_bytes()).unwrap();
            seen.extend(lines(&mut reader));
        }
        assert_eq!(seen, (0..300).map(|i| format!("line {i}")).collect::<Vec<_>>());
        let size: u64 = ["log", "log.1"]
            .map(|name| std::fs::metadata(folder.file(name)).unwrap().len())
            .iter()
            .sum();
        assert!((1_000..=2_000).contains(&size), "{size}");
        let kept = lines(&mut Reader::open(folder).unwrap());
        assert_eq!(kept.last().unwrap(), "line 299");
        assert!(kept.len() > 30 && kept.len() < 100, "{}", kept.len());
    }

    #[test]
    fn any_bytes_come_back_and_torn_records_are_left_out() {
        let path = tempfile::tempdir().unwrap();
        let folder = TaskFolder { path: path.path().to_owned() };
        let mut writer = Writer::open(&folder, 1 << 20).unwrap();
        writer.write(OutputStream::Stderr, b"\xff\r \x00").unwrap();
        writer.write(OutputStream::Stdout, b"").unwrap();
        drop(writer);
        append(&folder).unwrap().write_all(b"17 x torn\nno\n1 o whole\n1 o half").unwrap();
        let mut reader = Reader::open(folder).unwrap();
        let read: Vec<LogLine> = reader.last(10).unwrap().into();
        let bytes: Vec<&[u8]> = read.iter().map(|line| &line.bytes[..]).collect();
        assert_eq!(bytes, [b"\xff\r \x00", &b""[..], b"whole"]);
        assert_eq!(read[0].stream, OutputStream::Stderr);
        assert_eq!(Reader::open(reader.folder).unwrap().last(1).unwrap()[0].bytes, "whole");
    }
}
