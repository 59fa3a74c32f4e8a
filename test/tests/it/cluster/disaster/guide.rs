//! docs/guides/disaster-recovery.md, word for word: each section is followed on machines to which it happened.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use warren_test::cluster::{Node, Runtime};
use warren_test::testbed::disk::Disk;
use warren_test::{tree, wait};

use super::super::{SOON, joined, node_named, three_managers, voters};
use super::{create_web, pids, ready, text, up, write, written};

const PAGE: &str = "docs/guides/disaster-recovery.md";

/// The machines of a section, and what was printed on them.
struct Site {
    machines: BTreeMap<String, Node>,
    token: String,
    followed: usize,
}

impl Site {
    fn new(machines: Vec<(&str, Node)>) -> Self {
        let machines = machines.into_iter().map(|(name, node)| (name.to_owned(), node)).collect();
        Self { machines, token: String::new(), followed: 0 }
    }

    fn machine(&self, name: &str) -> anyhow::Result<&Node> {
        self.machines.get(name).with_context(|| format!("no machine {name}"))
    }

    /// Does what the console blocks below `heading` say.
    async fn follow(&mut self, heading: &str) -> anyhow::Result<()> {
        let page = std::fs::read_to_string(tree::root().join(PAGE))?;
        let (_, rest) = page.split_once(&format!("\n## {heading}\n")).context("the section")?;
        let section = rest.split("\n## ").next().unwrap_or_default();
        let blocks = section.split("```console\n").skip(1);
        let lines = blocks.filter_map(|block| block.split_once("```")).flat_map(|(b, _)| b.lines());
        for line in lines {
            let (name, said) = line.split_once("# ").with_context(|| format!("whose: {line}"))?;
            Box::pin(self.do_as(name, said)).await.with_context(|| line.to_owned())?;
            self.followed += 1;
        }
        Ok(())
    }

    async fn do_as(&mut self, name: &str, said: &str) -> anyhow::Result<()> {
        let folder = self.shared()?;
        let own = said.split_whitespace().map(|word| match word {
            "warren.backup" | "passphrase" => folder.join(word).display().to_string(),
            _ => word.to_owned(),
        });
        let own: Vec<String> = own.collect();
        let words: Vec<&str> = own.iter().map(String::as_str).collect();
        match &words[..] {
            ["warren", "up", "--detach", more @ ..] => {
                let hostname = ["--hostname", name].map(str::to_owned).to_vec();
                let more = more.iter().map(|word| self.meant(word));
                let more = more.collect::<anyhow::Result<Vec<_>>>()?;
                let node = self.machines.get_mut(name).context("the machine")?;
                let all = [hostname, more].concat();
                node.set_arguments(&all.iter().map(String::as_str).collect::<Vec<_>>());
                node.resume().await
            }
            ["mv", "/var/lib/warren", to] => {
                let node = self.machines.get_mut(name).context("the machine")?;
                ensure!(node.has_ended()? || !node.run_file().exists(), "it runs");
                let aside = Path::new(to).file_name().context("a name")?;
                Ok(std::fs::rename(node.data_dir(), node.scratch(text(Path::new(aside))?))?)
            }
            ["df", ..] => {
                let dir = self.machine(name)?.data_dir();
                let shown = tokio::process::Command::new("df").arg("-h").arg(dir).output().await?;
                ensure!(shown.status.success(), "{shown:?}");
                Ok(())
            }
            ["warren", "cluster", "token", ..] => {
                self.token = self.typed(name, &words[1..]).await?.trim().to_owned();
                Ok(())
            }
            ["warren", words @ ..] => {
                self.typed(name, words).await?;
                if words.first() == Some(&"down") || words.get(1) == Some(&"leave") {
                    self.ended(name).await?;
                }
                Ok(())
            }
            _ => bail!("nobody knows how to type it"),
        }
    }

    /// Runs a command, again while an election is on: that is what its reader is told to do.
    async fn typed(&self, name: &str, words: &[&str]) -> anyhow::Result<String> {
        let node = self.machine(name)?;
        wait::until("a leader answers", SOON, async || {
            let said = node.command(words).await?;
            ensure!(!said.talk.contains("no leader at the moment"), "{said:?}");
            Ok(said)
        })
        .await
        .and_then(|said| match said.code {
            Some(0) => Ok(said.out),
            _ => bail!("{said:?}\n{}", node.log_end()),
        })
    }

    /// What a word of the page is here.
    fn meant(&self, word: &str) -> anyhow::Result<String> {
        Ok(match word.strip_suffix(":7400") {
            Some(machine) => self.machine(machine)?.listen().to_owned(),
            None if word == "TOKEN" => self.token.clone(),
            None => word.to_owned(),
        })
    }

    /// Where the files are that their owner carries from machine to machine.
    fn shared(&self) -> anyhow::Result<std::path::PathBuf> {
        Ok(self.machines.values().next().context("a machine")?.scratch("."))
    }

    async fn ended(&mut self, name: &str) -> anyhow::Result<()> {
        let node = self.machines.get_mut(name).context("the machine")?;
        wait::until("it has stopped", SOON, async || {
            ensure!(node.has_ended()?, "it runs");
            Ok(())
        })
        .await
    }
}

fn fresh() -> anyhow::Result<Node> {
    Node::stopped(Runtime::Process, &[])
}

async fn three() -> anyhow::Result<[Node; 3]> {
    three_managers().await?.try_into().map_err(|_| anyhow::anyhow!("three managers"))
}

#[tokio::test]
async fn the_loss_of_one_manager_is_mended_as_the_guide_says() {
    one().await.unwrap();
}

