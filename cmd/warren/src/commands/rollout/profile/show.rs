//! `warren rollout profile show`

use crate::client::{ClientArgs, suggest};
use crate::failure::{Exit, Failure, Outcome};
use crate::manifest;
use crate::output::{self, Format, OutputArgs};
use clap::Args;
use warren_wire::v1;

/// Print a profile as YAML for a manifest
///
/// What is printed holds all that differs from the defaults, so that it can be pasted into a manifest and changed
/// there. `update: {profile: NAME}` means the same.
///
/// Example: `warren rollout profile show progressive >> web.yaml`
#[derive(Args, Debug)]
pub struct Show {
    /// Name of the profile
    profile: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl Show {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such profile.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let profiles = super::profiles(&client).await?;
        let found = profiles.iter().find(|profile| profile.name == self.profile);
        let Some(profile) = found else {
            let names: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
            let refused = Failure::new(Exit::NotFound, format!("no profile {:?}", self.profile));
            return Err(match suggest(&self.profile, names.iter().copied()) {
                Some(name) => refused.hint(format!("did you mean {name}?")),
                None => refused.hint(format!("there are {}", names.join(", "))),
            });
        };
        match self.output.output {
            Format::Table | Format::Yaml => output::raw(blocks(profile)?),
            Format::Json => output::line(output::json(profile)?),
        }
    }
}

fn blocks(profile: &v1::Profile) -> Outcome<String> {
    let config = profile.update_config.clone().unwrap_or_default();
    let settings = manifest::settings(profile.strategy(), &config);
    Ok(format!("# {}: {}\n{}", profile.name, profile.about, output::yaml(&settings)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_prints_as_blocks_that_a_manifest_takes() {
        let ramp = v1::Ramp { to_per_mille: 1000, by_per_mille: 200, every_ms: 300_000 };
        let update_config = v1::UpdateConfig {
            profile: Some("progressive".into()),
            drain_ms: Some(600_000),
            steps: vec![
                v1::Step { weight_per_mille: Some(25), hold_ms: 120_000, ..Default::default() },
                v1::Step { ramp: Some(ramp), ..Default::default() },
            ],
            ..Default::default()
        };
        let profile = v1::Profile {
            name: "progressive".into(),
            about: "ever larger shares".into(),
            strategy: Some(v1::DeploymentStrategy::Canary.into()),
            update_config: Some(update_config.clone()),
        };
        let text = blocks(&profile).unwrap();
        assert!(text.starts_with("# progressive: ever larger shares\nupdate:\n"), "{text}");
        let manifest = format!("name: web\nimage: web:v1\n{text}");
        let spec = manifest::parse("f", manifest.as_bytes()).unwrap().remove(0);
        assert_eq!(spec.strategy(), v1::DeploymentStrategy::Canary);
        let read = spec.update_config.unwrap();
        assert_eq!(read.steps, update_config.steps, "{text}");
        assert_eq!((read.drain_ms, read.profile), (Some(600_000), None));
    }
}
