//! All managers are lost: a backup brings the cluster back on another machine, and workers adopt what they run.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::ensure;
use warren_test::cluster::{Node, Runtime};
use warren_test::wait;

use super::super::{SOON, joined};
use super::{create_web, pids, ready, text, up, write, written};

#[tokio::test]
async fn a_backup_brings_back_what_was_acknowledged_and_stops_no_task() {
    all_lost().await.unwrap();
}

async fn all_lost() -> anyhow::Result<()> {
    let mut manager = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let mut workers = Vec::new();
    for name in ["w1", "w2"] {
        workers.push(joined(&manager, "worker", name).await?);
    }
    create_web(&manager, "4").await?;
    let known = ready(&manager, 4).await?;
    write(&manager, "w1").await?;
    let machine = Node::stopped(Runtime::Process, &["--hostname", "m1"])?;
    let (file, phrase) = (machine.scratch("warren.backup"), machine.scratch("passphrase"));
    std::fs::write(&phrase, "correct horse battery\n")?;
    let (file, phrase) = (text(&file)?, text(&phrase)?);
    let made = manager.json(&["cluster", "backup", file, "--passphrase-file", phrase]).await?;
    ensure!(made["epoch"] == 1 && made["holds"]["services"] == 1, "{made}");
    ensure!(std::fs::metadata(file)?.permissions().mode() & 0o777 == 0o600);
    bad_files(&manager, file, phrase).await?;
    // What the backup does not know runs on as well.
    manager.ok(&["service", "scale", "web", "6"]).await?;
    ready(&manager, 6).await?;
    let before = (pids(&workers[0])?, pids(&workers[1])?);
    ensure!(before.0.len() + before.1.len() >= 6, "{before:?}");
    manager.crash()?;
    drop(manager);

    let mut machine = machine;
    let restore = ["cluster", "restore", file, "--passphrase-file", phrase];
    machine.ok(&restore).await?;
    let again = machine.command(&restore).await?;
    ensure!(again.code == Some(1) && again.talk.contains("not empty"), "{again:?}");
    machine.resume().await?;
    let info = machine.json(&["cluster", "info"]).await?;
    ensure!(info["epoch"] == 2 && info["managers"].as_array().map(Vec::len) == Some(1), "{info}");
    written(&machine, "w1").await?;
    for (worker, name) in workers.iter_mut().zip(["w1", "w2"]) {
        worker.stop().await?;
        // The manager has another address, and the worker is told; it needs no token.
        worker.set_arguments(&["--join", machine.listen(), "--hostname", name]);
        worker.resume().await?;
        up(&machine, name).await?;
    }
    ensure!(ready(&machine, 4).await? == known, "the tasks that the backup knows are adopted");
    ensure!((pids(&workers[0])?, pids(&workers[1])?) == before, "no process was touched");
    after(&machine, &workers, &before.0.union(&before.1).copied().collect()).await
}

/// The restored cluster works: new tasks get in nobody's way, and adopted ones end in order.
async fn after(
    machine: &Node,
    workers: &[Node],
    before: &std::collections::BTreeSet<u32>,
) -> anyhow::Result<()> {
    machine.ok(&["service", "scale", "web", "8"]).await?;
    let ids = ready(machine, 8).await?;
    let far = |id: &&String| id[1..].parse::<u64>().is_ok_and(|id| id > 1_000_000_000);
    ensure!(ids.iter().filter(far).count() == 4, "new ids begin anew: {ids:?}");
    machine.ok(&["service", "rm", "web", "--yes"]).await?;
    wait::until("only what the backup did not know is left", SOON, async || {
        let left = pids(&workers[0])?.union(&pids(&workers[1])?).copied().collect::<Vec<_>>();
        ensure!(left.iter().all(|pid| before.contains(pid)), "{left:?} of {before:?}");
        // A supervisor is no program of a task: six tasks were there, and two stay.
        ensure!(left.len() * 3 == before.len(), "{left:?} of {before:?}");
        Ok(())
    })
    .await
}

/// What is no good backup is refused by name.
async fn bad_files(node: &Node, file: &str, phrase: &str) -> anyhow::Result<()> {
    let whole = std::fs::read(file)?;
    let seen = node.ok(&["cluster", "backup", "--inspect", file]).await?;
    ensure!(seen.contains("epoch:") && seen.contains("undamaged"), "{seen}");
    let open = ["--passphrase-file", phrase];
    let seen = node.ok(&[&["cluster", "backup", "--verify", file], &open[..]].concat()).await?;
    ensure!(seen.contains("1 services, 3 nodes, 4 tasks"), "{seen}");
    let there = node.command(&["cluster", "backup", file]).await?;
    ensure!(there.code == Some(2) && there.talk.contains("there already"), "{there:?}");
    let (bad, other) = (format!("{file}.bad"), format!("{phrase}.other"));
    std::fs::write(&other, "another horse\n")?;
    let mut newer = whole.clone();
    newer[8] = 9;
    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle] ^= 1;
    let cases: [(&[u8], &str, &str); 5] = [
        (&whole, &other, "not the passphrase"),
        (&whole[..whole.len() - 7], phrase, "cut short"),
        (&damaged, phrase, "damaged"),
        (&newer, phrase, "format 9"),
        (b"something else", phrase, "no backup of Warren"),
    ];
    for (bytes, phrase, why) in cases {
        std::fs::write(&bad, bytes)?;
        for verb in [&["backup", "--verify"][..], &["restore"]] {
            let words = [&["cluster"], verb, &[&bad, "--passphrase-file", phrase]].concat();
            // Into a directory of its own: nothing is made there.
            let dir = format!("{file}.none");
            let words = [&words[..], &["--data-dir", &dir]].concat();
            let said = node.command(&words).await?;
            ensure!(said.code == Some(1) && said.talk.contains(why), "{words:?}: {said:?}");
            ensure!(!std::path::Path::new(&dir).exists(), "nothing was made");
        }
    }
    let none = node.command(&["cluster", "backup", "--verify", file]).await?;
    ensure!(none.code == Some(2) && none.talk.contains("--passphrase-file"), "{none:?}");
    Ok(())
}
