//! The disk alone: appends to a file whose blocks exist, each made durable before the next. No store can beat it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// About what one command of the API becomes in the log.
const RECORD: usize = 256;
/// Zero-filled beforehand, so that a write changes no metadata.
const SEGMENT: u64 = 64 << 20;

/// Durable records per second, `batch` of them to one flush.
pub(crate) fn writes_per_second(folder: &Path, batch: u32, time: Duration) -> anyhow::Result<f64> {
    let path = folder.join("raw-log");
    let file = File::create(&path)?;
    let zeros = vec![0_u8; 1 << 20];
    for at in (0..SEGMENT).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    let block = vec![1_u8; RECORD * usize::try_from(batch)?];
    let (start, mut at, mut records) = (Instant::now(), 0, 0_u32);
    while start.elapsed() < time {
        file.write_all_at(&block, at)?;
        file.sync_data()?;
        at = (at + u64::try_from(block.len())?) % (SEGMENT - u64::try_from(block.len())?);
        records += batch;
    }
    let rate = f64::from(records) / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}
