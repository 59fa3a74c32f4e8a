//! Secrets and configs of a node: given to tasks, released, taken back, kept while used, and shown nowhere.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use warren_test::cluster::{Node, Runtime};
use warren_test::{image, wait};

use super::{SOON, create_of, on_each_runtime, tasks, text};

on_each_runtime!(
    a_secret_is_read_rotated_taken_back_and_kept_while_used,
    a_config_is_shown_and_read,
    a_secret_outlives_a_restart_and_goes_with_its_task,
    nothing_shows_a_secret,
);

/// What a task of `web` has at `path`.
async fn read(node: &Node, runtime: Runtime, path: &str) -> anyhow::Result<String> {
    let program = match runtime {
        Runtime::Docker => "/web".to_owned(),
        Runtime::Process => runtime.web_image("v1").await?,
    };
    node.ok(&["service", "exec", "web", "--", &program, "cat", path]).await
}

/// Gives a secret or a config its content, as people do: through a pipe.
async fn give(node: &Node, words: &[&str], content: &str) -> anyhow::Result<()> {
    let said = node.command_with_input(words, content).await?;
    ensure!(said.code == Some(0), "{words:?}: {said:#?}");
    Ok(())
}

async fn create(node: &Node, runtime: Runtime, words: &[&str]) -> anyhow::Result<()> {
    let image = runtime.web_image("v1").await?;
    create_of(node, &image, "web", words).await
}

/// Where the node keeps secrets of its tasks.
fn memory(node: &Node) -> PathBuf {
    node.data_dir().join("agent/files/memory")
}

const QUICK: [&str; 6] = ["--monitor", "0s", "--scale-down-delay", "0s", "--drain", "0s"];

async fn a_secret_is_read_rotated_taken_back_and_kept_while_used(
    runtime: Runtime,
) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    let image = runtime.web_image("v1").await?;
    let refused = ["service", "create", "web", "--image", &image, "--secret", "db"];
    let said = node.command(&refused).await?;
    ensure!(
        said.code != Some(0) && said.talk.contains("--secret: there is no secret db"),
        "{said:#?}"
    );
    give(&node, &["secret", "create", "db"], "one").await?;
    create(&node, runtime, &[&["--secret", "db,mode=0440"], &QUICK[..]].concat()).await?;
    ensure!(read(&node, runtime, "/run/secrets/db").await? == "one");
    let said = node.command_with_input(&["secret", "update", "db"], "two").await?;
    ensure!(said.talk.contains("web goes on with version 1"), "{said:#?}");
    ensure!(read(&node, runtime, "/run/secrets/db").await? == "one", "a task keeps what it has");
    node.ok(&["service", "update", "web", "--env", "A=1"]).await?;
    ensure!(read(&node, runtime, "/run/secrets/db").await? == "one", "nobody asked for another");
    node.ok(&["service", "update", "web", "--secret-rotate"]).await?;
    ensure!(read(&node, runtime, "/run/secrets/db").await? == "two");
    node.ok(&["service", "rollback", "web", "--reason", "it does not log in"]).await?;
    ensure!(read(&node, runtime, "/run/secrets/db").await? == "one", "a way back has what it had");
    let said = node.command(&["secret", "rm", "db"]).await?;
    ensure!(said.code != Some(0) && said.talk.contains("is used by web (v1, v2, v3)"), "{said:#?}");
    let shown = node.json(&["secret", "inspect", "db"]).await?;
    ensure!(
        shown["newest"] == 2 && shown["versions"].as_array().map(Vec::len) == Some(2),
        "{shown}"
    );
    let uses = shown["uses"].as_array().context("uses")?;
    ensure!(uses.iter().any(|one| one["current"] == true && one["version"] == 1), "{shown}");
    node.ok(&["service", "rm", "web", "--yes"]).await?;
    wait::until("the secret may go", SOON, async || {
        node.ok(&["secret", "rm", "db"]).await.map(drop)
    })
    .await?;
    ensure!(node.json(&["secret", "ls"]).await? == Value::Array(Vec::new()));
    Ok(())
}

async fn a_config_is_shown_and_read(runtime: Runtime) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    give(&node, &["config", "create", "app"], "colour = \"red\"\n").await?;
    create(&node, runtime, &["--config", "app:/etc/app.toml"]).await?;
    ensure!(read(&node, runtime, "/etc/app.toml").await? == "colour = \"red\"\n");
    ensure!(node.ok(&["config", "inspect", "app", "--raw"]).await? == "colour = \"red\"\n");
    let shown = node.ok(&["config", "inspect", "app"]).await?;
    ensure!(shown.contains("web v1") && shown.contains("colour"), "{shown}");
    // What was made by flags is written down, and what is written down is the same.
    let manifest = node.ok(&["service", "inspect", "web", "--output", "yaml"]).await?;
    ensure!(manifest.contains("configs:") && manifest.contains("version: 1"), "{manifest}");
    let again = node.command_with_input(&["apply", "-f", "-", "--detach"], &manifest).await?;
    ensure!(again.out.ends_with(" unchanged\n"), "{again:#?}");
    give(&node, &["config", "update", "app"], "colour = \"blue\"\n").await?;
    // Without a version a manifest means the newest.
    let newest = manifest.replace("version: 1", "mode: \"0440\"");
    let applied = node.command_with_input(&["apply", "-f", "-"], &newest).await?;
    ensure!(applied.code == Some(0), "{applied:#?}");
    ensure!(read(&node, runtime, "/etc/app.toml").await? == "colour = \"blue\"\n");
    let said = node.command(&["config", "rm", "app"]).await?;
    ensure!(said.talk.contains("is used by web"), "{said:#?}");
    Ok(())
}

