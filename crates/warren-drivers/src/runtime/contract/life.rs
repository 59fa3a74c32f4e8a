//! From created to gone.

use crate::runtime::contract::{Bench, Broken, Checked, Fixture, ensure};
use crate::runtime::{ContainerState, RuntimeError, Scope};
use futures::future::try_join_all;
use std::time::{Duration, Instant, SystemTime};
use warren_core::id::NodeId;
use warren_core::spec::{PullPolicy, Signal};

/// Long enough for anything that reacts to its signal.
const PATIENT: Duration = Duration::from_secs(30);

fn code(state: &ContainerState) -> Option<i32> {
    match state {
        ContainerState::Exited(exit) => exit.code,
        ContainerState::Created | ContainerState::Running { .. } => None,
    }
}

fn pid(state: &ContainerState) -> Result<u32, Broken> {
    match state {
        ContainerState::Running { pid, .. } => Ok(*pid),
        ContainerState::Created | ContainerState::Exited(_) => {
            Err(Broken::new(format!("it does not run: {state:?}")))
        }
    }
}

/// Every state is told, and every step may be repeated.
pub async fn a_task_goes_from_created_to_gone(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let runtime = &bench.runtime;
    let begin = SystemTime::now() - Duration::from_secs(2);
    let spec = bench.spec(1, &["sleep"]);
    let id = runtime.create(&spec).await?;
    let created = bench.only().await?;
    ensure!(created.state == ContainerState::Created, "{created:?}");
    ensure!(created.labels == spec.labels && created.id == id, "{created:?}");
    ensure!(created.address == Some(spec.address), "{created:?}");

    runtime.start(&id).await?;
    runtime.start(&id).await?;
    let running = runtime.inspect(&id).await?;
    let ContainerState::Running { since, pid } = running.state else {
        return Err(Broken::new(format!("{running:?}")));
    };
    ensure!(since >= begin && since <= SystemTime::now() && pid > 1, "{running:?}");
    ensure!(running.address == Some(spec.address), "{running:?}");

    let begin_stop = Instant::now();
    runtime.stop(&id, Signal::TERM, PATIENT).await?;
    ensure!(begin_stop.elapsed() < PATIENT, "it was killed: {:?}", begin_stop.elapsed());
    let ended = bench.only().await?;
    let ContainerState::Exited(exit) = &ended.state else {
        return Err(Broken::new(format!("{ended:?}")));
    };
    ensure!(exit.code == Some(143) && exit.signal == Some(Signal::TERM), "{exit:?}");
    ensure!(!exit.oom && exit.at >= since, "{exit:?}");
    ensure!(ended.address == Some(spec.address), "{ended:?}");

    runtime.stop(&id, Signal::TERM, PATIENT).await?;
    runtime.kill(&id).await?;
    runtime.remove(&id).await?;
    runtime.remove(&id).await?;
    ensure!(runtime.list().await?.is_empty(), "something is left");
    let gone = runtime.inspect(&id).await;
    ensure!(matches!(gone, Err(RuntimeError::NotFound { .. })), "{gone:?}");
    for gone in [
        runtime.start(&id).await,
        runtime.kill(&id).await,
        runtime.stop(&id, Signal::TERM, PATIENT).await,
    ] {
        ensure!(matches!(gone, Err(RuntimeError::NotFound { .. })), "{gone:?}");
    }
    Ok(())
}

/// An attempt that is repeated finds what the first one made; a running task can be removed.
pub async fn a_task_is_created_once(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let spec = bench.spec(1, &["sleep"]);
    let id = bench.run(&spec).await?;
    let before = bench.only().await?;
    ensure!(bench.runtime.create(&spec).await? == id, "another container was made");
    ensure!(bench.only().await? == before, "the container was changed");
    bench.runtime.remove(&id).await?;
    ensure!(bench.runtime.list().await?.is_empty(), "something is left");
    Ok(())
}

