//! What `/proc` says of processes.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Processes of one task that are counted; above, the count is cut.
const DESCENDANTS_MAX: usize = 10_000;

/// A process that no later one can be mistaken for, within one boot of the machine.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// When it started, in clock ticks since boot.
    pub(super) start: u64,
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stat {
    pub(super) start: u64,
    pub(super) cpu: Duration,
    pub(super) threads: u32,
    pub(super) resident: u64,
    is_dead: bool,
}

/// The id of this boot of the machine.
pub(super) fn boot() -> io::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned())
}

impl Process {
    /// The process that has this pid now.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, start: stat(pid)?.start })
    }

    /// Whether it runs; one that only waits to be reaped does not.
    pub(super) fn is_alive(self) -> bool {
        stat(self.pid).is_ok_and(|stat| stat.start == self.start && !stat.is_dead)
    }

    /// A handle on it that stays its own, whatever becomes of the pid; `None` where it is gone.
    pub(super) fn handle(self) -> io::Result<Option<OwnedFd>> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            // Only now is the pid known to be of this very process.
            Ok(handle) => Ok(self.is_alive().then_some(handle)),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends it a signal; nothing happens where it is gone.
    pub(super) fn signal(self, signal: Signal) -> io::Result<()> {
        let Some(handle) = self.handle()? else { return Ok(()) };
        match pidfd_send_signal(handle, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills it with all that descends from it, and what else is in the process group that it leads.
    pub(super) fn kill_all(self) -> io::Result<()> {
        for pid in self.family() {
            if let Ok(process) = Self::of(pid) {
                process.signal(Signal::KILL)?;
            }
        }
        kill_group(self.pid)
    }

    /// Its pid and those of all that descend from it; none where it is gone.
    pub(super) fn family(self) -> Vec<u32> {
        let mut family = if self.is_alive() { vec![self.pid] } else { Vec::new() };
        let mut next = 0;
        while next < family.len() && family.len() < DESCENDANTS_MAX {
            family.extend(children(family[next]));
            next += 1;
        }
        family
    }
}

/// Kills every process of a group.
pub(super) fn kill_group(leader: u32) -> io::Result<()> {
    let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match rustix::process::kill_process_group(group, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let files = threads.flatten().map(|thread| thread.path().join("children"));
    let texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
    texts.flat_map(|text| numbers(&text)).collect()
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

pub(super) fn stat(pid: u32) -> io::Result<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat cannot be read")))
}

/// The command's name, in parentheses, may hold anything, so fields count from the last parenthesis.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Numbered as in proc(5), where the state is field 3.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = number(14)?.saturating_add(number(15)?);
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    Some(Stat {
        start: number(22)?,
        cpu: Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)),
        threads: u32::try_from(number(20)?).unwrap_or(u32::MAX),
        resident: number(24)?.saturating_mul(page),
        is_dead: matches!(fields.first(), Some(&("Z" | "X" | "x"))),
    })
}

/// Memory that these processes use, each shared page counted in equal parts to its users.
pub(super) fn memory(pids: &[u32]) -> u64 {
    pids.iter().filter_map(|pid| proportional(*pid)).sum()
}

fn proportional(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Memory resident for these processes: cheap to ask, and never less than [`memory`].
pub(super) fn resident(pids: &[u32]) -> u64 {
    pids.iter().filter_map(|pid| stat(*pid).ok()).map(|stat| stat.resident).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) Z (b c) S 1 7 7 0 -1 0 1 2 3 4 100 50 0 0 20 0 3 0 4242 9 25 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.start, stat.threads, stat.is_dead), (4242, 3, false));
        assert!(stat.cpu > Duration::ZERO && stat.resident >= 25 * 4096);
        assert!(parse_stat("7 (a) Z 1").is_none());
    }

    #[test]
    fn this_process_is_known_and_another_start_is_not() {
        let this = Process::of(std::process::id()).unwrap();
        assert!(this.is_alive() && this.handle().unwrap().is_some());
        let earlier = Process { start: this.start.wrapping_sub(1), ..this };
        assert!(!earlier.is_alive() && earlier.handle().unwrap().is_none());
        assert!(earlier.family().is_empty());
        assert!(this.family().contains(&this.pid));
        assert!(memory(&[this.pid]) > 0 && resident(&[this.pid]) > 0);
    }
}
