//! What is shown before an update: the named settings, and what the update would do.

use super::Api;
use warren_core::spec::{ProfileName, profile};
use warren_wire::convert::{spec, update};
use warren_wire::v1;

impl Api {
    /// The named settings.
    pub(super) fn profiles() -> v1::ListProfilesResponse {
        let profiles = ProfileName::ALL.into_iter().map(|name| {
            let settings = profile(name);
            v1::Profile {
                name: name.to_string(),
                about: name.about().to_owned(),
                strategy: Some(spec::render_strategy(settings.strategy).into()),
                update_config: Some(update::render(&settings)),
            }
        });
        v1::ListProfilesResponse { profiles: profiles.collect() }
    }
}
