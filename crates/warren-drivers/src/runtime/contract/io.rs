//! Logs and commands.

use crate::runtime::contract::{Bench, Broken, Checked, Fixture, ensure, within};
use crate::runtime::{
    ContainerRef, ContainerRuntime, ExecSession, ExecSpec, LOG_LINE_BYTES_MAX, LogLine, LogOptions,
    OutputStream, RuntimeError, TtySize,
};
use futures::{StreamExt, TryStreamExt};
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;

/// Everything in a log.
pub(super) async fn all(
    runtime: &dyn ContainerRuntime,
    id: &ContainerRef,
) -> Result<Vec<LogLine>, Broken> {
    some(runtime, id, LogOptions::default()).await
}

async fn some(
    runtime: &dyn ContainerRuntime,
    id: &ContainerRef,
    options: LogOptions,
) -> Result<Vec<LogLine>, Broken> {
    let lines = runtime.logs(id, options).await?;
    Ok(within("the end of the log", lines.try_collect::<Vec<_>>()).await??)
}

fn texts(lines: &[LogLine], from: OutputStream) -> Vec<String> {
    let lines = lines.iter().filter(|line| line.stream == from);
    lines.map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
}

/// Each line has its stream and time; the end and the recent past can be asked for.
pub async fn logs_tell_lines_streams_and_times(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let begin = SystemTime::now() - Duration::from_secs(2);
    let id = bench.run(&bench.spec(1, &["lines", "20"])).await?;
    bench.end(&id).await?;
    let lines = all(&*bench.runtime, &id).await?;
    let wanted = |word: &str| (0..20).map(|i| format!("{word} {i}")).collect::<Vec<_>>();
    ensure!(texts(&lines, OutputStream::Stdout) == wanted("out"), "{lines:?}");
    ensure!(texts(&lines, OutputStream::Stderr) == wanted("err"), "{lines:?}");
    let in_time = |line: &LogLine| line.at >= begin && line.at <= SystemTime::now();
    ensure!(lines.iter().all(in_time), "{lines:?}");

    let tail = LogOptions { tail: Some(5), ..LogOptions::default() };
    let last = some(&*bench.runtime, &id, tail).await?;
    ensure!(last == lines[lines.len() - 5..], "{last:?}");
    let since = lines[30].at;
    let recent =
        some(&*bench.runtime, &id, LogOptions { since: Some(since), ..LogOptions::default() });
    let recent = recent.await?;
    let wanted: Vec<_> = lines.iter().filter(|line| line.at >= since).cloned().collect();
    ensure!(recent == wanted, "{recent:?} instead of {wanted:?}");
    let none = LogOptions { tail: Some(0), ..LogOptions::default() };
    ensure!(some(&*bench.runtime, &id, none).await?.is_empty(), "a tail of nothing is not empty");
    bench.runtime.remove(&id).await?;
    let gone = bench.runtime.logs(&id, LogOptions::default()).await.err();
    ensure!(matches!(gone, Some(RuntimeError::NotFound { .. })), "{gone:?}");
    Ok(())
}

/// A follower gets what is there, what comes, and the end.
pub async fn logs_follow_until_the_end(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let id = bench.run(&bench.spec(1, &["tick", "5", "100"])).await?;
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let lines = bench.runtime.logs(&id, options).await?;
    let lines: Vec<_> = within("the end of the task", lines.try_collect::<Vec<_>>()).await??;
    let wanted: Vec<_> = (0..5).map(|i| format!("tick {i}")).collect();
    ensure!(texts(&lines, OutputStream::Stdout) == wanted, "{lines:?}");
    let span = lines[4].at.duration_since(lines[0].at)?;
    ensure!(span >= Duration::from_millis(350), "times are not those of the lines: {span:?}");
    let exit = bench.end(&id).await?;
    ensure!(exit.code == Some(0), "{exit:?}");

    // A follower of something that never ends gets its lines at once, and can leave.
    let id = bench.run(&bench.spec(2, &["sleep"])).await?;
    let options = LogOptions { follow: true, tail: Some(10), since: None };
    let mut lines = bench.runtime.logs(&id, options).await?;
    let first = within("the first line", lines.next()).await?;
    let first = first.ok_or_else(|| Broken::new("the log of a running task ended"))??;
    ensure!(&first.bytes[..] == b"ready", "{first:?}");
    Ok(())
}

/// No line is longer than the limit, nothing of it is lost, and bytes need not be text.
pub async fn logs_cut_long_lines_and_keep_bytes(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let id = bench.run(&bench.spec(1, &["long", "40000"])).await?;
    bench.end(&id).await?;
    let lines = all(&*bench.runtime, &id).await?;
    let longest = lines.iter().map(|line| line.bytes.len()).max();
    ensure!(longest <= Some(LOG_LINE_BYTES_MAX), "{longest:?}");
    let begin = lines.iter().position(|line| line.bytes.starts_with(b"xxx"));
    let pieces = lines.iter().skip(begin.unwrap_or_default());
    let pieces = pieces.take_while(|line| line.bytes.starts_with(b"x"));
    let whole: usize = pieces.map(|line| line.bytes.len()).sum();
    ensure!(whole == 40_000, "{whole} bytes of 40000");
    let last = lines.last().map(|line| line.bytes.clone()).unwrap_or_default();
    // Docker's log driver writes JSON, in which a byte that is no text becomes the replacement character.
    let kept = &last[..] == b"end \xff." || last[..] == *"end \u{fffd}.".as_bytes();
    ensure!(kept, "{last:?}");
    Ok(())
}

