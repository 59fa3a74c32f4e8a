//! README and guides, word for word: what their console blocks type, on a real node, in their order.
//!
//! A test has images and files of its own where a page names those of its reader; [`Tour::stands`] says which.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hickory_proto::rr::RecordType;
use warren_test::cluster::{Node, Runtime};
use warren_test::dns::{self, Over};
use warren_test::{example, tree, wait};

use super::{on_each_runtime, resolve};

on_each_runtime!(the_tour_of_the_readme_is_true);

/// What a page lets its reader type that is not for a test: it has built and started Warren already.
const BY_THE_TEST: [&str; 8] = [
    "make ",
    "git ",
    "install ",
    "warren up",
    "sudo install ",
    "sudo warren up",
    "warren down",
    "cd ",
];
/// Commands that go on until their reader has seen enough.
const ENDLESS: [&str; 3] = ["events -f", "rollout watch", "logs -f"];
/// How long a name may take to lead somewhere, as that of a version that is only coming up.
const NAMED: Duration = Duration::from_secs(60);
/// A manifest for pages that take one from their reader's repository.
const MANIFEST: &str = "\
name: web
replicas: 3
image: web:v1
ports: [{name: http, container: 8080}]
health: {http: {port: 8080, path: /health}, interval: 1s}
update: {min_ready: 1s, parallelism: 0, max_surge: 3}
";

