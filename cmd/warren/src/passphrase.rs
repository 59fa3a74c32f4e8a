//! The passphrase of a backup: from a file, from the environment, or typed. Never from a flag, which every user of the
//! machine can see.

use crate::failure::{Failure, Outcome};
use clap::Args;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Read, Stdin, Write};
use std::path::{Path, PathBuf};
use warren_wire::backup::{PASSPHRASE_BYTES_MAX, check_passphrase};
use zeroize::Zeroizing;

/// Where it is taken from where no file is named.
const VARIABLE: &str = "WARREN_BACKUP_PASSPHRASE";

/// How a passphrase is given.
#[derive(Args, Debug)]
pub struct PassphraseArgs {
    /// File with the passphrase in its first line [default: WARREN_BACKUP_PASSPHRASE, or ask]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// Reads it. A new one is typed twice.
    ///
    /// # Errors
    /// There is none, or it cannot be one.
    pub fn read(&self, new: bool) -> Outcome<Zeroizing<String>> {
        let given = match (&self.passphrase_file, std::env::var(VARIABLE)) {
            (Some(path), _) => from_file(path)?,
            (None, Ok(text)) => Zeroizing::new(text),
            (None, Err(_)) => typed(new)?,
        };
        match check_passphrase(given.as_bytes()) {
            Ok(()) => Ok(given),
            Err(error) => Err(Failure::usage(error)),
        }
    }
}

fn from_file(path: &Path) -> Outcome<Zeroizing<String>> {
    let refuse = |why: String| Failure::usage(format!("--passphrase-file: {why}"));
    let shown = path.display();
    let file = std::fs::File::open(path).map_err(|e| refuse(format!("{shown}: {e}")))?;
    let mut text = Zeroizing::new(String::new());
    // One more than may be, so that more is seen.
    let read = file.take(PASSPHRASE_BYTES_MAX as u64 + 2).read_to_string(&mut text);
    read.map_err(|e| refuse(format!("{shown}: {e}")))?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn typed(new: bool) -> Outcome<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("there is no passphrase, and no terminal to ask for one on")
            .hint(format!("name a file with --passphrase-file, or set {VARIABLE}")));
    }
    let first = ask("Passphrase: ")?;
    if new && *ask("The same again: ")? != *first {
        return Err(Failure::usage("the two are not the same: nothing was done"));
    }
    Ok(first)
}

fn ask(prompt: &str) -> Outcome<Zeroizing<String>> {
    let stdin = std::io::stdin();
    // First, since it forgets what was typed before: a program that answers the question answers at once.
    let quiet = Quiet::begin(&stdin)?;
    write!(std::io::stderr(), "{prompt}")?;
    let mut line = Zeroizing::new(String::new());
    stdin.lock().take(PASSPHRASE_BYTES_MAX as u64 + 2).read_line(&mut line)?;
    drop(quiet);
    writeln!(std::io::stderr())?;
    Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// A terminal that does not show what is typed, until it is dropped.
struct Quiet<'a> {
    stdin: &'a Stdin,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn begin(stdin: &'a Stdin) -> Outcome<Self> {
        let failed = |error: nix::Error| Failure::from(std::io::Error::from(error));
        let before = tcgetattr(stdin).map_err(failed)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(stdin, SetArg::TCSAFLUSH, &quiet).map_err(failed)?;
        Ok(Self { stdin, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.stdin, SetArg::TCSAFLUSH, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Outcome<Zeroizing<String>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        PassphraseArgs { passphrase_file: Some(file.path().to_owned()) }.read(true)
    }

    #[test]
    fn a_file_gives_its_first_line() {
        assert_eq!(*read("correct horse\n").unwrap(), "correct horse");
        assert_eq!(*read(" spaces count \r\nmore\n").unwrap(), " spaces count ");
        for wrong in ["", "\n", "short\n", &"x".repeat(2_000)] {
            assert_eq!(read(wrong).unwrap_err().exit, 2, "{wrong:?}");
        }
        let missing = PassphraseArgs { passphrase_file: Some("/does/not/exist".into()) };
        assert!(missing.read(false).unwrap_err().message.contains("/does/not/exist"));
    }
}
