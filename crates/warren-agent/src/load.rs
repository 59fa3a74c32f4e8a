//! How busy the machine is.

use std::fs;
use std::time::Instant;
use warren_core::units::{Bytes, MilliCpu};

/// Reads the machine's load; the CPU's from the difference to the reading before.
#[derive(Debug, Default)]
pub(crate) struct LoadMeter {
    last: Option<(Instant, u64)>,
}

/// One clock tick of `/proc/stat` in milliseconds: Linux shows user space 100 a second on every architecture.
const TICK_MS: u64 = 10;

impl LoadMeter {
    /// CPU in use since the reading before, and memory in use now; zero where the kernel does not tell.
    pub(crate) fn read(&mut self) -> (MilliCpu, Bytes) {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let busy_ms = busy_ticks(&text("/proc/stat")) * TICK_MS;
        let now = Instant::now();
        let cpu = self.last.replace((now, busy_ms)).map_or(0, |(then, before)| {
            let passed = now.duration_since(then).as_millis().max(1);
            let used = u128::from(busy_ms.saturating_sub(before)) * 1000 / passed;
            u32::try_from(used).unwrap_or(u32::MAX)
        });
        (MilliCpu(cpu), used_memory(&text("/proc/meminfo")))
    }
}

/// Ticks of all CPUs that were not idle or waiting for a disk.
fn busy_ticks(stat: &str) -> u64 {
    let fields = stat.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
    // user nice system idle iowait irq softirq steal; guest time is in user already.
    let counts = fields.take(8).map(|field| field.parse::<u64>().unwrap_or(0));
    counts.enumerate().filter(|(i, _)| !matches!(i, 3 | 4)).map(|(_, count)| count).sum()
}

fn used_memory(meminfo: &str) -> Bytes {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let used = kib("MemTotal").zip(kib("MemAvailable"));
    Bytes(used.map_or(0, |(total, free)| total.saturating_sub(free) * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let stat = "cpu  100 20 30 4000 500 6 7 8 90 0\ncpu0 1 2 3\n";
        assert_eq!(busy_ticks(stat), 171);
        let meminfo = "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    400 kB\n";
        assert_eq!(used_memory(meminfo), Bytes(600 * 1024));
        assert_eq!((busy_ticks(""), used_memory("")), (0, Bytes(0)));
    }
}