/// The code of each run is told, and a task that ended can run again.
pub async fn an_exit_code_is_kept_and_a_task_starts_again(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let id = bench.run(&bench.spec(1, &["exit", "7"])).await?;
    let first = bench.end(&id).await?;
    ensure!(first.code == Some(7) && first.signal.is_none() && !first.oom, "{first:?}");
    // The same task runs a second time, and the end told is that of the second run.
    bench.runtime.start(&id).await?;
    let second = bench.end(&id).await?;
    ensure!(second.code == Some(7) && second.at > first.at, "{second:?} after {first:?}");
    let zero = bench.run(&bench.spec(2, &["exit", "0"])).await?;
    let exit = bench.end(&zero).await?;
    ensure!(exit.code == Some(0) && exit.signal.is_none(), "{exit:?}");
    Ok(())
}

/// Patience has an end.
pub async fn a_task_that_ignores_its_signal_is_killed(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let id = bench.run(&bench.spec(1, &["sleep"])).await?;
    // By default a process ignores this signal.
    let ignored: Signal = "WINCH".parse().map_err(|error: String| Broken::new(error))?;
    let begin = Instant::now();
    let limit = Duration::from_millis(300);
    bench.runtime.stop(&id, ignored, limit).await?;
    ensure!(begin.elapsed() >= limit, "it was not waited for: {:?}", begin.elapsed());
    let state = bench.only().await?.state;
    ensure!(code(&state) == Some(137), "{state:?}");
    let id = bench.run(&bench.spec(2, &["sleep"])).await?;
    bench.runtime.kill(&id).await?;
    let state = bench.runtime.inspect(&id).await?.state;
    ensure!(code(&state) == Some(137), "{state:?}");
    Ok(())
}

/// What can never run is refused when it is started, or ends at once with the code that says so: under an init process
/// the runtime only hears of it afterwards.
pub async fn a_command_that_cannot_run_is_refused(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let template = fixture.unrunnable(bench.spec(1, &[]).template).await?;
    let mut spec = bench.spec_of(1, template);
    spec.image = bench.runtime.resolve(&spec.template.image, PullPolicy::Never, None).await?;
    let id = bench.runtime.create(&spec).await?;
    match bench.runtime.start(&id).await {
        Err(error @ RuntimeError::Refused { .. }) => ensure!(!error.may_pass(), "{error}"),
        Err(error) => return Err(error.into()),
        Ok(()) => {
            let exit = bench.end(&id).await?;
            ensure!(matches!(exit.code, Some(126 | 127)), "{exit:?}");
        }
    }
    let state = bench.only().await?.state;
    ensure!(!matches!(state, ContainerState::Running { .. }), "{state:?}");
    Ok(())
}

/// A name that somebody else has is not taken from them.
pub async fn a_foreign_container_is_a_conflict(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let spec = bench.spec(1, &["sleep"]);
    let name = spec.labels.container_name();
    fixture.squat(&name).await?;
    match bench.runtime.create(&spec).await {
        Err(RuntimeError::Conflict { what, why }) => {
            ensure!(what.contains(&name) && why.contains("remove"), "{what}: {why}");
        }
        other => ensure!(false, "{other:?}"),
    }
    ensure!(bench.runtime.list().await?.is_empty(), "a foreign container is listed");
    Ok(())
}

/// Two tasks never share an address; the second may have it once the first has ended.
pub async fn an_address_in_use_is_a_conflict(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let spec = bench.spec(1, &["sleep"]);
    let first = bench.run(&spec).await?;
    let mut second = bench.spec(2, &["sleep"]);
    second.address = spec.address;
    let started = match bench.runtime.create(&second).await {
        Ok(id) => bench.runtime.start(&id).await,
        Err(error) => Err(error),
    };
    match started {
        Err(error @ RuntimeError::Conflict { .. }) => ensure!(error.may_pass(), "{error}"),
        other => ensure!(false, "{other:?}"),
    }
    bench.runtime.kill(&first).await?;
    let id = bench.runtime.create(&second).await?;
    bench.runtime.start(&id).await?;
    let container = bench.runtime.inspect(&id).await?;
    pid(&container.state)?;
    ensure!(container.address == Some(spec.address), "{container:?}");
    Ok(())
}