/// What the console blocks of a page type, without prompt and comments.
fn typed(page: &str) -> Vec<&str> {
    let blocks = page.split("```console\n").skip(1);
    let lines =
        blocks.filter_map(|block| block.split_once("```")).flat_map(|(block, _)| block.lines());
    let commands =
        lines.filter_map(|line| line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")));
    commands.map(|line| line.split_once("  # ").map_or(line, |(said, _)| said).trim_end()).collect()
}

/// The words of a line; those in double quotes are one.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// A node on which a page is followed.
struct Tour {
    node: Node,
    /// What stands for what, the longest first.
    stands: Vec<(String, String)>,
    followed: usize,
}

impl Tour {
    async fn begin(runtime: Runtime) -> anyhow::Result<Self> {
        let node = Node::start(runtime).await?;
        let path = |path: PathBuf| path.to_str().map(str::to_owned).context("the path is text");
        let mut stands = Vec::new();
        if runtime == Runtime::Process {
            for program in example::programs(&node.scratch("example"))? {
                let program = path(program)?;
                let version = program.rsplit('-').next().unwrap_or_default();
                stands.push((format!("web:{version}"), program.clone()));
                stands.push((" /web".to_owned(), format!(" {program}")));
            }
        } else {
            for version in example::VERSIONS {
                stands.push((format!("web:{version}"), runtime.web_image(version).await?));
            }
        }
        let file = node.scratch("web.yaml");
        let mut manifest = MANIFEST.to_owned();
        for (name, own) in &stands {
            manifest = manifest.replace(name, own);
        }
        std::fs::write(&file, manifest)?;
        stands.push((" web.yaml".to_owned(), format!(" {}", path(file)?)));
        let examples = path(tree::root().join("docs/examples"))?;
        stands.push((" docs/examples".to_owned(), format!(" {examples}")));
        Ok(Self { node, stands, followed: 0 })
    }

    /// The file that stands for `web.yaml`.
    fn file(&self) -> PathBuf {
        self.node.scratch("web.yaml")
    }

    async fn follow(&mut self, page: &str) -> anyhow::Result<()> {
        for said in typed(page) {
            self.do_as(said).await.with_context(|| format!("the page says: {said}"))?;
        }
        Ok(())
    }

    async fn do_as(&mut self, said: &str) -> anyhow::Result<()> {
        if BY_THE_TEST.iter().any(|begin| said.starts_with(begin)) {
            return Ok(());
        }
        self.followed += 1;
        if let Some(question) = said.strip_prefix("dig ") {
            return self.dig(question).await;
        }
        let Some(command) = said.strip_prefix("warren ") else {
            bail!("nobody knows how to type it")
        };
        let mut own = command.to_owned();
        for (name, stand) in &self.stands {
            own = own.replace(name, stand);
        }
        let (own, into) = match own.split_once(" > ") {
            Some((own, file)) => (own.to_owned(), Some(file.to_owned())),
            None => (own, None),
        };
        let mut words = words(&own);
        if command.starts_with("service rm") {
            words.push("--yes".to_owned());
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if ENDLESS.iter().any(|begin| command.starts_with(begin)) {
            self.node.glimpse(&words).await?;
        } else if command.contains("--fault") {
            // How a simulation ends is what it is for.
            let said = self.node.command(&words).await?;
            ensure!(matches!(said.code, Some(0 | 6)), "{said:#?}");
        } else {
            let out = self.node.ok(&words).await?;
            if let Some(file) = into {
                std::fs::write(file, out)?;
            }
        }
        Ok(())
    }

    /// Asks the node what the page asks, until it is answered.
    async fn dig(&self, question: &str) -> anyhow::Result<()> {
        let words: Vec<&str> =
            question.split_whitespace().filter(|word| *word != "+short").collect();
        let ["@127.0.0.1", "-p", "7453", of @ ..] = &words[..] else { bail!("another server") };
        let kind = match of {
            [_] => RecordType::A,
            ["SRV", _] => RecordType::SRV,
            _ => bail!("another question: {of:?}"),
        };
        let name = of.last().context("a name")?;
        let server = self.node.dns_address()?;
        wait::until(&format!("{name} leads somewhere"), NAMED, async || {
            let answer = dns::ask(server, name, kind, Over::Udp).await?;
            ensure!(!answer.answers.is_empty(), "{answer:?}");
            Ok(())
        })
        .await
    }
}

fn page(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(tree::root().join(path)).with_context(|| path.to_owned())
}

async fn the_tour_of_the_readme_is_true(runtime: Runtime) -> anyhow::Result<()> {
    let mut tour = Tour::begin(runtime).await?;
    tour.follow(&page("README.md")?).await?;
    ensure!(tour.followed > 14, "the tour has lost its commands: {}", tour.followed);
    let history = tour.node.json(&["service", "history", "web"]).await?;
    ensure!(history[0]["outcome"] == "rolled-back", "the release was not taken back: {history:#}");
    resolve(&tour.node, "web.warren.", 5).await?;
    Ok(())
}

#[tokio::test]
async fn the_guide_for_newcomers_is_true() {
    follow_the_first_guide().await.unwrap();
}

async fn follow_the_first_guide() -> anyhow::Result<()> {
    let mut tour = Tour::begin(Runtime::Process).await?;
    let guide = page("docs/guides/getting-started.md")?;
    // The file of this page is in it.
    let (_, rest) = guide.split_once("```yaml\n").context("a manifest")?;
    let (manifest, _) = rest.split_once("```").context("its end")?;
    let mut manifest = manifest.to_owned();
    for (name, own) in &tour.stands {
        manifest = manifest.replace(name, own);
    }
    std::fs::write(tour.file(), manifest)?;
    tour.follow(&guide).await?;
    ensure!(tour.followed > 8, "the guide has lost its commands: {}", tour.followed);
    Ok(())
}

// req: B47
#[tokio::test]
async fn the_guide_to_strategies_is_true() {
    let release = "docs/guides/deployment-strategies.md";
    follow_with_a_service(release, &[], 4).await.unwrap();
}

// req: B51, D30
#[tokio::test]
async fn the_runbooks_are_true() {
    let begun = "service update web --image web:v2 --strategy canary --detach";
    let runbooks = "docs/guides/operational-runbooks.md";
    follow_with_a_service(runbooks, &[begun], 8).await.unwrap();
}

#[tokio::test]
async fn the_chaos_runbook_is_true() {
    follow_with_a_service("docs/guides/chaos-runbook.md", &[], 3).await.unwrap();
}

/// Follows a page whose reader has a service `web`, and did some more to it.
async fn follow_with_a_service(path: &str, before: &[&str], least: usize) -> anyhow::Result<()> {
    let mut tour = Tour::begin(Runtime::Process).await?;
    tour.do_as("warren apply -f web.yaml").await?;
    // Its first version is one to go back to only once it has been accepted.
    tour.node.ok(&["rollout", "watch", "web", "--timeout", "60s"]).await?;
    for command in before {
        tour.do_as(&format!("warren {command}")).await?;
    }
    tour.followed = 0;
    tour.follow(&page(path)?).await?;
    ensure!(tour.followed >= least, "{path} has lost its commands: {}", tour.followed);
    Ok(())
}
