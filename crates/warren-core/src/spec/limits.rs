//! The sizes that intent may have. Each bounds memory, log entries or packets somewhere behind it.

use crate::units::{Bytes, MilliCpu};
use std::time::Duration;

/// Tasks of one service: what one plan places in a second on a small machine, and a guard against a slipped zero.
pub const REPLICAS_MAX: u32 = 50_000;
/// Services of a cluster: they are all in memory and all in one traffic view.
pub const SERVICES_MAX: usize = 10_000;
/// All of a service's environment, names and values: two thirds of what Linux gives a process by default.
pub const ENV_BYTES_MAX: usize = 128 * 1024;
/// The command and arguments together; the kernel's limit for a single argument.
pub const COMMAND_BYTES_MAX: usize = 128 * 1024;
/// Ports of one service; an SRV answer with more does not fit a TCP DNS message with 8 targets.
pub const PORTS_MAX: usize = 64;
/// Mounts of one service.
pub const MOUNTS_MAX: usize = 64;
/// Labels of one service, container or node.
pub const LABELS_MAX: usize = 64;
/// One label's value.
pub const LABEL_VALUE_BYTES_MAX: usize = 4096;
/// Constraints of one service.
pub const CONSTRAINTS_MAX: usize = 32;
/// A path in a container or on a host: the kernel's `PATH_MAX`.
pub const PATH_BYTES_MAX: usize = 4096;
/// A user name or `uid:gid`: twice what Linux allows a name.
pub const USER_BYTES_MAX: usize = 64;
/// The name of one environment variable.
pub const ENV_NAME_BYTES_MAX: usize = 256;
/// The least memory a task may be limited to: Docker refuses less.
pub const MEMORY_LIMIT_MIN: Bytes = Bytes::from_mib(6);
/// The least CPU a task may be limited to: the kernel's shortest quota, 1 ms in 100 ms.
pub const CPU_LIMIT_MIN: MilliCpu = MilliCpu(10);
/// The shortest wait between two looks of one health check: a tenth of the second in which readiness must show.
pub const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The shortest first wait before a restart: a task that ends at once must not fill a core with restarts.
pub const RESTART_DELAY_MIN: Duration = Duration::from_millis(10);
/// The shortest time without a leader after which a node may stop tasks by itself: longer than an election and the way
/// to the next leader take, which is no reason to stop anything.
pub const STOP_AFTER_MIN: Duration = Duration::from_secs(10);
/// The longest span in a spec. A year; more is a slipped unit.
pub const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
