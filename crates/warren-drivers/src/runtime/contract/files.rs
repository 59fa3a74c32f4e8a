//! Secrets and configs.

use crate::files::{FileStore, TaskFile};
use crate::runtime::contract::{Bench, Checked, Fixture, ensure};
use crate::runtime::{ContainerSpec, FileSet, RuntimeKind};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use zeroize::Zeroizing;

const TARGET: &str = "/run/secrets/db";

/// A task finds its files at their paths, with their content and mode, cannot change them, and they can be taken away.
pub async fn a_task_reads_its_files_and_nobody_writes_them(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let containers = bench.runtime.info().await?.kind == RuntimeKind::Docker;
    let folder = std::env::temp_dir().join(format!("warren-files-{}", fixture.scope().cluster));
    let store = FileStore::new(folder.clone(), 0o711);
    let outcome = check(&bench, &store, containers).await;
    store.close()?;
    ensure!(!folder.exists(), "the files stay");
    outcome
}

async fn check(bench: &Bench<'_>, store: &FileStore, containers: bool) -> Checked {
    let spec = bench.spec(1, &[]);
    let content = Zeroizing::new(b"canary".to_vec());
    let file = TaskFile { target: TARGET.to_owned(), content, mode: 0o640, uid: None, gid: None };
    let folder = store.write(spec.labels.task, false, None, &[file])?;
    let files = FileSet { folder, targets: vec![TARGET.to_owned()] };
    let source = files.source(TARGET);
    let path = if containers { TARGET.to_owned() } else { source.display().to_string() };
    let with_files = |task: u8, args: &[&str]| ContainerSpec {
        files: Some(files.clone()),
        ..bench.spec(task, args)
    };
    let (_, exit, text) = bench.output(&with_files(1, &["read", &path])).await?;
    ensure!(exit.code == Some(0) && text == "canary", "{exit:?} {text:?}");
    let mode = std::fs::metadata(&source)?.permissions().mode() & 0o7777;
    ensure!(mode == 0o440, "nobody may write it, and its mode is {mode:o}");
    if containers {
        let (_, exit, text) = bench.output(&with_files(2, &["write", &path, "other"])).await?;
        ensure!(exit.code == Some(1), "root of a container wrote it: {exit:?} {text:?}");
        ensure!(std::fs::read(&source)? == b"canary", "it was changed");
    } else {
        let told = with_files(2, &[]).files.map(|files| files.folder.display().to_string());
        let (_, _, text) = bench.output(&with_files(2, &["show"])).await?;
        let line = format!("WARREN_FILES={}", told.unwrap_or_default());
        ensure!(text.contains(&line), "{text:?} does not say {line}");
    }
    for _ in 0..2 {
        store.sweep(&BTreeSet::new())?;
    }
    ensure!(!source.exists(), "the file stays");
    Ok(())
}
