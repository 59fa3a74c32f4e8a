//! What really runs on a machine, seen by its own engine or its processes and not by Warren.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use bollard::errors::Error;
use bollard::query_parameters::ListContainersOptionsBuilder;
use serde_json::Value;

use super::Fleet;
use crate::cluster::Runtime;
use crate::testbed::{Namespace, processes};

/// The tasks that run on a machine: by their id, with the process that was started for each.
pub type Runs = BTreeMap<String, u32>;

impl Fleet {
    /// What runs on a machine.
    ///
    /// # Errors
    /// Where the engine does not answer, or something runs there that is no task.
    pub async fn runs(&self, index: usize) -> anyhow::Result<Runs> {
        match self.runtime() {
            Runtime::Docker => self.containers(index).await,
            Runtime::Process => self.processes(index),
        }
    }

    async fn containers(&self, index: usize) -> anyhow::Result<Runs> {
        let engine = self.bed().machine(index).engine.as_ref().context("an engine")?.client()?;
        // Without `all`: those that run. The engine has no others than Warren's.
        let listed = ListContainersOptionsBuilder::new().build();
        let mut runs = Runs::new();
        for container in engine.list_containers(Some(listed)).await? {
            let id = container.id.context("an id")?;
            let labels = container.labels.unwrap_or_default();
            let task = labels.get("warren.task").with_context(|| format!("{id} is nobody's"))?;
            let state = match engine.inspect_container(&id, None).await {
                // It has ended since it was listed.
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => continue,
                found => found?.state,
            };
            let pid = state.and_then(|state| state.pid).context("a process")?;
            if pid == 0 {
                continue;
            }
            let twice = runs.insert(task.clone(), u32::try_from(pid)?);
            ensure!(twice.is_none(), "{task} runs twice");
        }
        Ok(runs)
    }

    fn processes(&self, index: usize) -> anyhow::Result<Runs> {
        let folder = self.node(index).data_dir().join("process/tasks");
        let mut runs = Runs::new();
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let read = |name: &str| -> Option<Value> {
                serde_json::from_slice(&std::fs::read(entry.path().join(name)).ok()?).ok()
            };
            let (Some(task), Some(run)) = (read("task.json"), read("run.json")) else { continue };
            let pid = run["task"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            let pid = pid.with_context(|| format!("{run} names no process"))?;
            if !processes::has_ended(pid) {
                let id = task["labels"]["warren.task"].as_str().context("a task")?;
                runs.insert(id.to_owned(), pid);
            }
        }
        // What no folder tells of has the workload's name and this machine's network all the same.
        let known: BTreeSet<u32> = runs.values().copied().collect();
        let machine = &self.bed().machine(index).namespace;
        let strays = processes::serving_in(machine)?;
        let strays: Vec<u32> = strays.into_iter().filter(|pid| !known.contains(pid)).collect();
        ensure!(strays.is_empty(), "processes {strays:?} are nobody's");
        Ok(runs)
    }

    /// The network of a task of a machine.
    ///
    /// # Errors
    /// Where the task does not run there.
    pub async fn inside(&self, index: usize, task: &str) -> anyhow::Result<Namespace> {
        let runs = self.runs(index).await?;
        Namespace::of_process(*runs.get(task).with_context(|| format!("{task} runs"))?)
    }
}
