//! A node as a unit of systemd: installed, upgraded, killed, taken away; and what is given away to install from.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use warren_test::systemd::Machine;
use warren_test::{binary, skip, wait};

const SOON: Duration = Duration::from_secs(60);
const WARREN: &str = "/usr/local/bin/warren";

async fn machine(test: &str) -> Option<Machine> {
    let programs = binary::warren().and_then(|warren| Ok((warren, binary::web()?)));
    let (warren, web) = programs.expect("the programs are built");
    match Machine::boot(warren, web).await.expect("a machine") {
        Ok(machine) => Some(machine),
        Err(why) => {
            skip(&format!("{}::{test}", module_path!()), &why);
            None
        }
    }
}

#[tokio::test]
async fn a_node_is_installed_upgraded_killed_and_taken_away() {
    let name = "a_node_is_installed_upgraded_killed_and_taken_away";
    let Some(machine) = machine(name).await else { return };
    let tasks = installed(&machine).await.unwrap();
    upgraded(&machine, &tasks).await.unwrap();
    killed(&machine, &tasks).await.unwrap();
    taken_away(&machine, &tasks).await.unwrap();
}

async fn installed(machine: &Machine) -> anyhow::Result<Vec<String>> {
    let said = machine.run(&["/opt/warren", "install", "--runtime", "quantum"]).await?;
    ensure!(said.code == Some(2) && said.talk.contains("--runtime"), "{said:?}");
    ensure!(machine.run(&["ls", "/etc/warren"]).await?.code != Some(0), "it wrote something");
    machine.ok(&["/opt/warren", "install", "--runtime", "process"]).await?;
    let again = machine.run(&["/opt/warren", "install", "--runtime", "process"]).await?;
    ensure!(again.code == Some(0) && again.talk.contains("there already"), "{again:?}");
    let modes = ["stat", "--format", "%a", "/etc/warren/warren.toml", WARREN];
    ensure!(machine.ok(&modes).await? == "600\n755\n");
    ensure!(machine.ok(&["systemctl", "is-enabled", "warren"]).await? == "enabled\n");
    let create = ["service", "create", "web", "--image", "/opt/web", "--replicas", "2"];
    machine.ok(&[&[WARREN][..], &create, &["--port", "http=8080"]].concat()).await?;
    wait::until("two tasks run", SOON, async || {
        let tasks = programs(machine).await?;
        ensure!(tasks.len() == 2, "{tasks:?}");
        Ok(tasks)
    })
    .await
}

/// The processes of the tasks' own program.
async fn programs(machine: &Machine) -> anyhow::Result<Vec<String>> {
    let list = machine.ok(&["ps", "-eo", "pid=,args="]).await?;
    let of_tasks =
        list.lines().filter(|line| !line.contains("supervise") && !line.contains(" ps "));
    let of_tasks = of_tasks.filter(|line| line.contains("/images/") || line.ends_with("/web"));
    Ok(of_tasks.map(|line| line.trim().to_owned()).collect())
}

async fn upgraded(machine: &Machine, tasks: &[String]) -> anyhow::Result<()> {
    let before = main_pid(machine).await?;
    // Bytes after the end of a program change nothing but what it is.
    machine
        .ok(&[
            "sh",
            "-c",
            "cp /opt/warren /tmp/newer; echo >>/tmp/newer; mount -o remount,exec /tmp",
        ])
        .await?;
    machine.ok(&["/tmp/newer", "install"]).await?;
    ensure!(main_pid(machine).await? != before, "it was not restarted");
    machine.ok(&["cmp", "/tmp/newer", WARREN]).await?;
    goes_on(machine, tasks).await
}

async fn killed(machine: &Machine, tasks: &[String]) -> anyhow::Result<()> {
    let before = main_pid(machine).await?;
    machine.ok(&["kill", "-9", &before]).await?;
    wait::until("systemd starts it again", SOON, async || {
        ensure!(machine.run(&["systemctl", "is-active", "warren"]).await?.out == "active\n");
        let now = main_pid(machine).await?;
        ensure!(now != before, "not yet");
        Ok(())
    })
    .await?;
    goes_on(machine, tasks).await
}

/// The node is ready and has the same tasks as before, as the same processes.
async fn goes_on(machine: &Machine, tasks: &[String]) -> anyhow::Result<()> {
    ensure!(programs(machine).await? == tasks, "{:?}", programs(machine).await?);
    wait::until("both tasks are ready again", SOON, async || {
        let list = machine.ok(&[WARREN, "service", "ls", "--output", "json"]).await?;
        let list: Value = serde_json::from_str(&list)?;
        let ready = list.pointer("/services/0/ready").or_else(|| list.pointer("/0/ready"));
        ensure!(ready.and_then(Value::as_u64) == Some(2), "{list}");
        Ok(())
    })
    .await?;
    ensure!(programs(machine).await? == tasks, "{:?}", programs(machine).await?);
    Ok(())
}

