//! WireGuard devices of a program, such as `wireguard-go`, by the text that all of them speak on their socket
//! (<https://www.wireguard.com/xplatform/>).

use super::super::super::error::NetworkError;
use super::super::super::state::WirePeer;
use super::{Setting, Settings};
use crate::network::WireSecret;
use nix::unistd::geteuid;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use warren_core::node::WireGuardKey;
use zeroize::Zeroizing;

/// The longest line that is read. Keys have 64 letters, addresses fewer.
const LINE_BYTES_MAX: usize = 512;
/// The most that one answer may have: 10,000 peers with some 400 letters each.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What is asked for at once.
const CHUNK_BYTES: usize = 4096;

/// How the device of the program at `socket` is set up; `None` where no program is there.
pub(super) async fn read(socket: &Path) -> Result<Option<Settings>, NetworkError> {
    let Some(stream) = connect(socket).await? else { return Ok(None) };
    let what = format!("reading the WireGuard device by {}", socket.display());
    exchange(stream, "get=1\n\n", &what).await.map(Some)
}

/// Makes one change of the device of the program at `socket`.
pub(super) async fn set(socket: &Path, setting: &Setting<'_>) -> Result<(), NetworkError> {
    let what = format!("setting the WireGuard device up by {}", socket.display());
    let gone = || NetworkError::Refused { what: what.clone(), why: "no program is there".into() };
    let stream = connect(socket).await?.ok_or_else(gone)?;
    exchange(stream, &request(setting), &what).await.map(drop)
}

/// A program is taken for one only if it belongs to root or to this process's user: it gets the node's key.
async fn connect(socket: &Path) -> Result<Option<UnixStream>, NetworkError> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let refused = |why: String| NetworkError::Refused {
        what: format!("asking the WireGuard program at {}", socket.display()),
        why,
    };
    let stream = match UnixStream::connect(socket).await {
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
        stream => stream.map_err(|error| refused(error.to_string()))?,
    };
    let owner = stream.peer_cred().map_err(|error| refused(error.to_string()))?.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        return Err(refused(format!("it runs as user {owner}, who is not to get this node's key")));
    }
    Ok(Some(stream))
}

/// What is asked of the program.
fn request(setting: &Setting<'_>) -> Zeroizing<String> {
    // Room for all of it: text that is moved would stay where it was.
    let mut text = Zeroizing::new(String::with_capacity(CHUNK_BYTES));
    text.push_str("set=1\n");
    let _ = match setting {
        Setting::Begin(secret, port) => {
            push_secret(&mut text, secret);
            writeln!(text, "listen_port={port}\nreplace_peers=true")
        }
        Setting::Clear => {
            writeln!(text, "private_key={}\nlisten_port=0\nreplace_peers=true", "0".repeat(64))
        }
        Setting::Peer(key, peer) => {
            let _ = writeln!(text, "public_key={}", hex(&key.0).as_str());
            if let Some(endpoint) = peer.endpoint {
                let _ = writeln!(text, "endpoint={endpoint}");
            }
            text.push_str("replace_allowed_ips=true\n");
            peer.subnets.iter().try_for_each(|subnet| writeln!(text, "allowed_ip={subnet}"))
        }
        Setting::NoPeer(key) => {
            writeln!(text, "public_key={}\nremove=true", hex(&key.0).as_str())
        }
    };
    text.push('\n');
    text
}

fn push_secret(text: &mut String, secret: &WireSecret) {
    let _ = writeln!(text, "private_key={}", hex(secret.bytes()).as_str());
}

fn hex(bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(64));
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

async fn exchange(
    mut stream: UnixStream,
    request: &str,
    what: &str,
) -> Result<Settings, NetworkError> {
    let refused = |why: String| NetworkError::Refused { what: what.to_owned(), why };
    let sent = stream.write_all(request.as_bytes()).await;
    sent.map_err(|error| refused(error.to_string()))?;
    let mut answer = Answer::default();
    let mut taken = 0;
    loop {
        let mut chunk = Zeroizing::new([0; CHUNK_BYTES]);
        let read = stream.read(&mut *chunk).await.map_err(|error| refused(error.to_string()))?;
        taken += read;
        if read == 0 || taken > ANSWER_BYTES_MAX {
            return Err(refused("the answer has no end".into()));
        }
        if answer.take(&chunk[..read]).map_err(refused)? {
            return Ok(answer.settings);
        }
    }
}

/// An answer that comes in pieces.
#[derive(Default)]
struct Answer {
    settings: Settings,
    /// The peer that lines are about.
    peer: Option<WireGuardKey>,
    line: Line,
}

/// The line that is being read. It may be the one with the key.
struct Line(Zeroizing<Vec<u8>>);

impl Default for Line {
    fn default() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(LINE_BYTES_MAX)))
    }
}

impl Answer {
    /// Takes a piece; whether it was the last.
    fn take(&mut self, piece: &[u8]) -> Result<bool, String> {
        for byte in piece {
            if *byte != b'\n' {
                if self.line.0.len() == LINE_BYTES_MAX {
                    return Err("a line of the answer is too long".into());
                }
                self.line.0.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = std::str::from_utf8(&line.0).map_err(|_| "the answer is no text")?;
            if line.is_empty() {
                return Ok(true);
            }
            let parts = line.split_once('=');
            let (key, value) = parts.ok_or("a line of the answer has no value")?;
            self.line(key, value)?;
        }
        Ok(false)
    }

    fn line(&mut self, name: &str, value: &str) -> Result<(), String> {
        let wrong = || format!("the answer has a {name} that is none");
        let settings = &mut self.settings;
        match name {
            "errno" if value != "0" => {
                let errno = value.parse::<i32>().map_err(|_| wrong())?;
                return Err(io::Error::from_raw_os_error(errno.saturating_abs()).to_string());
            }
            "private_key" => {
                let secret = WireSecret::from_random(unhex(value).ok_or_else(wrong)?);
                settings.key = Some(secret.public());
            }
            "listen_port" => settings.port = value.parse().map_err(|_| wrong())?,
            "public_key" => {
                let key = WireGuardKey(*unhex(value).ok_or_else(wrong)?);
                settings.peers.insert(key, WirePeer::nobody());
                self.peer = Some(key);
            }
            "endpoint" | "allowed_ip" => {
                let peer = self.peer.and_then(|key| settings.peers.get_mut(&key));
                let peer = peer.ok_or_else(wrong)?;
                match name {
                    "endpoint" => peer.endpoint = Some(value.parse().map_err(|_| wrong())?),
                    // One of IPv6 is none of ours.
                    _ => peer.subnets.extend(value.parse::<ipnet::Ipv4Net>()),
                }
            }
            // Counters, and what newer programs say besides.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
