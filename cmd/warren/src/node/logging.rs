//! Where messages go: standard error, for people or for programs.

use crate::config::{LogFormat, NodeConfig};
use crate::failure::{Failure, Outcome};
use crate::output;
use tracing_subscriber::EnvFilter;

/// The consensus library tells every step of it at `info`; Warren tells what came of it.
const QUIET: &str = "openraft=warn";

/// Starts logging. Once in a process, before anything else runs.
///
/// # Errors
/// The filter cannot be read, or logging has been started already.
pub fn start(config: &NodeConfig) -> Outcome {
    let words = match config.log.contains("openraft") {
        true => config.log.clone(),
        false => format!("{},{QUIET}", config.log),
    };
    let filter = EnvFilter::builder().parse(words).map_err(Failure::usage)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output::colours());
    let started = match config.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
    started.map_err(|error| Failure::from(anyhow::anyhow!("cannot start logging: {error}")))
}
