//! What a task is given, and how much of it.

use crate::runtime::contract::{Bench, Broken, Checked, DEADLINE, Fixture, ensure, eventually};
use crate::runtime::{EventKind, RuntimeError};
use futures::StreamExt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use warren_core::id::TaskId;
use warren_core::spec::{LabelKey, Signal};
use warren_core::units::Bytes;

/// The template's variables and Warren's own, the arguments in their order, and nothing of Warren's environment.
pub async fn a_task_gets_its_environment_and_arguments(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let mut spec = bench.spec(5, &["show", "a b", "", "\"c\"", "$HOME"]);
    spec.template.env.insert("GREETING".into(), "hello = world, ü".into());
    spec.template.env.insert("WARREN_TASK".into(), "not this".into());
    spec.template.labels.insert(LabelKey::parse("team")?, "blue".into());
    let (_, exit, output) = bench.output(&spec).await?;
    ensure!(exit.code == Some(0), "{exit:?}: {output}");
    for wanted in [
        "env GREETING=hello = world, ü".to_owned(),
        format!("env WARREN_ADDRESS={}", spec.address),
        "env WARREN_SERVICE=probe".to_owned(),
        "env WARREN_SLOT=5".to_owned(),
        "env WARREN_TASK=t5".to_owned(),
        "env WARREN_VERSION=v3".to_owned(),
        format!("env WARREN_NODE={}", spec.labels.node),
        "arg show|a b||\"c\"|$HOME".to_owned(),
    ] {
        ensure!(output.lines().any(|line| line == wanted), "{wanted:?} is not in {output}");
    }
    ensure!(!output.contains("env CARGO"), "Warren's own environment leaks: {output}");
    Ok(())
}

/// Also without a name in the user database.
pub async fn a_task_runs_as_its_user_in_its_folder(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let mut spec = bench.spec(1, &["show"]);
    spec.template.working_dir = Some("/proc".into());
    spec.template.user = Some("4321:8765".into());
    match bench.output(&spec).await {
        Ok((_, _, output)) => {
            for wanted in ["uid 4321", "gid 8765", "cwd /proc"] {
                ensure!(output.lines().any(|line| line == wanted), "{wanted:?}: {output}");
            }
            Ok(())
        }
        // Without root nobody becomes another user, and says so.
        Err(broken) if format!("{broken:?}").contains("only root") => Ok(()),
        Err(broken) => Err(broken),
    }
}

/// A neighbour on this machine reaches the task on its own address.
pub async fn a_task_answers_on_its_address(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    for task in [1, 2] {
        let spec = bench.spec(task, &["serve", "8080"]);
        bench.run(&spec).await?;
        let target = SocketAddr::from((spec.address, 8080));
        let answer = eventually("an answer", || async {
            let Ok(mut stream) = TcpStream::connect(target).await else { return Ok(None) };
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(Some(answer))
        })
        .await?;
        ensure!(answer == format!("t{task}\n"), "{answer:?}");
    }
    Ok(())
}

/// How many tasks are killed until it is known of one why. An engine hears of a death and of its reason apart; in the
/// few cases in which it hears of the death first it never tells the reason.
const KILLED_MAX: u8 = 5;

/// Above its limit a task is killed and it is known why; below, it is left alone.
pub async fn a_task_above_its_memory_is_killed(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    ensure!(bench.runtime.info().await?.enforces.memory, "no memory limits on this machine");
    let limit = Some(Bytes::from_mib(64));
    let mut modest = bench.spec(1, &["eat", "16"]);
    modest.template.resources.memory_limit = limit;
    let modest = bench.run(&modest).await?;
    let mut known = false;
    for task in 2..2 + KILLED_MAX {
        let mut greedy = bench.spec(task, &["eat", "192"]);
        greedy.template.resources.memory_limit = limit;
        let greedy = bench.run(&greedy).await?;
        let exit = bench.end(&greedy).await?;
        ensure!(exit.code == Some(137), "{exit:?}");
        known = exit.oom;
        if known {
            break;
        }
    }
    ensure!(known, "of none of {KILLED_MAX} that were killed is it known why");
    let stats = bench.runtime.stats(&modest).await?;
    ensure!(stats.memory_limit == limit && stats.memory < Bytes::from_mib(64), "{stats:?}");
    bench.runtime.stop(&modest, Signal::TERM, DEADLINE).await?;
    let exit = bench.end(&modest).await?;
    ensure!(!exit.oom && exit.code == Some(143), "{exit:?}");
    Ok(())
}

/// CPU time grows with work, memory with what is held; nothing is known of what does not run.
pub async fn use_is_measured(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let burning = bench.run(&bench.spec(1, &["burn"])).await?;
    let holding = bench.run(&bench.spec(2, &["eat", "48"])).await?;
    let half = Duration::from_millis(500);
    let stats = eventually("half a second of CPU", || async {
        let stats = bench.runtime.stats(&burning).await?;
        Ok((stats.cpu >= half).then_some(stats))
    })
    .await?;
    ensure!(stats.pids >= 1 && stats.memory_limit.is_none(), "{stats:?}");
    eventually("48 MiB of memory", || async {
        let stats = bench.runtime.stats(&holding).await?;
        Ok((stats.memory >= Bytes::from_mib(48)).then_some(()))
    })
    .await?;
    bench.runtime.kill(&burning).await?;
    let ended = bench.runtime.stats(&burning).await;
    ensure!(matches!(ended, Err(RuntimeError::Conflict { .. })), "{ended:?}");
    Ok(())
}

/// What is not heard so long after a run will not be: the listener was not there yet, and the task runs again.
const HEARD_WITHIN: Duration = Duration::from_millis(500);

/// Whoever listens hears of starts and ends, with the task.
pub async fn changes_are_announced(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let mut events = bench.runtime.events().await?;
    let spec = bench.spec(6, &["exit", "0"]);
    let id = bench.runtime.create(&spec).await?;
    let mut heard = Vec::new();
    // A listener hears nothing from before it was there, so the task runs again until both were heard.
    let begin = Instant::now();
    loop {
        ensure!(begin.elapsed() < DEADLINE, "only {heard:?} was heard");
        let run = async {
            bench.runtime.start(&id).await?;
            bench.end(&id).await?;
            tokio::time::sleep(HEARD_WITHIN).await;
            Ok::<(), Broken>(())
        };
        let listen = async {
            while let Some(event) = events.next().await {
                let event = event?;
                ensure!(event.container == id && event.task == Some(TaskId(6)), "{event:?}");
                heard.push(event.kind);
                if heard.contains(&EventKind::Started) && heard.contains(&EventKind::Died) {
                    return Ok(());
                }
            }
            Err(Broken::new("the events ended"))
        };
        tokio::select! {
            ran = run => ran?,
            listened = listen => return listened,
        }
    }
}
