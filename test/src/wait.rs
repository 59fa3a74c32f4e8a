//! Waiting for a named condition, with a deadline: the only way in which a test here lets time pass.

use std::time::{Duration, Instant};

use anyhow::bail;

/// How long between two looks: short beside what is waited for, long beside what a look costs.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `look` gives a value, and fails with the name of the condition and the last reason where it does not
/// before `deadline`.
///
/// # Errors
/// When the deadline has passed.
pub async fn until<T, L>(what: &str, deadline: Duration, mut look: L) -> anyhow::Result<T>
where
    L: AsyncFnMut() -> anyhow::Result<T>,
{
    let start = Instant::now();
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(why) if start.elapsed() > deadline => {
                bail!("{what}: not within {deadline:?}; last seen: {why:#}")
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
