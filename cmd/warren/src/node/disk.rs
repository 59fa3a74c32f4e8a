//! Whether the disk of the data directory has room. A manager that cannot write its log leads nobody, and what a node
//! was told is gone with its next start: that is said before it is so.

use super::problems::{self, Problems};
use nix::sys::statvfs::statvfs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often it is looked at: a disk that is filled at 10 MB/s is told of a minute before its end.
const LOOK: Duration = Duration::from_secs(10);
/// With less room than this, the log and the snapshots of a large cluster may not fit.
const ROOM_BYTES_MIN: u64 = 1024 * 1024 * 1024;
/// A small disk has enough with one part in so many.
const ROOM_PART_MIN: u64 = 20;

/// Tells on `told` while there is little room at `path`, until `shutdown`.
pub async fn watch(path: PathBuf, told: watch::Sender<Problems>, shutdown: CancellationToken) {
    let mut mine = Problems::new();
    loop {
        for problem in problems::tell(&told, &mut mine, look(&path).await) {
            tracing::warn!(problem, "the disk is nearly full");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(LOOK) => {}
        }
    }
}

/// A disk of another machine may not answer: that keeps nobody waiting but this.
async fn look(path: &Path) -> Problems {
    let asked = path.to_owned();
    let room = tokio::task::spawn_blocking(move || {
        let disk = statvfs(&asked).ok()?;
        let size = disk.fragment_size();
        Some((disk.blocks_available() * size, disk.blocks() * size))
    });
    let room = room.await.ok().flatten();
    room.and_then(|(left, all)| problem(path, left, all)).into_iter().collect()
}

fn problem(path: &Path, left: u64, all: u64) -> Option<String> {
    let little = left < ROOM_BYTES_MIN && left < all / ROOM_PART_MIN;
    little.then(|| {
        format!(
            "the disk of {} is nearly full: without room a manager leads nobody and takes nothing down, so make some \
             there",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * 1024 * 1024;

    #[tokio::test]
    async fn a_disk_is_told_of_once_it_has_little_room() {
        let path = Path::new("/var/lib/warren");
        assert_eq!(problem(path, 2 * GIB, 1_000 * GIB), None, "2 GiB is room");
        assert_eq!(problem(path, GIB / 2, 5 * GIB), None, "so is a tenth of a small disk");
        for (left, all) in [(GIB / 2, 1_000 * GIB), (GIB / 10, 5 * GIB), (0, GIB)] {
            let told = problem(path, left, all).unwrap();
            assert!(told.contains("/var/lib/warren is nearly full"), "{told}");
        }
        assert_eq!(look(Path::new("/nowhere/at/all")).await, Problems::new(), "not known");
    }
}
