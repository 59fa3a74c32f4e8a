//! The guide for newcomers, word for word: its commands on a real node, its file applied.

use super::{Node, Runtime};
use anyhow::{Context as _, ensure};
use warren_test::tree;

/// The commands in the console blocks that can be run on a node that a test has started, without the prompt.
fn commands(guide: &str) -> Vec<String> {
    let typed = guide.lines().filter_map(|line| line.strip_prefix("# warren "));
    let by_the_test = |line: &&str| !line.starts_with("up") && !line.starts_with("down");
    typed.filter(by_the_test).map(str::to_owned).collect()
}

fn manifest(guide: &str) -> Option<&str> {
    let (_, rest) = guide.split_once("```yaml\n")?;
    rest.split_once("```").map(|(yaml, _)| yaml)
}

#[tokio::test]
async fn the_guide_for_newcomers_is_true() {
    try_the_guide().await.unwrap();
}

async fn try_the_guide() -> anyhow::Result<()> {
    let guide = std::fs::read_to_string(tree::root().join("docs/guides/getting-started.md"))?;
    let commands = commands(&guide);
    ensure!(commands.len() > 8, "the guide has lost its commands: {commands:?}");
    let node = Node::start(Runtime::Process).await?;
    let first = Runtime::Process.web_image("v1").await?;
    // Another file is another image; one byte more makes it other content as well.
    let second = node.scratch("web-v2");
    let mut bytes = std::fs::read(&first)?;
    bytes.push(0);
    std::fs::write(&second, bytes)?;
    std::fs::set_permissions(&second, std::fs::metadata(&first)?.permissions())?;
    let second = second.to_str().context("the path is text")?.to_owned();
    let file = node.scratch("web.yaml");
    std::fs::write(&file, manifest(&guide).context("a file")?.replace("web:v1", &first))?;
    let file = file.to_str().context("the path is text")?.to_owned();
    for command in commands {
        let said = command.replace("web:v1", &first).replace("web:v2", &second);
        let said = said.replace("web.yaml", &file);
        let mut words: Vec<&str> = said.split(' ').collect();
        if words.starts_with(&["service", "rm"]) {
            words.push("--yes");
        }
        node.ok(&words).await.with_context(|| format!("the guide says: warren {command}"))?;
    }
    Ok(())
}
