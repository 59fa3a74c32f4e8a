//! The supervisor of one task: a process of its own that outlives whoever started it.
//!
//! It starts the task, says on its standard output how that went, takes the task's output to the log, watches its
//! memory, waits for its end, kills what is left of its group and writes down how it ended. It needs nobody.

use crate::runtime::LOG_LINE_BYTES_MAX;
use crate::runtime::OutputStream;
use crate::runtime::process::files::{
    ExitRecord, RunRecord, TaskFolder, TaskRecord, now_ms, write_json,
};
use crate::runtime::process::logs::Writer;
use crate::runtime::process::{proc, tty};
use nix::fcntl::{Flock, FlockArg};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The first argument of a supervisor: what it is for.
pub(super) const RUN: &str = "run";
/// The first argument of the helper that gives a command its terminal.
pub(super) const TTY: &str = "tty";

/// What a supervisor says: the task runs.
pub(super) const STARTED: &str = "started";
/// What a supervisor says: another one has the task.
pub(super) const BUSY: &str = "busy";

/// How often memory is looked at.
const WATCH: Duration = Duration::from_millis(250);

/// How long the rest of a task's output is waited for after its end: a daemon that it left may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often a start is tried while the program's file is still open for writing in a process that is being
/// forked, and how long between.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(25);

/// The main of a supervisor, which the binary calls with the arguments after those of
/// [`supervisor`](super::ProcessOptions::supervisor). Returns when the task has ended.
pub fn supervise_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let done = match args.next().as_ref().and_then(|arg| arg.to_str()) {
        Some(RUN) => args.next().ok_or_else(|| io::Error::other("no folder")).and_then(run),
        Some(TTY) => tty::become_command(args),
        Some(_) | None => Err(io::Error::other("this command is for Warren itself")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(127)
        }
    }
}

fn run(folder: OsString) -> io::Result<()> {
    let folder = TaskFolder { path: PathBuf::from(folder) };
    // A session of its own: no terminal, and no signal to the group of whoever started it.
    rustix::process::setsid()?;
    let lock = std::fs::OpenOptions::new().append(true).create(true).open(folder.file("lock"))?;
    let Ok(_lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else {
        return say(BUSY);
    };
    let Some(record) = folder.record()? else { return say("there is no such task") };
    let number = folder.run()?.map_or(1, |run| run.number.saturating_add(1));
    let log = Writer::open(&folder, record.log_bytes_max)?;
    let mut child = match spawn(&record) {
        Ok(child) => child,
        Err(error) => return say(&format!("{}: {error}", record.name)),
    };
    let run = RunRecord {
        number,
        boot: proc::boot()?,
        supervisor: proc::Process::of(std::process::id())?,
        task: proc::Process::of(child.id())?,
        since_ms: now_ms(),
    };
    if let Err(error) = write_json(&folder.file("run.json"), &run) {
        // A task that nobody could find again must not run.
        run.task.kill_all()?;
        child.wait()?;
        return Err(error);
    }
    let _ = touch(&folder);
    let _ = say(STARTED);
    let (status, oom) = attend(&mut child, run.task, log, record.memory_limit)?;
    write_json(&folder.file("exit.json"), &exit(number, status, oom))?;
    touch(&folder)
}

fn say(word: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{word}")?;
    out.flush()
}

/// Tells whoever listens for events to look.
fn touch(folder: &TaskFolder) -> io::Result<()> {
    let tasks = folder.path.parent();
    let Some(root) = tasks.and_then(|tasks| tasks.parent()) else { return Ok(()) };
    std::fs::write(root.join("changed"), now_ms().to_string())
}

fn spawn(record: &TaskRecord) -> io::Result<Child> {
    let mut command = Command::new(&record.program);
    command
        .arg0(&record.name)
        .args(&record.args)
        .env_clear()
        .envs(&record.env)
        .current_dir(&record.working_dir)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(user) = record.user {
        command.uid(user.uid).gid(user.gid);
    }
    for _ in 0..BUSY_TRIES {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::park_timeout(BUSY_PAUSE);
            }
            spawned => return spawned,
        }
    }
    command.spawn()
}

