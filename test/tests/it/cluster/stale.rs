//! Reads without a leader: refused in plain words, or answered with what is known and how old that is.

use anyhow::ensure;
use warren_test::wait;

use super::{SOON, node_named, three_managers};

#[tokio::test]
async fn a_manager_left_alone_says_what_it_knows_when_that_will_do() {
    left_alone().await.unwrap();
}

async fn left_alone() -> anyhow::Result<()> {
    let mut managers = three_managers().await?;
    managers[0].ok(&["node", "label", "m1", "written=before"]).await?;
    let last = managers.pop().expect("three managers");
    // It may be a step behind, so it is asked until it knows; a follower answers for itself.
    wait::until("a follower has it", SOON, async || {
        let said = last.command(&["node", "inspect", "m1", "--stale"]).await?;
        ensure!(said.code == Some(0) && said.out.contains("written=before"), "{said:?}");
        ensure!(said.talk.contains("as of entry "), "{said:?}");
        Ok(())
    })
    .await?;
    for mut gone in managers {
        gone.crash()?;
    }
    let refused = wait::until("nobody leads", SOON, async || {
        let said = last.command(&["node", "ls"]).await?;
        ensure!(said.code != Some(0), "{said:?}");
        Ok(said)
    })
    .await?;
    ensure!(refused.out.is_empty() && refused.talk.contains("leader"), "{refused:?}");
    ensure!(refused.talk.contains("--stale"), "{refused:?}");
    let written = last.command(&["node", "label", "m1", "written=after"]).await?;
    ensure!(written.code == Some(1), "nothing is changed without a majority: {written:?}");
    let said = last.command(&["status", "--stale"]).await?;
    ensure!(said.code == Some(0) && said.out.contains("nodes:    3 of 3 up"), "{said:?}");
    let told = said.talk.lines().filter(|line| line.starts_with("as of entry ")).count();
    ensure!(told == 1 && said.talk.contains("heard a leader"), "said once: {said:?}");
    let known = last.json(&["node", "inspect", "m1", "--stale"]).await?;
    ensure!(known["labels"]["written"] == "before", "{known}");
    for read in [&["service", "ls"][..], &["why"], &["audit"], &["freeze", "status"]] {
        last.ok(&[read, &["--stale"]].concat()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn by_default_a_follower_answers_with_what_was_acknowledged_before() {
    newest_by_default().await.unwrap();
}

async fn newest_by_default() -> anyhow::Result<()> {
    let managers = three_managers().await?;
    for number in 0..10 {
        let (written, read) = (&managers[number % 3], &managers[(number + 1) % 3]);
        written.ok(&["node", "label", "m1", &format!("number={number}")]).await?;
        let seen = node_named(read, "m1").await?;
        let label = seen["labels"]["number"].as_str().unwrap_or_default();
        ensure!(label.parse() == Ok(number), "{seen}");
    }
    Ok(())
}
