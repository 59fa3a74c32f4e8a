//! `warren service exec`

use crate::client::{ClientArgs, of_service};
use crate::failure::{Exit, Failure, Outcome};
use crate::flags::words;
use clap::Args;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Read, Write};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use warren_wire::v1;
use warren_wire::v1::exec_request::Message as Asked;
use warren_wire::v1::exec_response::Message as Answered;

/// Bytes of input in one message; the API takes no more.
const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Input that waits to be sent: typed text never fills it, a file is read no faster than it is taken.
const INPUT_QUEUE: usize = 4;

/// Run a command in a running task
///
/// Ends with the exit code of the command.
#[derive(Args, Debug)]
pub struct Exec {
    /// Task as in web.3, or a service for any of its tasks
    name: String,
    /// Pass input on
    #[arg(long, short)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(long, short)]
    tty: bool,
    /// User to run as
    #[arg(long, short, value_name = "NAME|UID[:GID]")]
    user: Option<String>,
    /// Environment variable; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = words::pair)]
    env: Vec<(String, String)>,
    /// Command with its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such task, or the command ended with another exit code than 0.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        if self.tty && !std::io::stdin().is_terminal() {
            return Err(Failure::usage("--tty: standard input is no terminal")
                .hint("leave --tty out; --interactive passes input on from a pipe"));
        }
        let client = client.connect().await?;
        let (asks, asked) = mpsc::channel(INPUT_QUEUE);
        let start = Asked::Start(v1::ExecStart {
            task_id: self.name.clone(),
            command: self.command.clone(),
            tty: self.tty,
            interactive: self.interactive,
            user: self.user.clone().unwrap_or_default(),
            env: self.env.iter().cloned().collect(),
            size: self.tty.then(window_size).flatten(),
        });
        send(&asks, start).await?;
        let mut tasks = client.tasks();
        let stream = tasks.exec(ReceiverStream::new(asked)).await.map_err(of_service)?;
        let mut stream = stream.into_inner();
        let _raw = self.tty.then(RawTerminal::enter).transpose()?;
        let mut input = self.interactive.then(read_input);
        let mut resized = signal(SignalKind::window_change())?;
        loop {
            tokio::select! {
                answer = stream.message() => match answer? {
                    Some(answer) => {
                        if let Some(code) = print(answer)? {
                            return ended(code);
                        }
                    }
                    None => return Err(Failure::new(Exit::Failed, "the command's end was not seen")),
                },
                read = next(&mut input) => match read {
                    Some(bytes) => send(&asks, Asked::Stdin(bytes)).await?,
                    None => {
                        input = None;
                        send(&asks, Asked::StdinEnd(v1::ExecEnd {})).await?;
                    }
                },
                _ = resized.recv(), if self.tty => {
                    if let Some(size) = window_size() {
                        send(&asks, Asked::Resize(size)).await?;
                    }
                }
            }
        }
    }
}

async fn next(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

async fn send(asks: &mpsc::Sender<v1::ExecRequest>, message: Asked) -> Outcome {
    let sent = asks.send(v1::ExecRequest { message: Some(message) }).await;
    // Where nobody takes input any more the answer tells why.
    sent.or(Ok(()))
}

fn print(answer: v1::ExecResponse) -> Outcome<Option<i32>> {
    match answer.message {
        Some(Answered::Stdout(bytes)) => {
            let mut out = std::io::stdout().lock();
            out.write_all(&bytes)?;
            out.flush()?;
        }
        Some(Answered::Stderr(bytes)) => std::io::stderr().lock().write_all(&bytes)?,
        Some(Answered::ExitCode(code)) => return Ok(Some(code)),
        None => {}
    }
    Ok(None)
}

fn ended(code: i32) -> Outcome {
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::code(code)),
        Err(_) => Err(Failure::code(u8::MAX)),
    }
}

/// Reads standard input on a thread of its own: a read cannot be called off, and must not keep the program alive.
fn read_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(INPUT_QUEUE);
    std::thread::spawn(move || {
        let mut buffer = vec![0; INPUT_BYTES_MAX];
        while let Ok(count @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn window_size() -> Option<v1::WindowSize> {
    let (width, height) = terminal_size::terminal_size()?;
    Some(v1::WindowSize { rows: height.0.into(), columns: width.0.into() })
}

/// The terminal with every key passed on as it is, until this is dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Outcome<Self> {
        let refuse =
            |e: nix::Error| Failure::new(Exit::Failed, format!("the terminal refused: {e}"));
        let before = tcgetattr(std::io::stdin()).map_err(refuse)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw).map_err(refuse)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}