async fn a_secret_outlives_a_restart_and_goes_with_its_task(
    runtime: Runtime,
) -> anyhow::Result<()> {
    let mut node = Node::start(runtime).await?;
    give(&node, &["secret", "create", "db"], "one").await?;
    create(&node, runtime, &["--secret", "db", "--replicas", "2"]).await?;
    let memory = memory(&node);
    let count = || Ok::<_, anyhow::Error>(std::fs::read_dir(&memory)?.count());
    ensure!(count()? == 2, "a folder for each task");
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let place = format!(" {} tmpfs ", memory.display());
    ensure!(mounts.contains(&place), "secrets are in memory: {mounts}");
    node.crash()?;
    node.resume().await?;
    ensure!(read(&node, runtime, "/run/secrets/db").await? == "one");
    ensure!(count()? == 2, "what is there is used again");
    node.ok(&["service", "scale", "web", "1"]).await?;
    wait::until("the files of the task that ended are gone", SOON, async || {
        let left = count()?;
        ensure!(left == 1, "{left} folders");
        Ok(())
    })
    .await?;
    node.ok(&["down", "--yes"]).await?;
    ensure!(!memory.exists(), "memory is let go of");
    ensure!(!std::fs::read_to_string("/proc/self/mounts")?.contains(&place));
    Ok(())
}

/// The forms that a value may be found in: as it is, in base64 at any place, in hexadecimal digits, as numbers.
fn forms(canary: &str) -> Vec<Vec<u8>> {
    let bytes = canary.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list =
        |between: &str| bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(between);
    let mut forms = vec![canary.to_owned(), hex.to_uppercase(), hex, list(", "), list(",")];
    // Of three places one begins a group of four letters; what comes before and after is left out.
    forms.extend((0..3).map(|skip| base64(&bytes[skip..skip + (bytes.len() - skip) / 3 * 3])));
    forms.into_iter().map(String::into_bytes).collect()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks_exact(3).flat_map(|group| {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(LETTERS[bits >> shift & 63]))
    });
    groups.collect()
}

fn holds(text: &[u8], forms: &[Vec<u8>]) -> bool {
    forms.iter().any(|form| text.windows(form.len()).any(|part| part == form))
}

/// The files below `folder` that hold a form of the value, but for those in `except`.
fn holders(folder: &Path, except: &Path, forms: &[Vec<u8>]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if path == except {
            continue;
        }
        if kind.is_dir() {
            found.extend(holders(&path, except, forms)?);
        } else if kind.is_file() && holds(&std::fs::read(&path)?, forms) {
            found.push(path);
        }
    }
    Ok(found)
}

