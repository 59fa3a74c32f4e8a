//! `warren service scale`

use crate::client::{Client, ClientArgs, of_service, request};
use crate::failure::{Failure, Outcome};
use crate::progress::{self, Goal, WaitArgs};
use clap::Args;
use warren_wire::v1;

/// Change how many tasks a service has
///
/// Two forms: `scale web 5`, and `scale web=5 api=2`.
#[derive(Args, Debug)]
pub struct Scale {
    /// SERVICE and NUMBER, or SERVICE=NUMBER for each
    #[arg(required = true, value_name = "SERVICE=N", allow_negative_numbers = true)]
    what: Vec<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

impl Scale {
    /// Runs it.
    ///
    /// # Errors
    /// A number is wrong, there is no such service, or waiting ended first.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let wanted = wanted(&self.what)?;
        let client = client.connect().await?;
        let mut goals = Vec::new();
        for (name, replicas) in wanted {
            goals.push((name, scale(&client, name, replicas).await?));
        }
        for (name, goal) in goals {
            progress::wait(&client, name, goal, &self.wait).await?;
        }
        Ok(())
    }
}

async fn scale(client: &Client, name: &str, replicas: u32) -> Outcome<Goal> {
    let asked =
        v1::ScaleServiceRequest { service_id: name.to_owned(), replicas, expect_generation: 0 };
    let answer = client.services().scale_service(request(asked)).await.map_err(of_service)?;
    Ok(Goal::Settled { generation: answer.into_inner().service.unwrap_or_default().generation })
}

fn wanted(words: &[String]) -> Outcome<Vec<(&str, u32)>> {
    match words {
        [name, count] if !name.contains('=') => Ok(vec![(name.as_str(), number(count)?)]),
        [_, _, _, ..] if !words.iter().any(|word| word.contains('=')) => {
            Err(Failure::usage("several services need SERVICE=N each")
                .hint("write as in `warren service scale web=5 api=2`"))
        }
        words => words.iter().map(|word| pair(word)).collect(),
    }
}

fn pair(word: &str) -> Outcome<(&str, u32)> {
    match word.split_once('=') {
        Some((name, count)) if !name.is_empty() => Ok((name, number(count)?)),
        _ => Err(Failure::usage(format!("{word:?} does not say how many"))
            .hint("write `warren service scale web 5` or `warren service scale web=5 api=2`")),
    }
}

fn number(text: &str) -> Outcome<u32> {
    let most = warren_core::spec::REPLICAS_MAX;
    text.parse().ok().filter(|count| *count <= most).ok_or_else(|| {
        Failure::usage(format!("{text:?} is not a number of tasks"))
            .hint(format!("write 0 to {most}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_slips_are_refused() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            let read = wanted(&words).map_err(|failure| failure.to_string())?;
            Ok::<_, String>(read.iter().map(|(name, n)| format!("{name}:{n}")).collect::<Vec<_>>())
        };
        assert_eq!(read(&["web", "5"]).unwrap(), ["web:5"]);
        assert_eq!(read(&["web=5", "api=0"]).unwrap(), ["web:5", "api:0"]);
        for wrong in [&["web"][..], &["web", "-1"], &["web=x"], &["=5"], &["a=1", "b", "3"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        assert!(read(&["y", "2", "web", "1"]).unwrap_err().contains("SERVICE=N"));
        assert!(read(&["web=100000"]).unwrap_err().contains("50000"));
    }
}