async fn one() -> anyhow::Result<()> {
    let [first, second, mut third] = three().await?;
    third.crash()?;
    let mut site = Site::new(vec![("m1", first), ("m2", second), ("new", fresh()?)]);
    site.follow("One of three managers is lost").await?;
    ensure!(site.followed == 6, "{}", site.followed);
    voters(site.machine("new")?, 3).await?;
    drop(third);
    ensure!(node_named(site.machine("m1")?, "m3").await.is_err());
    // And what leaves in order is not missed.
    let worker = joined(site.machine("m1")?, "worker", "m3").await?;
    site.machines.insert("m3".to_owned(), worker);
    site.follow("A node leaves in order").await?;
    ensure!(node_named(site.machine("m1")?, "m3").await.is_err(), "it is forgotten");
    ensure!(!site.machine("m3")?.data_dir().exists(), "its data is put aside");
    voters(site.machine("m1")?, 3).await
}

#[tokio::test]
async fn the_loss_of_two_managers_is_mended_as_the_guide_says() {
    two().await.unwrap();
}

async fn two() -> anyhow::Result<()> {
    let [first, mut second, mut third] = three().await?;
    let worker = joined(&first, "worker", "w1").await?;
    create_web(&first, "2").await?;
    let known = ready(&first, 2).await?;
    let before = pids(&worker)?;
    write(&first, "w1").await?;
    wait::until("m1 has it all", SOON, async || written(&first, "w1").await).await?;
    second.crash()?;
    third.crash()?;
    for lost in [&second, &third] {
        // They were killed and wrote nothing about their end.
        let _ = std::fs::remove_file(lost.run_file());
    }
    let machines = vec![("m1", first), ("m2", second), ("m3", third)];
    let mut site = Site::new(machines);
    site.follow("Two of three managers are lost").await?;
    ensure!(site.followed == 10, "{}", site.followed);
    let manager = site.machine("m1")?;
    voters(manager, 3).await?;
    written(site.machine("m3")?, "w1").await?;
    up(manager, "w1").await?;
    ensure!(ready(manager, 2).await? == known && pids(&worker)? == before, "adopted");
    Ok(())
}

#[tokio::test]
async fn the_loss_of_all_managers_is_mended_as_the_guide_says() {
    all().await.unwrap();
}

async fn all() -> anyhow::Result<()> {
    let first = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let worker = joined(&first, "worker", "w1").await?;
    create_web(&first, "2").await?;
    let known = ready(&first, 2).await?;
    let before = pids(&worker)?;
    write(&first, "w1").await?;
    let mut site = Site::new(vec![("m1", first), ("w1", worker), ("new", fresh()?)]);
    std::fs::write(site.shared()?.join("passphrase"), "correct horse battery\n")?;
    site.follow("Before anything happens").await?;
    site.machines.get_mut("m1").context("it")?.crash()?;
    site.follow("All managers are lost, and there is a backup").await?;
    ensure!(site.followed == 9, "{}", site.followed);
    let manager = site.machine("new")?;
    up(manager, "w1").await?;
    written(manager, "w1").await?;
    ensure!(ready(manager, 2).await? == known, "adopted");
    ensure!(pids(site.machine("w1")?)? == before, "no process was touched");
    Ok(())
}

#[tokio::test]
async fn a_damaged_manager_is_mended_as_the_guide_says() {
    damaged().await.unwrap();
}

async fn damaged() -> anyhow::Result<()> {
    let [first, mut second, third] = three().await?;
    second.crash()?;
    let log = second.data_dir().join("raft/log.redb");
    let mut bytes = std::fs::read(&log)?;
    for byte in bytes.iter_mut().skip(64) {
        *byte ^= 0x55;
    }
    std::fs::write(&log, bytes)?;
    let said = second.refused(&["--http", "off"]).await?;
    ensure!(said.talk.contains("damaged"), "{said:?}");
    let _ = std::fs::remove_file(second.run_file());
    let mut site = Site::new(vec![("m1", first), ("m2", second), ("m3", third)]);
    wait::until("the loss is noticed", SOON, async || {
        let known = node_named(site.machine("m1")?, "m2").await?;
        ensure!(known["status"] == "down", "{known}");
        Ok(())
    })
    .await?;
    site.follow("The data directory of a manager is damaged").await?;
    ensure!(site.followed == 6, "{}", site.followed);
    voters(site.machine("m2")?, 3).await
}

#[tokio::test]
async fn a_full_disk_is_mended_as_the_guide_says() {
    let node = Node::stopped(Runtime::Process, &["--hostname", "m1"]).unwrap();
    let Some(disk) = Disk::mount(&node.make_data_dir().unwrap()) else {
        let name = concat!(module_path!(), "::a_full_disk_is_mended_as_the_guide_says");
        return warren_test::skip(name, "this user may not mount a small disk");
    };
    full(node, &disk).await.unwrap();
}

async fn full(mut node: Node, disk: &Disk) -> anyhow::Result<()> {
    node.resume().await?;
    let ballast = disk.fill()?;
    let said = node.command(&["node", "label", "m1", "while=full"]).await?;
    ensure!(said.code == Some(1) && said.talk.contains("no space left"), "{said:?}");
    std::fs::remove_file(ballast)?;
    let mut site = Site::new(vec![("m1", node)]);
    if site.machines.get_mut("m1").context("it")?.has_ended()? {
        site.do_as("m1", "warren up --detach").await?;
    }
    site.follow("The disk of a manager is full").await?;
    ensure!(node_named(site.machine("m1")?, "m1").await?["labels"]["room"] == "made");
    Ok(())
}
