//! Terminals for commands.

use crate::runtime::TtySize;
use crate::runtime::process::files::UserIds;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The outer end of a new terminal, and the path of its inner end.
pub(super) fn open(size: TtySize) -> io::Result<(OwnedFd, OsString)> {
    let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&outer)?;
    unlockpt(&outer)?;
    resize(&outer, size)?;
    let path = ptsname(&outer, Vec::new())?.into_bytes();
    Ok((outer, OsString::from_vec(path)))
}

pub(super) fn resize(outer: impl AsFd, size: TtySize) -> io::Result<()> {
    let TtySize { rows, columns } = size;
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(outer, size)?)
}

/// The arguments with which [`become_command`] becomes a command.
pub(super) fn arguments(
    path: OsString,
    user: Option<UserIds>,
    command: &[String],
) -> Vec<OsString> {
    let user = user.map_or_else(|| "-".to_owned(), |ids| format!("{}:{}", ids.uid, ids.gid));
    let command = command.iter().map(OsString::from);
    [super::supervise::TTY.into(), path, user.into()].into_iter().chain(command).collect()
}

/// Takes the terminal as the controlling one of a new session and becomes the command. Returns only where it cannot.
pub(super) fn become_command(mut args: impl Iterator<Item = OsString>) -> io::Result<()> {
    let missing = || io::Error::other("this command is for Warren itself");
    let (path, user) = (args.next().ok_or_else(missing)?, args.next().ok_or_else(missing)?);
    let program = args.next().ok_or_else(missing)?;
    rustix::process::setsid()?;
    // The first terminal that the leader of a new session opens becomes the controlling one.
    let terminal = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
    let mut command = Command::new(&program);
    command
        .args(args)
        .stdin(Stdio::from(terminal.try_clone()?))
        .stdout(Stdio::from(terminal.try_clone()?))
        .stderr(Stdio::from(terminal.try_clone()?));
    if let Some((uid, gid)) = user.to_str().and_then(|user| user.split_once(':')) {
        let number = |text: &str| text.parse::<u32>().map_err(io::Error::other);
        command.uid(number(uid)?).gid(number(gid)?);
    }
    let error = command.exec();
    // The terminal is where the caller reads.
    let text = format!("{}: {error}\r\n", program.to_string_lossy());
    rustix::io::write(&terminal, text.as_bytes())?;
    Err(error)
}
