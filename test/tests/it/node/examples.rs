//! The manifests of `docs/examples`: each is played as a release, and each is applied to a real node.

use anyhow::{Context as _, ensure};
use warren_test::cluster::{Node, Runtime};
use warren_test::tree::{self, File};

use super::on_each_runtime;

on_each_runtime!(every_example_is_applied);

fn examples() -> anyhow::Result<Vec<File>> {
    let is_example = |path: &str| path.starts_with("docs/examples/") && path.ends_with(".yaml");
    let found: Vec<_> = tree::files().into_iter().filter(|file| is_example(&file.path)).collect();
    ensure!(found.len() >= 10, "the examples are gone");
    Ok(found)
}

// req: B53
#[tokio::test]
async fn every_example_can_be_released() {
    play_them().await.unwrap();
}

async fn play_them() -> anyhow::Result<()> {
    let nobody = Node::stopped(Runtime::Process, &[])?;
    for file in examples()? {
        let simulate = ["rollout", "simulate", "--file", "-", "--output", "json"];
        let said = nobody.command_with_input(&simulate, &file.text).await?;
        let path = &file.path;
        ensure!(said.code == Some(0), "{path}: {said:#?}");
        let played: serde_json::Value = serde_json::from_str(&said.out)?;
        ensure!(played["outcome"] == "completed", "{path}: {played:#}");
        let is_down = played["lost_ms"].as_u64().context("a number")? > 0;
        let lost = &played["lost_ms"];
        ensure!(is_down == (played["strategy"] == "recreate"), "{path}: {lost} ms are lost");
    }
    Ok(())
}

// req: B53
async fn every_example_is_applied(runtime: Runtime) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    let image = runtime.web_image("v1").await?;
    for words in [["secret", "create", "session-key"], ["config", "create", "everything.toml"]] {
        let said = node.command_with_input(&words, "something").await?;
        ensure!(said.code == Some(0), "{said:#?}");
    }
    let mut names = 0;
    for file in examples()? {
        // The images of the examples are nobody's.
        let line = file.text.lines().find_map(|line| line.strip_prefix("image: "));
        let text = file.text.replace(line.context("an image")?, &image);
        let said = node.command_with_input(&["apply", "-f", "-", "--detach"], &text).await?;
        let path = &file.path;
        if runtime == Runtime::Process && text.contains("host: ") {
            // What a process cannot have is refused, by its name.
            ensure!(said.code == Some(1) && said.talk.contains("Docker"), "{path}: {said:#?}");
            continue;
        }
        ensure!(said.code == Some(0) && said.out.ends_with(" created\n"), "{path}: {said:#?}");
        names += 1;
        let again = node.command_with_input(&["apply", "-f", "-", "--detach"], &text).await?;
        ensure!(again.out.ends_with(" unchanged\n"), "{path}: {again:#?}");
    }
    let there = node.json(&["service", "ls"]).await?;
    ensure!(there.as_array().is_some_and(|list| list.len() == names), "{there:#}");
    Ok(())
}
