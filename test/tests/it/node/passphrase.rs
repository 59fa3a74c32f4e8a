//! A passphrase that is typed: asked for on a terminal, twice where it is new, and never shown.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;
use warren_test::binary;
use warren_test::cluster::{Node, Runtime};

use super::SOON;

const PHRASE: &str = "correct horse battery";

/// A command that has a terminal to ask on.
struct Asking {
    child: Child,
    talk: BufReader<ChildStderr>,
    terminal: OwnedFd,
    said: String,
}

impl Asking {
    fn start(node: &Node, arguments: &[&str]) -> anyhow::Result<Self> {
        let pty = openpty(None, None)?;
        let mut child = Command::new(binary::warren()?)
            .args(arguments)
            .env("WARREN_DATA_DIR", node.data_dir())
            .stdin(Stdio::from(pty.slave))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let talk = BufReader::new(child.stderr.take().context("it talks")?);
        Ok(Self { child, talk, terminal: pty.master, said: String::new() })
    }

    /// Waits for a question, and types.
    async fn answer(&mut self, question: &str, text: &str) -> anyhow::Result<()> {
        let asked = async {
            while !self.said.ends_with(question) {
                self.said.push(char::from(self.talk.read_u8().await?));
            }
            anyhow::Ok(())
        };
        timeout(SOON, asked).await.with_context(|| format!("it does not ask {question:?}"))??;
        self.said.clear();
        let mut terminal = File::from(self.terminal.try_clone()?);
        Ok(writeln!(terminal, "{text}")?)
    }

    /// Its exit code, what it said last, and what the terminal shows of what was typed.
    async fn end(mut self) -> anyhow::Result<(Option<i32>, String, String)> {
        timeout(SOON, self.talk.read_to_string(&mut self.said)).await??;
        let code = timeout(SOON, self.child.wait()).await??.code();
        fcntl(&self.terminal, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut shown = [0; 1024];
        // Nothing to read is nothing shown.
        let length = nix::unistd::read(&self.terminal, &mut shown).unwrap_or_default();
        Ok((code, self.said, String::from_utf8_lossy(&shown[..length]).into_owned()))
    }
}

#[tokio::test]
async fn a_passphrase_is_asked_for_twice_and_not_shown() {
    let whole = timeout(Duration::from_secs(300), typed());
    whole.await.expect("it does not end").unwrap();
}

async fn typed() -> anyhow::Result<()> {
    let node = Node::start(Runtime::Process).await?;
    let file = node.scratch("backup").display().to_string();
    let mut asking = Asking::start(&node, &["cluster", "backup", &file])?;
    asking.answer("Passphrase: ", PHRASE).await?;
    asking.answer("The same again: ", "another horse battery").await?;
    let (code, said, _) = asking.end().await?;
    ensure!(code == Some(2) && said.contains("the two are not the same"), "{said}");
    ensure!(!std::path::Path::new(&file).exists(), "nothing was made");
    let mut asking = Asking::start(&node, &["cluster", "backup", &file])?;
    asking.answer("Passphrase: ", PHRASE).await?;
    asking.answer("The same again: ", PHRASE).await?;
    let (code, said, shown) = asking.end().await?;
    ensure!(code == Some(0), "{said}");
    ensure!(!shown.contains("horse") && !said.contains("horse"), "{shown:?} {said:?}");
    let verify = ["cluster", "backup", "--verify", &file];
    for (phrase, expected) in [(PHRASE, 0), ("correct horse batterie", 1)] {
        let mut asking = Asking::start(&node, &verify)?;
        asking.answer("Passphrase: ", phrase).await?;
        let (code, said, _) = asking.end().await?;
        ensure!(code == Some(expected), "{said}");
    }
    Ok(())
}
