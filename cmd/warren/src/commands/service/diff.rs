//! `warren service diff`

use super::inspect::version;
use crate::client::{Client, ClientArgs, of_service, request};
use crate::failure::Outcome;
use crate::manifest::Manifest;
use crate::output::{self, OutputArgs};
use clap::Args;
use serde::Serialize;
use warren_wire::v1;

/// Show what differs between two versions of a service
///
/// Example: `warren service diff web v2 v3`
#[derive(Args, Debug)]
pub struct Diff {
    /// Name or id of the service
    name: String,
    /// The one version, as in 2 or v2
    #[arg(value_parser = version)]
    from: u32,
    /// The other; the current one where left out
    #[arg(value_parser = version)]
    to: Option<u32>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Both {
    from: v1::Revision,
    to: v1::Revision,
    lines: Vec<Line>,
}

/// A line of a comparison.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Line {
    /// ` ` in both, `-` in the first, `+` in the second.
    sign: char,
    text: String,
}

impl Diff {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service or version.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let from = revision(&client, &self.name, self.from).await?;
        let to = revision(&client, &self.name, self.to.unwrap_or_default()).await?;
        let lines = compare(&lines(&from)?, &lines(&to)?);
        let both = Both { from, to, lines };
        output::print(self.output.output, &both, page)
    }
}

async fn revision(client: &Client, name: &str, version: u32) -> Outcome<v1::Revision> {
    let asked = v1::GetServiceVersionRequest { service_id: name.to_owned(), version };
    let answer = client.services().get_service_version(request(asked)).await.map_err(of_service)?;
    Ok(answer.into_inner().revision.unwrap_or_default())
}

/// What a version runs, as its manifest says it, with what the image was resolved to.
fn lines(revision: &v1::Revision) -> Outcome<Vec<String>> {
    let pinned = revision.template.as_ref().map(|template| template.pinned.clone());
    let spec = v1::ServiceSpec { template: revision.template.clone(), ..Default::default() };
    let text = output::yaml(&Manifest::from(&spec))?;
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.starts_with("name:")).map(str::to_owned).collect();
    if let Some(digest) = pinned.filter(|digest| !digest.is_empty()) {
        let at = lines.iter().position(|line| line.starts_with("image:")).map_or(0, |at| at + 1);
        lines.insert(at, format!("digest: {digest}"));
    }
    Ok(lines)
}

/// The lines of both, with the longest common part kept.
fn compare(old: &[String], new: &[String]) -> Vec<Line> {
    // How many lines are common from each pair of places on.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let line = |sign, text: &String| Line { sign, text: text.clone() };
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(line(' ', &old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(line('-', &old[i]));
            i += 1;
        } else {
            lines.push(line('+', &new[j]));
            j += 1;
        }
    }
    lines
}

fn page(both: &Both) -> String {
    let (from, to) = (both.from.number, both.to.number);
    if both.lines.iter().all(|line| line.sign == ' ') {
        return format!("v{from} and v{to} run the same\n");
    }
    let mut text = format!("--- v{from}\n+++ v{to}\n");
    for line in &both.lines {
        text.push_str(&format!("{} {}\n", line.sign, line.text));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(number: u32, change: impl FnOnce(&mut v1::TaskTemplate)) -> v1::Revision {
        let mut template = v1::TaskTemplate {
            image: "web:v1".into(),
            pinned: "sha256:11".into(),
            args: vec!["--fast".into()],
            ..Default::default()
        };
        template.env.insert("A".into(), "1".into());
        change(&mut template);
        v1::Revision { number, template: Some(template), ..Default::default() }
    }

    fn of(from: v1::Revision, to: v1::Revision) -> String {
        let lines = compare(&lines(&from).unwrap(), &lines(&to).unwrap());
        page(&Both { from, to, lines })
    }

    #[test]
    fn what_differs_is_marked_and_the_rest_is_kept() {
        let new = revision(3, |template| {
            template.image = "web:v2".into();
            template.pinned = "sha256:22".into();
            template.env.insert("B".into(), "x".into());
        });
        assert_eq!(
            of(revision(2, |_| {}), new),
            "\
--- v2
+++ v3
- image: web:v1
- digest: sha256:11
+ image: web:v2
+ digest: sha256:22
  args:
  - --fast
  env:
    A: \"1\"
+   B: x
"
        );
        assert_eq!(of(revision(2, |_| {}), revision(5, |_| {})), "v2 and v5 run the same\n");
    }
}