// req: E21
async fn nothing_shows_a_secret(runtime: Runtime) -> anyhow::Result<()> {
    let mut node = Node::start(runtime).await?;
    let canary = format!("canary{:032x}", rand());
    let forms = forms(&canary);
    give(&node, &["secret", "create", "db"], "not it").await?;
    create(&node, runtime, &[&["--secret", "db"], &QUICK[..]].concat()).await?;
    give(&node, &["secret", "update", "db"], &canary).await?;
    node.ok(&["service", "update", "web", "--secret-rotate"]).await?;
    ensure!(read(&node, runtime, "/run/secrets/db").await? == canary, "the task has it");
    let failing = ["--image", "/no/such/image", "--skip-resolve", "--healthy-deadline", "5s"];
    let said = node.command(&[&["service", "update", "web"], &failing[..]].concat()).await?;
    ensure!(said.code != Some(0), "{said:#?}");
    let large = canary.repeat(2_000);
    let refused = node.command_with_input(&["secret", "create", "large"], &large).await?;
    ensure!(
        refused.code != Some(0) && !holds(refused.talk.as_bytes(), &forms),
        "{}",
        refused.code.unwrap_or(-1)
    );
    for words in [
        &["secret", "ls"][..],
        &["secret", "inspect", "db"],
        &["service", "inspect", "web"],
        &["service", "ps", "web"],
        &["service", "history", "web"],
        &["service", "versions", "web"],
        &["service", "diff", "web", "v1", "v2"],
        &["rollout", "timeline", "web"],
        &["why", "web"],
        &["events"],
        &["status"],
        &["cluster", "info"],
        &["node", "ls"],
    ] {
        for format in ["table", "json", "yaml"] {
            let said = node.command(&[words, &["--output", format]].concat()).await?;
            ensure!(said.code == Some(0), "{words:?} {said:#?}");
            let text = said.out + &said.talk;
            ensure!(!holds(text.as_bytes(), &forms), "{words:?} --output {format} shows it");
        }
    }
    let logs = node.command(&["service", "logs", "web"]).await?;
    let logs = logs.out + &logs.talk;
    ensure!(logs.contains("listens") && !holds(logs.as_bytes(), &forms), "logs show it: {logs}");
    let (_, metrics) = warren_test::http::get(node.http_address()?, "/metrics").await?;
    ensure!(metrics.contains("warren_files_fetched_total"), "{metrics}");
    ensure!(!holds(metrics.as_bytes(), &forms), "/metrics shows it");
    let pid = node.run()?["pid"].as_u64().context("a pid")?;
    for file in ["environ", "cmdline"] {
        let shown = std::fs::read(format!("/proc/{pid}/{file}"))?;
        ensure!(!holds(&shown, &forms), "/proc/PID/{file} shows it");
    }
    if runtime == Runtime::Docker {
        let shown = inspected(&node).await?;
        ensure!(shown.contains("/run/secrets/db"), "{shown}");
        ensure!(!holds(shown.as_bytes(), &forms), "docker inspect shows it");
    }
    for task in tasks(&node, "web").await? {
        ensure!(!text(&task, "detail").contains(&canary), "{task}");
    }
    let except = memory(&node);
    let home = node.data_dir().parent().context("a folder")?.to_owned();
    let found = holders(&home, &except, &forms)?;
    ensure!(found.is_empty(), "it is on the disk: {found:?}");
    let proof = holders(&except, Path::new(""), &forms)?;
    ensure!(!proof.is_empty(), "the search finds what is there");
    let ended = node.abort()?;
    ensure!(!std::os::unix::process::ExitStatusExt::core_dumped(&ended), "its memory was dumped");
    Ok(())
}

/// What the engine says of the node's containers.
async fn inspected(node: &Node) -> anyhow::Result<String> {
    let docker = image::docker().await.context("no Docker engine answers")?;
    let mut all = String::new();
    let cluster = node.cluster().context("a cluster")?;
    let label = format!("warren.cluster={cluster}");
    let filters = std::collections::HashMap::from([("label", vec![label.as_str()])]);
    let list = bollard::query_parameters::ListContainersOptionsBuilder::new();
    let list = list.all(true).filters(&filters).build();
    for container in docker.list_containers(Some(list)).await? {
        let id = container.id.context("an id")?;
        all += &serde_json::to_string(&docker.inspect_container(&id, None).await?)?;
    }
    Ok(all)
}

fn rand() -> u128 {
    let mut bytes = [0; 16];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.expect("the kernel gives random bytes");
    u128::from_le_bytes(bytes)
}

#[test]
fn a_value_is_found_in_every_form() {
    let forms = forms("canary0123456789");
    for text in
        ["xcanary0123456789", "eGNhbmFyeTAxMjM0NTY3ODk=", "6263616e61727930313233343536373839"]
    {
        ensure_found(text, &forms);
    }
    assert!(!holds(b"canary", &forms));
}

fn ensure_found(text: &str, forms: &[Vec<u8>]) {
    assert!(holds(text.as_bytes(), forms), "{text}");
}

/// Without memory of its own a node keeps no secret: the task says so, and nothing is written to the disk.
#[tokio::test]
async fn a_node_that_cannot_mount_memory_says_so_and_keeps_no_secret() {
    without_memory().await.unwrap();
}

async fn without_memory() -> anyhow::Result<()> {
    let node = Node::start(Runtime::Process).await?;
    let place = memory(&node);
    std::fs::create_dir_all(place.parent().context("a folder")?)?;
    // Nothing can be mounted on a file.
    std::fs::write(&place, "")?;
    give(&node, &["secret", "create", "db"], "one").await?;
    let image = Runtime::Process.web_image("v1").await?;
    let words = ["service", "create", "web", "--image", &image, "--secret", "db", "--detach"];
    node.ok(&words).await?;
    wait::until("the task says why it does not run", SOON, async || {
        let shown = tasks(&node, "web").await?;
        let told = shown.iter().any(|task| {
            task.to_string().contains("cannot keep secrets: no memory can be mounted at")
        });
        ensure!(told, "{shown:?}");
        Ok(())
    })
    .await?;
    // Between two tries there is nothing in its way.
    wait::until("why says it", SOON, async || {
        let why = node.ok(&["why", "web"]).await?;
        ensure!(why.contains("no memory can be mounted"), "{why}");
        Ok(())
    })
    .await?;
    // Whoever runs it next finds it in order.
    std::fs::remove_file(&place)?;
    wait::until("the task runs", SOON, async || {
        let shown = tasks(&node, "web").await?;
        ensure!(shown.iter().any(|task| text(task, "phase") == "running"), "{shown:?}");
        Ok(())
    })
    .await
}