/// Stays with the task until its end. Tells whether it was killed for its memory.
fn attend(
    child: &mut Child,
    task: proc::Process,
    log: Writer,
    memory_limit: Option<u64>,
) -> io::Result<(ExitStatus, bool)> {
    let log = Arc::new(Mutex::new(log));
    let (pumping, pumped) = channel();
    if let Some(out) = child.stdout.take() {
        pump(out, OutputStream::Stdout, Arc::clone(&log), pumping.clone());
    }
    if let Some(err) = child.stderr.take() {
        pump(err, OutputStream::Stderr, log, pumping.clone());
    }
    drop(pumping);
    let oom = Arc::new(AtomicBool::new(false));
    let (ended, end) = channel();
    if let Some(limit) = memory_limit {
        let oom = Arc::clone(&oom);
        std::thread::spawn(move || watch_memory(task, limit, &end, &oom));
    }
    let status = child.wait()?;
    drop(ended);
    proc::kill_group(task.pid)?;
    // Ends when both pumps have let go of their end, or when the time is up.
    let _ = pumped.recv_timeout(LAST_WORDS);
    Ok((status, oom.load(Ordering::SeqCst)))
}

/// Takes output to the log, on a thread that ends with the output and then lets go of `done`.
fn pump(
    mut from: impl Read + Send + 'static,
    stream: OutputStream,
    log: Arc<Mutex<Writer>>,
    done: Sender<()>,
) {
    std::thread::spawn(move || {
        let _done = done;
        let mut lines = Lines::default();
        let mut chunk = vec![0; LOG_LINE_BYTES_MAX];
        loop {
            let read = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            // A full disk costs log lines, it does not stop the task.
            lines.add(&chunk[..read], |line| drop(log.write(stream, line)));
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        lines.end(|line| drop(log.write(stream, line)));
    });
}

/// Cuts output into lines of bounded length.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn add(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = LOG_LINE_BYTES_MAX - self.begun.len();
            let reach = &bytes[..bytes.len().min(room + 1)];
            if let Some(end) = reach.iter().position(|byte| *byte == b'\n') {
                self.begun.extend_from_slice(&bytes[..end]);
                bytes = &bytes[end + 1..];
            } else if bytes.len() > room {
                self.begun.extend_from_slice(&bytes[..room]);
                bytes = &bytes[room..];
            } else {
                self.begun.extend_from_slice(bytes);
                return;
            }
            let whole = self.begun.strip_suffix(b"\r").unwrap_or(&self.begun);
            line(whole);
            self.begun.clear();
        }
    }

    fn end(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            line(&self.begun);
        }
    }
}

/// Kills the task when it uses more than `limit`, until `end` is closed.
fn watch_memory(task: proc::Process, limit: u64, end: &Receiver<()>, oom: &AtomicBool) {
    while end.recv_timeout(WATCH) == Err(RecvTimeoutError::Timeout) {
        let family = task.family();
        // The exact count is dear: it is only taken when the cheap one, which is never less, is above.
        if proc::resident(&family) > limit && proc::memory(&family) > limit {
            oom.store(true, Ordering::SeqCst);
            let _ = task.kill_all();
        }
    }
}

fn exit(number: u32, status: ExitStatus, oom: bool) -> ExitRecord {
    let signal = status.signal();
    let code = status.code().or_else(|| signal.map(|signal| 128 + signal)).unwrap_or(-1);
    ExitRecord { number, code, signal, oom, at_ms: now_ms() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_they_come() {
        let long = "x".repeat(2 * LOG_LINE_BYTES_MAX + 5);
        let exact = "y".repeat(LOG_LINE_BYTES_MAX);
        let text = format!("one\r\n\ntwo\n{long}\n{exact}\nlast");
        let wanted = ["one", "", "two", &long[..LOG_LINE_BYTES_MAX], &long[..LOG_LINE_BYTES_MAX]];
        for size in [1, 2, 3, 7, 1000, text.len()] {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                lines.add(piece, |line| seen.push(String::from_utf8_lossy(line).into_owned()));
            }
            lines.end(|line| seen.push(String::from_utf8_lossy(line).into_owned()));
            assert_eq!(seen[..5], wanted, "in pieces of {size}");
            assert_eq!(seen[5..], ["xxxxx", &exact, "last"], "in pieces of {size}");
        }
    }
}
