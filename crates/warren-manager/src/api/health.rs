//! The standard health service: serving while this manager knows who leads.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use warren_raft::Leadership;

/// Keeps what the health service answers up to date. Run it once.
pub struct HealthReport {
    pub(super) reporter: HealthReporter,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) services: Vec<&'static str>,
}

impl HealthReport {
    /// Runs until `shutdown`, and leaves everything not serving.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let known = *self.leadership.borrow_and_update() != Leadership::None;
            self.set(known && !shutdown.is_cancelled()).await;
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = self.leadership.changed() => if changed.is_err() { break },
            }
        }
        self.set(false).await;
    }

    async fn set(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in std::iter::once(&"").chain(&self.services) {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
