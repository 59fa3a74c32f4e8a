//! Programs that speak WireGuard in the kernel's place, one for a machine.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{Machine, NotHere, tool};
use crate::wait;

/// It starts in milliseconds; on a loaded machine in seconds.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// A program that runs until the value goes, and its device with it.
pub struct WireGuard {
    child: Child,
}

/// Whether machines can have such programs here.
///
/// # Errors
/// What is missing.
pub fn wireguard_possible() -> Result<(), NotHere> {
    for program in ["wireguard-go", "unshare", "mount"] {
        tool::find(program)?;
    }
    let tun = Path::new("/dev/net/tun").exists();
    tun.then_some(()).ok_or_else(|| NotHere("there is no /dev/net/tun".into()))
}

impl Machine {
    /// Where such a program of this machine has its sockets.
    #[must_use]
    pub fn wireguard_sockets(&self) -> PathBuf {
        self.folder.join("run/wireguard")
    }

    /// Starts `wireguard-go`, which makes a device of that name, and waits until it listens.
    ///
    /// # Errors
    /// [`NotHere`] where it is not installed or this machine has no devices of programs.
    pub async fn speak_wireguard(&self, device: &str) -> anyhow::Result<WireGuard> {
        wireguard_possible()?;
        let sockets = self.wireguard_sockets();
        std::fs::create_dir_all(&sockets)?;
        let socket = sockets.join(format!("{device}.sock"));
        // Of one that was killed: it would be taken for the new one's.
        let _ = std::fs::remove_file(&socket);
        let run = self.folder.join("run");
        let log = std::fs::File::create(self.folder.join("wireguard.log"))?;
        let mut command = Command::new("unshare");
        // All of them keep their sockets in one folder of the machine's, by the names of devices that only differ by
        // their networks here.
        command
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg("mount --bind \"$0\" /var/run && exec wireguard-go --foreground \"$1\"")
            .arg(&run)
            .arg(device)
            .env("LOG_LEVEL", "error")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = {
            let _inside = self.namespace.enter()?;
            command.spawn().context("unshare")?
        };
        let mut program = WireGuard { child };
        let listens = wait::until("the WireGuard program listens", START_TIME_MAX, async || {
            if let Some(status) = program.child.try_wait()? {
                return Ok(Err(status));
            }
            UnixStream::connect(&socket).with_context(|| socket.display().to_string())?;
            Ok(Ok(()))
        });
        if let Err(status) = listens.await? {
            let said = std::fs::read_to_string(self.folder.join("wireguard.log"))?;
            bail!("wireguard-go ended with {status}: {said}");
        }
        Ok(program)
    }
}

impl Drop for WireGuard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
