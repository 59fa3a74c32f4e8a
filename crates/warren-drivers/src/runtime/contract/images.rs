//! Images: names, bytes, and letting them go.

use crate::runtime::contract::{Bench, Checked, Fixture, ensure};
use crate::runtime::{PullProgress, RuntimeError};
use tokio::sync::watch;
use warren_core::spec::PullPolicy;

/// The facts that the scheduler needs are there.
pub async fn the_machine_is_told(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let info = bench.runtime.info().await?;
    ensure!(info.cpus.0 >= 1000 && info.cpus.0.is_multiple_of(1000), "{info:?}");
    ensure!(info.memory.0 > 64 << 20, "{info:?}");
    ensure!(info.platform.starts_with("linux/") && info.platform.len() > 6, "{info:?}");
    ensure!(!info.version.is_empty() && !info.hostname.is_empty(), "{info:?}");
    ensure!(!info.kernel.is_empty(), "{info:?}");
    bench.runtime.prepare_network(&fixture.network()).await?;
    Ok(())
}

/// One name means the same bytes each time, and the bytes mean themselves.
pub async fn an_image_is_resolved_to_its_bytes(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    ensure!(bench.image.0.starts_with("sha256:"), "{}", bench.image);
    let again = bench.runtime.resolve(&fixture.image(), PullPolicy::Never, None).await?;
    ensure!(again == bench.image, "{again} is not {}", bench.image);
    let itself = bench.image.0.parse()?;
    let itself = bench.runtime.resolve(&itself, PullPolicy::Missing, None).await?;
    ensure!(itself == bench.image, "{itself} is not {}", bench.image);
    Ok(())
}

/// An image that is nowhere is refused by its name, wherever it is asked for.
pub async fn an_image_that_nobody_has_is_named(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    let name = fixture.absent_image();
    match bench.runtime.resolve(&name, PullPolicy::Never, None).await {
        Err(RuntimeError::ImageMissing { image, why }) => {
            ensure!(image == name.as_str() && !why.is_empty(), "{image}: {why}");
        }
        other => ensure!(false, "resolving {name}: {other:?}"),
    }
    let bytes = fixture.absent_bytes();
    let (progress, _) = watch::channel(PullProgress::default());
    let pulled = bench.runtime.pull(&bytes, &name, None, &progress).await;
    ensure!(matches!(pulled, Err(RuntimeError::ImageMissing { .. })), "{pulled:?}");
    let pinned = bench.runtime.pin(&bytes).await;
    ensure!(matches!(pinned, Err(RuntimeError::ImageMissing { .. })), "{pinned:?}");
    let mut spec = bench.spec(1, &["sleep"]);
    spec.image = bytes;
    let created = bench.runtime.create(&spec).await;
    ensure!(matches!(created, Err(RuntimeError::ImageMissing { .. })), "{created:?}");
    ensure!(bench.runtime.list().await?.is_empty(), "a container was left");
    Ok(())
}

/// Cleaning up takes neither what is kept nor what a container is made from.
pub async fn an_image_in_use_or_kept_stays(fixture: &dyn Fixture) -> Checked {
    let bench = Bench::new(fixture).await?;
    bench.runtime.pin(&bench.image).await?;
    let keep = [bench.image.clone()];
    let removed = bench.runtime.cleanup(&keep).await?;
    ensure!(removed.is_empty(), "{removed:?} was removed although it is kept");
    let id = bench.runtime.create(&bench.spec(1, &["exit", "0"])).await?;
    let removed = bench.runtime.cleanup(&[]).await?;
    ensure!(removed.is_empty(), "{removed:?} was removed although a container needs it");
    bench.runtime.start(&id).await?;
    bench.end(&id).await?;
    Ok(())
}
