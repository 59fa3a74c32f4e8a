//! A testbed to try things on by hand; `make testbed-up`, `testbed-shell` and `testbed-down` are this.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail, ensure};
use warren_test::binary;
use warren_test::testbed::{self, Engines, HAND, Plan, Testbed};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            warren_test::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["up", machines, docker] => up(machines.parse()?, *docker == "1").await,
        ["shell", machine] => shell(machine),
        ["down"] => testbed::take_down_by_hand(),
        _ => bail!("testbed up MACHINES 0|1, testbed shell m1, testbed down"),
    }
}

async fn up(machines: usize, docker: bool) -> anyhow::Result<()> {
    let engines = if docker { Engines::LiveRestore } else { Engines::None };
    let bed = Testbed::build_by_hand(Plan { engines, ..Plan::machines(machines) }).await?;
    let mut out = std::io::stdout();
    for machine in bed.machines() {
        if docker {
            let image = machine.web_image("v1").await?;
            writeln!(out, "{} at {}, its engine has {image}", machine.name, machine.address)?;
        } else {
            writeln!(out, "{} at {}", machine.name, machine.address)?;
        }
    }
    writeln!(out, "make testbed-shell M=m1 is a shell in m1; M=hub is one beside them all")?;
    bed.leave_standing();
    Ok(())
}

/// Becomes a shell in a machine, where `warren` is this tree's, with its data in the machine's folder.
fn shell(machine: &str) -> anyhow::Result<()> {
    let (namespace, folder) = testbed::by_hand(machine);
    ensure!(
        machine == "hub" || folder.exists(),
        "there is no {machine} in the testbed `{HAND}`: make testbed-up N=3 makes m1 to m3"
    );
    let warren = binary::warren()?.parent().context("a program lies in a folder")?.to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let error = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{namespace}"))
        .arg(std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into()))
        .env("PATH", format!("{}:{path}", warren.display()))
        .env("WARREN_DATA_DIR", folder.join("warren"))
        .env("DOCKER_HOST", format!("unix://{}/docker/docker.sock", folder.display()))
        .env("WARREN_DOCKER_SOCKET", folder.join("docker/docker.sock"))
        .env("PS1", format!("{machine}# "))
        .exec();
    Err(error).context("nsenter")
}
