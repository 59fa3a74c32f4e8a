//! A machine that systemd runs: a container with this machine's programs, read-only, and nothing else of it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::cluster::Said;
use crate::wait;

/// The init of a machine; Debian and its like have it there.
const SYSTEMD: &str = "/lib/systemd/systemd";
/// Booting takes a second; a loaded machine takes longer.
const BOOT_TIME_MAX: Duration = Duration::from_secs(60);
/// The longest command: one that waits for a unit to be up or down.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(180);

/// The machine. Dropping it removes it with all that ran in it.
pub struct Machine {
    name: String,
}

impl Machine {
    /// Boots one in which `program` is at `/opt/warren` and `web` at `/opt/web`; `Err` within says why this machine
    /// here has none to offer.
    ///
    /// # Errors
    /// Where it does not come up.
    pub async fn boot(warren: &Path, web: &Path) -> anyhow::Result<Result<Self, String>> {
        if !Path::new(SYSTEMD).exists() {
            return Ok(Err(format!("there is no {SYSTEMD}")));
        }
        if docker(&["info", "--format", "{{.ServerVersion}}"])
            .await
            .is_ok_and(|said| said.code != Some(0))
        {
            return Ok(Err("no Docker engine answers".to_owned()));
        }
        let root = tempfile::Builder::new().prefix("warren-test-systemd-").tempdir()?;
        let name = root.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let machine = Self { name };
        furnish(root.path())?;
        let tar = root.path().with_extension("tar");
        let packed = command("tar", &["-C", text(root.path())?, "-cf", text(&tar)?, "."]).await;
        let imported = docker(&["import", text(&tar)?, &machine.name]).await;
        std::fs::remove_file(&tar)?;
        packed?.well("tar")?;
        imported?.well("docker import")?;
        let mount =
            |path: &Path, at: &str| Ok::<_, anyhow::Error>(format!("{}:{at}:ro", text(path)?));
        let started = docker(&[
            "run",
            "--detach",
            "--name",
            &machine.name,
            "--env",
            "container=docker",
            "--cap-add",
            "SYS_ADMIN",
            "--cap-add",
            "NET_ADMIN",
            "--security-opt",
            "seccomp=unconfined",
            "--security-opt",
            "apparmor=unconfined",
            "--tmpfs",
            "/run",
            "--tmpfs",
            "/tmp",
            "--tmpfs",
            "/usr/local:exec",
            "--volume",
            "/usr:/usr:ro",
            "--volume",
            "/sys/fs/cgroup:/sys/fs/cgroup:ro",
            "--volume",
            &mount(warren, "/opt/warren")?,
            "--volume",
            &mount(web, "/opt/web")?,
            "--entrypoint",
            SYSTEMD,
            &machine.name,
            "--system",
            "--unit=basic.target",
        ])
        .await?;
        started.well("docker run")?;
        wait::until("systemd is up", BOOT_TIME_MAX, async || {
            let said = machine.run(&["systemctl", "is-system-running"]).await?;
            ensure!(said.out.trim() == "running", "{said:?}");
            Ok(())
        })
        .await?;
        Ok(Ok(machine))
    }

    /// Runs a command in it and gives what it said.
    ///
    /// # Errors
    /// Where it does not end in time.
    pub async fn run(&self, words: &[&str]) -> anyhow::Result<Said> {
        docker(&[&["exec", &self.name][..], words].concat()).await
    }

    /// Runs a command that has to succeed, and gives its data.
    ///
    /// # Errors
    /// Where it fails, with what it said.
    pub async fn ok(&self, words: &[&str]) -> anyhow::Result<String> {
        let said = self.run(words).await?;
        said.well(&words.join(" "))?;
        Ok(said.out)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for words in [["rm", "--force", "--volumes"].as_slice(), &["rmi", "--force"]] {
            let _ = std::process::Command::new("docker")
                .args(words)
                .arg(&self.name)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

impl Said {
    fn well(&self, what: &str) -> anyhow::Result<()> {
        ensure!(self.code == Some(0), "{what} failed: {self:#?}");
        Ok(())
    }
}

/// What a machine needs besides its programs: folders, links to them, and root.
fn furnish(root: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::symlink;
    for folder in ["etc", "proc", "sys", "dev", "run", "tmp", "var/lib", "root", "usr"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    for folder in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{folder}"), root.join(folder))?;
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    std::fs::write(root.join("etc/group"), "root:x:0:\n")?;
    // Empty: systemd makes an id of its own at the first boot.
    std::fs::write(root.join("etc/machine-id"), "")?;
    Ok(())
}

async fn docker(words: &[&str]) -> anyhow::Result<Said> {
    command("docker", words).await
}

async fn command(program: &str, words: &[&str]) -> anyhow::Result<Said> {
    let mut command = tokio::process::Command::new(program);
    let output = command.args(words).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(COMMAND_TIME_MAX, output);
    let output = output.await.with_context(|| format!("{program} {words:?} did not end"))??;
    Ok(Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        talk: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the path is UTF-8")
}
