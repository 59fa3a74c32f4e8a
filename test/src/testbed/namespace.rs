//! A network of its own inside of this machine.

use std::fs::File;
use std::marker::PhantomData;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::sched::{CloneFlags, setns};

use super::tool;

/// Where the kernel's namespaces have names.
const NAMED: &str = "/run/netns";

/// A network namespace with a name. Whoever made the testbed removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
}

/// A thread that is in a namespace, until this goes. Sockets that it makes and programs that it starts stay there.
pub struct Inside {
    back: File,
    // The kernel moved this thread and no other.
    _thread: PhantomData<*const ()>,
}

impl Namespace {
    pub(super) fn make(name: &str) -> anyhow::Result<Self> {
        tool::run("ip", &["netns", "add", name], "")?;
        let namespace = open(name)?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The one that a process is in, as of a container.
    ///
    /// # Errors
    /// Where there is no such process.
    pub fn of_process(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        let file = File::open(&path).with_context(|| path.clone())?;
        Ok(Self { name: path, file })
    }

    /// Its name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number in the kernel, as the processes in it show it.
    pub(super) fn inode(&self) -> anyhow::Result<u64> {
        Ok(self.file.metadata()?.ino())
    }

    /// Puts this thread inside until the value goes.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn enter(&self) -> anyhow::Result<Inside> {
        let back = File::open("/proc/thread-self/ns/net")?;
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("entering {}", self.name))?;
        Ok(Inside { back, _thread: PhantomData })
    }

    /// Runs a program inside to its end and gives what it printed.
    ///
    /// # Errors
    /// Where it fails, with what it said.
    pub fn run(&self, program: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let _inside = self.enter()?;
        tool::run(program, arguments, input)
    }

    /// Runs `ip` inside.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn ip(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run("ip", arguments, "")
    }

    /// Sets a kernel parameter that belongs to the network.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn sysctl(&self, key: &str, value: &str) -> anyhow::Result<()> {
        let _inside = self.enter()?;
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        std::fs::write(&path, value).with_context(|| path)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // A thread that cannot go back would do the next test's work in the wrong place.
        setns(&self.back, CloneFlags::CLONE_NEWNET).expect("a thread may go back where it was");
    }
}

/// One that was made before.
pub(super) fn open(name: &str) -> anyhow::Result<Namespace> {
    Ok(Namespace { name: name.to_owned(), file: File::open(path(name))? })
}

/// Where a namespace of that name is.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(NAMED).join(name)
}

/// The names of all namespaces that begin so.
pub(super) fn named(prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(NAMED).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}
