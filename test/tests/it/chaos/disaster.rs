//! The only manager loses its data: a backup brings the cluster back, and the containers of all machines serve on.

use anyhow::ensure;
use warren_test::fleet::Fleet;

use super::{all, clients, of_containers, runs, serving};

async fn lose_the_data(fleet: &mut Fleet) -> anyhow::Result<()> {
    const MANAGER: usize = 0;
    let web = serving(fleet, "web", 6).await?;
    let manager = fleet.node(MANAGER);
    let (file, phrase) = (manager.scratch("warren.backup"), manager.scratch("passphrase"));
    std::fs::write(&phrase, "correct horse battery\n")?;
    let (file, phrase) = (file.display().to_string(), phrase.display().to_string());
    manager.ok(&["cluster", "backup", &file, "--passphrase-file", &phrase]).await?;
    let before = runs(fleet).await?;
    // Their resolver is a worker's, which answers without a manager.
    let load = clients(fleet, 1, &["web"]).await?;

    fleet.node_mut(MANAGER).crash()?;
    std::fs::remove_dir_all(fleet.node(MANAGER).data_dir())?;
    let restore = ["cluster", "restore", &file, "--passphrase-file", &phrase];
    fleet.node(MANAGER).ok(&restore).await?;
    fleet.node_mut(MANAGER).resume().await?;
    let info = fleet.node(MANAGER).json(&["cluster", "info"]).await?;
    ensure!(info["epoch"] == 2, "{info}");
    fleet.settled(&all(fleet)).await?;
    ensure!(runs(fleet).await? == before, "every container was adopted: {before:?}");
    load.all_answered("web", "with the manager's data lost and restored")?;

    // It works as before: what is new finds its way onto the machines and into the answers.
    web.scale(9).await?;
    fleet.settled(&all(fleet)).await?;
    let after = runs(fleet).await?;
    for (before, after) in before.iter().zip(&after) {
        let kept = before.iter().all(|(task, pid)| after.get(task) == Some(pid));
        ensure!(kept, "no container was touched: {before:?} {after:?}");
    }
    load.all_answered("web", "with more tasks").map(drop)
}

#[tokio::test]
async fn containers_serve_on_while_a_backup_brings_their_manager_back() {
    let test = "containers_serve_on_while_a_backup_brings_their_manager_back";
    let Some(mut fleet) = of_containers(test, 3, 1).await else { return };
    lose_the_data(&mut fleet).await.unwrap();
}