async fn talk(session: ExecSession) -> Result<(String, String, i32), Broken> {
    let mut output = session.output;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(chunk) = within("the end of the output", output.next()).await? {
        let chunk = chunk?;
        match chunk.stream {
            OutputStream::Stdout => out.extend_from_slice(&chunk.bytes),
            OutputStream::Stderr => err.extend_from_slice(&chunk.bytes),
        }
    }
    let code = within("the exit code", session.control.wait()).await??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((text(out), text(err), code))
}

impl Bench<'_> {
    fn command(&self, args: &[&str]) -> ExecSpec {
        let args = args.iter().map(|word| (*word).to_owned());
        let command = std::iter::once(self.fixture.program()).chain(args).collect();
        ExecSpec { command, ..ExecSpec::default() }
    }
}

/// Both streams, the code, and the environment of the task with the command's own.
pub async fn a_command_talks_and_exits(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let id = bench.run(&bench.spec(4, &["sleep"])).await?;
    let session = bench.runtime.exec(&id, bench.command(&["lines", "2", "5"])).await?;
    ensure!(session.stdin.is_none(), "there is input that nobody asked for");
    let (out, err, code) = talk(session).await?;
    ensure!(out == "out 0\nout 1\n" && err == "err 0\nerr 1\n" && code == 5, "{out}{err}{code}");

    let mut spec = bench.command(&["show"]);
    spec.env.insert("EXTRA".into(), "yes".into());
    spec.working_dir = Some("/proc".into());
    let (out, _, code) = talk(bench.runtime.exec(&id, spec).await?).await?;
    for wanted in ["env EXTRA=yes", "env WARREN_TASK=t4", "cwd /proc"] {
        ensure!(out.lines().any(|line| line == wanted) && code == 0, "{wanted:?}: {out}");
    }
    let absent = ExecSpec { command: vec!["/no/such/program".into()], ..ExecSpec::default() };
    let (out, err, code) = talk(bench.runtime.exec(&id, absent).await?).await?;
    ensure!(code == 127, "{code}");
    ensure!(format!("{out}{err}").contains("/no/such/program"), "{out}{err}");
    Ok(())
}

/// Input arrives, and its end too.
pub async fn a_command_reads_its_input(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let id = bench.run(&bench.spec(1, &["sleep"])).await?;
    let spec = ExecSpec { stdin: true, ..bench.command(&["cat"]) };
    let mut session = bench.runtime.exec(&id, spec).await?;
    let mut stdin = session.stdin.take().ok_or_else(|| Broken::new("there is no input"))?;
    stdin.write_all(b"one\ntwo\n").await?;
    stdin.shutdown().await?;
    drop(stdin);
    let (out, err, code) = talk(session).await?;
    ensure!(out == "one\ntwo\n" && err == "end\n" && code == 3, "{out}{err}{code}");
    // Without input there is its end at once.
    let (out, err, code) = talk(bench.runtime.exec(&id, bench.command(&["cat"])).await?).await?;
    ensure!(out.is_empty() && err == "end\n" && code == 3, "{out}{err}{code}");
    Ok(())
}

/// A command on a terminal knows it, echoes what is typed, and can be resized.
pub async fn a_command_on_a_terminal(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let id = bench.run(&bench.spec(1, &["sleep"])).await?;
    let size = TtySize { rows: 30, columns: 100 };
    let spec = ExecSpec { stdin: true, tty: Some(size), ..bench.command(&["terminal"]) };
    let mut session = bench.runtime.exec(&id, spec).await?;
    session.control.resize(TtySize { rows: 40, columns: 120 }).await?;
    let mut stdin = session.stdin.take().ok_or_else(|| Broken::new("there is no input"))?;
    stdin.write_all(b"typed\n").await?;
    let (out, err, code) = talk(session).await?;
    ensure!(out.contains("terminal true true true"), "{out:?}");
    ensure!(out.contains("read typed"), "{out:?}");
    ensure!(err.is_empty() && code == 0, "{err:?} {code}");
    let plain = bench.runtime.exec(&id, bench.command(&["cat"])).await?;
    let refused = plain.control.resize(size).await;
    ensure!(matches!(refused, Err(RuntimeError::Refused { .. })), "{refused:?}");
    drop(stdin);
    Ok(())
}

/// Nothing can be run in what does not run.
pub async fn a_command_needs_a_running_task(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let id = bench.run(&bench.spec(1, &["exit", "0"])).await?;
    bench.end(&id).await?;
    let refused = bench.runtime.exec(&id, bench.command(&["show"])).await.err();
    ensure!(matches!(refused, Some(RuntimeError::Conflict { .. })), "{refused:?}");
    bench.runtime.remove(&id).await?;
    let gone = bench.runtime.exec(&id, bench.command(&["show"])).await.err();
    ensure!(matches!(gone, Some(RuntimeError::NotFound { .. })), "{gone:?}");
    Ok(())
}
