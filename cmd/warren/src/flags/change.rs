//! The flags of a change of a service, the same for `service update` and `rollout plan`.

use super::files::FileChangeFlags;
use super::{RemoveFlags, SpecFlags, checked};
use crate::failure::Outcome;
use clap::Args;
use warren_wire::v1;

/// What an update changes, and how it is brought in.
#[derive(Args, Clone, Debug)]
pub struct ChangeFlags {
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Accept the image even where no node can resolve it now
    #[arg(long)]
    skip_resolve: bool,
    /// Go on in spite of a freeze, for this reason
    #[arg(long, value_name = "REASON")]
    override_freeze: Option<String>,
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    remove: RemoveFlags,
    #[command(flatten)]
    files: FileChangeFlags,
}

impl ChangeFlags {
    /// The request that changes `service`, as it was read, and nobody else's later word.
    ///
    /// # Errors
    /// The first flag that cannot be.
    pub fn request(&self, service: &v1::Service) -> Outcome<v1::UpdateServiceRequest> {
        let mut spec = service.spec.clone().unwrap_or_default();
        self.remove.take_away(&mut spec)?;
        self.files.change(spec.template.get_or_insert_default())?;
        self.spec.lay_over(&mut spec)?;
        checked(&spec)?;
        Ok(v1::UpdateServiceRequest {
            service_id: service.id.clone(),
            image: self.spec.image().unwrap_or_default().to_owned(),
            spec: Some(spec),
            expect_generation: service.generation,
            reason: self.reason.clone().unwrap_or_default(),
            skip_resolve: self.skip_resolve,
            override_freeze: self.override_freeze.clone().unwrap_or_default(),
            ..Default::default()
        })
    }
}
