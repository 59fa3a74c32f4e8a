//! Whether a command inside the container exits with 0.

use crate::probe::{REASON_BYTES_MAX, Target};
use crate::runtime::ExecSpec;
use futures::StreamExt;

pub(super) async fn look(target: Target<'_>, command: &[String]) -> Result<(), String> {
    let spec = ExecSpec { command: command.to_vec(), ..ExecSpec::default() };
    let session =
        target.runtime.exec(target.container, spec).await.map_err(|error| error.to_string())?;
    let mut output = session.output;
    let mut said = Vec::new();
    while let Some(chunk) = output.next().await {
        let chunk = chunk.map_err(|error| error.to_string())?;
        let room = REASON_BYTES_MAX.saturating_sub(said.len());
        said.extend_from_slice(&chunk.bytes[..room.min(chunk.bytes.len())]);
    }
    match session.control.wait().await.map_err(|error| error.to_string())? {
        0 => Ok(()),
        code => {
            let said = String::from_utf8_lossy(&said);
            let said = said.trim();
            let colon = if said.is_empty() { "" } else { ": " };
            Err(format!("the command exited with {code}{colon}{said}"))
        }
    }
}
