//! `warren service logs`

use crate::client::{ClientArgs, of_service};
use crate::failure::{Failure, Outcome};
use crate::flags::words;
use crate::output;
use clap::Args;
use std::io::Write;
use std::time::{Duration, SystemTime};
use warren_wire::v1;

/// Show what the tasks of a service write
#[derive(Args, Debug)]
pub struct Logs {
    /// Service, or one task as in web.3
    name: String,
    /// Go on with what is written from now on
    #[arg(long, short)]
    follow: bool,
    /// Only so many of the last lines of each task
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<u32>,
    /// Only what was written in this time up to now, as in 10m, or since this moment
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<u64>,
    /// Begin each line with the moment it was written
    #[arg(long, short)]
    timestamps: bool,
    /// Print the lines as they are, without the task that wrote them
    #[arg(long)]
    raw: bool,
}

/// Milliseconds since the Unix epoch.
fn since(text: &str) -> Result<u64, String> {
    let moment = match words::duration(text) {
        Ok(length) => SystemTime::now() - length,
        Err(_) => humantime::parse_rfc3339_weak(text)
            .map_err(|_| format!("{text:?} is no time: write 10m or 2026-01-31T12:00:00Z"))?,
    };
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).map_err(|e| e.to_string())?;
    Ok(words::millis(since))
}

impl Logs {
    /// Runs it until the logs end, or Ctrl-C.
    ///
    /// # Errors
    /// There is no such service or task.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let is_task = self.name.contains('.');
        let name = self.name.clone();
        let asked = v1::LogsRequest {
            service_id: if is_task { String::new() } else { name.clone() },
            task_id: if is_task { name.clone() } else { String::new() },
            follow: self.follow,
            tail: self.tail,
            since_unix_ms: self.since.unwrap_or_default(),
        };
        let mut stream = client.tasks().logs(asked).await.map_err(of_service)?.into_inner();
        let mut problems = 0_usize;
        while let Some(log) = stream.message().await? {
            if log.problem.is_empty() {
                self.print(&log)?;
            } else {
                problems += 1;
                output::say(format_args!("{}: {}", log.task, log.problem));
            }
        }
        match problems {
            0 => Ok(()),
            count => Err(Failure::new(
                crate::failure::Exit::Failed,
                format!("the logs of {count} tasks are not complete"),
            )),
        }
    }

    fn print(&self, log: &v1::LogsResponse) -> Outcome {
        let mut line = Vec::with_capacity(log.line.len() + 64);
        if self.timestamps {
            line.extend(moment(log.at_unix_ns).bytes().chain(*b" "));
        }
        if !self.raw {
            line.extend(log.task.bytes().chain(*b" | "));
        }
        line.extend(&log.line);
        line.push(b'\n');
        if log.stderr {
            // What the task wrote to standard error is data too, but stays apart.
            return Ok(std::io::stderr().lock().write_all(&line)?);
        }
        output::raw(line)
    }
}

fn moment(unix_ns: u64) -> String {
    let moment = SystemTime::UNIX_EPOCH + Duration::from_nanos(unix_ns);
    humantime::format_rfc3339_millis(moment).to_string()
}