async fn main_pid(machine: &Machine) -> anyhow::Result<String> {
    let pid = machine.ok(&["systemctl", "show", "--property=MainPID", "--value", "warren"]).await?;
    Ok(pid.trim().to_owned())
}

async fn taken_away(machine: &Machine, tasks: &[String]) -> anyhow::Result<()> {
    ensure!(!tasks.is_empty());
    let asked = machine.run(&[WARREN, "uninstall"]).await?;
    ensure!(asked.code == Some(2) && asked.talk.contains("--yes"), "{asked:?}");
    machine.ok(&["/opt/warren", "uninstall", "--purge", "--yes"]).await?;
    ensure!(programs(machine).await?.is_empty(), "{:?}", programs(machine).await?);
    for path in
        [WARREN, "/etc/systemd/system/warren.service", "/etc/warren/warren.toml", "/var/lib/warren"]
    {
        ensure!(machine.run(&["test", "-e", path]).await?.code == Some(1), "{path} is still there");
    }
    let again = machine.run(&["/opt/warren", "uninstall", "--yes"]).await?;
    ensure!(again.code == Some(0) && again.talk.contains("nothing was installed"), "{again:?}");
    Ok(())
}

#[test]
fn an_image_that_is_being_made_gets_the_files_and_nothing_is_started() -> anyhow::Result<()> {
    let root = tempfile::tempdir()?;
    let run = |words: &[&str]| -> anyhow::Result<String> {
        let mut command = Command::new(binary::warren()?);
        let said = command.args(words).arg("--root").arg(root.path()).output()?;
        ensure!(said.status.success(), "{said:?}");
        Ok(String::from_utf8(said.stderr)?)
    };
    let said = run(&["install", "--hostname", "m1"])?;
    ensure!(said.contains("nothing was started"), "{said}");
    let config = root.path().join("etc/warren/warren.toml");
    ensure!(std::fs::read_to_string(&config)?.contains("hostname = \"m1\"\n"));
    ensure!(std::fs::metadata(&config)?.permissions().mode() & 0o777 == 0o600);
    ensure!(root.path().join("usr/local/bin/warren").exists());
    run(&["uninstall", "--yes"])?;
    ensure!(config.exists() && !root.path().join("usr/local/bin/warren").exists());
    run(&["uninstall", "--purge", "--yes"])?;
    ensure!(!config.exists());
    Ok(())
}

#[test]
fn a_debian_package_has_what_a_node_needs_and_installs() -> anyhow::Result<()> {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        skip(
            "install::a_debian_package_has_what_a_node_needs_and_installs",
            "dpkg-deb is not here",
        );
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    // Without the words for a debugger, which are most of a test's binary.
    let program = folder.path().join("warren");
    let stripped = Command::new("strip").arg("-o").arg(&program).arg(binary::warren()?).output()?;
    ensure!(stripped.status.success(), "{stripped:?}");
    let package = packaged(&program, &folder.path().join("one"))?;
    let twice = packaged(&program, &folder.path().join("two"))?;
    ensure!(std::fs::read(&package)? == std::fs::read(&twice)?, "two builds differ");
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("var/lib/dpkg"))?;
    std::fs::write(root.join("var/lib/dpkg/status"), "")?;
    dpkg(&root, &["--install", package.to_str().context("UTF-8")?])?;
    for path in [
        "usr/bin/warren",
        "lib/systemd/system/warren.service",
        "usr/share/bash-completion/completions/warren",
        "usr/share/doc/warren/guides/install-cluster.md",
    ] {
        ensure!(root.join(path).exists(), "{path} is not in the package");
    }
    let unit = std::fs::read_to_string(root.join("lib/systemd/system/warren.service"))?;
    ensure!(unit.contains("ExecStart=/usr/bin/warren up\n"), "{unit}");
    std::fs::create_dir_all(root.join("var/lib/warren"))?;
    dpkg(&root, &["--purge", "warren"])?;
    ensure!(!root.join("usr/bin/warren").exists() && !root.join("var/lib/warren").exists());
    Ok(())
}

/// Makes the package of a binary and checks its checksums.
fn packaged(program: &Path, folder: &Path) -> anyhow::Result<std::path::PathBuf> {
    let script = warren_test::tree::root().join("test/package");
    let said = Command::new(script).arg(program).arg(folder).output()?;
    ensure!(said.status.success(), "{said:?}");
    let sums =
        Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(folder).output()?;
    ensure!(sums.status.success(), "{sums:?}");
    let files = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    files
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .context("a package")
}

/// Works on another root, whose scripts run here and are told which root it is.
fn dpkg(root: &Path, words: &[&str]) -> anyhow::Result<()> {
    let said = Command::new("dpkg")
        .arg(format!("--instdir={}", root.display()))
        .arg(format!("--admindir={}/var/lib/dpkg", root.display()))
        .args(["--force-script-chrootless", "--force-depends", "--log=/dev/null"])
        .args(words)
        .output()?;
    ensure!(said.status.success(), "{said:?}");
    Ok(())
}
