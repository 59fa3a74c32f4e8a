//! What only processes do: outlive Warren, share the machine, be refused what they cannot have.

use super::{Processes, options};
use crate::support::{and_then_clean, eventually};
use futures::StreamExt;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::watch;
use warren_core::spec::{self, Image, Mount, MountKind, Port, Protocol};
use warren_drivers::runtime::contract::{Bench, Fixture};
use warren_drivers::runtime::{
    ContainerRef, ContainerSpec, ContainerState, ExecSpec, LogOptions, NetworkSpec, Options,
    PullProgress, RuntimeError, TtySize, open,
};

/// Runs a test and cleans up after it.
async fn with_processes(test: impl AsyncFnOnce(&Processes)) {
    let fixture = Processes::new();
    and_then_clean(test(&fixture), fixture.clean()).await;
}

fn pid(state: &ContainerState) -> u32 {
    match state {
        ContainerState::Running { pid, .. } => *pid,
        other => panic!("it does not run: {other:?}"),
    }
}

fn supervisor(fixture: &Processes, id: &ContainerRef) -> u32 {
    let run = fixture.folder.path().join("tasks").join(&id.0).join("run.json");
    let run: serde_json::Value = serde_json::from_slice(&std::fs::read(run).unwrap()).unwrap();
    u32::try_from(run["supervisor"]["pid"].as_u64().unwrap()).unwrap()
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

const FOLDER: &str = "WARREN_TEST_FOLDER";

/// Not a test by itself: plays a Warren that starts tasks and waits to be killed, for the test below.
#[tokio::test]
async fn a_warren_that_will_be_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let text = std::fs::read(folder.join("fixture.json")).unwrap();
    let (cluster, node, subnet): (String, u64, String) = serde_json::from_slice(&text).unwrap();
    let fixture = Processes::adopt(&folder, cluster, node, &subnet);
    let bench = Bench::new(&fixture).await.unwrap();
    bench.run(&bench.spec(1, &["tick", "1000", "100"])).await.unwrap();
    bench.run(&bench.spec(2, &["exit-after", "1500", "9"])).await.unwrap();
    std::fs::write(folder.join("started"), "").unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn tasks_outlive_a_warren_that_is_killed_with_its_whole_group() {
    with_processes(async |fixture| {
        use std::os::unix::process::CommandExt;
        let folder = fixture.folder.path();
        let scope = fixture.scope();
        let known = (scope.cluster, scope.node.0, fixture.network().subnet.to_string());
        std::fs::write(folder.join("fixture.json"), serde_json::to_vec(&known).unwrap()).unwrap();
        let mut warren = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::only::a_warren_that_will_be_killed"])
            .env(FOLDER, folder)
            .process_group(0)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("both tasks", async || folder.join("started").exists()).await;
        killpg(Pid::from_raw(i32::try_from(warren.id()).unwrap()), Signal::SIGKILL).unwrap();
        warren.wait().unwrap();

        let bench = Bench::new(fixture).await.unwrap();
        let tasks = bench.runtime.list().await.unwrap();
        assert_eq!(tasks.len(), 2, "{tasks:?}");
        let ticking = &tasks[0];
        pid(&ticking.state);
        assert_eq!(ticking.address, Some(bench.spec(1, &[]).address));
        // Its output still arrives.
        let lines = async || {
            let lines = bench.runtime.logs(&ticking.id, LogOptions::default()).await.unwrap();
            lines.count().await
        };
        let before = lines().await;
        eventually("more output", async || lines().await > before + 3).await;
        // The end of a task that nobody watched is known.
        let exit = bench.end(&tasks[1].id).await.unwrap();
        assert_eq!(exit.code, Some(9));
        bench.runtime.stop(&ticking.id, spec::Signal::TERM, Duration::from_secs(30)).await.unwrap();
        assert_eq!(bench.end(&ticking.id).await.unwrap().code, Some(143));
    })
    .await;
}

#[tokio::test]
async fn a_task_without_its_supervisor_is_still_known_and_stopped() {
    with_processes(async |fixture| {
        let bench = Bench::new(fixture).await.unwrap();
        let id = bench.run(&bench.spec(1, &["sleep"])).await.unwrap();
        send(supervisor(fixture, &id), Signal::SIGKILL);
        let state = bench.runtime.inspect(&id).await.unwrap().state;
        pid(&state);
        bench.runtime.start(&id).await.unwrap();
        assert_eq!(bench.runtime.inspect(&id).await.unwrap().state, state, "it was started twice");
        bench.runtime.stop(&id, spec::Signal::TERM, Duration::from_secs(30)).await.unwrap();
        let exit = bench.end(&id).await.unwrap();
        assert_eq!(exit.code, None, "nobody can have seen its code");
        bench.runtime.start(&id).await.unwrap();
        pid(&bench.runtime.inspect(&id).await.unwrap().state);
    })
    .await;
}

#[tokio::test]
async fn a_pid_that_is_another_process_by_now_is_left_alone() {
    with_processes(async |fixture| {
        let bench = Bench::new(fixture).await.unwrap();
        let id = bench.run(&bench.spec(1, &["exit", "0"])).await.unwrap();
        bench.end(&id).await.unwrap();
        let folder = fixture.folder.path().join("tasks").join(&id.0);
        std::fs::remove_file(folder.join("exit.json")).unwrap();
        // As after a reuse of the pid: the record names a process that runs, with the start time of another.
        let mut innocent = Command::new("sleep").arg("1000").spawn().unwrap();
        let run = std::fs::read(folder.join("run.json")).unwrap();
        let mut run: serde_json::Value = serde_json::from_slice(&run).unwrap();
        for which in ["task", "supervisor"] {
            run[which]["pid"] = innocent.id().into();
        }
        std::fs::write(folder.join("run.json"), run.to_string()).unwrap();
        let state = bench.runtime.inspect(&id).await.unwrap().state;
        assert!(matches!(state, ContainerState::Exited(_)), "{state:?}");
        bench.runtime.kill(&id).await.unwrap();
        bench.runtime.remove(&id).await.unwrap();
        assert_eq!(innocent.try_wait().unwrap(), None, "another process was killed");
        innocent.kill().unwrap();
        innocent.wait().unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_a_task_leaves_behind_ends_with_it() {
    with_processes(async |fixture| {
        let bench = Bench::new(fixture).await.unwrap();
        let folder = fixture.folder.path().join("script");
        let script = "#!/bin/sh\nsleep 1000 & echo $!\nwait\n";
        program(&folder, script);
        let image: Image = folder.to_str().unwrap().parse().unwrap();
        let mut spec = bench.spec(1, &[]);
        spec.image = bench.runtime.resolve(&image, spec::PullPolicy::Missing, None).await.unwrap();
        spec.template.env.insert("PATH".into(), "/usr/bin:/bin".into());
        let id = bench.run(&spec).await.unwrap();
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let mut lines = bench.runtime.logs(&id, follow).await.unwrap();
        let line = lines.next().await.unwrap().unwrap();
        let child: u32 = std::str::from_utf8(&line.bytes).unwrap().parse().unwrap();
        assert!(Path::new(&format!("/proc/{child}")).exists());
        assert!(bench.runtime.stats(&id).await.unwrap().pids >= 2);
        bench.runtime.stop(&id, spec::Signal::TERM, Duration::from_secs(30)).await.unwrap();
        eventually("the end of its child", async || !Path::new(&format!("/proc/{child}")).exists())
            .await;
    })
    .await;
}

fn program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn what_a_process_cannot_have_is_refused_with_the_way_out() {
    with_processes(async |fixture| {
        let bench = Bench::new(fixture).await.unwrap();
        let refused = async |change: fn(&mut ContainerSpec), words: &str| {
            let mut spec = bench.spec(1, &["sleep"]);
            change(&mut spec);
            match bench.runtime.create(&spec).await {
                Err(error @ RuntimeError::Refused { .. }) => {
                    assert!(error.to_string().contains(words), "{error}");
                }
                other => panic!("{words}: {other:?}"),
            }
        };
        let mount = |spec: &mut ContainerSpec| {
            let kind = MountKind::Tmpfs { size: None };
            spec.template.mounts = vec![Mount { kind, target: "/mnt".into(), read_only: false }];
        };
        refused(mount, "node with Docker").await;
        let publish = |spec: &mut ContainerSpec| {
            let port =
                Port { name: None, container: 80, protocol: Protocol::Tcp, host: Some(8080) };
            spec.template.ports = vec![port];
        };
        refused(publish, "node with Docker").await;
        refused(|spec| spec.address = [10, 0, 0, 1].into(), "loopback").await;
        refused(|spec| spec.template.stop.signal = "37".parse().unwrap(), "real-time").await;
        refused(|spec| spec.template.user = Some("nobody-here".into()), "no user").await;
        if nix::unistd::geteuid().is_root() {
            let folder = fixture.folder.path();
            std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).unwrap();
            refused(|spec| spec.template.user = Some("4321".into()), "chmod o+x").await;
        }
        assert!(bench.runtime.list().await.unwrap().is_empty());
        let network = NetworkSpec { subnet: "10.1.0.0/24".parse().unwrap(), ..fixture.network() };
        match bench.runtime.prepare_network(&network).await {
            Err(RuntimeError::Refused { why, .. }) => assert!(why.contains("127.64.0.0/10")),
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_program_is_kept_by_its_bytes() {
    with_processes(async |fixture| {
        let bench = Bench::new(fixture).await.unwrap();
        let path = fixture.folder.path().join("app");
        let image: Image = path.to_str().unwrap().parse().unwrap();
        let resolve = || bench.runtime.resolve(&image, spec::PullPolicy::Missing, None);
        let run = async |task: u8, pinned: &spec::PinnedImage| {
            let mut spec = bench.spec(task, &[]);
            spec.template.image = image.clone();
            spec.image = pinned.clone();
            bench.output(&spec).await.unwrap().2
        };
        let script = |word: &str| program(&path, &format!("#!/bin/sh\necho {word}\n"));
        script("one");
        let one = resolve().await.unwrap();
        script("two");
        let two = resolve().await.unwrap();
        assert_ne!(one, two);
        // The old bytes run although the path has new ones.
        assert_eq!((run(1, &one).await, run(2, &two).await), ("one".into(), "two".into()));

        // Another node has the same path: what is pinned is taken from it where it is the same, and only there.
        let elsewhere = tempfile::tempdir().unwrap();
        let there =
            open(Options::Process(options(elsewhere.path(), fixture.scope()))).await.unwrap();
        let (progress, _) = watch::channel(PullProgress::default());
        there.pull(&two, &image, None, &progress).await.unwrap();
        match there.pull(&one, &image, None, &progress).await {
            Err(RuntimeError::ImageMissing { why, .. }) => assert!(why.contains("another program")),
            other => panic!("{other:?}"),
        }

        // What is not kept goes once its tasks are gone.
        let keep = std::slice::from_ref(&two);
        assert_eq!(bench.runtime.cleanup(keep).await.unwrap().len(), 1, "the probe program");
        for container in bench.runtime.list().await.unwrap() {
            bench.runtime.remove(&container.id).await.unwrap();
        }
        assert_eq!(bench.runtime.cleanup(keep).await.unwrap(), std::slice::from_ref(&one));
        bench.runtime.pin(&two).await.unwrap();
        let gone = bench.runtime.pin(&one).await;
        assert!(matches!(gone, Err(RuntimeError::ImageMissing { .. })), "{gone:?}");
    })
    .await;
}

#[tokio::test]
async fn images_that_are_no_programs_are_named() {
    with_processes(async |fixture| {
        let runtime = fixture.runtime().await;
        let folder = fixture.folder.path();
        std::fs::write(folder.join("text"), "text").unwrap();
        for (image, words) in [
            ("web:v1", "absolute path"),
            ("/no/such/program", "every node"),
            (folder.to_str().unwrap(), "not a file"),
            (folder.join("text").to_str().unwrap(), "chmod +x"),
        ] {
            let image = image.parse().unwrap();
            match runtime.resolve(&image, spec::PullPolicy::Missing, None).await {
                Err(RuntimeError::ImageMissing { why, .. }) => {
                    assert!(why.contains(words), "{why}")
                }
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_terminal_has_its_size_and_is_the_controlling_one() {
    with_processes(async |fixture| {
        let bench = Bench::new(fixture).await.unwrap();
        let id = bench.run(&bench.spec(1, &["sleep"])).await.unwrap();
        let spec = ExecSpec {
            command: ["/bin/sh", "-c", "stty size; echo talk > /dev/tty"].map(str::to_owned).into(),
            env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
            tty: Some(TtySize { rows: 33, columns: 111 }),
            ..ExecSpec::default()
        };
        let session = bench.runtime.exec(&id, spec).await.unwrap();
        let chunks: Vec<_> = session.output.map(|chunk| chunk.unwrap().bytes).collect().await;
        assert_eq!(String::from_utf8(chunks.concat()).unwrap(), "33 111\r\ntalk\r\n");
        assert_eq!(session.control.wait().await, Ok(0));
    })
    .await;
}

#[tokio::test]
async fn a_damaged_task_hides_no_other() {
    with_processes(async |fixture| {
        let bench = Bench::new(fixture).await.unwrap();
        bench.run(&bench.spec(1, &["sleep"])).await.unwrap();
        let damaged = bench.runtime.create(&bench.spec(2, &["sleep"])).await.unwrap();
        let tasks = fixture.folder.path().join("tasks");
        std::fs::write(tasks.join(&damaged.0).join("task.json"), "{").unwrap();
        std::fs::write(tasks.join("a file"), "").unwrap();
        let listed = bench.runtime.list().await.unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        for odd in ["..", "../tasks", "", ".new-x", "a/b"] {
            let odd = ContainerRef(odd.into());
            let found = bench.runtime.inspect(&odd).await;
            assert!(matches!(found, Err(RuntimeError::NotFound { .. })), "{found:?}");
        }
    })
    .await;
}
