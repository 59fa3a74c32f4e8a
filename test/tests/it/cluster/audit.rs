//! Who did what: kept for every change, asked of any manager, and proof against changes.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use warren_test::cluster::{Node, Runtime};
use warren_test::{binary, wait};

use super::{SOON, joined, node_named, voters};

// req: A39
#[tokio::test]
async fn every_change_is_kept_with_who_what_and_from_where() {
    kept().await.unwrap();
}

async fn kept() -> anyhow::Result<()> {
    let leader = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let image = binary::web()?.display().to_string();
    let canary = "a-value-that-no-audit-may-show";
    let variable = format!("TOKEN={canary}");
    leader.ok(&["service", "create", "web", "--image", &image, "--env", &variable]).await?;
    let refused = leader.command(&["service", "scale", "web", "1000000"]).await?;
    ensure!(refused.code != Some(0), "{refused:?}");
    leader.ok(&["service", "scale", "web", "2"]).await?;
    leader.ok(&["service", "exec", "web", "--", &image, "env"]).await?;
    let other = joined(&leader, "manager", "m2").await?;
    joined(&leader, "manager", "m3").await?;
    voters(&leader, 3).await?;
    other.ok(&["freeze", "on", "--reason", "an incident"]).await?;
    let entries = wait::until("the audit tells of it", SOON, async || {
        let entries = other.json(&["audit"]).await?;
        let entries = entries.as_array().context("a list")?.clone();
        ensure!(of(&entries, "freeze on").is_some(), "{entries:?}");
        Ok(entries)
    })
    .await?;
    let text = serde_json::to_string(&entries)?;
    ensure!(!text.contains(canary), "{text}");
    let m2 = node_named(&leader, "m2").await?;
    let socket = format!("socket of {}", m2["id"].as_str().context("an id")?);
    for (action, target, from) in [
        ("service create", "web", "socket"),
        ("service scale", "web", "socket"),
        ("service exec", "web.1", "socket"),
        ("cluster token", "manager", "socket"),
        ("node join", "m3", "127.0.0.1"),
        ("freeze on", "all services", socket.as_str()),
    ] {
        let entry = of(&entries, action).with_context(|| format!("{action}: {text}"))?;
        let shown = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        ensure!(
            shown("target").starts_with(target.split('.').next().unwrap_or_default()),
            "{entry}"
        );
        ensure!(shown("from") == from, "{entry}");
    }
    ensure!(entries.iter().any(|entry| entry["by"] == "warren" && entry["action"] == "release"));
    let scaled = other.json(&["audit", "web", "--people"]).await?;
    ensure!(scaled.as_array().context("a list")?.iter().all(|entry| entry["target"] == "web"));
    let verified = other.json(&["audit", "--verify"]).await?;
    let hash = verified["hash"].as_str().context("a hash")?.to_owned();
    leader.ok(&["freeze", "off"]).await?;
    leader.ok(&["audit", "--verify", "--noted", &hash]).await?;
    let wrong = leader.command(&["audit", "--verify", "--noted", &"0123".repeat(16)]).await?;
    ensure!(wrong.code == Some(1) && wrong.talk.contains("not in the chain"), "{wrong:?}");
    Ok(())
}

fn of<'a>(entries: &'a [Value], action: &str) -> Option<&'a Value> {
    entries.iter().rev().find(|entry| entry["action"] == action)
}