/// A runtime that is opened anew knows all that the one before it made.
pub async fn tasks_are_adopted_after_a_restart(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let running = bench.run(&bench.spec(1, &["sleep"])).await?;
    let ending = bench.run(&bench.spec(2, &["exit-after", "300", "9"])).await?;
    bench.runtime.create(&bench.spec(3, &["sleep"])).await?;
    let before = bench.runtime.list().await?;
    let Bench { fixture, image, runtime } = bench;
    drop(runtime);
    let bench = Bench { fixture, image, runtime: fixture.open(fixture.scope()).await? };
    let after = bench.runtime.list().await?;
    ensure!(after.len() == 3, "{after:?}");
    ensure!(after[0] == before[0], "{:?} became {:?}", before[0], after[0]);
    ensure!(after[2] == before[2], "{:?} became {:?}", before[2], after[2]);
    ensure!(after[1].id == ending && after[1].labels == before[1].labels, "{after:?}");
    let exit = bench.end(&ending).await?;
    ensure!(exit.code == Some(9), "{exit:?}");
    bench.runtime.stop(&running, Signal::TERM, PATIENT).await?;
    let state = bench.runtime.inspect(&running).await?.state;
    ensure!(code(&state) == Some(143), "{state:?}");
    Ok(())
}

/// Two nodes on one machine keep out of each other's way.
pub async fn another_node_sees_nothing(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    bench.run(&bench.spec(1, &["sleep"])).await?;
    let scope = fixture.scope();
    for other in [
        Scope { node: NodeId(scope.node.0 + 1), ..scope.clone() },
        Scope { cluster: format!("{}x", scope.cluster), ..scope },
    ] {
        let other = fixture.open(other).await?;
        let seen = other.list().await?;
        ensure!(seen.is_empty(), "{seen:?}");
    }
    Ok(())
}

/// Nothing about starting is serial.
pub async fn many_tasks_start_at_once(fixture: &dyn Fixture) -> Checked {
    const TASKS: u8 = 8;
    let bench = Bench::new(fixture).await?;
    let specs: Vec<_> = (1..=TASKS).map(|task| bench.spec(task, &["sleep"])).collect();
    let ids = try_join_all(specs.iter().map(|spec| bench.run(spec))).await?;
    let listed = bench.runtime.list().await?;
    ensure!(listed.len() == ids.len(), "{listed:?}");
    for (container, spec) in listed.iter().zip(&specs) {
        pid(&container.state)?;
        ensure!(container.labels == spec.labels, "{container:?}");
        ensure!(container.address == Some(spec.address), "{container:?}");
    }
    try_join_all(ids.iter().map(|id| bench.runtime.remove(id))).await?;
    ensure!(bench.runtime.list().await?.is_empty(), "something is left");
    Ok(())
}

/// Nothing of the node stays, running or not; what is another node's does.
pub async fn leaving_takes_everything_along(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    bench.runtime.pin(&bench.image).await?;
    bench.run(&bench.spec(1, &["sleep"])).await?;
    bench.runtime.create(&bench.spec(2, &["sleep"])).await?;
    let scope = fixture.scope();
    let other = Scope { node: NodeId(scope.node.0 + 1), ..scope };
    fixture.open(other).await?.leave().await?;
    ensure!(bench.runtime.list().await?.len() == 2, "another node's were taken");
    bench.runtime.leave().await?;
    ensure!(bench.runtime.list().await?.is_empty(), "something is left");
    bench.runtime.leave().await?;
    // And all can begin anew.
    let bench = Bench::new(fixture).await?;
    bench.run(&bench.spec(1, &["sleep"])).await?;
    Ok(())
}
